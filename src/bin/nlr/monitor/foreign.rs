//! Messages of other protocols than rtnetlink: what has no decoder is shown as header and bytes.

use super::{
    event::{Action, Event},
    groups,
};
use crate::show::{
    fields::{Fields, Put},
    plain_text,
    tables::digits,
};
use crate::table::Cell;
use netlink_remote::{
    Datagram, Protocol,
    nlmsg::{self, Message, messages},
};

/// Bytes of a message that its text shows.
const SHOWN: usize = 32;

/// The events of a datagram: each message, or the whole where it holds none.
pub(super) fn events(protocol: Protocol, datagram: &Datagram) -> Vec<Event> {
    let common = |data: &mut Fields| {
        if let Some(group) = datagram.group() {
            data.put("group", groups::name(protocol, group));
        }
        data.put_some("nsid", datagram.info.nsid);
    };
    if protocol == Protocol::KOBJECT_UEVENT {
        let mut data = Fields::new();
        common(&mut data);
        uevent(&datagram.data, &mut data);
        return vec![event(protocol, data, &[])];
    }
    let events =
        messages(&datagram.data).filter(|message| message.header.kind >= 16).map(|message| {
            let mut data = Fields::new();
            common(&mut data);
            header(protocol, &message, &mut data);
            data.put("payload", digits(message.payload));
            event(protocol, data, message.payload)
        });
    events.collect()
}

fn event(protocol: Protocol, data: Fields, payload: &[u8]) -> Event {
    let mut words = plain_text::details(&data, &["payload"]);
    if !payload.is_empty() {
        let shown = payload.get(..SHOWN).unwrap_or(payload);
        let more = if shown.len() < payload.len() { "..." } else { "" };
        words.push(format!("payload {}{more}", digits(shown)));
    }
    let row = vec![Cell::plain(words.join(" "))];
    Event { action: Action::Message, object: groups::protocol_name(protocol).into(), data, row }
}

/// The header of a message, and that of its protocol.
fn header(protocol: Protocol, message: &Message<'_>, data: &mut Fields) {
    let nlmsg::Header { kind, flags, sequence, portid, .. } = message.header;
    data.put("type", kind);
    if protocol == Protocol::NETFILTER {
        // NFNL_SUBSYS_ID and NFNL_MSG_TYPE of linux/netfilter/nfnetlink.h.
        data.put_some("subsystem", subsystem(kind >> 8));
        data.put("message", kind & 0xff);
        data.put_some("family", message.u8(0));
    }
    if protocol == Protocol::GENERIC {
        // `struct genlmsghdr`.
        data.put_some("command", message.u8(0));
        data.put_some("version", message.u8(1));
    }
    data.put("flags", flags);
    data.put_some("sequence", (sequence != 0).then_some(sequence));
    data.put_some("portid", (portid != 0).then_some(portid));
    data.put("length", message.payload.len());
}

/// The name of a subsystem of nfnetlink.
fn subsystem(number: u16) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "none",
        "ctnetlink",
        "ctnetlink-exp",
        "queue",
        "ulog",
        "osf",
        "ipset",
        "acct",
        "cttimeout",
        "cthelper",
        "nftables",
        "nft-compat",
        "hook",
    ];
    NAMES.get(usize::from(number)).copied()
}

/// The text of a uevent, or of udev's own message: `ACTION@PATH`, then `KEY=VALUE`, each with a NUL.
fn uevent(bytes: &[u8], data: &mut Fields) {
    let mut texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    let first = texts.next().map(|text| String::from_utf8_lossy(text).into_owned());
    data.put_some("header", first);
    let mut environment = Fields::new();
    for text in texts {
        let text = String::from_utf8_lossy(text);
        if let Some((key, value)) = text.split_once('=') {
            environment.put(key, value.to_owned());
        }
    }
    data.put("environment", environment);
}

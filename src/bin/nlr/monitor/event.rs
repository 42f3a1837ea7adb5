//! Messages as events.

use std::borrow::Cow;

use serde_json::Value;

use super::objects;
use crate::{
    show::{
        addr,
        fields::{Fields, Put, flag_names},
        link,
        names::Names,
        neigh,
        notation::AF_BRIDGE,
        plain_text, route, rule,
        tables::digits,
    },
    table::{self, Cell, Paint, labelled},
};
use netlink_remote::nlmsg::{Message, flags};

/// Bytes of a message without a decoder that its text shows.
const SHOWN: usize = 32;

/// `NLMSG_MIN_TYPE`. Lower message types belong to netlink itself: done, error, overrun, no-op.
const FIRST_TYPE: u16 = 16;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The object is new, or has changed.
    New,
    /// The object is deleted.
    Del,
    /// The kernel asks for the object, such as an `app_solicit` daemon for a neighbour.
    Get,
    /// The object is to be set.
    Set,
    /// A message of another protocol, of which it is not known.
    Message,
    /// Of a mirror: an object that was not there.
    Added,
    /// One that is another than it was.
    Changed,
    /// One that is no longer there.
    Removed,
}

impl Action {
    /// The action of a message type: its last two bits.
    fn of(message_type: u16) -> Self {
        match message_type & 3 {
            0 => Self::New,
            1 => Self::Del,
            2 => Self::Get,
            _ => Self::Set,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Del => "del",
            Self::Get => "get",
            Self::Set => "set",
            Self::Message => "message",
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) action: Action,
    /// The kind of object: "link", "addr", "route", "neigh", "fdb", "rule", "nsid", "netconf",
    /// "nexthop", "mdb", "vlan", "qdisc" and so on, or "message" for an unknown message type.
    pub(crate) object: Cow<'static, str>,
    /// The object with the keys of `ip`; `type`, `flags` and `length` of a "message".
    pub(crate) data: Fields,
    /// The cells of the text.
    pub(super) row: Vec<Cell>,
}

impl Event {
    /// The event as one line, without a newline.
    pub(crate) fn text(&self, color: bool) -> String {
        let paint = match self.action {
            Action::New | Action::Added | Action::Changed => Paint::Good,
            Action::Del | Action::Removed => Paint::Bad,
            Action::Get | Action::Set | Action::Message => Paint::Dim,
        };
        let mut cells = vec![
            Cell::new(self.action.name().to_owned(), paint),
            Cell::plain(format!("{:<7}", self.object)),
        ];
        cells.extend(self.row.iter().cloned());
        table::line(&cells, color)
    }
}

/// The event of a message; `None` for a message of netlink itself. Keeps `names` up to date.
///
/// A message of an unknown type, or too short for its type, becomes a "message": no event is
/// dropped. Cloned routes, which `ip monitor` hides, are events too.
pub(crate) fn parse(message: &Message<'_>, names: &mut Names) -> Option<Event> {
    if message.header.kind < FIRST_TYPE {
        return None;
    }
    names.observe(message);
    let action = Action::of(message.header.kind);
    let (object, mut data, mut row) = known(message, names)
        .filter(|(_, data, _)| !data.is_empty())
        .unwrap_or_else(|| unknown(message));
    let flags = message_flags(message, action);
    if !flags.is_empty() && object != "message" {
        let words: Vec<_> = flags.iter().map(plain_text::value).collect();
        row.push(Cell::plain(words.join(" ")));
        data.put("message_flags", flags);
    }
    Some(Event { action, object: object.into(), data, row })
}

/// A message without a decoder: its header, and its bytes.
fn unknown(message: &Message<'_>) -> (&'static str, Fields, Vec<Cell>) {
    let mut data = Fields::new();
    data.put("type", message.header.kind);
    data.put_some("name", objects::name(message.header.kind));
    data.put("flags", message.header.flags);
    data.put("length", message.payload.len());
    data.put("payload", digits(message.payload));
    let mut words = plain_text::details(&data, &["payload"]);
    let shown = message.payload.get(..SHOWN).unwrap_or(message.payload);
    let more = if shown.len() < message.payload.len() { "..." } else { "" };
    words.push(format!("payload {}{more}", digits(shown)));
    ("message", data, vec![Cell::plain(words.join(" "))])
}

/// What the request was to do with an object that is there already, and with one that is not. The kernel
/// repeats it in the event of a route, a rule or a neighbour.
fn message_flags(message: &Message<'_>, action: Action) -> Vec<Value> {
    const NAMES: [(u32, &str); 4] = [
        (flags::REPLACE as u32, "replace"),
        (flags::EXCL as u32, "excl"),
        (flags::CREATE as u32, "create"),
        (flags::APPEND as u32, "append"),
    ];
    match action {
        Action::New => flag_names(message.header.flags.into(), &NAMES),
        _ => Vec::new(),
    }
}

/// The object of a message of a known type: its name, its keys and its row.
fn known(message: &Message<'_>, names: &Names) -> Option<(&'static str, Fields, Vec<Cell>)> {
    Some(match message.header.kind {
        // Of its bridge, whose family is that of the message: the link itself lives on.
        libc::RTM_NEWLINK | libc::RTM_DELLINK if message.u8(0) == Some(AF_BRIDGE) => {
            let data = link::port_json(message, names)?;
            let row = vec![Cell::plain(plain_text::details(&data, &["deleted"]).join(" "))];
            ("port", data, row)
        }
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            let mut data = link::json(message, names, link::View::Full)?;
            // Counters are no change.
            data.shift_remove("stats64");
            let row = labelled(link::COLUMNS, link::row(&data));
            ("link", data, row)
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let data = addr::json(message, names, true)?;
            let row = labelled(addr::EVENT_COLUMNS, addr::row(&data));
            ("addr", data, row)
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let data = route::json(message, names, false)?;
            let row = route::rows(&data)
                .into_iter()
                .flat_map(|row| labelled(route::COLUMNS, row))
                .collect();
            ("route", data, row)
        }
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH | libc::RTM_GETNEIGH => {
            let data = neigh::json(message, names)?;
            let row = labelled(neigh::COLUMNS, neigh::row(&data));
            // Of a bridge's or a tunnel's forwarding database.
            let object = if message.u8(0) == Some(AF_BRIDGE) { "fdb" } else { "neigh" };
            (object, data, row)
        }
        libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            let data = rule::json(message, names)?;
            let row = labelled(rule::COLUMNS, rule::row(&data));
            ("rule", data, row)
        }
        other => {
            let (object, json) = objects::kind(other)?;
            let mut data = json(message, names)?;
            if Action::of(other) == Action::Del && !data.is_empty() {
                data.shift_insert(0, "deleted".to_owned(), true.into());
            }
            let row = vec![Cell::plain(plain_text::details(&data, &["deleted"]).join(" "))];
            (object, data, row)
        }
    })
}

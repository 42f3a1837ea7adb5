//! Addresses, as `ip addr` shows them.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    kernel_name::{self, Named},
    link,
    names::Names,
    notation::{AF_INET, AF_INET6, family, host},
    plain_text,
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::{Message, read_u32};

/// Length of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// Attributes (`IFA_*`, `linux/if_addr.h`).
mod ifa {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const LABEL: u16 = 3;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const ANYCAST: u16 = 5;
    pub(super) const CACHEINFO: u16 = 6;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const RT_PRIORITY: u16 = 9;
}

/// `IFA_F_SECONDARY`; of an IPv6 address `IFA_F_TEMPORARY`.
const SECONDARY: u32 = 0x01;
/// `IFA_F_DEPRECATED`.
const DEPRECATED: u32 = 0x20;
/// `IFA_F_PERMANENT`. Its absence is shown, as "dynamic".
const PERMANENT: u32 = 0x80;

/// The flags in the order of `ip`.
const FLAGS: [(u32, &str); 12] = [
    (SECONDARY, "secondary"),
    (0x02, "nodad"),
    (0x04, "optimistic"),
    (0x08, "dadfailed"),
    (0x10, "home"),
    (DEPRECATED, "deprecated"),
    (0x40, "tentative"),
    (PERMANENT, "dynamic"),
    (0x100, "mngtmpaddr"),
    (0x200, "noprefixroute"),
    (0x400, "autojoin"),
    (0x800, "stable-privacy"),
];

/// The index of an address's link.
pub(crate) fn link_index(message: &Message<'_>) -> Option<u32> {
    message.u32(4)
}

/// An address with the keys of `ip`, in their order: an element of `addr_info`. With `device` the
/// keys `index` and `dev` come first, for an event, which has no link around it.
pub(crate) fn json(message: &Message<'_>, names: &Names, device: bool) -> Option<Fields> {
    let (number, prefix_length, header_flags, scope) =
        (message.u8(0)?, message.u8(1)?, message.u8(2)?, message.u8(3)?);
    let index = message.u32(4)?;
    let attributes = message.attributes(HEADER);
    let flags = attributes.u32(ifa::FLAGS).unwrap_or(header_flags.into());
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELADDR);
    if device {
        fields.put("index", index);
        fields.put("dev", names.link(index));
    }
    match family(number) {
        "???" => fields.put("family_index", number),
        name => fields.put("family", name),
    }
    let peer = attributes.bytes(ifa::ADDRESS);
    if let Some(local) = attributes.bytes(ifa::LOCAL).or(peer) {
        fields.put("local", host(number, local));
        fields
            .put_some("address", peer.filter(|peer| *peer != local).map(|peer| host(number, peer)));
        fields.put("prefixlen", prefix_length);
        fields.put_some("metric", attributes.u32(ifa::RT_PRIORITY));
    }
    fields.put_some(
        "broadcast",
        attributes.bytes(ifa::BROADCAST).map(|address| host(number, address)),
    );
    fields.put_some("anycast", attributes.bytes(ifa::ANYCAST).map(|address| host(number, address)));
    fields.put("scope", names.scope(scope));
    put_flags(&mut fields, number, flags);
    fields.put_some("label", attributes.name(ifa::LABEL, kernel_name::LINK));
    if let Some(times) = attributes.bytes(ifa::CACHEINFO)
        && let (Some(preferred), Some(valid)) = (read_u32(times, 0), read_u32(times, 4))
    {
        fields.put("valid_life_time", valid);
        // After its preferred time the kernel counts below zero.
        let deprecated = flags & DEPRECATED != 0 && preferred != u32::MAX;
        let preferred =
            if deprecated { preferred.cast_signed().into() } else { i64::from(preferred) };
        fields.put("preferred_life_time", preferred);
    }
    Some(fields)
}

/// Puts each flag as a key.
fn put_flags(fields: &mut Fields, number: u8, flags: u32) {
    for (bit, name) in FLAGS {
        let name = if bit == SECONDARY && number == AF_INET6 { "temporary" } else { name };
        fields.put_true(name, (flags & bit != 0) != (bit == PERMANENT));
    }
    let unnamed = FLAGS.iter().fold(flags, |left, (bit, _)| left & !bit);
    if unnamed != 0 {
        fields.put("ifa_flags", format!("{unnamed:02x}"));
    }
}

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] = &["NAME", "STATE", "ADDRESS", "SCOPE", "DETAILS"];

/// The columns of [`row`].
pub(crate) const EVENT_COLUMNS: &[&str] = &["DEV", "ADDRESS", "SCOPE", "DETAILS"];

/// The rows of a link (an element of `ip -j addr`): one for each address, or one without an
/// address.
pub(crate) fn rows(link: &Fields) -> Vec<Vec<Cell>> {
    let name =
        Cell::new(link.get("ifname").map(plain_text::value).unwrap_or_default(), Paint::Name);
    let addresses =
        link.get("addr_info").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let row =
        |cells: Vec<Cell>| [name.clone(), link::state(link)].into_iter().chain(cells).collect();
    if addresses.is_empty() {
        return vec![row(Vec::new())];
    }
    addresses.iter().filter_map(Value::as_object).map(|address| row(cells(address))).collect()
}

/// The row of an event.
pub(crate) fn row(address: &Fields) -> Vec<Cell> {
    let name =
        Cell::new(address.get("dev").map(plain_text::value).unwrap_or_default(), Paint::Name);
    [name].into_iter().chain(cells(address)).collect()
}

/// The cells of [`EVENT_COLUMNS`] after the first.
fn cells(address: &Fields) -> Vec<Cell> {
    let text = |key: &str| address.get(key).map(plain_text::value).unwrap_or_default();
    let peer = address
        .get("address")
        .map(|peer| format!(" peer {}", plain_text::value(peer)))
        .unwrap_or_default();
    let paint = if address.get("family").and_then(Value::as_str) == Some(family(AF_INET)) {
        Paint::Inet
    } else {
        Paint::Inet6
    };
    let shown = [
        "deleted",
        "index",
        "dev",
        "family",
        "local",
        "address",
        "prefixlen",
        "scope",
        "valid_life_time",
        "preferred_life_time",
    ];
    let mut details = plain_text::details(address, &shown);
    for (key, word) in [("valid_life_time", "valid"), ("preferred_life_time", "preferred")] {
        let time =
            address.get(key).and_then(Value::as_i64).filter(|time| *time != i64::from(u32::MAX));
        details.extend(time.map(|time| format!("{word} {time}s")));
    }
    vec![
        Cell::new(format!("{}{peer}/{}", text("local"), text("prefixlen")), paint),
        Cell::plain(text("scope")),
        Cell::plain(details.join(" ")),
    ]
}

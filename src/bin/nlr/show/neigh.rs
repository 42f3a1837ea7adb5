//! Neighbours, as `ip neigh` shows them.

use super::{
    fields::{Fields, Put, flag_names},
    names::Names,
    notation::{AF_BRIDGE, AF_INET, AF_INET6, host, link_address},
    plain_text,
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;

/// Length of `struct ndmsg`.
const HEADER: usize = 12;

/// Attributes (`NDA_*`, `linux/neighbour.h`).
mod nda {
    pub(super) const DST: u16 = 1;
    pub(super) const LLADDR: u16 = 2;
    pub(super) const PROTOCOL: u16 = 12;
    pub(super) const FLAGS_EXT: u16 = 15;
}

/// `NTF_PROXY`.
const PROXY: u8 = 0x08;
/// `NTF_EXT_LEARNED`.
const EXTERN_LEARN: u8 = 0x10;
/// `NTF_OFFLOADED`.
const OFFLOADED: u8 = 0x20;
/// `NTF_ROUTER`.
const ROUTER: u8 = 0x80;
/// `NTF_EXT_MANAGED`.
const MANAGED: u32 = 1;

/// `NUD_NOARP`.
const NOARP: u16 = 0x40;

/// The states (`NUD_*`) in the order of `ip`.
const STATES: [(u32, &str); 8] = [
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (NOARP as u32, "NOARP"),
    (0x80, "PERMANENT"),
];

/// Whether `ip neigh` lists the entry. It hides entries without resolution (`NOARP`) or state, but
/// no proxies and no externally learnt ones.
pub(crate) fn listed(message: &Message<'_>) -> bool {
    let (Some(state), Some(flags)) = (message.u16(8), message.u8(10)) else {
        return false;
    };
    state & 0xff & !NOARP != 0 || flags & (PROXY | EXTERN_LEARN) != 0
}

/// A neighbour with the keys of `ip`, in their order.
pub(crate) fn json(message: &Message<'_>, names: &Names) -> Option<Fields> {
    let (number, index, state, flags) =
        (message.u8(0)?, message.u32(4)?, message.u16(8)?, message.u8(10)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELNEIGH);
    // The kernel's question to an `app_solicit` daemon.
    fields.put_word("miss", message.header.kind == libc::RTM_GETNEIGH);
    if let Some(address) = attributes.bytes(nda::DST) {
        let number = match (number, address.len()) {
            (AF_BRIDGE, 16) => AF_INET6,
            (AF_BRIDGE, _) => AF_INET,
            _ => number,
        };
        fields.put("dst", host(number, address));
    }
    if index != 0 {
        fields.put("dev", names.link(index));
    }
    let address = attributes.bytes(nda::LLADDR);
    fields.put_some("lladdr", address.map(|address| link_address(address, names.link_type(index))));
    fields.put_word("router", flags & ROUTER != 0);
    fields.put_word("proxy", flags & PROXY != 0);
    fields.put_word(
        "managed",
        attributes.u32(nda::FLAGS_EXT).is_some_and(|flags| flags & MANAGED != 0),
    );
    fields.put_word("extern_learn", flags & EXTERN_LEARN != 0);
    fields.put_word("offload", flags & OFFLOADED != 0);
    if state != 0 {
        fields.put("state", flag_names(state.into(), &STATES));
    }
    let protocol = attributes.u8(nda::PROTOCOL).filter(|protocol| *protocol != 0);
    fields.put_some("protocol", protocol.map(|protocol| names.protocol(protocol)));
    Some(fields)
}

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] = &["ADDRESS", "DEV", "LLADDR", "STATE", "DETAILS"];

/// The row of a neighbour.
pub(crate) fn row(neighbour: &Fields) -> Vec<Cell> {
    let text = |key: &str| neighbour.get(key).map(plain_text::value).unwrap_or_default();
    let state = text("state");
    let paint = match state.as_str() {
        "REACHABLE" | "PERMANENT" => Paint::Good,
        "FAILED" | "INCOMPLETE" => Paint::Bad,
        _ => Paint::Plain,
    };
    vec![
        Cell::address(text("dst")),
        Cell::new(text("dev"), Paint::Name),
        Cell::new(text("lladdr"), Paint::LinkAddress),
        Cell::new(state, paint),
        Cell::plain(
            plain_text::details(neighbour, &["deleted", "dst", "dev", "lladdr", "state"]).join(" "),
        ),
    ]
}

//! Neighbours, as `ip neigh` shows them.

use super::{
    fields::{Fields, Put},
    names::Names,
    plain_text,
    tables::{Context, neigh as tables, put_all},
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;

/// Length of `struct ndmsg`.
const HEADER: usize = 12;

/// `NTF_PROXY`.
const PROXY: u8 = 0x08;
/// `NTF_EXT_LEARNED`.
const EXTERN_LEARN: u8 = 0x10;
/// `NUD_NOARP`.
const NOARP: u16 = 0x40;

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
    message.u8(10)?;
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELNEIGH);
    // The kernel's question to an `app_solicit` daemon.
    fields.put_word("miss", message.header.kind == libc::RTM_GETNEIGH);
    let context = Context { names, message };
    put_all(&mut fields, message.attributes(HEADER), context, &[&tables::NEIGH], &[]);
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

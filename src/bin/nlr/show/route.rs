//! Routes, as `ip route` shows them.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    names::Names,
    plain_text,
    query::Filter,
    tables::{Context, put_all, route as tables},
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;
use tables::CLONED;

/// Length of `struct rtmsg`.
const HEADER: usize = 12;
/// `RTA_TABLE`.
const TABLE: u16 = 15;

/// Whether a route passes the filter and is not cloned.
///
/// On a kernel without IPv6 tables `ip` guesses the table from the type; here it is not guessed.
pub(crate) fn listed(message: &Message<'_>, filter: &Filter) -> bool {
    let (Some(number), Some(flags), Some(table)) = (message.u8(0), message.u32(8), table(message))
    else {
        return false;
    };
    flags & CLONED == 0
        && filter.family.is_none_or(|family| family.number() == number)
        && filter.route_table().is_none_or(|wanted| wanted == table)
}

/// The table of a route.
fn table(message: &Message<'_>) -> Option<u32> {
    message.attributes(HEADER).u32(TABLE).or_else(|| message.u8(4).map(u32::from))
}

/// A route with the keys of `ip`, in their order. The main table is left out, and with `one_table`,
/// in a list of one table, any table.
pub(crate) fn json(message: &Message<'_>, names: &Names, one_table: bool) -> Option<Fields> {
    message.u32(8)?;
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELROUTE);
    let context = Context { names, message };
    put_all(&mut fields, message.attributes(HEADER), context, &[&tables::ROUTE], &[]);
    if one_table {
        fields.shift_remove("table");
    }
    Some(fields)
}

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] =
    &["DESTINATION", "VIA", "DEV", "PROTO", "SCOPE", "SRC", "METRIC", "DETAILS"];

/// The rows of a route: the route, then its next hops.
pub(crate) fn rows(route: &Fields) -> Vec<Vec<Cell>> {
    let kind =
        route.get("type").map(|kind| format!("{} ", plain_text::value(kind))).unwrap_or_default();
    let mut first = cells(route);
    let destination =
        format!("{kind}{}", route.get("dst").map(plain_text::value).unwrap_or_default());
    first.insert(0, Cell::address(destination));
    let hops =
        route.get("nexthops").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let hops = hops.iter().filter_map(Value::as_object).map(|hop| {
        let mut row = cells(hop);
        row.insert(0, Cell::new("  nexthop".to_owned(), Paint::Dim));
        row
    });
    std::iter::once(first).chain(hops).collect()
}

/// The cells of [`COLUMNS`] after the destination.
fn cells(route: &Fields) -> Vec<Cell> {
    let text = |key: &str| route.get(key).map(plain_text::value).unwrap_or_default();
    let via = route
        .get("via")
        .and_then(|via| via.get("host"))
        .map_or_else(|| text("gateway"), plain_text::value);
    let shown = [
        "deleted", "type", "dst", "gateway", "via", "dev", "protocol", "scope", "prefsrc",
        "metric", "nexthops",
    ];
    vec![
        Cell::address(via),
        Cell::new(text("dev"), Paint::Name),
        Cell::plain(text("protocol")),
        Cell::plain(text("scope")),
        Cell::address(text("prefsrc")),
        Cell::plain(text("metric")),
        Cell::plain(plain_text::details(route, &shown).join(" ")),
    ]
}

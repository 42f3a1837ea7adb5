//! Links, as `ip -d link` and `ip addr` show them.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    link_header::{self, LinkHeader},
    names::Names,
    plain_text,
    tables::{Context, link as tables, put_all},
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;

/// The keys of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All, as of `ip -d link`.
    Full,
    /// Those of `ip addr`, which with -4 or -6 leaves out the link-layer addresses.
    Addresses { link_layer: bool },
}

/// A link with the keys of `ip`, in their order. The tables say what is left out.
pub(crate) fn json(message: &Message<'_>, names: &Names, view: View) -> Option<Fields> {
    let header = LinkHeader::parse(message)?;
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELLINK);
    fields.put("ifindex", header.index);
    let attributes = message.attributes(link_header::LENGTH);
    let context = Context { names, message };
    let (link, details, others) = (&tables::LINK, &tables::DETAILS, &tables::NAMES);
    let left_out: &[&str] = match view {
        View::Full => {
            put_all(&mut fields, attributes, context, &[link, details, others], &[]);
            &[]
        }
        View::Addresses { link_layer } => {
            put_all(&mut fields, attributes, context, &[link, others], &[details]);
            if link_layer { &["linkmode"] } else { &LINK_LAYER }
        }
    };
    left_out.iter().for_each(|key| drop(fields.shift_remove(*key)));
    Some(fields)
}

/// The port of a bridge (`AF_BRIDGE`) with the keys of `bridge link`: those of the link, then the state of
/// the port.
pub(crate) fn port_json(message: &Message<'_>, names: &Names) -> Option<Fields> {
    let header = LinkHeader::parse(message)?;
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELLINK);
    fields.put("ifindex", header.index);
    let attributes = message.attributes(link_header::LENGTH);
    let context = Context { names, message };
    let hidden = [&tables::DETAILS, &tables::NAMES];
    put_all(&mut fields, attributes, context, &[&tables::LINK, &tables::PORT], &hidden);
    LINK_LAYER.iter().for_each(|key| drop(fields.shift_remove(*key)));
    Some(fields)
}

/// The keys that `ip -4 addr` leaves out.
const LINK_LAYER: [&str; 6] =
    ["linkmode", "link_type", "address", "link_pointtopoint", "broadcast", "permaddr"];

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] =
    &["INDEX", "NAME", "STATE", "MTU", "MASTER", "ADDRESS", "TYPE", "FLAGS"];

/// The row of a link in a list: without the flags that most links have.
pub(crate) fn short_row(link: &Fields) -> Vec<Cell> {
    let mut row = row(link);
    let flags = link.get("flags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_up = flags.iter().any(|flag| flag == "UP");
    let is_usual = |flag: &&Value| {
        let flag = flag.as_str().unwrap_or_default();
        ["BROADCAST", "MULTICAST", "LOOPBACK"].contains(&flag) || is_up && flag == "LOWER_UP"
    };
    let others: Vec<_> = flags.iter().filter(|flag| !is_usual(flag)).cloned().collect();
    row.pop();
    row.push(Cell::new(plain_text::value(&others.into()), Paint::Dim));
    row
}

/// What the row of a list does not show.
pub(crate) fn note(link: &Fields) -> Vec<String> {
    let shown = [
        "deleted",
        "ifindex",
        "ifname",
        "link",
        "link_index",
        "operstate",
        "mtu",
        "master",
        "address",
        "linkinfo",
        "addr_info",
        "stats64",
    ];
    let mut words = plain_text::details(link, &shown);
    let info = link.get("linkinfo").and_then(Value::as_object);
    for (key, value) in info.into_iter().flatten() {
        match (key.as_str(), value) {
            ("info_data" | "info_slave_data", Value::Object(data)) => {
                words.extend(plain_text::details(data, &[]));
            }
            ("info_kind" | "info_slave_kind", kind) => words.push(plain_text::value(kind)),
            (key, value) => words.push(format!("{key} {}", plain_text::value(value))),
        }
    }
    words.extend(counters(link));
    words
}

/// The counters of a link, where it has them.
pub(crate) fn counters(link: &Fields) -> Vec<String> {
    let counters = link.get("stats64").and_then(Value::as_object);
    let mut words = Vec::new();
    for (direction, counters) in counters.into_iter().flatten() {
        words.push(direction.to_uppercase() + ":");
        words.extend(plain_text::details(counters.as_object().unwrap_or(&Fields::new()), &[]));
    }
    words
}

/// The row of a link.
pub(crate) fn row(link: &Fields) -> Vec<Cell> {
    let text = |key: &str| link.get(key).map(plain_text::value).unwrap_or_default();
    let lower = match (link.get("link"), link.get("link_index")) {
        (Some(Value::String(name)), _) => format!("@{name}"),
        (_, Some(index)) => format!("@if{index}"),
        _ => String::new(),
    };
    let kind = link.get("linkinfo").and_then(|info| info.get("info_kind")?.as_str());
    vec![
        Cell::plain(text("ifindex")),
        Cell::new(format!("{}{lower}", text("ifname")), Paint::Name),
        state(link),
        Cell::plain(text("mtu")),
        Cell::new(text("master"), Paint::Name),
        Cell::new(text("address"), Paint::LinkAddress),
        Cell::plain(kind.map_or_else(|| text("link_type"), str::to_owned)),
        Cell::new(text("flags"), Paint::Dim),
    ]
}

/// The operational state, coloured.
pub(crate) fn state(link: &Fields) -> Cell {
    let state = link.get("operstate").map(plain_text::value).unwrap_or_default();
    let paint = match state.as_str() {
        "UP" => Paint::Good,
        "DOWN" => Paint::Bad,
        _ => Paint::Plain,
    };
    Cell::new(state, paint)
}

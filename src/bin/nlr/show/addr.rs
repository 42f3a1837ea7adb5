//! Addresses, as `ip addr` shows them.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    link,
    names::Names,
    notation::{AF_INET, family},
    plain_text,
    tables::{Context, addr as tables, put_all},
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;

/// Length of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// The index of an address's link.
pub(crate) fn link_index(message: &Message<'_>) -> Option<u32> {
    message.u32(4)
}

/// An address with the keys of `ip`, in their order: an element of `addr_info`. With `device` the
/// keys `index` and `dev` come first, for an event, which has no link around it.
pub(crate) fn json(message: &Message<'_>, names: &Names, device: bool) -> Option<Fields> {
    let (number, index) = (message.u8(0)?, message.u32(4)?);
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
    let context = Context { names, message };
    put_all(&mut fields, message.attributes(HEADER), context, &[&tables::ADDRESS], &[]);
    Some(fields)
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
    let name = link.get("ifname");
    let addresses = addresses.iter().filter_map(Value::as_object);
    addresses.map(|address| row(cells(address, name))).collect()
}

/// The row of an event.
pub(crate) fn row(address: &Fields) -> Vec<Cell> {
    let name =
        Cell::new(address.get("dev").map(plain_text::value).unwrap_or_default(), Paint::Name);
    [name].into_iter().chain(cells(address, address.get("dev"))).collect()
}

/// The cells of [`EVENT_COLUMNS`] after the first, for an address of a link with this name.
fn cells(address: &Fields, link: Option<&Value>) -> Vec<Cell> {
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
    // A label says something where it is not the link's name.
    let label = if address.get("label") == link { "label" } else { "" };
    let shown = [
        label,
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

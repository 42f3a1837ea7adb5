//! Routing rules, as `ip rule` shows them.

use super::{
    fields::{Fields, Put},
    names::Names,
    plain_text,
    tables::{Context, put_all, rule as tables},
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::Message;

/// Length of `struct fib_rule_hdr`.
const HEADER: usize = 12;

/// `FRA_TABLE`.
const TABLE: u16 = 15;

/// The table that a rule looks up, 0 for none.
pub(crate) fn table(message: &Message<'_>) -> Option<u32> {
    message.attributes(HEADER).u32(TABLE).or_else(|| message.u8(4).map(u32::from))
}

/// A rule with the keys of `ip`, in their order.
pub(crate) fn json(message: &Message<'_>, names: &Names) -> Option<Fields> {
    message.u32(8)?;
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELRULE);
    let context = Context { names, message };
    put_all(&mut fields, message.attributes(HEADER), context, &[&tables::RULE], &[]);
    Some(fields)
}

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] = &["PRIORITY", "FROM", "TO", "ACTION", "DETAILS"];

/// The row of a rule.
pub(crate) fn row(rule: &Fields) -> Vec<Cell> {
    let text = |key: &str| rule.get(key).map(plain_text::value).unwrap_or_default();
    let prefix = |address: &str, length: &str| match rule.get(length) {
        Some(length) => format!("{}/{}", text(address), plain_text::value(length)),
        None => text(address),
    };
    let mut action = Vec::new();
    for (key, word) in [("table", "lookup "), ("goto", "goto "), ("action", "")] {
        action.extend(rule.get(key).map(|value| format!("{word}{}", plain_text::value(value))));
    }
    for key in ["l3mdev", "nop"] {
        action.extend(rule.get(key).map(|_| key.to_owned()));
    }
    let shown = [
        "deleted", "priority", "src", "srclen", "dst", "dstlen", "table", "goto", "action",
        "l3mdev", "nop",
    ];
    vec![
        Cell::plain(text("priority")),
        Cell::address(prefix("src", "srclen")),
        Cell::address(prefix("dst", "dstlen")),
        Cell::new(action.join(" "), Paint::Bold),
        Cell::plain(plain_text::details(rule, &shown).join(" ")),
    ]
}

//! Routing rules, as `ip rule` shows them.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    kernel_name::{self, Named},
    names::Names,
    notation::{host, host_bits, prefixed_hexadecimal, route_type},
    plain_text,
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::{Attributes, Message, read_u16, read_u32};

/// Length of `struct fib_rule_hdr`.
const HEADER: usize = 12;

/// Attributes (`FRA_*`, `linux/fib_rules.h`).
mod fra {
    pub(super) const DST: u16 = 1;
    pub(super) const SRC: u16 = 2;
    pub(super) const IIFNAME: u16 = 3;
    pub(super) const GOTO: u16 = 4;
    /// Of NAT rules, which current kernels do not have.
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const FWMARK: u16 = 10;
    pub(super) const FLOW: u16 = 11;
    pub(super) const TUN_ID: u16 = 12;
    pub(super) const SUPPRESS_IFGROUP: u16 = 13;
    pub(super) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(super) const TABLE: u16 = 15;
    pub(super) const FWMASK: u16 = 16;
    pub(super) const OIFNAME: u16 = 17;
    pub(super) const L3MDEV: u16 = 19;
    pub(super) const UID_RANGE: u16 = 20;
    pub(super) const PROTOCOL: u16 = 21;
    pub(super) const IP_PROTO: u16 = 22;
    pub(super) const SPORT_RANGE: u16 = 23;
    pub(super) const DPORT_RANGE: u16 = 24;
}

/// `FIB_RULE_INVERT`.
const INVERT: u32 = 0x02;
/// `FIB_RULE_UNRESOLVED`.
const UNRESOLVED: u32 = 0x04;
/// `FIB_RULE_IIF_DETACHED`.
const IIF_DETACHED: u32 = 0x08;
/// `FIB_RULE_OIF_DETACHED`.
const OIF_DETACHED: u32 = 0x10;

/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
/// `FR_ACT_GOTO`.
const GOTO: u8 = 2;
/// `FR_ACT_NOP`.
const NOP: u8 = 3;
/// `RTN_NAT`.
const NAT: u8 = 10;
/// `RTPROT_KERNEL`.
const KERNEL: u8 = 2;

/// The table that a rule looks up, 0 for none.
pub(crate) fn table(message: &Message<'_>) -> Option<u32> {
    message.attributes(HEADER).u32(fra::TABLE).or_else(|| message.u8(4).map(u32::from))
}

/// A rule with the keys of `ip`, in their order.
pub(crate) fn json(message: &Message<'_>, names: &Names) -> Option<Fields> {
    let (number, dst_length, src_length, tos) =
        (message.u8(0)?, message.u8(1)?, message.u8(2)?, message.u8(3)?);
    let (action, flags) = (message.u8(7)?, message.u32(8)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELRULE);
    fields.put("priority", attributes.u32(fra::PRIORITY).unwrap_or(0));
    fields.put_word("not", flags & INVERT != 0);
    put_prefix(&mut fields, ("src", "srclen"), number, attributes.bytes(fra::SRC), src_length);
    if !fields.contains_key("src") {
        fields.put("src", "all");
    }
    put_prefix(&mut fields, ("dst", "dstlen"), number, attributes.bytes(fra::DST), dst_length);
    if tos != 0 {
        fields.put("tos", names.dsfield(tos));
    }
    put_mark(&mut fields, attributes);
    for (kind, key, detached, flag) in [
        (fra::IIFNAME, "iif", "iif_detached", IIF_DETACHED),
        (fra::OIFNAME, "oif", "oif_detached", OIF_DETACHED),
    ] {
        if let Some(name) = attributes.name(kind, kernel_name::LINK) {
            fields.put(key, name);
            fields.put_word(detached, flags & flag != 0);
        }
    }
    fields.put_word("l3mdev", attributes.u8(fra::L3MDEV).is_some_and(|flag| flag != 0));
    if let Some(range) = attributes.bytes(fra::UID_RANGE) {
        fields.put_some("uid_start", read_u32(range, 0));
        fields.put_some("uid_end", read_u32(range, 4));
    }
    fields.put_some(
        "ipproto",
        attributes.u8(fra::IP_PROTO).map(|protocol| names.ip_protocol(protocol)),
    );
    put_ports(&mut fields, "sport", attributes.bytes(fra::SPORT_RANGE));
    put_ports(&mut fields, "dport", attributes.bytes(fra::DPORT_RANGE));
    fields.put_some("tun_id", attributes.u64(fra::TUN_ID).map(u64::from_be));
    if let Some(table) = table(message).filter(|table| *table != 0) {
        fields.put("table", names.table(table));
        fields.put_some(
            "suppress_prefixlen",
            attributes.i32(fra::SUPPRESS_PREFIXLEN).filter(|length| *length != -1),
        );
        let group = attributes.u32(fra::SUPPRESS_IFGROUP).filter(|group| *group != u32::MAX);
        fields.put_some("suppress_ifgroup", group.map(|group| names.group(group)));
    }
    if let Some(realms) = attributes.u32(fra::FLOW) {
        let (from, to) = (realms >> 16, realms & 0xffff);
        fields.put_some("flow_from", (from != 0).then(|| names.realm(from)));
        fields.put("flow_to", names.realm(to));
    }
    put_action(&mut fields, attributes, number, action, flags);
    let protocol = attributes.u8(fra::PROTOCOL).filter(|protocol| !matches!(*protocol, 0 | KERNEL));
    fields.put_some("protocol", protocol.map(|protocol| names.protocol(protocol)));
    Some(fields)
}

/// Puts an address and the length of its prefix. The length of a complete address is left out.
fn put_prefix(
    fields: &mut Fields,
    keys: (&str, &str),
    number: u8,
    address: Option<&[u8]>,
    length: u8,
) {
    match address {
        None if length == 0 => return,
        None => fields.put(keys.0, "0"),
        Some(address) => {
            fields.put(keys.0, host(number, address));
            if i32::from(length) == host_bits(number) {
                return;
            }
        }
    }
    fields.put(keys.1, length);
}

/// Puts the mark, and its mask unless that is all ones.
fn put_mark(fields: &mut Fields, attributes: Attributes<'_>) {
    let (mark, mask) = (attributes.u32(fra::FWMARK), attributes.u32(fra::FWMASK));
    if mark.is_some() || mask.is_some() {
        fields.put("fwmark", prefixed_hexadecimal(mark.unwrap_or(0).into()));
    }
    let mask = mask.filter(|mask| *mask != u32::MAX);
    fields.put_some("fwmask", mask.map(|mask| prefixed_hexadecimal(mask.into())));
}

/// Puts a port, or the ends of a range of ports.
fn put_ports(fields: &mut Fields, key: &str, range: Option<&[u8]>) {
    let Some(range) = range else { return };
    let (Some(start), Some(end)) = (read_u16(range, 0), read_u16(range, 2)) else {
        return;
    };
    if start == end {
        fields.put(key, start);
    } else {
        fields.put(&format!("{key}_start"), start);
        fields.put(&format!("{key}_end"), end);
    }
}

/// Puts the action, except for the lookup of a table.
fn put_action(fields: &mut Fields, attributes: Attributes<'_>, number: u8, action: u8, flags: u32) {
    match action {
        TO_TABLE => {}
        GOTO => {
            fields.put(
                "goto",
                attributes.u32(fra::GOTO).map_or_else(|| Value::from("none"), Value::from),
            );
            fields.put_word("unresolved", flags & UNRESOLVED != 0);
        }
        NOP => fields.put("nop", Value::Null),
        NAT => match attributes.bytes(fra::GATEWAY) {
            Some(gateway) => fields.put("nat_gateway", host(number, gateway)),
            None => fields.put("masquerade", Value::Null),
        },
        other => fields.put("action", route_type(other)),
    }
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

//! Routing rules: `FRA_*` (`linux/fib_rules.h`), in the order of `ip rule`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table,
    form::{number8, number16, number32},
    table,
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, name},
    notation::{host, host_bits, prefixed_hexadecimal, route_type},
};
use Form::{Be64, By, Hex8, HexBe32, Omitted, PartOf, With};
use netlink_remote::nlmsg::read_u32;

pub(in super::super) static RULE: Table = table!("FRA_":
    PRIORITY = 6, "priority", With(priority);
    SRC = 2, "src", With(source);
    DST = 1, "dst", With(destination);
    FWMARK = 10, "fwmark", With(mark);
    FWMASK = 16, "fwmask", PartOf("FWMARK");
    IIFNAME = 3, "iif", With(input);
    OIFNAME = 17, "oif", With(output);
    L3MDEV = 19, "l3mdev", With(master_table);
    UID_RANGE = 20, "uid_start", With(users);
    IP_PROTO = 22, "ipproto", By(ip_protocol);
    SPORT_RANGE = 23, "sport", With(source_ports);
    SPORT_MASK = 28, "sport_mask", PartOf("SPORT_RANGE");
    DPORT_RANGE = 24, "dport", With(destination_ports);
    DPORT_MASK = 29, "dport_mask", PartOf("DPORT_RANGE");
    TUN_ID = 12, "tun_id", Be64;
    TABLE = 15, "table", With(lookup);
    SUPPRESS_PREFIXLEN = 14, "suppress_prefixlen", PartOf("TABLE");
    SUPPRESS_IFGROUP = 13, "suppress_ifgroup", PartOf("TABLE");
    FLOW = 11, "flow_to", With(realms_and_action);
    GOTO = 4, "goto", PartOf("FLOW");
    PROTOCOL = 21, "protocol", With(origin);
    DSCP = 25, "dscp", By(codepoint);
    DSCP_MASK = 30, "dscp_mask", Hex8;
    FLOWLABEL = 26, "flowlabel", HexBe32;
    FLOWLABEL_MASK = 27, "flowlabel_mask", HexBe32;
    PAD = 18, "", Omitted("padding");
);

/// `FIB_RULE_INVERT`.
const INVERT: u32 = 0x02;
/// `FIB_RULE_UNRESOLVED`.
const UNRESOLVED: u32 = 0x04;
/// `FIB_RULE_IIF_DETACHED`.
const IIF_DETACHED: u32 = 0x08;
/// `FIB_RULE_OIF_DETACHED`.
const OIF_DETACHED: u32 = 0x10;

fn flags(context: Context<'_>) -> u32 {
    context.message.u32(8).unwrap_or_default()
}

fn priority(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(priority) = place.value.map_or(Some(0), number32) else { return false };
    fields.put("priority", priority);
    fields.put_word("not", flags(place.context) & INVERT != 0);
    true
}

fn source(place: Place<'_>, fields: &mut Fields) -> bool {
    prefix(place, fields, ("src", "srclen"), 2);
    if !fields.contains_key("src") {
        fields.put("src", "all");
    }
    true
}

fn destination(place: Place<'_>, fields: &mut Fields) -> bool {
    prefix(place, fields, ("dst", "dstlen"), 1);
    let tos = place.context.message.u8(3).unwrap_or_default();
    if tos != 0 {
        fields.put("tos", place.context.names.dsfield(tos));
    }
    true
}

/// Puts an address and the length of its prefix, which is `at` in the header. The length of a complete
/// address is left out.
fn prefix(place: Place<'_>, fields: &mut Fields, keys: (&str, &str), at: usize) {
    let field = |at| place.context.message.u8(at).unwrap_or_default();
    let (family, length) = (field(0), field(at));
    match place.value {
        None if length == 0 => return,
        None => fields.put(keys.0, "0"),
        Some(address) => {
            fields.put(keys.0, host(family, address));
            if i32::from(length) == host_bits(family) {
                return;
            }
        }
    }
    fields.put(keys.1, length);
}

/// Puts the mark, and its mask unless that is all ones.
fn mark(place: Place<'_>, fields: &mut Fields) -> bool {
    const MASK: u16 = 16;
    let mask = place.siblings.u32(MASK);
    if place.value.is_some() || mask.is_some() {
        let Some(mark) = place.value.map_or(Some(0), number32) else { return false };
        fields.put("fwmark", prefixed_hexadecimal(mark.into()));
    }
    let mask = mask.filter(|mask| *mask != u32::MAX);
    fields.put_some("fwmask", mask.map(|mask| prefixed_hexadecimal(mask.into())));
    true
}

fn input(place: Place<'_>, fields: &mut Fields) -> bool {
    interface(place, fields, ("iif", "iif_detached"), IIF_DETACHED)
}

fn output(place: Place<'_>, fields: &mut Fields) -> bool {
    interface(place, fields, ("oif", "oif_detached"), OIF_DETACHED)
}

fn interface(place: Place<'_>, fields: &mut Fields, keys: (&str, &str), detached: u32) -> bool {
    if let Some(value) = place.value {
        fields.put(keys.0, name(value, kernel_name::LINK));
        fields.put_word(keys.1, flags(place.context) & detached != 0);
    }
    true
}

fn master_table(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(on) = place.value.map_or(Some(0), number8) else { return false };
    fields.put_word("l3mdev", on != 0);
    true
}

/// `struct fib_rule_uid_range`.
fn users(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(start), Some(end)) = (read_u32(value, 0), read_u32(value, 4)) else { return false };
    fields.put("uid_start", start);
    fields.put("uid_end", end);
    true
}

fn ip_protocol(value: &[u8], context: Context<'_>) -> Option<Value> {
    number8(value).map(|protocol| context.names.ip_protocol(protocol).into())
}

fn source_ports(place: Place<'_>, fields: &mut Fields) -> bool {
    ports(place, fields, "sport", 28)
}

fn destination_ports(place: Place<'_>, fields: &mut Fields) -> bool {
    ports(place, fields, "dport", 29)
}

/// `struct fib_rule_port_range`: one port with its mask, or the ends of a range.
fn ports(place: Place<'_>, fields: &mut Fields, key: &str, mask: u16) -> bool {
    let Some(value) = place.value else { return true };
    let half = |range: std::ops::Range<usize>| value.get(range).and_then(number16);
    let (Some(start), Some(end)) = (half(0..2), half(2..4)) else { return false };
    if start == end {
        fields.put(key, start);
        let mask = place.siblings.u16(mask);
        let mask = mask.map(|mask| prefixed_hexadecimal(mask.into()));
        fields.put_some(&format!("{key}_mask"), mask);
    } else {
        fields.put(&format!("{key}_start"), start);
        fields.put(&format!("{key}_end"), end);
    }
    true
}

/// Puts the table that is looked up, and what makes its routes count for nothing.
fn lookup(place: Place<'_>, fields: &mut Fields) -> bool {
    const LENGTH: u16 = 14;
    const GROUP: u16 = 13;
    let short = place.context.message.u8(4).unwrap_or_default();
    let Some(table) = place.value.map_or(Some(short.into()), number32) else { return false };
    if table == 0 {
        return true;
    }
    let names = place.context.names;
    fields.put("table", names.table(table));
    let length = place.siblings.i32(LENGTH).filter(|length| *length != -1);
    fields.put_some("suppress_prefixlen", length);
    let group = place.siblings.u32(GROUP).filter(|group| *group != u32::MAX);
    fields.put_some("suppress_ifgroup", group.map(|group| names.group(group)));
    true
}

/// Puts the realms, and the action except for the lookup of a table.
fn realms_and_action(place: Place<'_>, fields: &mut Fields) -> bool {
    /// `FR_ACT_TO_TBL`.
    const TO_TABLE: u8 = 1;
    /// `FR_ACT_GOTO`.
    const GOTO: u8 = 2;
    /// `FR_ACT_NOP`.
    const NOP: u8 = 3;
    /// `RTN_NAT`, of kernels before 3.6.
    const NAT: u8 = 10;
    const TARGET: u16 = 4;
    if let Some(value) = place.value {
        let Some(realms) = number32(value) else { return false };
        let (from, to) = (realms >> 16, realms & 0xffff);
        let names = place.context.names;
        fields.put_some("flow_from", (from != 0).then(|| names.realm(from)));
        fields.put("flow_to", names.realm(to));
    }
    match place.context.message.u8(7).unwrap_or_default() {
        TO_TABLE => {}
        GOTO => {
            let target = place.siblings.u32(TARGET);
            fields.put("goto", target.map_or_else(|| Value::from("none"), Value::from));
            fields.put_word("unresolved", flags(place.context) & UNRESOLVED != 0);
        }
        NOP => fields.put("nop", Value::Null),
        NAT => fields.put("masquerade", Value::Null),
        other => fields.put("action", route_type(other)),
    }
    true
}

/// The protocol that has made the rule, but for the kernel.
fn origin(place: Place<'_>, fields: &mut Fields) -> bool {
    /// `RTPROT_KERNEL`.
    const KERNEL: u8 = 2;
    let Some(value) = place.value else { return true };
    let Some(protocol) = number8(value) else { return false };
    if !matches!(protocol, 0 | KERNEL) {
        fields.put("protocol", place.context.names.protocol(protocol));
    }
    true
}

/// A codepoint of differentiated services (RFC 2474): the upper six bits of the field of that name.
fn codepoint(value: &[u8], context: Context<'_>) -> Option<Value> {
    let number = number8(value)?;
    let name = number.checked_mul(4).map(|field| context.names.dsfield(field));
    let name = name.filter(|name| !name.starts_with("0x"));
    Some(name.unwrap_or_else(|| number.to_string()).into())
}

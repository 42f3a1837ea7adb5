//! Lightweight tunnels, the encapsulation of a route's packets: `LWTUNNEL_*` (`linux/lwtunnel.h`) and
//! the headers of their kinds.

use serde_json::{Value, json};

use super::{
    Context, Form, Place, Table,
    form::{flags, number16, number32},
    table, unknown,
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name,
    notation::{AF_INET6, AF_MPLS, host},
};
use Form::{
    Be16, Be64, By, HexBytes, Ipv4, Ipv6, Link, Named32, Omitted, PartOf, Text, U8, U32, With,
};
use netlink_remote::nlmsg::{Attributes, read_u32};

/// The kinds (`LWTUNNEL_ENCAP_*`) by number, each with its table.
const KINDS: [(&str, &Table); 10] = [
    ("mpls", &MPLS),
    ("ip", &IP),
    ("ila", &ILA),
    ("ip6", &IP6),
    ("seg6", &SEG6),
    ("bpf", &BPF),
    ("seg6local", &SEG6_LOCAL),
    ("rpl", &RPL),
    ("ioam6", &IOAM6),
    ("xfrm", &XFRM),
];

/// The object of an encapsulation: its kind under `encap_type`, then its parameters.
pub(super) fn object(kind: Option<u16>, data: &[u8], context: Context<'_>) -> Fields {
    let mut fields = Fields::new();
    let known = kind.and_then(|kind| KINDS.get(usize::from(kind).checked_sub(1)?));
    match (known, kind) {
        (Some((name, table)), _) => {
            fields.put("encap_type", *name);
            fields.extend(table.object(Attributes(data), context));
        }
        (None, kind) => {
            fields.put("encap_type", kind.map_or_else(|| Value::from("unknown"), Value::from));
            fields.extend(unknown("RTA_ENCAP_", Attributes(data)).unwrap_or_default());
        }
    }
    fields
}

/// `linux/mpls_iptunnel.h`.
static MPLS: Table = table!("MPLS_IPTUNNEL_":
    DST = 1, "dst", By(labels);
    TTL = 2, "ttl", U8;
);

static IP: Table = table!("LWTUNNEL_IP_":
    ID = 1, "id", Be64;
    SRC = 3, "src", Ipv4;
    DST = 2, "dst", Ipv4;
    TTL = 4, "ttl", U8;
    TOS = 5, "tos", U8;
    FLAGS = 6, "flags", With(tunnel_flags);
    OPTS = 8, "opts", With(options);
    PAD = 7, "", Omitted("padding");
);

static IP6: Table = table!("LWTUNNEL_IP6_":
    ID = 1, "id", Be64;
    SRC = 3, "src", Ipv6;
    DST = 2, "dst", Ipv6;
    HOPLIMIT = 4, "hoplimit", U8;
    TC = 5, "tc", U8;
    FLAGS = 6, "flags", With(tunnel_flags);
    OPTS = 8, "opts", With(options);
    PAD = 7, "", Omitted("padding");
);

/// `LWTUNNEL_IP_OPTS_*`.
static OPTIONS: Table = table!("LWTUNNEL_IP_OPTS_":
    GENEVE = 1, "geneve_opts", By(geneve_options);
    VXLAN = 2, "vxlan_opts", By(vxlan_options);
    ERSPAN = 3, "erspan_opts", By(erspan_options);
);

static GENEVE_OPTION: Table = table!("LWTUNNEL_IP_OPT_GENEVE_":
    CLASS = 1, "class", Be16;
    TYPE = 2, "type", U8;
    DATA = 3, "data", HexBytes;
);

static VXLAN_OPTION: Table = table!("LWTUNNEL_IP_OPT_VXLAN_":
    GBP = 1, "gbp", U32;
);

static ERSPAN_OPTION: Table = table!("LWTUNNEL_IP_OPT_ERSPAN_":
    VER = 1, "ver", U8;
    INDEX = 2, "index", Form::Be32;
    DIR = 3, "dir", U8;
    HWID = 4, "hwid", U8;
);

/// `linux/ila.h`.
static ILA: Table = table!("ILA_ATTR_":
    LOCATOR = 1, "locator", By(locator);
    CSUM_MODE = 7, "csum_mode", Form::Named8(&["adj-transport", "neutral-map", "no-action", "neutral-map-auto"]);
    IDENT_TYPE = 8, "ident_type", U8;
    HOOK_TYPE = 9, "hook_type", Form::Named8(&["output", "input"]);
    PAD = 6, "", Omitted("padding");
);

/// `linux/seg6_iptunnel.h`.
static SEG6: Table = table!("SEG6_IPTUNNEL_":
    SRH = 1, "segs", With(segments);
    SRC = 2, "tunsrc", PartOf("SRH");
);

/// `linux/bpf.h`.
static BPF: Table = table!("LWT_BPF_":
    IN = 1, "in", By(program);
    OUT = 2, "out", By(program);
    XMIT = 3, "xmit", By(program);
    XMIT_HEADROOM = 4, "headroom", U32;
);

static BPF_PROGRAM: Table = table!("LWT_BPF_PROG_":
    FD = 1, "fd", U32;
    NAME = 2, "name", Text(kernel_name::FILE);
);

/// `linux/seg6_local.h`.
static SEG6_LOCAL: Table = table!("SEG6_LOCAL_":
    ACTION = 1, "action", Named32(&[
        "unspec", "End", "End.X", "End.T", "End.DX2", "End.DX6", "End.DX4", "End.DT6", "End.DT4", "End.B6",
        "End.B6.Encaps", "End.BM", "End.S", "End.AS", "End.AM", "End.BPF", "End.DT46",
    ]);
    SRH = 2, "srh", By(routing_header);
    TABLE = 3, "table", By(route_table);
    VRFTABLE = 9, "vrftable", By(route_table);
    NH4 = 4, "nh4", Ipv4;
    NH6 = 5, "nh6", Ipv6;
    IIF = 6, "iif", Link;
    OIF = 7, "oif", Link;
    BPF = 8, "endpoint", By(program);
    COUNTERS = 10, "", Omitted("statistics");
    FLAVORS = 11, "flavors", With(flavors);
);

static FLAVORS: Table = table!("SEG6_LOCAL_FLV_":
    OPERATION = 1, "flavors", By(flavor_names);
    LCBLOCK_BITS = 2, "lblen", U8;
    LCNODE_FN_BITS = 3, "nflen", U8;
);

/// `linux/rpl_iptunnel.h`.
static RPL: Table = table!("RPL_IPTUNNEL_":
    SRH = 1, "segs", By(rpl_segments);
);

/// `linux/ioam6_iptunnel.h`.
static IOAM6: Table = table!("IOAM6_IPTUNNEL_":
    FREQ_K = 4, "freqk", U32;
    FREQ_N = 5, "freqn", U32;
    MODE = 1, "mode", Form::Named8(&["unspec", "inline", "encap", "auto"]);
    SRC = 6, "tunsrc", Ipv6;
    DST = 2, "tundst", Ipv6;
    TRACE = 3, "trace", With(trace);
);

static XFRM: Table = table!("LWT_XFRM_":
    IF_ID = 1, "if_id", U32;
    LINK = 2, "link_dev", Link;
);

fn labels(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(host(AF_MPLS, value).into())
}

/// `IP_TUNNEL_*` in the order of the network.
fn tunnel_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(flags) = number16(value).map(u16::from_be) else { return false };
    for (bit, name) in [(4, "key"), (1, "csum"), (8, "seq")] {
        fields.put_true(name, flags & bit != 0);
    }
    let others = flags & !(4 | 1 | 8);
    fields.put_some("flags", (others != 0).then(|| format!("{others:#x}")));
    true
}

fn options(place: Place<'_>, fields: &mut Fields) -> bool {
    if let Some(value) = place.value {
        fields.extend(OPTIONS.object(Attributes(value), place.context));
    }
    true
}

/// Options of GENEVE one after the other: an option's attributes begin with its class.
fn geneve_options(value: &[u8], context: Context<'_>) -> Option<Value> {
    const CLASS: u16 = 1;
    let mut list: Vec<Vec<(u16, &[u8])>> = Vec::new();
    for attribute in Attributes(value).iter() {
        match list.last_mut().filter(|_| attribute.0 != CLASS) {
            Some(option) => option.push(attribute),
            None => list.push(vec![attribute]),
        }
    }
    let object = |option: &Vec<(u16, &[u8])>| {
        let mut fields = Fields::new();
        for (number, value) in option {
            let bytes = [&attribute_header(*number, value.len())?, *value].concat();
            fields.extend(GENEVE_OPTION.object(Attributes(&bytes), context));
        }
        Some(Value::from(fields))
    };
    list.iter().map(object).collect::<Option<Vec<_>>>().map(Value::from)
}

/// `struct nlattr`.
fn attribute_header(number: u16, length: usize) -> Option<[u8; 4]> {
    let [a, b] = u16::try_from(length + 4).ok()?.to_ne_bytes();
    let [c, d] = number.to_ne_bytes();
    Some([a, b, c, d])
}

fn vxlan_options(value: &[u8], context: Context<'_>) -> Option<Value> {
    Some(json!([VXLAN_OPTION.object(Attributes(value), context)]))
}

fn erspan_options(value: &[u8], context: Context<'_>) -> Option<Value> {
    Some(json!([ERSPAN_OPTION.object(Attributes(value), context)]))
}

/// Half of an IPv6 address, in groups.
fn locator(value: &[u8], _: Context<'_>) -> Option<Value> {
    let groups =
        value.as_chunks::<2>().0.iter().map(|group| format!("{:x}", u16::from_be_bytes(*group)));
    (value.len() == 8).then(|| groups.collect::<Vec<_>>().join(":").into())
}

/// `struct seg6_iptunnel_encap`: the mode, then a routing header.
fn segments(place: Place<'_>, fields: &mut Fields) -> bool {
    const MODES: [&str; 5] = ["inline", "encap", "l2encap", "encap.red", "l2encap.red"];
    let Some(value) = place.value else { return true };
    let (Some(mode), Some(header)) = (read_u32(value, 0), value.get(4..)) else { return false };
    let Some(header) = routing_header_fields(header) else { return false };
    let name = usize::try_from(mode).ok().and_then(|mode| MODES.get(mode));
    fields.put("mode", name.map_or_else(|| Value::from(mode), |name| Value::from(*name)));
    let source = Place { value: place.siblings.bytes(2), ..place };
    let is_source = Ipv6.put(fields, "tunsrc", source);
    fields.extend(header);
    is_source
}

fn routing_header(value: &[u8], _: Context<'_>) -> Option<Value> {
    routing_header_fields(value).map(Value::from)
}

/// A segment routing header (RFC 8754), whose first segment is the last of the path.
fn routing_header_fields(header: &[u8]) -> Option<Fields> {
    const HAS_HMAC: u8 = 0x08;
    const HMAC: usize = 40;
    let count = usize::from(*header.get(4)?) + 1;
    let segments = header.get(8..)?.as_chunks::<16>().0.get(..count)?;
    let mut fields = Fields::new();
    let list = segments.iter().rev().map(|segment| host(AF_INET6, segment).into());
    fields.put("segs", list.collect::<Vec<Value>>());
    if header.get(5)? & HAS_HMAC != 0 {
        let at = ((usize::from(*header.get(1)?) + 1) * 8).checked_sub(HMAC)? + 4;
        fields.put("hmac", format!("{:#x}", u32::from_be(read_u32(header, at)?)));
    }
    Some(fields)
}

fn program(value: &[u8], context: Context<'_>) -> Option<Value> {
    let program = BPF_PROGRAM.object(Attributes(value), context);
    // Of a program there is the name alone, since its descriptor is of the process that set it.
    match (program.get("name"), program.len()) {
        (Some(name), 1) => Some(name.clone()),
        (None, 0) => Some("<unknown>".into()),
        _ => Some(program.into()),
    }
}

fn route_table(value: &[u8], context: Context<'_>) -> Option<Value> {
    number32(value).map(|table| context.names.table(table).into())
}

fn flavors(place: Place<'_>, fields: &mut Fields) -> bool {
    if let Some(value) = place.value {
        fields.extend(FLAVORS.object(Attributes(value), place.context));
    }
    true
}

fn flavor_names(value: &[u8], _: Context<'_>) -> Option<Value> {
    const NAMES: [(u32, &str); 4] = [(2, "psp"), (4, "usp"), (8, "usd"), (16, "next-csid")];
    number32(value).map(|bits| flags(bits, &NAMES).into())
}

/// A source routing header of RPL (RFC 6554) in the kernel's own form: the addresses whole.
fn rpl_segments(value: &[u8], _: Context<'_>) -> Option<Value> {
    let left = usize::from(*value.get(3)?);
    let segments = value.get(8..)?.as_chunks::<16>().0.get(..left)?;
    Some(segments.iter().rev().map(|segment| host(AF_INET6, segment)).collect::<Vec<_>>().into())
}

/// `struct ioam6_trace_hdr`, of which `ip` shows the words of its own command line.
fn trace(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(namespace), Some(remaining), Some(kind)) =
        (value.get(..2).and_then(number16), value.get(3), read_u32(value, 4))
    else {
        return false;
    };
    fields.put("trace", Value::Null);
    fields.put("prealloc", Value::Null);
    fields.put("type", format!("{:x}", u32::from_be(kind) >> 8));
    fields.put("ns", u16::from_be(namespace));
    // In units of four bytes; the other bit is not used.
    fields.put("size", u16::from(remaining & 0x7f) * 4);
    true
}

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    let mut all =
        vec![&OPTIONS, &GENEVE_OPTION, &VXLAN_OPTION, &ERSPAN_OPTION, &BPF_PROGRAM, &FLAVORS];
    all.extend(KINDS.map(|(_, table)| table));
    all
}

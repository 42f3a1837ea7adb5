//! Routes, as `ip route` shows them.

use serde_json::Value;

use super::{
    encapsulation,
    fields::{Fields, Put, flag_names},
    kernel_name::{self, Named},
    names::Names,
    notation::{
        AF_INET, AF_INET6, AF_MPLS, family, host, host_bits, prefixed_hexadecimal, route_type,
    },
    plain_text,
    query::Filter,
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::{Attributes, Message, aligned, read_u16, read_u32};

/// Length of `struct rtmsg`.
const HEADER: usize = 12;
/// Length of `struct rtnexthop`.
const NEXT_HOP_HEADER: usize = 8;

/// Attributes (`RTA_*`, `linux/rtnetlink.h`).
mod rta {
    pub(super) const DST: u16 = 1;
    pub(super) const SRC: u16 = 2;
    pub(super) const IIF: u16 = 3;
    pub(super) const OIF: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const PREFSRC: u16 = 7;
    pub(super) const METRICS: u16 = 8;
    pub(super) const MULTIPATH: u16 = 9;
    pub(super) const FLOW: u16 = 11;
    pub(super) const CACHEINFO: u16 = 12;
    pub(super) const TABLE: u16 = 15;
    pub(super) const MARK: u16 = 16;
    pub(super) const VIA: u16 = 18;
    pub(super) const NEWDST: u16 = 19;
    pub(super) const PREF: u16 = 20;
    pub(super) const ENCAP_TYPE: u16 = 21;
    pub(super) const ENCAP: u16 = 22;
    pub(super) const UID: u16 = 25;
    pub(super) const TTL_PROPAGATE: u16 = 26;
    pub(super) const NH_ID: u16 = 30;
}

/// `RTN_UNICAST`, the type that `ip` leaves out.
const UNICAST: u8 = 1;
/// `RTPROT_BOOT`, the protocol that `ip` leaves out.
const BOOT: u8 = 3;
/// `RT_TABLE_MAIN`, the table that `ip` leaves out.
const MAIN: u32 = 254;
/// `RTM_F_CLONED`: in no table, but derived from a route for one destination.
const CLONED: u32 = 0x200;

/// Clock ticks per second in messages (`USER_HZ`): 100 everywhere but on Alpha.
const TICKS: u32 = 100;

/// The flags of routes and next hops (`RTNH_F_*`, `RTM_F_*`) in the order of `ip`.
const FLAGS: [(u32, &str); 11] = [
    (0x1, "dead"),
    (0x4, "onlink"),
    (0x2, "pervasive"),
    (0x8, "offload"),
    (0x40, "trap"),
    (0x100, "notify"),
    (0x10, "linkdown"),
    (0x20, "unresolved"),
    (0x4000, "rt_offload"),
    (0x8000, "rt_trap"),
    (0x2000_0000, "rt_offload_failed"),
];

/// The flags of cloned routes (`RTCF_*`) in the order of `ip`.
const CACHE_FLAGS: [(u32, &str); 14] = [
    (0x8000_0000, "local"),
    (0x4000_0000, "reject"),
    (0x2000_0000, "mc"),
    (0x1000_0000, "brd"),
    (0x0800_0000, "dst-nat"),
    (0x0080_0000, "src-nat"),
    (0x0040_0000, "masq"),
    (0x0002_0000, "dst-direct"),
    (0x0400_0000, "src-direct"),
    (0x0004_0000, "redirected"),
    (0x0100_0000, "redirect"),
    (0x0020_0000, "fastroute"),
    (0x0001_0000, "notify"),
    (0x0008_0000, "proxy"),
];

/// The metrics (`RTAX_*`) by number. The first two numbers are no metrics.
const METRICS: [&str; 18] = [
    "",
    "",
    "mtu",
    "window",
    "rtt",
    "rttvar",
    "ssthresh",
    "cwnd",
    "advmss",
    "reordering",
    "hoplimit",
    "initcwnd",
    "features",
    "rto_min",
    "initrwnd",
    "quickack",
    "congestion",
    "fastopen_no_cookie",
];

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
    message.attributes(HEADER).u32(rta::TABLE).or_else(|| message.u8(4).map(u32::from))
}

/// A route with the keys of `ip`, in their order. The main table is left out, and with `one_table`,
/// in a list of one table, any table.
///
/// `ip` writes "src" instead of "from" for a source prefix without an address. The kernel sends no
/// such prefix, and here the key is always "from".
pub(crate) fn json(message: &Message<'_>, names: &Names, one_table: bool) -> Option<Fields> {
    let (number, dst_length, src_length, tos) =
        (message.u8(0)?, message.u8(1)?, message.u8(2)?, message.u8(3)?);
    let (protocol, scope, kind, flags) =
        (message.u8(5)?, message.u8(6)?, message.u8(7)?, message.u32(8)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELROUTE);
    if kind != UNICAST {
        fields.put("type", route_type(kind));
    }
    fields.put(
        "dst",
        prefix(number, attributes.bytes(rta::DST), dst_length)
            .unwrap_or_else(|| "default".to_owned()),
    );
    fields.put_some("from", prefix(number, attributes.bytes(rta::SRC), src_length));
    fields.put_some("nhid", attributes.u32(rta::NH_ID));
    put_translation(&mut fields, attributes, number);
    if tos != 0 {
        fields.put("tos", names.dsfield(tos));
    }
    put_gateway(&mut fields, attributes, number);
    fields.put_some("dev", attributes.u32(rta::OIF).map(|index| names.link(index)));
    let table = table(message).filter(|table| !matches!(*table, 0 | MAIN) && !one_table);
    fields.put_some("table", table.map(|table| names.table(table)));
    if flags & CLONED == 0 {
        fields.put_some("protocol", (protocol != BOOT).then(|| names.protocol(protocol)));
        fields.put_some("scope", (scope != 0).then(|| names.scope(scope)));
    }
    fields.put_some("prefsrc", attributes.bytes(rta::PREFSRC).map(|address| host(number, address)));
    fields.put_some("metric", attributes.u32(rta::PRIORITY));
    fields.put("flags", flag_names(flags, &FLAGS));
    fields.put_some("mark", attributes.u32(rta::MARK).filter(|mark| *mark != 0));
    put_realms(&mut fields, attributes, names);
    fields.put_some("uid", attributes.u32(rta::UID));
    if number == AF_INET && flags & CLONED != 0 {
        fields.put("cache", flag_names(flags & !0xffff, &CACHE_FLAGS));
    }
    if let Some(info) =
        attributes.bytes(rta::CACHEINFO).filter(|_| matches!(number, AF_INET | AF_INET6))
    {
        put_cache_info(&mut fields, info);
    }
    fields.put_some(
        "metrics",
        attributes.nested(rta::METRICS).map(|list| vec![Value::from(metrics(list))]),
    );
    fields.put_some("iif", attributes.u32(rta::IIF).map(|index| names.link(index)));
    fields.put_some("pref", attributes.u8(rta::PREF).map(preference));
    // Misspelt by `ip`.
    fields.put_some(
        "ttl-propogate",
        attributes.u8(rta::TTL_PROPAGATE).map(|propagate| propagate != 0),
    );
    let hops = attributes.bytes(rta::MULTIPATH).map(|bytes| next_hops(bytes, number, names));
    fields.put_some("nexthops", hops);
    Some(fields)
}

/// A prefix, `None` for one of every address. The length of a complete address is left out.
fn prefix(number: u8, address: Option<&[u8]>, length: u8) -> Option<String> {
    match address {
        Some(address) if i32::from(length) == host_bits(number) => Some(host(number, address)),
        Some(address) => Some(format!("{}/{length}", host(number, address))),
        None if length != 0 => Some(format!("0/{length}")),
        None => None,
    }
}

/// Puts the changes to packets: new destination and encapsulation.
fn put_translation(fields: &mut Fields, attributes: Attributes<'_>, number: u8) {
    fields.put_some("to", attributes.bytes(rta::NEWDST).map(|address| host(number, address)));
    if let (Some(kind), Some(data)) =
        (attributes.u16(rta::ENCAP_TYPE), attributes.nested(rta::ENCAP))
    {
        encapsulation::put(fields, kind, data);
    }
}

/// Puts the gateway, be it of another family.
fn put_gateway(fields: &mut Fields, attributes: Attributes<'_>, number: u8) {
    fields.put_some("gateway", attributes.bytes(rta::GATEWAY).map(|address| host(number, address)));
    if let Some(bytes) = attributes.bytes(rta::VIA)
        && let (Some(number), Some(address)) =
            (read_u16(bytes, 0).and_then(|number| u8::try_from(number).ok()), bytes.get(2..))
    {
        let mut via = Fields::new();
        via.put("family", family(number));
        via.put("host", host(number, address));
        fields.put("via", via);
    }
}

/// Puts the realms.
fn put_realms(fields: &mut Fields, attributes: Attributes<'_>, names: &Names) {
    let Some(realms) = attributes.u32(rta::FLOW) else {
        return;
    };
    let mut flow = Fields::new();
    flow.put_some("from", (realms >> 16 != 0).then(|| names.realm(realms >> 16)));
    flow.put("to", names.realm(realms & 0xffff));
    fields.put("flow", flow);
}

/// Puts `struct rta_cacheinfo` without its statistics.
fn put_cache_info(fields: &mut Fields, info: &[u8]) {
    let field = |at: usize| read_u32(info, at * 4).filter(|value| *value != 0);
    let hexadecimal = |value: u32| prefixed_hexadecimal(value.into());
    fields.put_some("expires", field(2).map(|ticks| ticks.cast_signed() / TICKS.cast_signed()));
    // A negative errno, printed as `ip` does: unsigned.
    fields.put_some("error", field(3));
    fields.put_some("ipid", field(5).map(hexadecimal));
    if field(6).is_some() || field(7).is_some() {
        fields.put("ts", hexadecimal(field(6).unwrap_or(0)));
        fields.put("tsage", field(7).unwrap_or(0));
    }
}

/// The metrics. `RTAX_LOCK` (1) has the bits of the locked ones; a locked metric without a value
/// is 0.
fn metrics(list: Attributes<'_>) -> Fields {
    const RTT: u16 = 4;
    const RTTVAR: u16 = 5;
    const HOPLIMIT: u16 = 10;
    const FEATURES: u16 = 12;
    const CONGESTION: u16 = 16;
    let locked = list.u32(1).unwrap_or(0);
    let mut fields = Fields::new();
    for (kind, name) in (0_u16..).zip(METRICS).skip(2) {
        if !list.has(kind) && locked & (1 << kind) == 0 {
            continue;
        }
        let value = list.u32(kind).unwrap_or(0);
        match kind {
            HOPLIMIT if value == u32::MAX => {}
            FEATURES => {
                fields.put_word("ecn", value & 1 != 0);
                fields
                    .put_some(name, (value & !1 != 0).then(|| prefixed_hexadecimal(value.into())));
            }
            RTT => fields.put(name, value / 8),
            RTTVAR => fields.put(name, value / 4),
            CONGESTION => fields.put_some(name, list.name(kind, kernel_name::CONGESTION)),
            _ => fields.put(name, value),
        }
    }
    fields
}

/// The preference of a router (RFC 4191).
fn preference(value: u8) -> Value {
    match value {
        0 => "medium".into(),
        1 => "high".into(),
        3 => "low".into(),
        other => other.into(),
    }
}

/// The next hops of a multipath route: `struct rtnexthop` with attributes, repeated.
fn next_hops(bytes: &[u8], number: u8, names: &Names) -> Vec<Value> {
    let mut rest = bytes;
    let mut hops = Vec::new();
    while let (Some(length), Some(&flags), Some(&weight), Some(index)) =
        (read_u16(rest, 0).map(usize::from), rest.get(2), rest.get(3), read_u32(rest, 4))
    {
        let Some(data) = rest.get(NEXT_HOP_HEADER..length) else {
            break;
        };
        let attributes = Attributes(data);
        let mut hop = Fields::new();
        put_translation(&mut hop, attributes, number);
        put_gateway(&mut hop, attributes, number);
        put_realms(&mut hop, attributes, names);
        hop.put("dev", names.link(index));
        if number != AF_MPLS {
            hop.put("weight", u16::from(weight) + 1);
        }
        hop.put("flags", flag_names(flags.into(), &FLAGS));
        hops.push(hop.into());
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    hops
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

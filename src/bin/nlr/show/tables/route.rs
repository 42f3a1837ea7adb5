//! Routes: `RTA_*` and `RTAX_*` (`linux/rtnetlink.h`), in the order of `ip route`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table, encapsulation,
    form::{number8, number16, number32},
    put_all, table,
};
use crate::show::{
    fields::{Fields, Put, flag_names},
    kernel_name,
    notation::{
        AF_INET, AF_INET6, AF_MPLS, family, host, host_bits, prefixed_hexadecimal, route_type,
    },
};
use Form::{Be16, By, HexBe32, Link, Omitted, OnOff, PartOf, Text, U8, U32, Unless0, With};
use netlink_remote::nlmsg::{Attributes, aligned, read_u16, read_u32};

pub(in super::super) static ROUTE: Table = table!("RTA_":
    DST = 1, "dst", With(destination);
    SRC = 2, "from", With(source);
    NH_ID = 30, "nhid", U32;
    NEWDST = 19, "to", By(address);
    ENCAP = 22, "encap", With(encap);
    ENCAP_TYPE = 21, "encap", PartOf("ENCAP");
    GATEWAY = 5, "gateway", With(class_and_gateway);
    VIA = 18, "via", By(via);
    OIF = 4, "dev", Link;
    TABLE = 15, "table", With(table_and_origin);
    PREFSRC = 7, "prefsrc", By(address);
    PRIORITY = 6, "metric", With(metric_and_flags);
    MARK = 16, "mark", Unless0(&U32);
    FLOW = 11, "flow", By(realms);
    UID = 25, "uid", U32;
    CACHEINFO = 12, "expires", With(cache);
    METRICS = 8, "metrics", By(metrics);
    IIF = 3, "iif", Link;
    PREF = 20, "pref", By(preference);
    TTL_PROPAGATE = 26, "ttl-propogate", OnOff;
    MULTIPATH = 9, "nexthops", By(next_hops);
    EXPIRES = 23, "expires_in", U32;
    MFC_STATS = 17, "", Omitted("statistics");
    PAD = 24, "", Omitted("padding");
    IP_PROTO = 27, "ipproto", U8;
    SPORT = 28, "sport", Be16;
    DPORT = 29, "dport", Be16;
    FLOWLABEL = 31, "flowlabel", HexBe32;
);

/// The attributes of a next hop in [`ROUTE`]'s MULTIPATH.
static NEXT_HOP: Table = table!("RTA_":
    ENCAP = 22, "encap", With(encap);
    ENCAP_TYPE = 21, "encap", PartOf("ENCAP");
    NEWDST = 19, "to", By(address);
    GATEWAY = 5, "gateway", By(address);
    VIA = 18, "via", By(via);
    FLOW = 11, "flow", By(realms);
);

/// Times are in milliseconds. The locks are those of the other metrics: `ip` shows them in text.
static METRICS: Table = table!("RTAX_":
    LOCK = 1, "lock", With(locks);
    MTU = 2, "mtu", U32;
    WINDOW = 3, "window", U32;
    RTT = 4, "rtt", By(eighths);
    RTTVAR = 5, "rttvar", By(quarters);
    SSTHRESH = 6, "ssthresh", U32;
    CWND = 7, "cwnd", U32;
    ADVMSS = 8, "advmss", U32;
    REORDERING = 9, "reordering", U32;
    HOPLIMIT = 10, "hoplimit", With(hop_limit);
    INITCWND = 11, "initcwnd", U32;
    FEATURES = 12, "features", With(features);
    RTO_MIN = 13, "rto_min", U32;
    INITRWND = 14, "initrwnd", U32;
    QUICKACK = 15, "quickack", U32;
    CC_ALGO = 16, "congestion", Text(kernel_name::CONGESTION);
    FASTOPEN_NO_COOKIE = 17, "fastopen_no_cookie", U32;
);

/// `RTN_UNICAST`, the type that `ip` leaves out.
const UNICAST: u8 = 1;
/// `RTPROT_BOOT`, the protocol that `ip` leaves out.
const BOOT: u8 = 3;
/// `RT_TABLE_MAIN`, the table that `ip` leaves out.
const MAIN: u32 = 254;
/// `RTM_F_CLONED`: in no table, but derived from a route for one destination.
pub(in super::super) const CLONED: u32 = 0x200;

/// Clock ticks per second in messages (`USER_HZ`): 100 everywhere but on Alpha.
const TICKS: u32 = 100;

/// The flags of routes and next hops (`RTNH_F_*`, `RTM_F_*`) in the order of `ip`.
pub(in super::super) const FLAGS: [(u32, &str); 11] = [
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

/// The fields of `struct rtmsg`, 0 in a message that is too short.
struct Header {
    family: u8,
    dst_length: u8,
    src_length: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

impl Header {
    fn of(context: Context<'_>) -> Self {
        let field = |at: usize| context.message.u8(at).unwrap_or_default();
        Self {
            family: field(0),
            dst_length: field(1),
            src_length: field(2),
            tos: field(3),
            table: field(4),
            protocol: field(5),
            scope: field(6),
            kind: field(7),
            flags: context.message.u32(8).unwrap_or_default(),
        }
    }
}

/// An address of the message's family.
pub(super) fn address(value: &[u8], context: Context<'_>) -> Option<Value> {
    Some(host(context.message.u8(0)?, value).into())
}

fn destination(place: Place<'_>, fields: &mut Fields) -> bool {
    let header = Header::of(place.context);
    if header.kind != UNICAST {
        fields.put("type", route_type(header.kind));
    }
    let prefix = prefix(header.family, place.value, header.dst_length);
    fields.put("dst", prefix.unwrap_or_else(|| "default".to_owned()));
    true
}

/// The prefix of the source. `ip` writes "src" instead of "from" for one without an address. The kernel
/// sends no such prefix, and here the key is always "from".
fn source(place: Place<'_>, fields: &mut Fields) -> bool {
    let header = Header::of(place.context);
    fields.put_some("from", prefix(header.family, place.value, header.src_length));
    true
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

fn encap(place: Place<'_>, fields: &mut Fields) -> bool {
    const TYPE: u16 = 21;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.u16(TYPE);
    fields.put("encap", encapsulation::object(kind, value, place.context));
    true
}

fn class_and_gateway(place: Place<'_>, fields: &mut Fields) -> bool {
    let tos = Header::of(place.context).tos;
    if tos != 0 {
        fields.put("tos", place.context.names.dsfield(tos));
    }
    By(address).put(fields, "gateway", place)
}

/// `struct rtvia`: a gateway of another family.
fn via(value: &[u8], _: Context<'_>) -> Option<Value> {
    let number = u8::try_from(read_u16(value, 0)?).ok()?;
    let mut via = Fields::new();
    via.put("family", family(number));
    via.put("host", host(number, value.get(2..)?));
    Some(via.into())
}

/// Puts the table, unless it is the main one, the protocol and the scope.
fn table_and_origin(place: Place<'_>, fields: &mut Fields) -> bool {
    let header = Header::of(place.context);
    let Some(table) = place.value.map_or(Some(header.table.into()), number32) else { return false };
    let names = place.context.names;
    if !matches!(table, 0 | MAIN) {
        fields.put("table", names.table(table));
    }
    if header.flags & CLONED == 0 {
        let protocol = (header.protocol != BOOT).then(|| names.protocol(header.protocol));
        fields.put_some("protocol", protocol);
        fields.put_some("scope", (header.scope != 0).then(|| names.scope(header.scope)));
    }
    true
}

fn metric_and_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let is_metric = U32.put(fields, "metric", place);
    fields.put("flags", flag_names(Header::of(place.context).flags, &FLAGS));
    is_metric
}

fn realms(value: &[u8], context: Context<'_>) -> Option<Value> {
    let realms = number32(value)?;
    let mut flow = Fields::new();
    flow.put_some("from", (realms >> 16 != 0).then(|| context.names.realm(realms >> 16)));
    flow.put("to", context.names.realm(realms & 0xffff));
    Some(flow.into())
}

/// Puts the flags of a cloned route, and `struct rta_cacheinfo` without its statistics.
fn cache(place: Place<'_>, fields: &mut Fields) -> bool {
    let header = Header::of(place.context);
    if header.family == AF_INET && header.flags & CLONED != 0 {
        fields.put("cache", flag_names(header.flags & !0xffff, &CACHE_FLAGS));
    }
    let Some(info) = place.value.filter(|_| matches!(header.family, AF_INET | AF_INET6)) else {
        return true;
    };
    if info.len() < 32 {
        return false;
    }
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
    true
}

fn metrics(value: &[u8], context: Context<'_>) -> Option<Value> {
    let mut fields = METRICS.object(Attributes(value), context);
    // `ip` has them in the order of their numbers, the locks in none.
    if let Some(locked) = fields.shift_remove("lock") {
        fields.put("lock", locked);
    }
    Some(vec![Value::from(fields)].into())
}

/// The names of the metrics that are locked; one without a value is 0.
fn locks(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(locked) = number32(value) else { return false };
    let is_locked = |number: u16| number < 32 && locked & (1 << number) != 0;
    let metrics = METRICS.attributes.iter().filter(|metric| is_locked(metric.number));
    let mut names = Vec::new();
    for metric in metrics {
        names.push(Value::from(metric.key));
        if !place.siblings.has(metric.number) {
            fields.put(metric.key, 0);
        }
    }
    if !names.is_empty() {
        fields.put("lock", names);
    }
    true
}

fn eighths(value: &[u8], _: Context<'_>) -> Option<Value> {
    number32(value).map(|time| (time / 8).into())
}

fn quarters(value: &[u8], _: Context<'_>) -> Option<Value> {
    number32(value).map(|time| (time / 4).into())
}

/// The limit of hops; -1 stands for the host's.
fn hop_limit(place: Place<'_>, fields: &mut Fields) -> bool {
    match place.value.map(number32) {
        Some(Some(u32::MAX)) => true,
        _ => U32.put(fields, "hoplimit", place),
    }
}

/// `RTAX_FEATURE_*`.
fn features(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [(u32, &str); 2] = [(1, "ecn"), (16, "tcp_usec_ts")];
    let Some(value) = place.value else { return true };
    let Some(features) = number32(value) else { return false };
    for (bit, name) in NAMES {
        fields.put_word(name, features & bit != 0);
    }
    let others = NAMES.iter().fold(features, |left, (bit, _)| left & !bit);
    fields.put_some("features", (others != 0).then(|| prefixed_hexadecimal(features.into())));
    true
}

/// The preference of a router (RFC 4191).
fn preference(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number8(value)? {
        0 => "medium".into(),
        1 => "high".into(),
        3 => "low".into(),
        other => other.into(),
    })
}

/// The next hops of a multipath route: `struct rtnexthop` with attributes, repeated.
fn next_hops(bytes: &[u8], context: Context<'_>) -> Option<Value> {
    const HEADER: usize = 8;
    let mut rest = bytes;
    let mut hops = Vec::new();
    while !rest.is_empty() {
        let length = rest.get(..2).and_then(number16).map(usize::from)?;
        let (flags, weight, index) = (*rest.get(2)?, *rest.get(3)?, read_u32(rest, 4)?);
        let attributes = Attributes(rest.get(HEADER..length)?);
        let mut hop = Fields::new();
        put_all(&mut hop, attributes, context, &[&NEXT_HOP], &[]);
        let unknown = hop.shift_remove("unknown");
        hop.put("dev", context.names.link(index));
        if context.message.u8(0) != Some(AF_MPLS) {
            hop.put("weight", u16::from(weight) + 1);
        }
        hop.put("flags", flag_names(flags.into(), &FLAGS));
        hop.put_some("unknown", unknown);
        hops.push(hop.into());
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Some(Value::Array(hops))
}

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![&ROUTE, &NEXT_HOP, &METRICS]
}

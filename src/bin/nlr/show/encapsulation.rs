//! Lightweight tunnels: the encapsulation of a route's packets.

use serde_json::Value;

use super::{
    fields::{Fields, Put},
    notation::{AF_INET, AF_INET6, host, mpls},
};
use netlink_remote::nlmsg::{Attributes, read_u32};

/// The kinds (`LWTUNNEL_ENCAP_*`) by number.
const KINDS: [&str; 11] =
    ["unknown", "mpls", "ip", "ila", "ip6", "seg6", "bpf", "seg6local", "rpl", "ioam6", "xfrm"];

/// The modes of segment routing (`SEG6_IPTUN_MODE_*`) by number.
const SEGMENT_MODES: [&str; 5] = ["inline", "encap", "l2encap", "encap.red", "l2encap.red"];

/// Puts the kind of the encapsulation and, for MPLS, IP and IPv6 segment routing, its parameters.
///
/// `ip` puts the parameters beside the keys of the route, even the same key twice ("dst"). Here a
/// key that is in use gets the prefix `encap_`.
pub(crate) fn put(route: &mut Fields, kind: u16, data: Attributes<'_>) {
    let name = KINDS.get(usize::from(kind)).copied().unwrap_or("unknown");
    route.put("encap", name);
    let parameters = match name {
        "mpls" => labels(data),
        "ip" => tunnel(data, AF_INET, ("ttl", "tos")),
        "ip6" => tunnel(data, AF_INET6, ("hoplimit", "tc")),
        "seg6" => segments(data).unwrap_or_default(),
        _ => Fields::new(),
    };
    for (key, value) in parameters {
        let key = if route.contains_key(&key) { format!("encap_{key}") } else { key };
        route.insert(key, value);
    }
}

/// MPLS labels (`MPLS_IPTUNNEL_*`).
fn labels(data: Attributes<'_>) -> Fields {
    let mut fields = Fields::new();
    fields.put_some("dst", data.bytes(1).map(mpls));
    fields.put_some("ttl", data.u8(2));
    fields
}

/// A tunnel header (`LWTUNNEL_IP_*` and `LWTUNNEL_IP6_*`: the numbers are the same).
fn tunnel(data: Attributes<'_>, family: u8, (limit, class): (&str, &str)) -> Fields {
    let mut fields = Fields::new();
    fields.put_some("id", data.u64(1).map(u64::from_be));
    fields.put_some("src", data.bytes(3).map(|address| host(family, address)));
    fields.put_some("dst", data.bytes(2).map(|address| host(family, address)));
    fields.put_some(limit, data.u8(4));
    fields.put_some(class, data.u8(5));
    let flags = data.be16(6).unwrap_or(0);
    for (bit, name) in [(4, "key"), (1, "csum"), (8, "seq")] {
        fields.put_true(name, flags & bit != 0);
    }
    fields
}

/// A segment routing header (`SEG6_IPTUNNEL_SRH`): the mode, then the header of RFC 8754, whose
/// first segment is the last of the path.
fn segments(data: Attributes<'_>) -> Option<Fields> {
    const FIRST_SEGMENT: usize = 12;
    let header = data.bytes(1)?;
    let mode = usize::try_from(read_u32(header, 0)?).ok()?;
    let count = usize::from(*header.get(8)?) + 1;
    let segments = header.get(FIRST_SEGMENT..)?.as_chunks::<16>().0.get(..count)?;
    let mut fields = Fields::new();
    fields.put("mode", SEGMENT_MODES.get(mode).copied().unwrap_or("<unknown>"));
    fields.put(
        "segs",
        segments.iter().rev().map(|segment| host(AF_INET6, segment).into()).collect::<Vec<Value>>(),
    );
    Some(fields)
}

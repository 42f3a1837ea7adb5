//! Tunnels over IP: `IFLA_IPTUN_*`, `IFLA_GRE_*`, `IFLA_VTI_*` (`linux/if_tunnel.h`), and over UDP:
//! `IFLA_VXLAN_*`, `IFLA_GENEVE_*`, `IFLA_BAREUDP_*` (`linux/if_link.h`).

use serde_json::{Value, json};

use super::{
    Context, Form, Place, Table,
    form::{number8, number16, number32},
    table,
};
use crate::show::{
    fields::{Fields, Put},
    notation::{AF_INET, AF_INET6, host, prefixed_hexadecimal},
};
use Form::{
    Be16, By, Endpoint, EtherType, Hex8, Hex16, Hex32, HexBe32, HexBe64, Ipv4, Ipv6, Link, Named8,
    Named32, OnOff, PartOf, Present, TrueIfSet, U8, U16, U32, Unless0, With, Word,
};

/// ipip and sit. The time to live is in hops, 0 for that of the packet within.
pub(super) static IPTUN: Table = table!("IFLA_IPTUN_":
    COLLECT_METADATA = 19, "external", Present;
    PROTO = 9, "proto", By(protocol_in_ipv4);
    REMOTE = 3, "remote", With(remote);
    LOCAL = 2, "local", With(local);
    LINK = 1, "link", Unless0(&Link);
    TTL = 4, "ttl", With(ttl);
    TOS = 5, "tos", Unless0(&Hex8);
    PMTUDISC = 10, "pmtudisc", With(path_mtu_discovery);
    FLAGS = 8, "isatap", With(isatap);
    _6RD_PREFIXLEN = 13, "prefixlen", With(rapid_deployment);
    _6RD_PREFIX = 11, "prefix", PartOf("_6RD_PREFIXLEN");
    _6RD_RELAY_PREFIX = 12, "relay_prefix", PartOf("_6RD_PREFIXLEN");
    _6RD_RELAY_PREFIXLEN = 14, "relay_prefixlen", PartOf("_6RD_PREFIXLEN");
    FWMARK = 20, "fwmark", Unless0(&Hex32);
    ENCAP_TYPE = 15, "encap", With(encapsulation_iptun);
    ENCAP_FLAGS = 16, "encap", PartOf("ENCAP_TYPE");
    ENCAP_SPORT = 17, "encap", PartOf("ENCAP_TYPE");
    ENCAP_DPORT = 18, "encap", PartOf("ENCAP_TYPE");
);

/// ip6tnl.
pub(super) static IP6TNL: Table = table!("IFLA_IPTUN_":
    COLLECT_METADATA = 19, "external", Present;
    PROTO = 9, "proto", By(protocol_in_ipv6);
    REMOTE = 3, "remote", With(remote);
    LOCAL = 2, "local", With(local);
    LINK = 1, "link", Unless0(&Link);
    TTL = 4, "ttl", With(ttl);
    FLAGS = 8, "flags", With(flags_iptun);
    ENCAP_LIMIT = 6, "encap_limit", PartOf("FLAGS");
    FLOWINFO = 7, "flowlabel", PartOf("FLAGS");
    FWMARK = 20, "fwmark", PartOf("FLAGS");
    ENCAP_TYPE = 15, "encap", With(encapsulation_iptun);
    ENCAP_FLAGS = 16, "encap", PartOf("ENCAP_TYPE");
    ENCAP_SPORT = 17, "encap", PartOf("ENCAP_TYPE");
    ENCAP_DPORT = 18, "encap", PartOf("ENCAP_TYPE");
);

/// gre, gretap and erspan.
pub(super) static GRE: Table = table!("IFLA_GRE_":
    COLLECT_METADATA = 18, "external", Present;
    REMOTE = 7, "remote", With(remote);
    LOCAL = 6, "local", With(local);
    LINK = 1, "link", Unless0(&Link);
    TTL = 8, "ttl", With(ttl);
    TOS = 9, "tos", Unless0(&Hex8);
    PMTUDISC = 10, "pmtudisc", OnOff;
    IGNORE_DF = 19, "ignore_df", TrueIfSet;
    IFLAGS = 2, "ikey", With(keys);
    OFLAGS = 3, "okey", PartOf("IFLAGS");
    IKEY = 4, "ikey", PartOf("IFLAGS");
    OKEY = 5, "okey", PartOf("IFLAGS");
    FWMARK = 20, "fwmark", Unless0(&Hex32);
    ERSPAN_INDEX = 21, "erspan_index", U32;
    ERSPAN_VER = 22, "erspan_ver", U8;
    ERSPAN_DIR = 23, "erspan_dir", Named8(&["ingress", "egress"]);
    ERSPAN_HWID = 24, "erspan_hwid", Hex16;
    ENCAP_TYPE = 14, "encap", With(encapsulation_gre);
    ENCAP_FLAGS = 15, "encap", PartOf("ENCAP_TYPE");
    ENCAP_SPORT = 16, "encap", PartOf("ENCAP_TYPE");
    ENCAP_DPORT = 17, "encap", PartOf("ENCAP_TYPE");
);

/// ip6gre, ip6gretap and ip6erspan.
pub(super) static GRE6: Table = table!("IFLA_GRE_":
    COLLECT_METADATA = 18, "external", Present;
    REMOTE = 7, "remote", With(remote);
    LOCAL = 6, "local", With(local);
    LINK = 1, "link", Unless0(&Link);
    TTL = 8, "ttl", With(ttl);
    FLAGS = 13, "flags", With(flags_gre);
    ENCAP_LIMIT = 11, "encap_limit", PartOf("FLAGS");
    FLOWINFO = 12, "flowlabel", PartOf("FLAGS");
    IFLAGS = 2, "ikey", With(keys);
    OFLAGS = 3, "okey", PartOf("IFLAGS");
    IKEY = 4, "ikey", PartOf("IFLAGS");
    OKEY = 5, "okey", PartOf("IFLAGS");
    FWMARK = 20, "fwmark", With(mark_gre);
    ERSPAN_INDEX = 21, "erspan_index", U32;
    ERSPAN_VER = 22, "erspan_ver", U8;
    ERSPAN_DIR = 23, "erspan_dir", Named8(&["ingress", "egress"]);
    ERSPAN_HWID = 24, "erspan_hwid", Hex16;
    ENCAP_TYPE = 14, "encap", With(encapsulation_gre);
    ENCAP_FLAGS = 15, "encap", PartOf("ENCAP_TYPE");
    ENCAP_SPORT = 16, "encap", PartOf("ENCAP_TYPE");
    ENCAP_DPORT = 17, "encap", PartOf("ENCAP_TYPE");
);

/// vti and vti6.
pub(super) static VTI: Table = table!("IFLA_VTI_":
    REMOTE = 5, "remote", With(remote);
    LOCAL = 4, "local", With(local);
    LINK = 1, "link", Unless0(&Link);
    IKEY = 2, "ikey", Unless0(&Ipv4);
    OKEY = 3, "okey", Unless0(&Ipv4);
    FWMARK = 6, "fwmark", Unless0(&Hex32);
);

/// Ageing is in seconds.
pub(super) static VXLAN: Table = table!("IFLA_VXLAN_":
    ID = 1, "id", U32;
    GROUP = 2, "remote", With(vxlan_remote);
    GROUP6 = 16, "remote6", With(vxlan_remote6);
    LOCAL = 4, "local", Unless0(&Ipv4);
    LOCAL6 = 17, "local6", Unless0(&Ipv6);
    LINK = 3, "link", Unless0(&Link);
    PORT_RANGE = 10, "port_range", By(port_range);
    PORT = 15, "port", Be16;
    TOS = 6, "tos", Unless0(&Hex8);
    TTL_INHERIT = 28, "ttl", With(inherited_ttl);
    TTL = 5, "ttl", PartOf("TTL_INHERIT");
    DF = 29, "df", Named8(&["unset", "set", "inherit"]);
    LABEL = 26, "label", Unless0(&HexBe32);
    LABEL_POLICY = 32, "label_policy", Unless0(&Named32(&["fixed", "inherit"]));
    AGEING = 8, "ageing", U32;
    LIMIT = 9, "limit", Unless0(&U32);
    RESERVED_BITS = 33, "reserved_bits", HexBe64;
    GBP = 23, "gbp", Word;
    GPE = 27, "gpe", Word;
    COLLECT_METADATA = 25, "external", OnOff;
    VNIFILTER = 30, "vnifilter", OnOff;
    LEARNING = 7, "learning", OnOff;
    PROXY = 11, "proxy", OnOff;
    RSC = 12, "rsc", OnOff;
    L2MISS = 13, "l2miss", OnOff;
    L3MISS = 14, "l3miss", OnOff;
    UDP_CSUM = 18, "udp_csum", OnOff;
    UDP_ZERO_CSUM6_TX = 19, "udp_zero_csum6_tx", OnOff;
    UDP_ZERO_CSUM6_RX = 20, "udp_zero_csum6_rx", OnOff;
    REMCSUM_TX = 21, "remcsum_tx", OnOff;
    REMCSUM_RX = 22, "remcsum_rx", OnOff;
    REMCSUM_NOPARTIAL = 24, "remcsum_nopartial", Present;
    LOCALBYPASS = 31, "localbypass", OnOff;
    MC_ROUTE = 34, "mcroute", OnOff;
);

pub(super) static GENEVE: Table = table!("IFLA_GENEVE_":
    COLLECT_METADATA = 6, "external", Present;
    ID = 1, "id", U32;
    REMOTE = 2, "remote", Unless0(&Ipv4);
    REMOTE6 = 7, "remote6", Unless0(&Ipv6);
    LOCAL = 17, "local", Ipv4;
    LOCAL6 = 18, "local6", Unless0(&Ipv6);
    TTL_INHERIT = 12, "ttl", With(inherited_ttl_geneve);
    TTL = 3, "ttl", PartOf("TTL_INHERIT");
    TOS = 4, "tos", Unless0(&Hex8);
    DF = 13, "df", Named8(&["unset", "set", "inherit"]);
    LABEL = 11, "label", Unless0(&HexBe32);
    PORT = 5, "port", Be16;
    UDP_CSUM = 8, "udp_csum", OnOff;
    UDP_ZERO_CSUM6_TX = 9, "udp_zero_csum6_tx", OnOff;
    UDP_ZERO_CSUM6_RX = 10, "udp_zero_csum6_rx", OnOff;
    INNER_PROTO_INHERIT = 14, "inner_proto_inherit", Present;
    PORT_RANGE = 15, "port_range", By(port_range);
    GRO_HINT = 16, "gro_hint", Present;
);

pub(super) static BAREUDP: Table = table!("IFLA_BAREUDP_":
    PORT = 1, "dstport", Be16;
    ETHERTYPE = 2, "ethertype", EtherType;
    SRCPORT_MIN = 3, "srcportmin", U16;
    MULTIPROTO_MODE = 4, "multiproto", With(multiple_protocols);
);

/// `GRE_KEY` and its neighbours among the flags of a direction, in the order of the network.
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const CHECKSUM: u16 = 0x8000;

fn protocol_in_ipv4(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number8(value)? {
        0 => "any".into(),
        4 => "ipip".into(),
        41 => "ip6ip".into(),
        137 => "mplsip".into(),
        other => other.into(),
    })
}

fn protocol_in_ipv6(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number8(value)? {
        0 => "any".into(),
        4 => "ipip6".into(),
        41 => "ip6ip6".into(),
        other => other.into(),
    })
}

fn remote(place: Place<'_>, fields: &mut Fields) -> bool {
    end(place, fields, "remote")
}

fn local(place: Place<'_>, fields: &mut Fields) -> bool {
    end(place, fields, "local")
}

/// An end of the tunnel: `any` where there is none.
fn end(place: Place<'_>, fields: &mut Fields, key: &str) -> bool {
    if place.value.is_some() {
        return Endpoint.put(fields, key, place);
    }
    fields.put(key, "any");
    true
}

fn ttl(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(ttl) = place.value.map_or(Some(0), number8) else { return false };
    fields.put("ttl", ttl);
    true
}

fn path_mtu_discovery(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(on) = place.value.map_or(Some(0), number8) else { return false };
    fields.put("pmtudisc", on != 0);
    true
}

/// `SIT_ISATAP`, the one flag of IPv4 tunnels.
fn isatap(place: Place<'_>, fields: &mut Fields) -> bool {
    let flags = match place.value {
        None => return true,
        Some(value) if value.len() == 2 => number16(value).map(u32::from),
        Some(value) => number32(value),
    };
    let Some(flags) = flags else { return false };
    fields.put_true("isatap", flags & 1 != 0);
    let others = flags & !1;
    fields.put_some("flags", (others != 0).then(|| prefixed_hexadecimal(others.into())));
    true
}

/// The prefixes of 6rd (RFC 5969); none where the prefix has no length.
fn rapid_deployment(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(length) = number16(value) else { return false };
    if length == 0 {
        return true;
    }
    let beside = |number: u16| place.siblings.bytes(number);
    let Some(prefix) = beside(11).filter(|prefix| prefix.len() == 16) else { return false };
    fields.put("prefix", host(AF_INET6, prefix));
    fields.put("prefixlen", length);
    if let Some(relay) = beside(12).filter(|relay| relay.len() == 4 && **relay != [0; 4]) {
        fields.put("relay_prefix", host(AF_INET, relay));
        fields.put_some("relay_prefixlen", beside(14).and_then(number16));
    }
    true
}

fn encapsulation_iptun(place: Place<'_>, fields: &mut Fields) -> bool {
    encapsulation(place, fields, [16, 17, 18])
}

fn encapsulation_gre(place: Place<'_>, fields: &mut Fields) -> bool {
    encapsulation(place, fields, [15, 16, 17])
}

/// Foo over UDP, or generic UDP encapsulation: flags, source and destination port are beside the type.
fn encapsulation(place: Place<'_>, fields: &mut Fields, beside: [u16; 3]) -> bool {
    let Some(value) = place.value else { return true };
    let [flags, source, destination] =
        beside.map(|number| place.siblings.bytes(number).and_then(number16).unwrap_or_default());
    let kind = match number16(value) {
        Some(0) => return true,
        Some(1) => json!("fou"),
        Some(2) => json!("gue"),
        Some(other) => json!(other),
        None => return false,
    };
    fields.put(
        "encap",
        json!({
            "type": kind,
            "sport": u16::from_be(source),
            "dport": u16::from_be(destination),
            "csum": flags & 1 != 0,
            "csum6": flags & 2 != 0,
            "remcsum": flags & 4 != 0,
        }),
    );
    true
}

/// The keys of both directions, and what else their flags say.
fn keys(place: Place<'_>, fields: &mut Fields) -> bool {
    let flags = |number: u16| match place.siblings.bytes(number) {
        None => Some(0),
        Some(value) => number16(value).map(u16::from_be),
    };
    let (Some(input), Some(output)) = (flags(2), flags(3)) else { return false };
    for (key, flags, number) in [("ikey", input, 4), ("okey", output, 5)] {
        let value =
            place.siblings.bytes(number).filter(|value| value.len() == 4 && flags & KEY != 0);
        fields.put_some(key, value.map(|value| host(AF_INET, value)));
    }
    for (bit, names) in [(SEQUENCE, ["iseq", "oseq"]), (CHECKSUM, ["icsum", "ocsum"])] {
        for (name, flags) in names.into_iter().zip([input, output]) {
            fields.put_true(name, flags & bit != 0);
        }
    }
    true
}

fn flags_iptun(place: Place<'_>, fields: &mut Fields) -> bool {
    ipv6_flags(place, fields, [6, 7]) && mark(place, fields, 20)
}

fn flags_gre(place: Place<'_>, fields: &mut Fields) -> bool {
    ipv6_flags(place, fields, [11, 12])
}

/// `IP6_TNL_F_*`: what is taken from the packet within, and otherwise the value for it.
fn ipv6_flags(place: Place<'_>, fields: &mut Fields, [limit, flow]: [u16; 2]) -> bool {
    const CLASS: u32 = 0x0ff0_0000;
    const LABEL: u32 = 0x000f_ffff;
    let Some(flags) = place.value.map_or(Some(0), number32) else { return false };
    let limit = place.siblings.u8(limit);
    let flow = place.siblings.u32(flow).map(u32::from_be);
    if flags & 0x1 != 0 {
        fields.put("ip6_tnl_f_ign_encap_limit", true);
    } else {
        fields.put_some("encap_limit", limit);
    }
    if flags & 0x2 != 0 {
        fields.put("ip6_tnl_f_use_orig_tclass", true);
    } else {
        fields.put_some("tclass", flow.map(|flow| format!("{:#04x}", (flow & CLASS) >> 20)));
    }
    if flags & 0x4 != 0 {
        fields.put("ip6_tnl_f_use_orig_flowlabel", true);
    } else {
        fields.put_some("flowlabel", flow.map(|flow| format!("{:#07x}", flow & LABEL)));
    }
    fields.put_true("ip6_tnl_f_rcv_dscp_copy", flags & 0x10 != 0);
    fields.put_true("ip6_tnl_f_mip6_dev", flags & 0x8 != 0);
    fields.put_true("ip6_tnl_f_allow_local_remote", flags & 0x40 != 0);
    // The kernel's own bits of what the tunnel may do are above these.
    let others = flags & 0xffff & !(0x7f | 0x20);
    fields.put_some("flags", (others != 0).then(|| prefixed_hexadecimal(others.into())));
    fields.put_true("ip6_tnl_f_use_orig_fwmark", flags & 0x20 != 0);
    true
}

fn mark_gre(place: Place<'_>, fields: &mut Fields) -> bool {
    mark(place, fields, 20)
}

/// The mark, unless it is that of the packet within.
fn mark(place: Place<'_>, fields: &mut Fields, number: u16) -> bool {
    if fields.contains_key("ip6_tnl_f_use_orig_fwmark") {
        return true;
    }
    match place.siblings.bytes(number).map(number32) {
        None => true,
        Some(Some(mark)) => {
            fields.put_some("fwmark", (mark != 0).then(|| prefixed_hexadecimal(mark.into())));
            true
        }
        Some(None) => false,
    }
}

fn vxlan_remote(place: Place<'_>, fields: &mut Fields) -> bool {
    let is_group = |value: &[u8]| value.first().is_some_and(|first| first & 0xf0 == 0xe0);
    let is_one = place.value.is_none_or(|value| !is_group(value));
    Unless0(&Ipv4).put(fields, if is_one { "remote" } else { "group" }, place)
}

fn vxlan_remote6(place: Place<'_>, fields: &mut Fields) -> bool {
    let is_one = place.value.is_none_or(|value| value.first() != Some(&0xff));
    Unless0(&Ipv6).put(fields, if is_one { "remote6" } else { "group6" }, place)
}

fn inherited_ttl(place: Place<'_>, fields: &mut Fields) -> bool {
    ttl_or_inherited(place, fields, 5)
}

fn inherited_ttl_geneve(place: Place<'_>, fields: &mut Fields) -> bool {
    ttl_or_inherited(place, fields, 3)
}

/// The time to live; nothing where it is that of the packet within.
fn ttl_or_inherited(place: Place<'_>, fields: &mut Fields, number: u16) -> bool {
    if place.value.and_then(number8).is_some_and(|inherits| inherits != 0) {
        return true;
    }
    match place.siblings.bytes(number).map(number8) {
        None => true,
        Some(Some(ttl)) => {
            fields.put("ttl", ttl);
            true
        }
        Some(None) => false,
    }
}

/// Two ports in the order of the network.
fn port_range(value: &[u8], _: Context<'_>) -> Option<Value> {
    let [a, b, c, d] = <[u8; 4]>::try_from(value).ok()?;
    Some(json!({ "low": u16::from_be_bytes([a, b]), "high": u16::from_be_bytes([c, d]) }))
}

fn multiple_protocols(place: Place<'_>, fields: &mut Fields) -> bool {
    fields.put("multiproto", place.value.is_some());
    true
}

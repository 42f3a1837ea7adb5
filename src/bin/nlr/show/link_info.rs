//! `linkinfo`: the attributes of a kind of link, and those of its master's kind on the link.
//!
//! The kinds are bridge and its ports, macvlan and macvtap, ipvlan and ipvtap, vlan, vxlan, vrf and
//! its ports, tun and xfrm. Other kinds get their name, without `info_data`.

use serde_json::Value;

use super::{
    fields::{Fields, Put, flag_names},
    kernel_name::{self, Named},
    names::Names,
    notation::{AF_INET, AF_INET6, hexadecimal, host, prefixed_hexadecimal, vlan_protocol},
};
use Form::{
    Address, BridgeId, Hex16, LinkName, Number8, Number16, Number32, Number64, OnOff, Protocol,
    Seconds,
};
use netlink_remote::nlmsg::Attributes;

/// `IFLA_INFO_KIND`.
const KIND: u16 = 1;
/// `IFLA_INFO_DATA`.
const DATA: u16 = 2;
/// `IFLA_INFO_SLAVE_KIND`.
const SLAVE_KIND: u16 = 4;
/// `IFLA_INFO_SLAVE_DATA`.
const SLAVE_DATA: u16 = 5;

/// The type of an attribute and its form in JSON.
#[derive(Clone, Copy)]
enum Form {
    /// A `u8`, as a number.
    Number8,
    /// A `u16`, as a number.
    Number16,
    /// A `u32`, as a number.
    Number32,
    /// A `u64`, as a number.
    Number64,
    /// A `u8`, as a boolean.
    OnOff,
    /// A `u16`, as hexadecimal text.
    Hex16,
    /// A link-layer address.
    Address,
    /// A bridge identifier: priority, dot, address without leading zeros in its bytes.
    BridgeId,
    /// Hundredths of a second, as seconds.
    Seconds,
    /// A VLAN protocol in network order.
    Protocol,
    /// The index of a link, as its name.
    LinkName,
}

/// An attribute, its key and its form.
type Entry = (u16, &'static str, Form);

/// `IFLA_BR_*` before `IFLA_BR_MULTI_BOOLOPT`, in the order of `ip`.
///
/// `ip` 6.1 prints the bridge's own identifier as `root_id`; here it is the root's.
const BRIDGE: &[Entry] = &[
    (1, "forward_delay", Number32),
    (2, "hello_time", Number32),
    (3, "max_age", Number32),
    (4, "ageing_time", Number32),
    (5, "stp_state", Number32),
    (6, "priority", Number16),
    (7, "vlan_filtering", Number8),
    (8, "vlan_protocol", Protocol),
    (11, "bridge_id", BridgeId),
    (10, "root_id", BridgeId),
    (12, "root_port", Number16),
    (13, "root_path_cost", Number32),
    (14, "topology_change", Number8),
    (15, "topology_change_detected", Number8),
    (16, "hello_timer", Seconds),
    (17, "tcn_timer", Seconds),
    (18, "topology_change_timer", Seconds),
    (19, "gc_timer", Seconds),
    (39, "vlan_default_pvid", Number16),
    (41, "vlan_stats_enabled", Number8),
    (45, "vlan_stats_per_port", Number8),
    (9, "group_fwd_mask", Hex16),
    (20, "group_addr", Address),
    (23, "mcast_snooping", Number8),
];

/// `IFLA_BR_MULTI_BOOLOPT`: a `u32` of values and their mask.
const BRIDGE_OPTIONS: u16 = 46;

/// `IFLA_BR_*` after `IFLA_BR_MULTI_BOOLOPT`, in the order of `ip`.
const BRIDGE_MULTICAST: &[Entry] = &[
    (22, "mcast_router", Number8),
    (24, "mcast_query_use_ifaddr", Number8),
    (25, "mcast_querier", Number8),
    (26, "mcast_hash_elasticity", Number32),
    (27, "mcast_hash_max", Number32),
    (28, "mcast_last_member_cnt", Number32),
    (29, "mcast_startup_query_cnt", Number32),
    (30, "mcast_last_member_intvl", Number64),
    (31, "mcast_membership_intvl", Number64),
    (32, "mcast_querier_intvl", Number64),
    (33, "mcast_query_intvl", Number64),
    (34, "mcast_query_response_intvl", Number64),
    (35, "mcast_startup_query_intvl", Number64),
    (42, "mcast_stats_enabled", Number8),
    (43, "mcast_igmp_version", Number8),
    (44, "mcast_mld_version", Number8),
    (36, "nf_call_iptables", Number8),
    (37, "nf_call_ip6tables", Number8),
    (38, "nf_call_arptables", Number8),
];

/// `IFLA_BRPORT_*` between the state and `IFLA_BRPORT_GROUP_FWD_MASK`, in the order of `ip`.
const BRIDGE_PORT: &[Entry] = &[
    (2, "priority", Number16),
    (3, "cost", Number32),
    (4, "hairpin", OnOff),
    (5, "guard", OnOff),
    (6, "root_block", OnOff),
    (7, "fastleave", OnOff),
    (8, "learning", OnOff),
    (9, "flood", OnOff),
    (17, "id", Hex16),
    (18, "no", Hex16),
    (15, "designated_port", Number16),
    (16, "designated_cost", Number16),
    (14, "bridge_id", BridgeId),
    (13, "root_id", BridgeId),
    (23, "hold_timer", Seconds),
    (21, "message_age_timer", Seconds),
    (22, "forward_delay_timer", Seconds),
    (19, "topology_change_ack", Number8),
    (20, "config_pending", Number8),
    (10, "proxy_arp", OnOff),
    (12, "proxy_arp_wifi", OnOff),
    (25, "multicast_router", Number8),
    (27, "mcast_flood", OnOff),
    (30, "bcast_flood", OnOff),
    (28, "mcast_to_unicast", OnOff),
    (32, "neigh_suppress", OnOff),
];

/// `IFLA_BRPORT_GROUP_FWD_MASK`.
const PORT_FORWARD_MASK: u16 = 31;

/// `IFLA_BRPORT_*` after `IFLA_BRPORT_GROUP_FWD_MASK`, in the order of `ip`.
const BRIDGE_PORT_LAST: &[Entry] = &[
    (29, "vlan_tunnel", OnOff),
    (33, "isolated", OnOff),
    (39, "locked", OnOff),
    (34, "backup_port", LinkName),
];

/// `IFLA_TUN_*` after the type.
const TUN: &[Entry] = &[(4, "pi", OnOff), (5, "vnet_hdr", OnOff)];

/// The object under `linkinfo`.
pub(crate) fn json(info: Attributes<'_>, names: &Names) -> Fields {
    let mut fields = Fields::new();
    if let Some(kind) = info.name(KIND, kernel_name::KIND) {
        let data = info.nested(DATA).unwrap_or_default();
        let data = match kind.as_str() {
            "bridge" => Some(bridge(data, names)),
            "ipvlan" | "ipvtap" => Some(ipvlan(data)),
            "macvlan" | "macvtap" => Some(macvlan(data)),
            "tun" => Some(tun(data, names)),
            "vlan" => Some(vlan(data)),
            "vrf" => Some(list(data, &[(1, "table", Number32)], names)),
            "vxlan" => Some(vxlan(data, names)),
            "xfrm" => Some(xfrm(data)),
            _ => None,
        };
        fields.put("info_kind", kind);
        fields.put_some("info_data", data);
    }
    if let Some(kind) = info.name(SLAVE_KIND, kernel_name::KIND) {
        let data = info.nested(SLAVE_DATA).unwrap_or_default();
        let data = match kind.as_str() {
            "bridge" => Some(bridge_port(data, names)),
            "vrf" => Some(list(data, &[(1, "table", Number32)], names)),
            _ => None,
        };
        fields.put("info_slave_kind", kind);
        fields.put_some("info_slave_data", data);
    }
    fields
}

/// The present attributes of a list.
fn list(data: Attributes<'_>, entries: &[Entry], names: &Names) -> Fields {
    let mut fields = Fields::new();
    put_list(&mut fields, data, entries, names);
    fields
}

/// Puts the present attributes of a list.
fn put_list(fields: &mut Fields, data: Attributes<'_>, entries: &[Entry], names: &Names) {
    for (kind, key, form) in entries {
        fields.put_some(key, value(data, *kind, *form, names));
    }
}

/// One attribute.
fn value(data: Attributes<'_>, kind: u16, form: Form, names: &Names) -> Option<Value> {
    Some(match form {
        Number8 => data.u8(kind)?.into(),
        Number16 => data.u16(kind)?.into(),
        Number32 => data.u32(kind)?.into(),
        Number64 => data.u64(kind)?.into(),
        OnOff => (data.u8(kind)? != 0).into(),
        Hex16 => prefixed_hexadecimal(data.u16(kind)?.into()).into(),
        Address => hexadecimal(data.bytes(kind)?, ":").into(),
        BridgeId => bridge_id(data.bytes(kind)?)?.into(),
        #[expect(clippy::cast_precision_loss, reason = "timers are far below 2^52")]
        Seconds => (data.u64(kind)? as f64 / 100.0).into(),
        Protocol => vlan_protocol(data.be16(kind)?).into(),
        LinkName => names.link(data.u32(kind)?).into(),
    })
}

/// A bridge identifier.
fn bridge_id(bytes: &[u8]) -> Option<String> {
    let (priority, address) = bytes.split_first_chunk::<2>()?;
    let address: Vec<_> = address.iter().map(|byte| format!("{byte:x}")).collect();
    Some(format!("{:04x}.{}", u16::from_be_bytes(*priority), address.join(":")))
}

/// A bridge.
fn bridge(data: Attributes<'_>, names: &Names) -> Fields {
    let mut fields = list(data, BRIDGE, names);
    if let Some((values, mask)) = data.u64(BRIDGE_OPTIONS).map(halves) {
        for (bit, key) in [(1, "no_linklocal_learn"), (2, "mcast_vlan_snooping")] {
            if mask & bit != 0 {
                fields.put(key, u8::from(values & bit != 0));
            }
        }
    }
    put_list(&mut fields, data, BRIDGE_MULTICAST, names);
    fields
}

/// Two successive `u32` that were read as a `u64`.
fn halves(both: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = both.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

/// A port of a bridge.
fn bridge_port(data: Attributes<'_>, names: &Names) -> Fields {
    const STATES: [&str; 5] = ["disabled", "listening", "learning", "forwarding", "blocking"];
    let mut fields = Fields::new();
    if let Some(state) = data.u8(1) {
        match STATES.get(usize::from(state)) {
            Some(name) => fields.put("state", *name),
            None => fields.put("state_index", state),
        }
    }
    put_list(&mut fields, data, BRIDGE_PORT, names);
    if let Some(mask) = data.u16(PORT_FORWARD_MASK) {
        fields.put("group_fwd_mask", prefixed_hexadecimal(mask.into()));
        fields.put("group_fwd_mask_str", forward_mask(mask));
    }
    put_list(&mut fields, data, BRIDGE_PORT_LAST, names);
    fields
}

/// The protocols whose link-local frames a bridge port forwards.
fn forward_mask(mask: u16) -> String {
    let names: Vec<_> = (0..16)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(|bit| match bit {
            0 => "stp".to_owned(),
            2 => "lacp".to_owned(),
            14 => "lldp".to_owned(),
            other => format!("{:#x}", 1_u32 << other),
        })
        .collect();
    if names.is_empty() { "0x0".to_owned() } else { names.join(",") }
}

/// A macvlan or macvtap (`IFLA_MACVLAN_*`).
fn macvlan(data: Attributes<'_>) -> Fields {
    const SOURCE: u32 = 16;
    let mut fields = Fields::new();
    let Some(mode) = data.u32(1) else {
        return fields;
    };
    let name = match mode {
        1 => "private",
        2 => "vepa",
        4 => "bridge",
        8 => "passthru",
        SOURCE => "source",
        _ => "unknown",
    };
    fields.put("mode", name);
    let flags = data.u16(2).unwrap_or_default();
    fields.put_true("nopromisc", flags & 1 != 0);
    fields.put_true("nodst", flags & 2 != 0);
    fields.put_some("bcqueuelen", data.u32(7));
    fields.put_some("usedbcqueuelen", data.u32(8));
    if mode == SOURCE
        && let Some(count) = data.u32(6)
    {
        fields.put("macaddr_count", count);
        if let Some(addresses) = data.nested(5) {
            let addresses = addresses.iter().filter(|(kind, bytes)| *kind == 4 && bytes.len() >= 6);
            let addresses = addresses.filter_map(|(_, bytes)| bytes.get(..6));
            fields.put(
                "macaddr_data",
                addresses.map(|bytes| hexadecimal(bytes, ":")).collect::<Vec<_>>(),
            );
        }
    }
    fields
}

/// An ipvlan or ipvtap (`IFLA_IPVLAN_*`).
fn ipvlan(data: Attributes<'_>) -> Fields {
    let mut fields = Fields::new();
    fields.put_some(
        "mode",
        data.u16(1)
            .map(|mode| ["l2", "l3", "l3s"].get(usize::from(mode)).copied().unwrap_or("unknown")),
    );
    if let Some(flags) = data.u16(2) {
        let name = if flags & 1 != 0 {
            "private"
        } else if flags & 2 != 0 {
            "vepa"
        } else {
            "bridge"
        };
        fields.put(name, true);
    }
    fields
}

/// A VLAN (`IFLA_VLAN_*`).
fn vlan(data: Attributes<'_>) -> Fields {
    const FLAGS: [(u32, &str); 5] = [
        (1, "REORDER_HDR"),
        (2, "GVRP"),
        (8, "MVRP"),
        (4, "LOOSE_BINDING"),
        (16, "BRIDGE_BINDING"),
    ];
    let mut fields = Fields::new();
    let Some(id) = data.u16(1) else { return fields };
    fields.put("protocol", data.be16(5).map_or_else(|| "802.1q".to_owned(), vlan_protocol));
    fields.put("id", id);
    if let Some(flags) = data.u32(2) {
        let mut list = flag_names(flags, &FLAGS);
        let unnamed = flags & !0x1f;
        if unnamed != 0 {
            list.push(format!("{unnamed:x}").into());
        }
        fields.put("flags", list);
    }
    for (kind, key) in [(4, "ingress_qos"), (3, "egress_qos")] {
        if let Some(map) = data.nested(kind) {
            let pairs = map
                .iter()
                .filter_map(|(_, pair)| Some(halves(u64::from_ne_bytes(*pair.first_chunk()?))));
            let pairs = pairs.map(|(from, to)| serde_json::json!({ "from": from, "to": to }));
            fields.put(key, pairs.collect::<Vec<_>>());
        }
    }
    fields
}

/// A VXLAN (`IFLA_VXLAN_*`).
fn vxlan(data: Attributes<'_>, names: &Names) -> Fields {
    let on = |kind: u16| data.u8(kind).is_some_and(|value| value != 0);
    let mut fields = Fields::new();
    fields.put_true("external", on(25));
    fields.put_true("vnifilter", on(30));
    fields.put_some("id", data.u32(1));
    // An address of zeros stands for none.
    for (inet, inet6, one, many) in [(2, 16, "remote", "group"), (4, 17, "local", "local")] {
        let (address, family, suffix) = match data.bytes(inet) {
            Some(address) => (address, AF_INET, ""),
            None => (data.bytes(inet6).unwrap_or_default(), AF_INET6, "6"),
        };
        if address.iter().any(|byte| *byte != 0) {
            let multicast = address.first().is_some_and(|first| match family {
                AF_INET => first & 0xf0 == 0xe0,
                _ => *first == 0xff,
            });
            let key = if multicast { many } else { one };
            fields.put(&format!("{key}{suffix}"), host(family, address));
        }
    }
    fields.put_some("link", data.u32(3).filter(|index| *index != 0).map(|index| names.link(index)));
    if let Some(range) = data.u32(10).map(u32::from_be) {
        fields.put("port_range", serde_json::json!({ "low": range >> 16, "high": range & 0xffff }));
    }
    fields.put_some("port", data.be16(15));
    fields.put_some("learning", data.u8(7).map(|learning| learning != 0));
    for (kind, key) in [(11, "proxy"), (12, "rsc"), (13, "l2miss"), (14, "l3miss")] {
        fields.put_true(key, on(kind));
    }
    fields.put_some(
        "tos",
        data.u8(6).filter(|tos| *tos != 0).map(|tos| prefixed_hexadecimal(tos.into())),
    );
    if !on(28) {
        fields.put_some("ttl", data.u8(5));
    }
    let fragments =
        data.u8(29).and_then(|value| ["unset", "set", "inherit"].get(usize::from(value)));
    fields.put_some("df", fragments.copied());
    let label = data.u32(26).filter(|label| *label != 0).map(u32::from_be);
    fields.put_some("label", label.map(|label| prefixed_hexadecimal(label.into())));
    fields.put_some("ageing", data.u32(8));
    fields.put_some("limit", data.u32(9).filter(|limit| *limit != 0));
    for (kind, key) in [(18, "udp_csum"), (19, "udp_zero_csum6_tx"), (20, "udp_zero_csum6_rx")] {
        fields.put_some(key, data.u8(kind).map(|value| value != 0));
    }
    fields.put_true("remcsum_tx", on(21));
    fields.put_true("remcsum_rx", on(22));
    fields.put_true("gbp", data.has(23));
    fields.put_true("gpe", data.has(27));
    fields
}

/// A tun or tap (`IFLA_TUN_*`). Owner and group are numbers here: their names in `ip` are those of
/// the machine on which it runs.
fn tun(data: Attributes<'_>, names: &Names) -> Fields {
    let mut fields = Fields::new();
    fields.put_some(
        "type",
        data.u8(3).map(|kind| match kind {
            1 => "tun".to_owned(),
            2 => "tap".to_owned(),
            other => format!("UNKNOWN:{other}"),
        }),
    );
    put_list(&mut fields, data, TUN, names);
    let multi_queue = data.u8(7).is_some_and(|multi_queue| multi_queue != 0);
    fields.put("multi_queue", multi_queue);
    if multi_queue {
        fields.put_some("numqueues", data.u32(8));
        fields.put_some("numdisabled", data.u32(9));
    }
    fields.put_some("persist", data.u8(6).map(|persist| persist != 0));
    fields.put_some("user", data.u32(1));
    fields.put_some("group", data.u32(2));
    fields
}

/// An xfrm interface (`IFLA_XFRM_*`).
fn xfrm(data: Attributes<'_>) -> Fields {
    let mut fields = Fields::new();
    if data.has(3) {
        fields.put("external", true);
    } else {
        fields.put_some("if_id", data.u32(2).map(|id| prefixed_hexadecimal(id.into())));
    }
    fields
}

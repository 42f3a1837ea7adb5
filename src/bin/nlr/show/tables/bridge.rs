//! Bridges and their ports: `IFLA_BR_*` and `IFLA_BRPORT_*` (`linux/if_link.h`).

use serde_json::{Value, json};

use super::{
    Context, Form, Place, Table,
    form::{number16, number64},
    put_all, table,
};
use crate::show::{
    fields::{Fields, Put},
    notation::prefixed_hexadecimal,
};
use Form::{
    By, Centiseconds, EtherType, Hardware, Hex16, Ipv4, Ipv6, Link, Named32, Omitted, OnOff, U8,
    U16, U32, U64, With,
};
use netlink_remote::nlmsg::Attributes;

/// Times are in USER_HZ, hundredths of a second.
pub(super) static BRIDGE: Table = table!("IFLA_BR_":
    FORWARD_DELAY = 1, "forward_delay", U32;
    HELLO_TIME = 2, "hello_time", U32;
    MAX_AGE = 3, "max_age", U32;
    AGEING_TIME = 4, "ageing_time", U32;
    STP_STATE = 5, "stp_state", U32;
    STP_MODE = 50, "stp_mode", Named32(&["auto", "user", "kernel"]);
    PRIORITY = 6, "priority", U16;
    VLAN_FILTERING = 7, "vlan_filtering", U8;
    VLAN_PROTOCOL = 8, "vlan_protocol", EtherType;
    BRIDGE_ID = 11, "bridge_id", By(bridge_id);
    ROOT_ID = 10, "root_id", By(bridge_id);
    ROOT_PORT = 12, "root_port", U16;
    ROOT_PATH_COST = 13, "root_path_cost", U32;
    TOPOLOGY_CHANGE = 14, "topology_change", U8;
    TOPOLOGY_CHANGE_DETECTED = 15, "topology_change_detected", U8;
    HELLO_TIMER = 16, "hello_timer", Centiseconds;
    TCN_TIMER = 17, "tcn_timer", Centiseconds;
    TOPOLOGY_CHANGE_TIMER = 18, "topology_change_timer", Centiseconds;
    GC_TIMER = 19, "gc_timer", Centiseconds;
    FDB_N_LEARNED = 48, "fdb_n_learned", U32;
    FDB_MAX_LEARNED = 49, "fdb_max_learned", U32;
    VLAN_DEFAULT_PVID = 39, "vlan_default_pvid", U16;
    VLAN_STATS_ENABLED = 41, "vlan_stats_enabled", U8;
    VLAN_STATS_PER_PORT = 45, "vlan_stats_per_port", U8;
    GROUP_FWD_MASK = 9, "group_fwd_mask", Hex16;
    GROUP_ADDR = 20, "group_addr", Hardware;
    MCAST_SNOOPING = 23, "mcast_snooping", U8;
    MULTI_BOOLOPT = 46, "boolopt", With(options);
    MCAST_ROUTER = 22, "mcast_router", U8;
    MCAST_QUERY_USE_IFADDR = 24, "mcast_query_use_ifaddr", U8;
    MCAST_QUERIER = 25, "mcast_querier", U8;
    MCAST_QUERIER_STATE = 47, "mcast_querier_state", With(querier);
    MCAST_HASH_ELASTICITY = 26, "mcast_hash_elasticity", U32;
    MCAST_HASH_MAX = 27, "mcast_hash_max", U32;
    MCAST_LAST_MEMBER_CNT = 28, "mcast_last_member_cnt", U32;
    MCAST_STARTUP_QUERY_CNT = 29, "mcast_startup_query_cnt", U32;
    MCAST_LAST_MEMBER_INTVL = 30, "mcast_last_member_intvl", U64;
    MCAST_MEMBERSHIP_INTVL = 31, "mcast_membership_intvl", U64;
    MCAST_QUERIER_INTVL = 32, "mcast_querier_intvl", U64;
    MCAST_QUERY_INTVL = 33, "mcast_query_intvl", U64;
    MCAST_QUERY_RESPONSE_INTVL = 34, "mcast_query_response_intvl", U64;
    MCAST_STARTUP_QUERY_INTVL = 35, "mcast_startup_query_intvl", U64;
    MCAST_STATS_ENABLED = 42, "mcast_stats_enabled", U8;
    MCAST_IGMP_VERSION = 43, "mcast_igmp_version", U8;
    MCAST_MLD_VERSION = 44, "mcast_mld_version", U8;
    NF_CALL_IPTABLES = 36, "nf_call_iptables", U8;
    NF_CALL_IP6TABLES = 37, "nf_call_ip6tables", U8;
    NF_CALL_ARPTABLES = 38, "nf_call_arptables", U8;
    PAD = 40, "", Omitted("padding");
);

/// `BRIDGE_QUERIER_*` (`linux/if_bridge.h`): the querier that was last heard, of each IP family.
pub(super) static QUERIER_IPV4: Table = table!("BRIDGE_QUERIER_":
    IP_ADDRESS = 1, "mcast_querier_ipv4_addr", Ipv4;
    IP_PORT = 2, "mcast_querier_ipv4_port", U32;
    IP_OTHER_TIMER = 3, "mcast_querier_ipv4_other_timer", Centiseconds;
    PAD = 4, "", Omitted("padding");
);

pub(super) static QUERIER_IPV6: Table = table!("BRIDGE_QUERIER_":
    IPV6_ADDRESS = 5, "mcast_querier_ipv6_addr", Ipv6;
    IPV6_PORT = 6, "mcast_querier_ipv6_port", U32;
    IPV6_OTHER_TIMER = 7, "mcast_querier_ipv6_other_timer", Centiseconds;
);

/// The port's state has `state`, or `state_index` where it has no name.
pub(super) static PORT: Table = table!("IFLA_BRPORT_":
    STATE = 1, "state", With(port_state);
    PRIORITY = 2, "priority", U16;
    COST = 3, "cost", U32;
    MODE = 4, "hairpin", OnOff;
    GUARD = 5, "guard", OnOff;
    PROTECT = 6, "root_block", OnOff;
    FAST_LEAVE = 7, "fastleave", OnOff;
    LEARNING = 8, "learning", OnOff;
    UNICAST_FLOOD = 9, "flood", OnOff;
    ID = 17, "id", Hex16;
    NO = 18, "no", Hex16;
    DESIGNATED_PORT = 15, "designated_port", U16;
    DESIGNATED_COST = 16, "designated_cost", U16;
    BRIDGE_ID = 14, "bridge_id", By(bridge_id);
    ROOT_ID = 13, "root_id", By(bridge_id);
    HOLD_TIMER = 23, "hold_timer", Centiseconds;
    MESSAGE_AGE_TIMER = 21, "message_age_timer", Centiseconds;
    FORWARD_DELAY_TIMER = 22, "forward_delay_timer", Centiseconds;
    TOPOLOGY_CHANGE_ACK = 19, "topology_change_ack", U8;
    CONFIG_PENDING = 20, "config_pending", U8;
    PROXYARP = 10, "proxy_arp", OnOff;
    PROXYARP_WIFI = 12, "proxy_arp_wifi", OnOff;
    MULTICAST_ROUTER = 25, "multicast_router", U8;
    MCAST_FLOOD = 27, "mcast_flood", OnOff;
    BCAST_FLOOD = 30, "bcast_flood", OnOff;
    MCAST_TO_UCAST = 28, "mcast_to_unicast", OnOff;
    NEIGH_SUPPRESS = 32, "neigh_suppress", OnOff;
    NEIGH_VLAN_SUPPRESS = 43, "neigh_vlan_suppress", OnOff;
    NEIGH_FORWARD_GRAT = 45, "neigh_forward_grat", OnOff;
    GROUP_FWD_MASK = 31, "group_fwd_mask", With(forward_mask);
    VLAN_TUNNEL = 29, "vlan_tunnel", OnOff;
    ISOLATED = 33, "isolated", OnOff;
    LOCKED = 39, "locked", OnOff;
    MAB = 40, "mab", OnOff;
    BACKUP_PORT = 34, "backup_port", Link;
    BACKUP_NHID = 44, "backup_nhid", U32;
    LEARNING_SYNC = 11, "learning_sync", OnOff;
    MRP_RING_OPEN = 35, "mrp_ring_open", OnOff;
    MRP_IN_OPEN = 36, "mrp_in_open", OnOff;
    MCAST_EHT_HOSTS_LIMIT = 37, "mcast_eht_hosts_limit", U32;
    MCAST_EHT_HOSTS_CNT = 38, "mcast_eht_hosts_cnt", U32;
    MCAST_N_GROUPS = 41, "mcast_n_groups", U32;
    MCAST_MAX_GROUPS = 42, "mcast_max_groups", U32;
    PAD = 26, "", Omitted("padding");
);

/// A bridge identifier: priority, dot, address without leading zeros in its bytes.
fn bridge_id(value: &[u8], _: Context<'_>) -> Option<Value> {
    let [high, low, address @ ..] = <[u8; 8]>::try_from(value).ok()?;
    let address: Vec<_> = address.iter().map(|byte| format!("{byte:x}")).collect();
    Some(format!("{:04x}.{}", u16::from_be_bytes([high, low]), address.join(":")).into())
}

/// `struct br_boolopt_multi`: values, and the mask of those that the kernel has.
fn options(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [(u32, &str); 5] = [
        (1, "no_linklocal_learn"),
        (2, "mcast_vlan_snooping"),
        (4, "mst_enabled"),
        (8, "mdb_offload_fail_notification"),
        (16, "fdb_local_vlan_0"),
    ];
    let Some(value) = place.value else { return true };
    let Some(both) = number64(value) else { return false };
    let (values, mask) = halves(both);
    for (bit, key) in NAMES.into_iter().filter(|(bit, _)| mask & bit != 0) {
        fields.put(key, u8::from(values & bit != 0));
    }
    let others = NAMES.iter().fold(mask, |left, (bit, _)| left & !bit);
    if others != 0 {
        fields.put(
            "boolopt",
            json!({ "mask": format!("{others:#x}"), "value": format!("{:#x}", values & others) }),
        );
    }
    true
}

fn querier(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    for (key, table, other) in [
        ("mcast_querier_state_ipv4", &QUERIER_IPV4, &QUERIER_IPV6),
        ("mcast_querier_state_ipv6", &QUERIER_IPV6, &QUERIER_IPV4),
    ] {
        let mut state = Fields::new();
        put_all(&mut state, Attributes(value), place.context, &[table], &[other]);
        fields.put(key, state);
    }
    true
}

/// Two successive `u32` that were read as a `u64`.
pub(super) fn halves(both: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = both.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

fn port_state(place: Place<'_>, fields: &mut Fields) -> bool {
    const STATES: [&str; 5] = ["disabled", "listening", "learning", "forwarding", "blocking"];
    match place.value {
        None => {}
        Some(&[state]) => match STATES.get(usize::from(state)) {
            Some(name) => fields.put("state", *name),
            None => fields.put("state_index", state),
        },
        Some(_) => return false,
    }
    true
}

/// The protocols whose link-local frames a port forwards.
fn forward_mask(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(mask) = number16(value) else { return false };
    let names = (0..16).filter(|bit| mask & (1 << bit) != 0).map(|bit| match bit {
        0 => "stp".to_owned(),
        2 => "lacp".to_owned(),
        14 => "lldp".to_owned(),
        other => format!("{:#x}", 1_u32 << other),
    });
    let names = names.collect::<Vec<_>>().join(",");
    fields.put("group_fwd_mask", prefixed_hexadecimal(mask.into()));
    fields.put("group_fwd_mask_str", if names.is_empty() { "0x0".to_owned() } else { names });
    true
}

//! Objects that events alone are about: configurations of links, namespaces, prefixes of router
//! advertisements, labels, VLANs and group memberships of bridges.

use serde_json::Value;

use super::{
    Context, Form, Place, Table,
    form::{flags, number32},
    put_all,
    route::address,
    table,
};
use crate::show::{
    fields::{Fields, Put},
    notation::{AF_INET, AF_INET6, hexadecimal, host},
};
use Form::{By, HexBytes, I32, List, Named8, Nested, Omitted, OnOff, U8, U16, U32, Unless0, With};
use netlink_remote::nlmsg::{Attributes, read_u16, read_u32};

/// `linux/netconf.h`, with the keys of `ip netconf`.
pub(crate) static NETCONF: Table = table!("NETCONFA_":
    IFINDEX = 1, "interface", By(interface);
    FORWARDING = 2, "forwarding", By(switch);
    RP_FILTER = 3, "rp_filter", By(reverse_path_filter);
    MC_FORWARDING = 4, "mc_forwarding", By(switch);
    PROXY_NEIGH = 5, "proxy_neigh", By(switch);
    IGNORE_ROUTES_WITH_LINKDOWN = 6, "ignore_routes_with_linkdown", By(switch);
    INPUT = 7, "input", By(switch);
    BC_FORWARDING = 8, "bc_forwarding", By(switch);
    FORCE_FORWARDING = 9, "force_forwarding", By(switch);
);

/// `linux/net_namespace.h`. An id of -1 stands for none.
pub(crate) static NAMESPACE: Table = table!("NETNSA_":
    NSID = 1, "nsid", By(namespace_id);
    TARGET_NSID = 4, "target-nsid", By(namespace_id);
    CURRENT_NSID = 5, "current-nsid", By(namespace_id);
    PID = 2, "pid", U32;
    FD = 3, "fd", U32;
);

/// `linux/if_addr.h`: a prefix of a router advertisement.
pub(crate) static PREFIX: Table = table!("PREFIX_":
    ADDRESS = 1, "prefix", With(prefix);
    CACHEINFO = 2, "valid", With(prefix_times);
);

/// `linux/if_addrlabel.h`.
pub(crate) static LABEL: Table = table!("IFAL_":
    ADDRESS = 1, "address", With(labelled);
    LABEL = 2, "label", U32;
);

/// `linux/rtnetlink.h`: options of neighbour discovery.
pub(crate) static OPTIONS: Table = table!("NDUSEROPT_":
    SRCADDR = 1, "source", By(address);
);

/// `BRIDGE_VLANDB_*` (`linux/if_bridge.h`), with the keys of `bridge vlan`.
pub(crate) static VLANS: Table = table!("BRIDGE_VLANDB_":
    ENTRY = 1, "vlans", With(vlans);
    GLOBAL_OPTIONS = 2, "options", Nested(&VLAN_OPTIONS);
);

static VLAN: Table = table!("BRIDGE_VLANDB_ENTRY_":
    INFO = 1, "vlan", With(vlan);
    RANGE = 2, "vlanEnd", U16;
    STATE = 3, "state", Named8(&["disabled", "listening", "learning", "forwarding", "blocking"]);
    MCAST_ROUTER = 6, "mcast_router", U8;
    NEIGH_SUPPRESS = 9, "neigh_suppress", OnOff;
    TUNNEL_INFO = 4, "tunnel", Nested(&VLAN_TUNNEL);
    MCAST_MAX_GROUPS = 8, "mcast_max_groups", U32;
    MCAST_N_GROUPS = 7, "mcast_n_groups", U32;
    STATS = 5, "", Omitted("statistics");
);

static VLAN_TUNNEL: Table = table!("BRIDGE_VLANDB_TINFO_":
    ID = 1, "tunid", U32;
    CMD = 2, "cmd", U32;
);

static VLAN_OPTIONS: Table = table!("BRIDGE_VLANDB_GOPTS_":
    ID = 1, "vlan", U16;
    RANGE = 2, "vlanEnd", U16;
    MCAST_SNOOPING = 3, "mcast_snooping", U8;
    MCAST_QUERIER = 12, "mcast_querier", U8;
    MCAST_IGMP_VERSION = 4, "mcast_igmp_version", U8;
    MCAST_MLD_VERSION = 5, "mcast_mld_version", U8;
    MCAST_LAST_MEMBER_CNT = 6, "mcast_last_member_count", U32;
    MCAST_LAST_MEMBER_INTVL = 8, "mcast_last_member_interval", Form::U64;
    MCAST_STARTUP_QUERY_CNT = 7, "mcast_startup_query_count", U32;
    MCAST_STARTUP_QUERY_INTVL = 13, "mcast_startup_query_interval", Form::U64;
    MCAST_MEMBERSHIP_INTVL = 9, "mcast_membership_interval", Form::U64;
    MCAST_QUERIER_INTVL = 10, "mcast_querier_interval", Form::U64;
    MCAST_QUERY_INTVL = 11, "mcast_query_interval", Form::U64;
    MCAST_QUERY_RESPONSE_INTVL = 14, "mcast_query_response_interval", Form::U64;
    MCAST_ROUTER_PORTS = 16, "mcast_router_ports", HexBytes;
    MCAST_QUERIER_STATE = 17, "mcast_querier_state", HexBytes;
    MSTI = 18, "msti", U16;
    PAD = 15, "", Omitted("padding");
);

/// `MDBA_*` (`linux/if_bridge.h`), with the keys of `bridge mdb`.
pub(crate) static GROUPS: Table = table!("MDBA_":
    MDB = 1, "mdb", By(memberships);
    ROUTER = 2, "router", List(&By(router_port));
);

/// What follows `struct br_mdb_entry`.
static MEMBERSHIP: Table = table!("MDBA_MDB_EATTR_":
    SOURCE = 4, "src", By(any_address);
    GROUP_MODE = 3, "filter_mode", Named8(&["exclude", "include"]);
    SRC_LIST = 2, "source_list", List(&Nested(&SOURCE));
    RTPROT = 5, "protocol", By(protocol);
    DST = 6, "dst", By(any_address);
    DST_PORT = 7, "dst_port", U16;
    VNI = 8, "vni", U32;
    IFINDEX = 9, "via", Form::Link;
    SRC_VNI = 10, "src_vni", U32;
    TIMER = 1, "timer", Unless0(&Form::Centiseconds32);
);

static SOURCE: Table = table!("MDBA_MDB_SRCATTR_":
    ADDRESS = 1, "address", By(any_address);
    TIMER = 2, "timer", Unless0(&Form::Centiseconds32);
);

/// What follows the index of a router port.
static ROUTER: Table = table!("MDBA_ROUTER_PATTR_":
    TYPE = 2, "type", Named8(&["disabled", "temp_query", "permanent", "temp"]);
    VID = 5, "vid", U16;
    TIMER = 1, "timer", Unless0(&Form::Centiseconds32);
    INET_TIMER = 3, "inet_timer", Unless0(&Form::Centiseconds32);
    INET6_TIMER = 4, "inet6_timer", Unless0(&Form::Centiseconds32);
);

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![
        &NETCONF,
        &NAMESPACE,
        &PREFIX,
        &LABEL,
        &OPTIONS,
        &VLANS,
        &VLAN,
        &VLAN_TUNNEL,
        &VLAN_OPTIONS,
        &GROUPS,
        &MEMBERSHIP,
        &SOURCE,
        &ROUTER,
        &GROUP_ADDRESS,
    ]
}

fn switch(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some((number32(value)? != 0).into())
}

fn interface(value: &[u8], context: Context<'_>) -> Option<Value> {
    Some(match number32(value)?.cast_signed() {
        -1 => "all".into(),
        -2 => "default".into(),
        index => context.names.link(index.cast_unsigned()).into(),
    })
}

fn reverse_path_filter(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number32(value)? {
        0 => "off".into(),
        1 => "strict".into(),
        2 => "loose".into(),
        other => other.into(),
    })
}

fn namespace_id(value: &[u8], context: Context<'_>) -> Option<Value> {
    match I32.value(value, context)? {
        id if id == -1 => Some("unassigned".into()),
        id => Some(id),
    }
}

fn protocol(value: &[u8], context: Context<'_>) -> Option<Value> {
    let [number] = value else { return None };
    Some(context.names.protocol(*number).into())
}

/// An address of either family, or that of a link, by its length.
fn any_address(value: &[u8], _: Context<'_>) -> Option<Value> {
    match value.len() {
        4 => Some(host(AF_INET, value).into()),
        16 => Some(host(AF_INET6, value).into()),
        6 => Some(hexadecimal(value, ":").into()),
        _ => None,
    }
}

fn prefix(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let length = place.context.message.u8(9).unwrap_or_default();
    fields.put("prefix", format!("{}/{length}", host(AF_INET6, value)));
    true
}

/// `struct prefix_cacheinfo`.
fn prefix_times(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(preferred), Some(valid)) = (read_u32(value, 0), read_u32(value, 4)) else {
        return false;
    };
    fields.put("valid", valid);
    fields.put("preferred", preferred);
    true
}

fn labelled(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let message = place.context.message;
    fields.put("address", host(message.u8(0).unwrap_or_default(), value));
    fields.put("prefixlen", message.u8(2).unwrap_or_default());
    true
}

/// All entries of a message: each has an attribute of its own.
fn vlans(place: Place<'_>, fields: &mut Fields) -> bool {
    const ENTRY: u16 = 1;
    if place.value.is_none() {
        return true;
    }
    let entries = place.siblings.iter().filter(|(number, _)| *number == ENTRY);
    let entries = entries.map(|(_, entry)| VLAN.object(Attributes(entry), place.context));
    fields.put("vlans", entries.map(Value::from).collect::<Vec<_>>());
    true
}

/// `struct bridge_vlan_info`.
fn vlan(place: Place<'_>, fields: &mut Fields) -> bool {
    /// In the order of `bridge`.
    const FLAGS: [(u32, &str); 6] = [
        (0x02, "PVID"),
        (0x04, "Egress Untagged"),
        (0x01, "master"),
        (0x08, "range_begin"),
        (0x10, "range_end"),
        (0x20, "brentry"),
    ];
    let Some(value) = place.value else { return true };
    let (Some(bits), Some(id)) = (read_u16(value, 0), read_u16(value, 2)) else { return false };
    fields.put("vlan", id);
    let names = flags(bits.into(), &FLAGS);
    if !names.is_empty() {
        fields.put("flags", names);
    }
    true
}

/// Each entry of a group of entries.
fn memberships(value: &[u8], context: Context<'_>) -> Option<Value> {
    let entries = Attributes(value).iter().flat_map(|(_, entry)| Attributes(entry).iter());
    let entries =
        entries.map(|(_, entry)| membership(entry, context)).collect::<Option<Vec<_>>>()?;
    Some(entries.into())
}

/// `struct br_mdb_entry`, and the attributes behind it.
fn membership(entry: &[u8], context: Context<'_>) -> Option<Value> {
    const LENGTH: usize = 28;
    const IPV6: u16 = 0x86dd;
    const IPV4: u16 = 0x0800;
    const FLAGS: [(u32, &str); 5] = [
        (0x01, "offload"),
        (0x02, "fast_leave"),
        (0x04, "added_by_star_ex"),
        (0x08, "blocked"),
        (0x10, "offload_failed"),
    ];
    let group = entry.get(8..LENGTH)?;
    let mut fields = Fields::new();
    fields.put("port", context.names.link(read_u32(entry, 0)?));
    fields.put(
        "grp",
        match u16::from_be(read_u16(group, 16)?) {
            IPV4 => host(AF_INET, group.get(..4)?),
            IPV6 => host(AF_INET6, group.get(..16)?),
            _ => hexadecimal(group.get(..6)?, ":"),
        },
    );
    fields.put("state", if entry.get(4)? & 1 != 0 { "permanent" } else { "temp" });
    let names = flags((*entry.get(5)?).into(), &FLAGS);
    if !names.is_empty() {
        fields.put("flags", names);
    }
    let vlan = read_u16(entry, 6)?;
    fields.put_some("vid", (vlan != 0).then_some(vlan));
    put_all(&mut fields, Attributes(entry.get(LENGTH..)?), context, &[&MEMBERSHIP], &[]);
    Some(fields.into())
}

fn router_port(value: &[u8], context: Context<'_>) -> Option<Value> {
    let mut fields = Fields::new();
    fields.put("port", context.names.link(read_u32(value, 0)?));
    put_all(&mut fields, Attributes(value.get(4..)?), context, &[&ROUTER], &[]);
    Some(fields.into())
}

/// The addresses of groups that a link is in: `IFA_*` of these messages.
pub(crate) static GROUP_ADDRESS: Table = table!("IFA_":
    MULTICAST = 7, "multicast", By(address);
    ANYCAST = 5, "anycast", By(address);
    CACHEINFO = 6, "", Omitted("when the address was made and changed");
    PROTO = 11, "protocol", U8;
    TARGET_NETNSID = 10, "target_netnsid", I32;
);

/// The kernel of the tests' machine has neither VLANs of bridges nor their groups: the messages are made by
/// hand, after `net/bridge/br_vlan.c` and `net/bridge/br_mdb.c`.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::tables::tests::object;
    use serde_json::json;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn vlans_of_a_port() {
        let info = [0x0006_u16.to_ne_bytes(), 5_u16.to_ne_bytes()].concat();
        let range = [attribute(1, &info), attribute(2, &7_u16.to_ne_bytes()), attribute(3, &[4])];
        let single = [attribute(1, &[0, 0, 9, 0]), attribute(77, &[1, 2])];
        let found = object(&VLANS, &[(1, &range.concat()), (1, &single.concat())]);
        let expected = json!({ "vlans": [
            { "vlan": 5, "flags": ["PVID", "Egress Untagged"], "vlanEnd": 7, "state": "blocking" },
            { "vlan": 9, "unknown": { "BRIDGE_VLANDB_ENTRY_77": "0102" } },
        ] });
        assert_eq!(found, expected);
    }

    #[test]
    fn members_of_a_group() {
        let mut entry = 3_u32.to_ne_bytes().to_vec();
        entry.extend([1, 0x02, 5, 0]);
        entry.extend([239, 1, 1, 1]);
        entry.extend([0; 12]);
        entry.extend([0x08, 0x00, 0, 0]);
        entry.extend(attribute(1, &1234_u32.to_ne_bytes()));
        entry.extend(attribute(3, &[1]));
        entry.extend(attribute(4, &[192, 0, 2, 1]));
        entry.extend(attribute(5, &[4]));
        let found = object(&GROUPS, &[(1, &attribute(1, &attribute(1, &entry)))]);
        let expected = json!({ "mdb": [{
            "port": "if3", "grp": "239.1.1.1", "state": "permanent", "flags": ["fast_leave"], "vid": 5,
            "src": "192.0.2.1", "filter_mode": "include", "protocol": "static", "timer": 12.34,
        }] });
        assert_eq!(found, expected);
    }
}

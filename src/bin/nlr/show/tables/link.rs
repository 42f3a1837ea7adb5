//! Links: `IFLA_*` (`linux/if_link.h`), in the order of `ip -d link`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table, bridge, data,
    form::{number8, number32},
    port_data, put_all, table, unknown,
};
use crate::show::{
    fields::{Fields, Put, flag_names},
    kernel_name::{self, name},
    link_header::LinkHeader,
    notation::{link_address, link_type},
};
use Form::{Bytes, I32, Nested, Omitted, PartOf, Text, TrueIfSet, U8, U32, Unless0, With};
use netlink_remote::nlmsg::Attributes;

/// What `ip link` and `ip addr` show.
pub(in super::super) static LINK: Table = table!("IFLA_":
    LINK = 5, "link", With(lower_and_flags);
    IFNAME = 3, "ifname", PartOf("LINK");
    MTU = 4, "mtu", U32;
    XDP = 43, "xdp", With(program);
    QDISC = 6, "qdisc", Text(kernel_name::LINK);
    MASTER = 10, "master", Form::Link;
    OPERSTATE = 16, "operstate", With(operational_state);
    LINKMODE = 17, "linkmode", With(mode);
    GROUP = 27, "group", With(group);
    TXQLEN = 13, "txqlen", Unless0(&U32);
    EVENT = 44, "event", Unless0(&Form::Named32(&EVENTS));
    ADDRESS = 1, "address", With(link_layer);
    BROADCAST = 2, "broadcast", PartOf("ADDRESS");
    PERM_ADDRESS = 54, "permaddr", PartOf("ADDRESS");
    LINK_NETNSID = 37, "link_netnsid", I32;
    NEW_NETNSID = 45, "new_netnsid", I32;
    NEW_IFINDEX = 49, "new_ifindex", U32;
    PROTO_DOWN = 39, "proto_down", TrueIfSet;
    PROTO_DOWN_REASON = 55, "proto_down_reason", With(down_reasons);
);

/// What `-d` adds. Sizes are in bytes.
pub(in super::super) static DETAILS: Table = table!("IFLA_":
    PROMISCUITY = 30, "promiscuity", U32;
    ALLMULTI = 61, "allmulti", U32;
    MIN_MTU = 50, "min_mtu", U32;
    MAX_MTU = 51, "max_mtu", U32;
    NETNS_IMMUTABLE = 67, "netns-immutable", TrueIfSet;
    LINKINFO = 18, "linkinfo", With(info);
    AF_SPEC = 26, "inet6_addr_gen_mode", With(families);
    NUM_TX_QUEUES = 31, "num_tx_queues", U32;
    NUM_RX_QUEUES = 32, "num_rx_queues", U32;
    GSO_MAX_SIZE = 41, "gso_max_size", U32;
    GSO_MAX_SEGS = 40, "gso_max_segs", U32;
    TSO_MAX_SIZE = 59, "tso_max_size", U32;
    TSO_MAX_SEGS = 60, "tso_max_segs", U32;
    GRO_MAX_SIZE = 58, "gro_max_size", U32;
    GSO_IPV4_MAX_SIZE = 63, "gso_ipv4_max_size", U32;
    GRO_IPV4_MAX_SIZE = 64, "gro_ipv4_max_size", U32;
    PHYS_PORT_NAME = 38, "phys_port_name", Text(kernel_name::LINK);
    PHYS_PORT_ID = 34, "phys_port_id", Bytes;
    PHYS_SWITCH_ID = 36, "phys_switch_id", Bytes;
    PARENT_DEV_BUS_NAME = 57, "parentbus", Text(kernel_name::DEVICE);
    PARENT_DEV_NAME = 56, "parentdev", Text(kernel_name::DEVICE);
    IFALIAS = 20, "ifalias", Text(kernel_name::ALIAS);
    PROTINFO = 12, "protinfo", Omitted("the port's own message of the family has it, told as another object");
    STATS = 7, "", Omitted("the same in 32 bits");
    STATS64 = 23, "stats64", With(statistics);
    MAP = 14, "", Omitted("the bus addresses of devices of another age");
    COST = 8, "cost", U32;
    PRIORITY = 9, "priority", U32;
    WEIGHT = 15, "weight", U32;
    WIRELESS = 11, "wireless", Bytes;
    NUM_VF = 21, "num_vf", Omitted("virtual functions are not asked for: they need a request of their own");
    VFINFO_LIST = 22, "", Omitted("virtual functions");
    VF_PORTS = 24, "", Omitted("virtual functions");
    PORT_SELF = 25, "", Omitted("virtual functions");
    EXT_MASK = 29, "", Omitted("of requests");
    CARRIER = 33, "", Omitted("the flag LOWER_UP says the same");
    CARRIER_CHANGES = 35, "carrier_changes", PartOf("STATS64");
    CARRIER_UP_COUNT = 47, "", Omitted("statistics");
    CARRIER_DOWN_COUNT = 48, "", Omitted("statistics");
    PAD = 42, "", Omitted("padding");
    IF_NETNSID = 46, "if_netnsid", I32;
    DEVLINK_PORT = 62, "", Omitted("the handle of the port is that of `devlink port`");
    DPLL_PIN = 65, "", Omitted("the handle of the pin is that of `dpll pin`");
    MAX_PACING_OFFLOAD_HORIZON = 66, "max_pacing_offload_horizon", Unless0(&Form::Unsigned);
    HEADROOM = 68, "headroom", Form::U16;
    TAILROOM = 69, "tailroom", Form::U16;
);

/// Of a message of `AF_BRIDGE`: the port.
pub(in super::super) static PORT: Table = table!("IFLA_":
    PROTINFO = 12, "protinfo", With(port);
);

/// The last of a link: its other names.
pub(in super::super) static NAMES: Table = table!("IFLA_":
    PROP_LIST = 52, "altnames", With(alternative_names);
);

/// `IFLA_INFO_*`.
static INFO: Table = table!("IFLA_INFO_":
    KIND = 1, "info_kind", Text(kernel_name::KIND);
    DATA = 2, "info_data", With(kind_data);
    XSTATS = 3, "", Omitted("statistics");
    SLAVE_KIND = 4, "info_slave_kind", Text(kernel_name::KIND);
    SLAVE_DATA = 5, "info_slave_data", With(kind_port_data);
);

/// `IFLA_XDP_*`.
static XDP: Table = table!("IFLA_XDP_":
    FD = 1, "fd", I32;
    ATTACHED = 2, "mode", U8;
    FLAGS = 3, "flags", Form::Hex32;
    PROG_ID = 4, "prog", With(program_id);
    DRV_PROG_ID = 5, "drv_prog_id", U32;
    SKB_PROG_ID = 6, "skb_prog_id", U32;
    HW_PROG_ID = 7, "hw_prog_id", U32;
);

/// `IFF_UP`.
const UP: u32 = 1;
/// `IFF_POINTOPOINT`.
const POINT_TO_POINT: u32 = 0x10;
/// `IFF_RUNNING`.
const RUNNING: u32 = 0x40;

/// The flags in the order of `ip`, without `IFF_RUNNING`: `ip` shows its absence.
const FLAGS: [(u32, &str); 18] = [
    (0x8, "LOOPBACK"),
    (0x2, "BROADCAST"),
    (POINT_TO_POINT, "POINTOPOINT"),
    (0x1000, "MULTICAST"),
    (0x80, "NOARP"),
    (0x200, "ALLMULTI"),
    (0x100, "PROMISC"),
    (0x400, "MASTER"),
    (0x800, "SLAVE"),
    (0x4, "DEBUG"),
    (0x8000, "DYNAMIC"),
    (0x4000, "AUTOMEDIA"),
    (0x2000, "PORTSEL"),
    (0x20, "NOTRAILERS"),
    (UP, "UP"),
    (0x1_0000, "LOWER_UP"),
    (0x2_0000, "DORMANT"),
    (0x4_0000, "ECHO"),
];

/// Events of a link (`IFLA_EVENT_*`). The first stands for no event.
const EVENTS: [&str; 7] = [
    "NONE",
    "REBOOT",
    "FEATURE CHANGE",
    "BONDING FAILOVER",
    "NOTIFY PEERS",
    "RESEND IGMP",
    "BONDING OPTION",
];

/// Puts the lower link or the peer: its name, or the index of one in another namespace; then the
/// link's own name and its flags, which say whether the lower one is down.
fn lower_and_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(header) = LinkHeader::parse(place.context.message) else { return false };
    let index = match place.value.map(number32) {
        Some(None) => return false,
        index => index.flatten(),
    };
    let names = place.context.names;
    let mut lower_is_down = false;
    match index {
        None => {}
        Some(0) => fields.put("link", Value::Null),
        Some(index) if place.siblings.has(37) => fields.put("link_index", index),
        Some(index) => {
            fields.put("link", names.link(index));
            lower_is_down = names.link_flags(index).is_some_and(|flags| flags & UP == 0);
        }
    }
    fields.put("ifname", header.name.unwrap_or_else(|| format!("if{}", header.index)));
    fields.put("flags", flags(header.flags, lower_is_down));
    true
}

/// The names of the flags.
fn flags(flags: u32, lower_is_down: bool) -> Vec<Value> {
    let mut list = Vec::new();
    if flags & UP != 0 && flags & RUNNING == 0 {
        list.push(Value::from("NO-CARRIER"));
    }
    list.extend(flag_names(flags, &FLAGS));
    let unnamed = FLAGS.iter().fold(flags & !RUNNING, |left, (bit, _)| left & !bit);
    if unnamed != 0 {
        list.push(Value::from(format!("{unnamed:x}")));
    }
    if lower_is_down {
        list.push(Value::from("M-DOWN"));
    }
    list
}

/// The operational state (`IF_OPER_*`, RFC 2863).
fn operational_state(place: Place<'_>, fields: &mut Fields) -> bool {
    const STATES: [&str; 7] =
        ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"];
    indexed(place, fields, "operstate", &STATES)
}

fn mode(place: Place<'_>, fields: &mut Fields) -> bool {
    indexed(place, fields, "linkmode", &["DEFAULT", "DORMANT"])
}

/// The name of a state, or under `KEY_index` the number of one without a name.
fn indexed(place: Place<'_>, fields: &mut Fields, key: &str, names: &[&str]) -> bool {
    let Some(value) = place.value else { return true };
    let Some(state) = number8(value) else { return false };
    match names.get(usize::from(state)) {
        Some(name) => fields.put(key, *name),
        None => fields.put(&format!("{key}_index"), state),
    }
    true
}

fn group(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(group) = number32(value) else { return false };
    fields.put("group", place.context.names.group(group));
    true
}

/// Puts the type and the link-layer addresses.
fn link_layer(place: Place<'_>, fields: &mut Fields) -> bool {
    const BROADCAST: u16 = 2;
    const PERMANENT: u16 = 54;
    let Some(LinkHeader { link_type: kind, flags, .. }) = LinkHeader::parse(place.context.message)
    else {
        return false;
    };
    fields.put("link_type", link_type(kind));
    fields.put_some("address", place.value.map(|bytes| link_address(bytes, kind)));
    if let Some(bytes) = place.siblings.bytes(BROADCAST) {
        fields.put_true("link_pointtopoint", flags & POINT_TO_POINT != 0);
        fields.put("broadcast", link_address(bytes, kind));
    }
    let permanent = place.siblings.bytes(PERMANENT);
    let permanent = permanent.filter(|permanent| Some(*permanent) != place.value);
    fields.put_some("permaddr", permanent.map(|bytes| link_address(bytes, kind)));
    true
}

/// Puts the XDP program; nothing where none is attached.
fn program(place: Place<'_>, fields: &mut Fields) -> bool {
    const ATTACHED: u16 = 2;
    if let Some(value) = place.value
        && Attributes(value).u8(ATTACHED).is_some_and(|mode| mode != 0)
    {
        return Nested(&XDP).put(fields, "xdp", place);
    }
    true
}

fn program_id(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(id) = place.value.map_or(Some(None), |value| number32(value).map(Some)) else {
        return false;
    };
    let mut program = Fields::new();
    program.put_some("id", id);
    fields.put("prog", program);
    true
}

/// The reasons for a protocol that is down: the numbers of their bits, since their names are those of
/// programs on the far host.
fn down_reasons(place: Place<'_>, fields: &mut Fields) -> bool {
    const VALUE: u16 = 2;
    let bits = place.value.and_then(|value| Attributes(value).u32(VALUE)).unwrap_or_default();
    let bits = (0..u32::BITS).filter(|bit| bits & (1 << bit) != 0);
    let list: Vec<_> = bits.map(|bit| Value::from(bit.to_string())).collect();
    if !list.is_empty() {
        fields.put("proto_down_reason", list);
    }
    true
}

/// Puts the kind of the link, and that of its master.
fn info(place: Place<'_>, fields: &mut Fields) -> bool {
    Nested(&INFO).put(fields, "linkinfo", place)
}

fn kind_data(place: Place<'_>, fields: &mut Fields) -> bool {
    const KIND: u16 = 1;
    by_kind(place, fields, ("info_data", KIND, "IFLA_INFO_DATA_"), data)
}

fn kind_port_data(place: Place<'_>, fields: &mut Fields) -> bool {
    const SLAVE_KIND: u16 = 4;
    by_kind(place, fields, ("info_slave_data", SLAVE_KIND, "IFLA_INFO_SLAVE_DATA_"), port_data)
}

/// `struct rtnl_link_stats64` (`linux/if_link.h`), with the keys of `ip -s -s`. Counters that few drivers
/// have are shown where they are not zero.
fn statistics(place: Place<'_>, fields: &mut Fields) -> bool {
    const CARRIER_CHANGES: u16 = 35;
    const RX: [(&str, usize); 11] = [
        ("bytes", 2),
        ("packets", 0),
        ("errors", 4),
        ("dropped", 6),
        ("over_errors", 11),
        ("multicast", 8),
        ("length_errors", 10),
        ("crc_errors", 12),
        ("frame_errors", 13),
        ("fifo_errors", 14),
        ("missed_errors", 15),
    ];
    const RX_SELDOM: [(&str, usize); 3] =
        [("nohandler", 23), ("otherhost", 24), ("compressed", 21)];
    const TX: [(&str, usize); 10] = [
        ("bytes", 3),
        ("packets", 1),
        ("errors", 5),
        ("dropped", 7),
        ("carrier_errors", 17),
        ("collisions", 9),
        ("aborted_errors", 16),
        ("fifo_errors", 18),
        ("window_errors", 20),
        ("heartbeat_errors", 19),
    ];
    const TX_SELDOM: [(&str, usize); 1] = [("compressed", 22)];
    let Some(value) = place.value else { return true };
    let counter =
        |at: usize| value.get(at * 8..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    if counter(0).is_none() || counter(22).is_none() {
        return false;
    }
    let direction = |always: &[(&str, usize)], seldom: &[(&str, usize)]| {
        let mut fields = Fields::new();
        always.iter().for_each(|(key, at)| fields.put_some(key, counter(*at)));
        let seldom = seldom.iter().filter(|(_, at)| counter(*at).is_some_and(|count| count != 0));
        seldom.for_each(|(key, at)| fields.put_some(key, counter(*at)));
        fields
    };
    let mut tx = direction(&TX, &TX_SELDOM);
    tx.put_some("carrier_changes", place.siblings.u32(CARRIER_CHANGES));
    let mut both = Fields::new();
    both.put("rx", direction(&RX, &RX_SELDOM));
    both.put("tx", tx);
    fields.put("stats64", both);
    true
}

/// The attributes of a kind by its table; those of a kind without one are unknown.
fn by_kind(
    place: Place<'_>,
    fields: &mut Fields,
    (key, kind, prefix): (&str, u16, &'static str),
    table: fn(&str) -> Option<&'static Table>,
) -> bool {
    let kind = place.siblings.bytes(kind).map(|kind| name(kind, kernel_name::KIND));
    match (kind.and_then(|kind| table(&kind)), place.value) {
        // A kind may have no attribute at all, as those that are shown without one.
        (Some(table), value) => {
            let data = table.object(Attributes(value.unwrap_or_default()), place.context);
            // Those of batadv are not shown by `ip` at all.
            if !data.is_empty() || !std::ptr::eq(table, &super::kinds::BATADV) {
                fields.put(key, data);
            }
        }
        (None, Some(value)) => fields.put_some(key, unknown(prefix, Attributes(value))),
        (None, None) => {}
    }
    true
}

/// `IFLA_INET6_*` of `AF_INET6`; of the other families nothing is shown but that of MCTP.
fn families(place: Place<'_>, fields: &mut Fields) -> bool {
    const AF_INET6: u16 = 10;
    const AF_MCTP: u16 = 45;
    let Some(value) = place.value else { return true };
    for (family, table) in [(AF_INET6, &INET6), (AF_MCTP, &MCTP)] {
        if let Some(attributes) = Attributes(value).nested(family) {
            put_all(fields, attributes, place.context, &[table], &[]);
        }
    }
    true
}

static INET6: Table = table!("IFLA_INET6_":
    ADDR_GEN_MODE = 8, "inet6_addr_gen_mode", Form::By(address_generation);
    FLAGS = 1, "", Omitted("states of the IPv6 stack that no program sets");
    CONF = 2, "", Omitted("the array of sysctl values, which sysctl(8) shows by name");
    STATS = 3, "", Omitted("statistics");
    CACHEINFO = 5, "", Omitted("times of the neighbour table, which `ip ntable` shows");
    ICMP6STATS = 6, "", Omitted("statistics");
    TOKEN = 7, "inet6_token", Unless0(&Form::Ipv6);
    RA_MTU = 9, "inet6_ra_mtu", Unless0(&U32);
);

static MCTP: Table = table!("IFLA_MCTP_":
    NET = 1, "mctp_net", U32;
    PHYS_BINDING = 2, "mctp_phys_binding", U8;
);

fn address_generation(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number8(value)? {
        0 => "eui64".into(),
        1 => "none".into(),
        2 => "stable_secret".into(),
        3 => "random".into(),
        other => format!("{other:#04x}").into(),
    })
}

fn alternative_names(place: Place<'_>, fields: &mut Fields) -> bool {
    const ALT_IFNAME: u16 = 53;
    let Some(value) = place.value else { return true };
    let (names, others): (Vec<_>, Vec<_>) =
        Attributes(value).iter().partition(|(number, _)| *number == ALT_IFNAME);
    let names = names.into_iter().map(|(_, bytes)| name(bytes, kernel_name::ALTERNATIVE));
    fields.put("altnames", names.collect::<Vec<_>>());
    others.is_empty()
}

fn port(place: Place<'_>, fields: &mut Fields) -> bool {
    if let Some(value) = place.value {
        fields.extend(bridge::PORT.object(Attributes(value), place.context));
    }
    true
}

//! The kinds of links, and the tables of their attributes.

use serde_json::{Value, json};

use super::{
    Context, Form, Place, Table,
    bond::{self, BOND},
    bridge::{self, BRIDGE, halves},
    can::CAN,
    form::{flags, number16, number32, number64},
    table,
    tunnel::{BAREUDP, GENEVE, GRE, GRE6, IP6TNL, IPTUN, VTI, VXLAN},
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name,
    notation::hexadecimal,
};
use Form::{
    Be16, By, EtherType, Hardware, I32, Ipv4, Link, Named8, Named16, Named32, Omitted, OnOff,
    OneOf32, PartOf, Text, U8, U16, U32, With,
};
use netlink_remote::nlmsg::Attributes;

/// The table of a kind's `IFLA_INFO_DATA`. Kinds that have no attributes have none.
pub(in super::super) fn data(kind: &str) -> Option<&'static Table> {
    Some(match kind {
        "amt" => &AMT,
        "bareudp" => &BAREUDP,
        "batadv" => &BATADV,
        "bond" => &BOND,
        "bridge" => &BRIDGE,
        "can" => &CAN,
        "dsa" => &DSA,
        "geneve" => &GENEVE,
        "gre" | "gretap" | "erspan" => &GRE,
        "ip6gre" | "ip6gretap" | "ip6erspan" => &GRE6,
        "gtp" => &GTP,
        "hsr" | "prp" => &HSR,
        "ip6tnl" => &IP6TNL,
        "ipip" | "sit" => &IPTUN,
        "ipoib" => &IPOIB,
        "ipvlan" | "ipvtap" => &IPVLAN,
        "macsec" => &MACSEC,
        "macvlan" | "macvtap" => &MACVLAN,
        "netkit" => &NETKIT,
        "ovpn" => &OVPN,
        "rmnet" => &RMNET,
        "tun" => &TUN,
        "vlan" => &VLAN,
        "vrf" => &VRF,
        "vti" | "vti6" => &VTI,
        "vxlan" => &VXLAN,
        "wwan" => &WWAN,
        "xfrm" => &XFRM,
        _ => return None,
    })
}

/// The table of `IFLA_INFO_SLAVE_DATA` of a port, by the kind of its master.
pub(in super::super) fn port_data(kind: &str) -> Option<&'static Table> {
    Some(match kind {
        "bond" => &bond::PORT,
        "bridge" => &bridge::PORT,
        "vrf" => &VRF_PORT,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![
        &AMT,
        &BAREUDP,
        &BATADV,
        &BOND,
        &BRIDGE,
        &CAN,
        &DSA,
        &GENEVE,
        &GRE,
        &GRE6,
        &GTP,
        &HSR,
        &IP6TNL,
        &IPTUN,
        &IPOIB,
        &IPVLAN,
        &MACSEC,
        &MACVLAN,
        &NETKIT,
        &OVPN,
        &RMNET,
        &TUN,
        &VLAN,
        &VRF,
        &VTI,
        &VXLAN,
        &WWAN,
        &XFRM,
        &bond::PORT,
        &bond::AD_INFO,
        &bridge::PORT,
        &bridge::QUERIER_IPV4,
        &bridge::QUERIER_IPV6,
        &VRF_PORT,
    ]
}

/// `linux/amt.h`.
static AMT: Table = table!("IFLA_AMT_":
    MODE = 1, "mode", Named32(&["gateway", "relay"]);
    GATEWAY_PORT = 3, "gateway_port", Be16;
    RELAY_PORT = 2, "relay_port", Be16;
    LOCAL_IP = 5, "local", Ipv4;
    REMOTE_IP = 6, "remote", Ipv4;
    DISCOVERY_IP = 7, "discovery", Ipv4;
    LINK = 4, "link", Link;
    MAX_TUNNELS = 8, "max_tunnels", U32;
);

/// `linux/batman_adv.h`.
pub(super) static BATADV: Table = table!("IFLA_BATADV_":
    ALGO_NAME = 1, "algo_name", Text(kernel_name::KIND);
);

static DSA: Table = table!("IFLA_DSA_":
    CONDUIT = 1, "conduit", Link;
);

static GTP: Table = table!("IFLA_GTP_":
    ROLE = 4, "role", Named32(&["ggsn", "sgsn"]);
    PDP_HASHSIZE = 3, "hsize", U32;
    RESTART_COUNT = 6, "restart_count", U8;
    LOCAL = 7, "local", Ipv4;
    LOCAL6 = 8, "local6", Form::Ipv6;
);

static HSR: Table = table!("IFLA_HSR_":
    SLAVE1 = 1, "slave1", With(first_port);
    SLAVE2 = 2, "slave2", With(second_port);
    INTERLINK = 8, "interlink", Link;
    SEQ_NR = 5, "seq_nr", U16;
    SUPERVISION_ADDR = 4, "supervision_addr", Hardware;
    PROTOCOL = 7, "proto", U8;
    VERSION = 6, "version", U8;
    MULTICAST_SPEC = 3, "multicast_spec", U8;
);

static IPOIB: Table = table!("IFLA_IPOIB_":
    PKEY = 1, "key", By(partition);
    MODE = 2, "mode", Named16(&["datagram", "connected"]);
    UMCAST = 3, "umcast", By(four_digits);
);

static IPVLAN: Table = table!("IFLA_IPVLAN_":
    MODE = 1, "mode", Named16(&["l2", "l3", "l3s"]);
    FLAGS = 2, "flags", With(ipvlan_flags);
);

static MACSEC: Table = table!("IFLA_MACSEC_":
    SCI = 1, "sci", By(secure_channel);
    PROTECT = 8, "protect", OnOff;
    CIPHER_SUITE = 4, "cipher_suite", By(cipher);
    ICV_LEN = 3, "icv_len", U8;
    ENCODING_SA = 6, "encoding_sa", U8;
    VALIDATION = 13, "validation", Named8(&["disabled", "check", "strict"]);
    OFFLOAD = 15, "offload", Named8(&["off", "phy", "mac"]);
    ENCRYPT = 7, "encrypt", OnOff;
    INC_SCI = 9, "inc_sci", OnOff;
    ES = 10, "es", OnOff;
    SCB = 11, "scb", OnOff;
    REPLAY_PROTECT = 12, "replay_protect", OnOff;
    WINDOW = 5, "window", U32;
    PORT = 2, "port", Be16;
    PAD = 14, "", Omitted("padding");
);

static MACVLAN: Table = table!("IFLA_MACVLAN_":
    MODE = 1, "mode", OneOf32(&[
        (1, "private"), (2, "vepa"), (4, "bridge"), (8, "passthru"), (16, "source"),
    ]);
    FLAGS = 2, "flags", With(macvlan_flags);
    BC_QUEUE_LEN = 7, "bcqueuelen", U32;
    BC_QUEUE_LEN_USED = 8, "usedbcqueuelen", U32;
    BC_CUTOFF = 9, "bclim", I32;
    MACADDR_COUNT = 6, "macaddr_count", With(source_addresses);
    MACADDR_DATA = 5, "macaddr_data", PartOf("MACADDR_COUNT");
    MACADDR_MODE = 3, "macaddr_mode", U32;
    MACADDR = 4, "macaddr", Hardware;
);

static NETKIT: Table = table!("IFLA_NETKIT_":
    MODE = 5, "mode", Named32(&["l2", "l3"]);
    PRIMARY = 2, "type", Named8(&["peer", "primary"]);
    POLICY = 3, "policy", OneOf32(&[(0, "forward"), (2, "blackhole")]);
    PEER_POLICY = 4, "peer_policy", OneOf32(&[(0, "forward"), (2, "blackhole")]);
    SCRUB = 6, "scrub", Named32(&["none", "default"]);
    PEER_SCRUB = 7, "peer_scrub", Named32(&["none", "default"]);
    HEADROOM = 8, "headroom", U16;
    TAILROOM = 9, "tailroom", U16;
    PAIRING = 10, "pairing", Named32(&["pair", "single"]);
);

static OVPN: Table = table!("IFLA_OVPN_":
    MODE = 1, "mode", Named8(&["p2p", "mp"]);
);

static RMNET: Table = table!("IFLA_RMNET_":
    MUX_ID = 1, "mux_id", U16;
    FLAGS = 2, "flags", By(rmnet_flags);
);

/// Owner and group are numbers here: their names in `ip` are those of the machine on which it runs.
static TUN: Table = table!("IFLA_TUN_":
    TYPE = 3, "type", By(tun_type);
    PI = 4, "pi", OnOff;
    VNET_HDR = 5, "vnet_hdr", OnOff;
    MULTI_QUEUE = 7, "multi_queue", With(queues);
    NUM_QUEUES = 8, "numqueues", PartOf("MULTI_QUEUE");
    NUM_DISABLED_QUEUES = 9, "numdisabled", PartOf("MULTI_QUEUE");
    PERSIST = 6, "persist", OnOff;
    OWNER = 1, "user", U32;
    GROUP = 2, "group", U32;
);

static VLAN: Table = table!("IFLA_VLAN_":
    PROTOCOL = 5, "protocol", With(vlan_protocol);
    ID = 1, "id", U16;
    FLAGS = 2, "flags", By(vlan_flags);
    INGRESS_QOS = 4, "ingress_qos", By(priorities);
    EGRESS_QOS = 3, "egress_qos", By(priorities);
);

static VRF: Table = table!("IFLA_VRF_":
    TABLE = 1, "table", U32;
);

static VRF_PORT: Table = table!("IFLA_VRF_PORT_":
    TABLE = 1, "table", U32;
);

static WWAN: Table = table!("IFLA_WWAN_":
    LINK_ID = 1, "linkid", U32;
);

static XFRM: Table = table!("IFLA_XFRM_":
    COLLECT_METADATA = 3, "external", Form::Present;
    IF_ID = 2, "if_id", With(interface_id);
    LINK = 1, "link", Omitted("the link itself has it as its lower link");
);

fn first_port(place: Place<'_>, fields: &mut Fields) -> bool {
    port_or_null(place, fields, "slave1")
}

fn second_port(place: Place<'_>, fields: &mut Fields) -> bool {
    port_or_null(place, fields, "slave2")
}

fn port_or_null(place: Place<'_>, fields: &mut Fields, key: &str) -> bool {
    if place.value.is_some() {
        return Link.put(fields, key, place);
    }
    fields.put(key, Value::Null);
    true
}

fn partition(value: &[u8], _: Context<'_>) -> Option<Value> {
    number16(value).map(|key| format!("{key:#06x}").into())
}

fn four_digits(value: &[u8], _: Context<'_>) -> Option<Value> {
    number16(value).map(|number| format!("{number:04x}").into())
}

fn ipvlan_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let Some(flags) = number16(value) else { return false };
    let name = match flags {
        flags if flags & 1 != 0 => "private",
        flags if flags & 2 != 0 => "vepa",
        _ => "bridge",
    };
    fields.put(name, true);
    true
}

fn secure_channel(value: &[u8], _: Context<'_>) -> Option<Value> {
    number64(value).map(|id| format!("{:016x}", u64::from_be(id)).into())
}

/// `MACSEC_CIPHER_ID_*` (IEEE 802.1AE), and the kernel's own number for the first.
fn cipher(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number64(value)? {
        0x0080_0200_0100_0001 | 0x0080_c200_0100_0001 => "GCM-AES-128".into(),
        0x0080_c200_0100_0002 => "GCM-AES-256".into(),
        0x0080_c200_0100_0003 => "GCM-AES-XPN-128".into(),
        0x0080_c200_0100_0004 => "GCM-AES-XPN-256".into(),
        other => format!("{other:#x}").into(),
    })
}

fn macvlan_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(flags) = place.value.map_or(Some(0), number16) else { return false };
    fields.put_true("nopromisc", flags & 1 != 0);
    fields.put_true("nodst", flags & 2 != 0);
    let others = flags & !3;
    fields.put_some("flags", (others != 0).then(|| format!("{others:#x}")));
    true
}

/// The source addresses, which the mode `source` alone has.
fn source_addresses(place: Place<'_>, fields: &mut Fields) -> bool {
    const SOURCE: u32 = 16;
    const MODE: u16 = 1;
    const ADDRESSES: u16 = 5;
    let Some(value) = place.value else { return true };
    let Some(count) = number32(value) else { return false };
    if place.siblings.u32(MODE) != Some(SOURCE) {
        return true;
    }
    fields.put("macaddr_count", count);
    if let Some(addresses) = place.siblings.nested(ADDRESSES) {
        let addresses = addresses.iter().map(|(_, address)| hexadecimal(address, ":"));
        fields.put("macaddr_data", addresses.collect::<Vec<_>>());
    }
    true
}

/// `struct ifla_rmnet_flags`: flags and mask.
fn rmnet_flags(value: &[u8], _: Context<'_>) -> Option<Value> {
    const NAMES: [(u32, &str); 6] = [
        (0x01, "INGRESS_DEAGGREGATION"),
        (0x02, "INGRESS_MAP_COMMANDS"),
        (0x04, "INGRESS_MAP_CKSUMV4"),
        (0x08, "EGRESS_MAP_CKSUMV4"),
        (0x10, "INGRESS_MAP_CKSUMV5"),
        (0x20, "EGRESS_MAP_CKSUMV5"),
    ];
    number64(value).map(|both| flags(halves(both).0, &NAMES).into())
}

fn tun_type(value: &[u8], _: Context<'_>) -> Option<Value> {
    match value {
        [1] => Some("tun".into()),
        [2] => Some("tap".into()),
        [other] => Some(format!("UNKNOWN:{other}").into()),
        _ => None,
    }
}

fn queues(place: Place<'_>, fields: &mut Fields) -> bool {
    let is_multiple = place.value.is_some_and(|value| value.iter().any(|byte| *byte != 0));
    fields.put("multi_queue", is_multiple);
    if is_multiple {
        fields.put_some("numqueues", place.siblings.u32(8));
        fields.put_some("numdisabled", place.siblings.u32(9));
    }
    true
}

/// A kernel before 3.10 has VLANs of one protocol.
fn vlan_protocol(place: Place<'_>, fields: &mut Fields) -> bool {
    if place.value.is_some() {
        return EtherType.put(fields, "protocol", place);
    }
    fields.put("protocol", "802.1q");
    true
}

/// `struct ifla_vlan_flags`: flags and mask.
fn vlan_flags(value: &[u8], _: Context<'_>) -> Option<Value> {
    const NAMES: [(u32, &str); 5] = [
        (1, "REORDER_HDR"),
        (2, "GVRP"),
        (8, "MVRP"),
        (4, "LOOSE_BINDING"),
        (16, "BRIDGE_BINDING"),
    ];
    number64(value).map(|both| flags(halves(both).0, &NAMES).into())
}

/// `struct ifla_vlan_qos_mapping`, one in each attribute.
fn priorities(value: &[u8], _: Context<'_>) -> Option<Value> {
    let pairs = Attributes(value).iter().map(|(_, pair)| {
        let (from, to) = halves(number64(pair)?);
        Some(json!({ "from": from, "to": to }))
    });
    pairs.collect::<Option<Vec<_>>>().map(Value::from)
}

/// An interface with metadata has no id.
fn interface_id(place: Place<'_>, fields: &mut Fields) -> bool {
    if fields.contains_key("external") {
        return true;
    }
    Form::Hex32.put(fields, "if_id", place)
}

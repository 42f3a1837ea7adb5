//! Traffic control: `TCA_*` (`linux/rtnetlink.h`), and the options of kinds (`linux/pkt_sched.h`,
//! `linux/pkt_cls.h`, `linux/tc_act/`), with the keys of `tc`. Times are in microseconds and rates in
//! bytes a second, as the kernel has them.

use serde_json::{Value, json};

use super::{Context, Form, Place, Table, digits, form::number32, table};
use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, Named as _},
};
use Form::{
    Array, Be16, Be32, By, Bytes, EtherType, Hardware, Hex32, HexBe32, HexBytes, I32, Ipv4, Ipv6,
    Omitted, Text, U8, U16, U32, U64, Unsigned, With,
};
use netlink_remote::nlmsg::{Attributes, read_u32};

/// Of qdiscs, classes, filters and chains.
pub(crate) static TRAFFIC: Table = table!("TCA_":
    KIND = 1, "kind", Text(kernel_name::LINK);
    CHAIN = 11, "chain", U32;
    OPTIONS = 2, "options", With(options);
    INGRESS_BLOCK = 13, "ingress_block", U32;
    EGRESS_BLOCK = 14, "egress_block", U32;
    HW_OFFLOAD = 12, "offloaded", Form::TrueIfSet;
    RATE = 5, "rate_estimator", HexBytes;
    STAB = 8, "stab", HexBytes;
    DUMP_INVISIBLE = 10, "invisible", Form::Present;
    DUMP_FLAGS = 15, "dump_flags", HexBytes;
    EXT_WARN_MSG = 16, "warning", Text(4096);
    FCNT = 6, "", Omitted("a counter that no kernel sends");
    STATS = 3, "", Omitted("statistics");
    XSTATS = 4, "", Omitted("statistics");
    STATS2 = 7, "", Omitted("statistics");
    PAD = 9, "", Omitted("padding");
);

/// Of a message about actions.
pub(crate) static ACTIONS: Table = table!("TCA_ROOT_":
    TAB = 1, "actions", By(actions);
    FLAGS = 2, "flags", HexBytes;
    COUNT = 3, "count", U32;
    TIME_DELTA = 4, "time_delta", U32;
    EXT_WARN_MSG = 5, "warning", Text(4096);
);

/// Of one action.
static ACTION: Table = table!("TCA_ACT_":
    KIND = 1, "kind", Text(kernel_name::LINK);
    OPTIONS = 2, "options", With(action_options);
    INDEX = 3, "index", U32;
    COOKIE = 6, "cookie", Bytes;
    FLAGS = 7, "flags", HexBytes;
    HW_STATS = 8, "hw_stats", HexBytes;
    USED_HW_STATS = 9, "used_hw_stats", HexBytes;
    IN_HW_COUNT = 10, "in_hw_count", U32;
    STATS = 4, "", Omitted("statistics");
    PAD = 5, "", Omitted("padding");
);

static FQ_CODEL: Table = table!("TCA_FQ_CODEL_":
    LIMIT = 2, "limit", U32;
    FLOWS = 5, "flows", U32;
    QUANTUM = 6, "quantum", U32;
    TARGET = 1, "target", U32;
    CE_THRESHOLD = 7, "ce_threshold", U32;
    CE_THRESHOLD_SELECTOR = 10, "ce_threshold_selector", U8;
    CE_THRESHOLD_MASK = 11, "ce_threshold_mask", U8;
    INTERVAL = 3, "interval", U32;
    MEMORY_LIMIT = 9, "memory_limit", U32;
    ECN = 4, "ecn", By(on_off32);
    DROP_BATCH_SIZE = 8, "drop_batch", U32;
);

static CODEL: Table = table!("TCA_CODEL_":
    LIMIT = 2, "limit", U32;
    TARGET = 1, "target", U32;
    CE_THRESHOLD = 5, "ce_threshold", U32;
    INTERVAL = 3, "interval", U32;
    ECN = 4, "ecn", By(on_off32);
);

static FQ: Table = table!("TCA_FQ_":
    PLIMIT = 1, "limit", U32;
    FLOW_PLIMIT = 2, "flow_limit", U32;
    BUCKETS_LOG = 8, "buckets_log", U32;
    ORPHAN_MASK = 10, "orphan_mask", U32;
    QUANTUM = 3, "quantum", U32;
    INITIAL_QUANTUM = 4, "initial_quantum", U32;
    RATE_ENABLE = 5, "pacing", By(on_off32);
    FLOW_DEFAULT_RATE = 6, "defrate", U32;
    FLOW_MAX_RATE = 7, "maxrate", U32;
    LOW_RATE_THRESHOLD = 11, "low_rate_threshold", U32;
    FLOW_REFILL_DELAY = 9, "refill_delay", U32;
    CE_THRESHOLD = 12, "ce_threshold", U32;
    TIMER_SLACK = 13, "timer_slack", U32;
    HORIZON = 14, "horizon", U32;
    HORIZON_DROP = 15, "horizon_drop", Form::OnOff;
    PRIOMAP = 16, "priomap", HexBytes;
    WEIGHTS = 17, "weights", Array(4, &I32);
    OFFLOAD_HORIZON = 18, "offload_horizon", U32;
);

static HTB: Table = table!("TCA_HTB_":
    PARMS = 1, "prio", With(htb_class);
    INIT = 2, "default", With(htb_root);
    DIRECT_QLEN = 5, "direct_qlen", U32;
    RATE64 = 6, "rate64", U64;
    CEIL64 = 7, "ceil64", U64;
    OFFLOAD = 10, "offload", Form::Present;
    CTAB = 3, "", Omitted("of requests: a table made of the rate");
    RTAB = 4, "", Omitted("of requests: a table made of the rate");
    PAD = 8, "", Omitted("padding");
);

static TBF: Table = table!("TCA_TBF_":
    PARMS = 1, "limit", With(tbf);
    RATE64 = 4, "rate64", U64;
    PRATE64 = 5, "peakrate64", U64;
    BURST = 6, "burst", U32;
    PBURST = 7, "peak_burst", U32;
    RTAB = 2, "", Omitted("of requests: a table made of the rate");
    PTAB = 3, "", Omitted("of requests: a table made of the rate");
    PAD = 8, "", Omitted("padding");
);

static U32_FILTER: Table = table!("TCA_U32_":
    CLASSID = 1, "flowid", By(class);
    HASH = 2, "ht", By(u32_handle);
    LINK = 3, "link", By(u32_handle);
    DIVISOR = 4, "ht_divisor", U32;
    SEL = 5, "match", By(selector);
    POLICE = 6, "police", HexBytes;
    ACT = 7, "actions", By(actions);
    INDEV = 8, "indev", Text(kernel_name::LINK);
    MARK = 10, "mark", HexBytes;
    FLAGS = 11, "flags", Hex32;
    PCNT = 9, "", Omitted("statistics");
    PAD = 12, "", Omitted("padding");
);

static FLOWER: Table = table!("TCA_FLOWER_":
    CLASSID = 1, "classid", By(class);
    INDEV = 2, "indev", Text(kernel_name::LINK);
    KEY_ETH_DST = 4, "dst_mac", Hardware;
    KEY_ETH_DST_MASK = 5, "dst_mac_mask", Hardware;
    KEY_ETH_SRC = 6, "src_mac", Hardware;
    KEY_ETH_SRC_MASK = 7, "src_mac_mask", Hardware;
    KEY_ETH_TYPE = 8, "eth_type", EtherType;
    KEY_IP_PROTO = 9, "ip_proto", U8;
    KEY_IPV4_SRC = 10, "src_ip", Ipv4;
    KEY_IPV4_SRC_MASK = 11, "src_ip_mask", Ipv4;
    KEY_IPV4_DST = 12, "dst_ip", Ipv4;
    KEY_IPV4_DST_MASK = 13, "dst_ip_mask", Ipv4;
    KEY_IPV6_SRC = 14, "src_ip6", Ipv6;
    KEY_IPV6_SRC_MASK = 15, "src_ip6_mask", Ipv6;
    KEY_IPV6_DST = 16, "dst_ip6", Ipv6;
    KEY_IPV6_DST_MASK = 17, "dst_ip6_mask", Ipv6;
    KEY_TCP_SRC = 18, "tcp_src_port", Be16;
    KEY_TCP_DST = 19, "tcp_dst_port", Be16;
    KEY_UDP_SRC = 20, "udp_src_port", Be16;
    KEY_UDP_DST = 21, "udp_dst_port", Be16;
    FLAGS = 22, "flags", Hex32;
    KEY_VLAN_ID = 23, "vlan_id", U16;
    KEY_VLAN_PRIO = 24, "vlan_prio", U8;
    KEY_VLAN_ETH_TYPE = 25, "vlan_ethtype", EtherType;
    KEY_ENC_KEY_ID = 26, "enc_key_id", Be32;
    KEY_ENC_IPV4_SRC = 27, "enc_src_ip", Ipv4;
    KEY_ENC_IPV4_SRC_MASK = 28, "enc_src_ip_mask", Ipv4;
    KEY_ENC_IPV4_DST = 29, "enc_dst_ip", Ipv4;
    KEY_ENC_IPV4_DST_MASK = 30, "enc_dst_ip_mask", Ipv4;
    KEY_ENC_IPV6_SRC = 31, "enc_src_ip6", Ipv6;
    KEY_ENC_IPV6_SRC_MASK = 32, "enc_src_ip6_mask", Ipv6;
    KEY_ENC_IPV6_DST = 33, "enc_dst_ip6", Ipv6;
    KEY_ENC_IPV6_DST_MASK = 34, "enc_dst_ip6_mask", Ipv6;
    KEY_TCP_SRC_MASK = 35, "tcp_src_port_mask", Be16;
    KEY_TCP_DST_MASK = 36, "tcp_dst_port_mask", Be16;
    KEY_UDP_SRC_MASK = 37, "udp_src_port_mask", Be16;
    KEY_UDP_DST_MASK = 38, "udp_dst_port_mask", Be16;
    KEY_SCTP_SRC_MASK = 39, "sctp_src_port_mask", Be16;
    KEY_SCTP_DST_MASK = 40, "sctp_dst_port_mask", Be16;
    KEY_SCTP_SRC = 41, "sctp_src_port", Be16;
    KEY_SCTP_DST = 42, "sctp_dst_port", Be16;
    KEY_ENC_UDP_SRC_PORT = 43, "enc_src_port", Be16;
    KEY_ENC_UDP_SRC_PORT_MASK = 44, "enc_src_port_mask", Be16;
    KEY_ENC_UDP_DST_PORT = 45, "enc_dst_port", Be16;
    KEY_ENC_UDP_DST_PORT_MASK = 46, "enc_dst_port_mask", Be16;
    KEY_FLAGS = 47, "ip_flags", HexBe32;
    KEY_FLAGS_MASK = 48, "ip_flags_mask", HexBe32;
    KEY_ICMPV4_CODE = 49, "icmp_code", U8;
    KEY_ICMPV4_CODE_MASK = 50, "icmp_code_mask", U8;
    KEY_ICMPV4_TYPE = 51, "icmp_type", U8;
    KEY_ICMPV4_TYPE_MASK = 52, "icmp_type_mask", U8;
    KEY_ICMPV6_CODE = 53, "icmpv6_code", U8;
    KEY_ICMPV6_CODE_MASK = 54, "icmpv6_code_mask", U8;
    KEY_ICMPV6_TYPE = 55, "icmpv6_type", U8;
    KEY_ICMPV6_TYPE_MASK = 56, "icmpv6_type_mask", U8;
    KEY_ARP_SIP = 57, "arp_sip", Ipv4;
    KEY_ARP_SIP_MASK = 58, "arp_sip_mask", Ipv4;
    KEY_ARP_TIP = 59, "arp_tip", Ipv4;
    KEY_ARP_TIP_MASK = 60, "arp_tip_mask", Ipv4;
    KEY_ARP_OP = 61, "arp_op", U8;
    KEY_ARP_OP_MASK = 62, "arp_op_mask", U8;
    KEY_ARP_SHA = 63, "arp_sha", Hardware;
    KEY_ARP_SHA_MASK = 64, "arp_sha_mask", Hardware;
    KEY_ARP_THA = 65, "arp_tha", Hardware;
    KEY_ARP_THA_MASK = 66, "arp_tha_mask", Hardware;
    KEY_MPLS_TTL = 67, "mpls_ttl", U8;
    KEY_MPLS_BOS = 68, "mpls_bos", U8;
    KEY_MPLS_TC = 69, "mpls_tc", U8;
    KEY_MPLS_LABEL = 70, "mpls_label", U32;
    KEY_TCP_FLAGS = 71, "tcp_flags", Be16;
    KEY_TCP_FLAGS_MASK = 72, "tcp_flags_mask", Be16;
    KEY_IP_TOS = 73, "ip_tos", U8;
    KEY_IP_TOS_MASK = 74, "ip_tos_mask", U8;
    KEY_IP_TTL = 75, "ip_ttl", U8;
    KEY_IP_TTL_MASK = 76, "ip_ttl_mask", U8;
    KEY_CVLAN_ID = 77, "cvlan_id", U16;
    KEY_CVLAN_PRIO = 78, "cvlan_prio", U8;
    KEY_CVLAN_ETH_TYPE = 79, "cvlan_ethtype", EtherType;
    KEY_ENC_IP_TOS = 80, "enc_tos", U8;
    KEY_ENC_IP_TOS_MASK = 81, "enc_tos_mask", U8;
    KEY_ENC_IP_TTL = 82, "enc_ttl", U8;
    KEY_ENC_IP_TTL_MASK = 83, "enc_ttl_mask", U8;
    IN_HW_COUNT = 86, "in_hw_count", U32;
    ACT = 3, "actions", By(actions);
);

static MATCHALL: Table = table!("TCA_MATCHALL_":
    CLASSID = 1, "flowid", By(class);
    FLAGS = 3, "flags", Hex32;
    ACT = 2, "actions", By(actions);
    PCNT = 4, "", Omitted("statistics");
    PAD = 5, "", Omitted("padding");
);

static FW: Table = table!("TCA_FW_":
    CLASSID = 1, "classid", By(class);
    INDEV = 3, "indev", Text(kernel_name::LINK);
    MASK = 5, "fw_mask", Hex32;
    POLICE = 2, "police", HexBytes;
    ACT = 4, "actions", By(actions);
);

static BPF: Table = table!("TCA_BPF_":
    CLASSID = 3, "flowid", By(class);
    NAME = 7, "bpf_name", Text(256);
    FLAGS = 8, "bpf_flags", Hex32;
    FLAGS_GEN = 9, "flags", Hex32;
    ID = 11, "id", U32;
    TAG = 10, "tag", Bytes;
    OPS_LEN = 4, "ops_len", U16;
    OPS = 5, "ops", HexBytes;
    FD = 6, "fd", U32;
    POLICE = 2, "police", HexBytes;
    ACT = 1, "actions", By(actions);
);

static BASIC: Table = table!("TCA_BASIC_":
    CLASSID = 1, "flowid", By(class);
    EMATCHES = 2, "ematches", HexBytes;
    POLICE = 4, "police", HexBytes;
    ACT = 3, "actions", By(actions);
    PCNT = 5, "", Omitted("statistics");
    PAD = 6, "", Omitted("padding");
);

static GACT: Table = table!("TCA_GACT_":
    PARMS = 2, "control_action", With(generic_action);
    PROB = 3, "prob", HexBytes;
    TM = 1, "", Omitted("statistics");
    PAD = 4, "", Omitted("padding");
);

static MIRRED: Table = table!("TCA_MIRRED_":
    PARMS = 2, "mirred_action", With(mirred);
    BLOCKID = 4, "to_block", U32;
    TM = 1, "", Omitted("statistics");
    PAD = 3, "", Omitted("padding");
);

static VLAN: Table = table!("TCA_VLAN_":
    PARMS = 2, "vlan_action", With(vlan);
    PUSH_VLAN_ID = 3, "id", U16;
    PUSH_VLAN_PROTOCOL = 4, "protocol", EtherType;
    PUSH_VLAN_PRIORITY = 6, "priority", U8;
    PUSH_ETH_DST = 7, "dst_mac", Hardware;
    PUSH_ETH_SRC = 8, "src_mac", Hardware;
    TM = 1, "", Omitted("statistics");
    PAD = 5, "", Omitted("padding");
);

static SKBEDIT: Table = table!("TCA_SKBEDIT_":
    PARMS = 2, "control_action", With(generic_action);
    PRIORITY = 3, "priority", By(class);
    QUEUE_MAPPING = 4, "queue_mapping", U16;
    MARK = 5, "mark", U32;
    PTYPE = 7, "ptype", U16;
    MASK = 8, "mask", Hex32;
    FLAGS = 9, "flags", Unsigned;
    QUEUE_MAPPING_MAX = 10, "queue_mapping_max", U16;
    TM = 1, "", Omitted("statistics");
    PAD = 6, "", Omitted("padding");
);

static TUNNEL_KEY: Table = table!("TCA_TUNNEL_KEY_":
    PARMS = 2, "tunnel_key", With(tunnel_key);
    ENC_IPV4_SRC = 3, "src_ip", Ipv4;
    ENC_IPV4_DST = 4, "dst_ip", Ipv4;
    ENC_IPV6_SRC = 5, "src_ip6", Ipv6;
    ENC_IPV6_DST = 6, "dst_ip6", Ipv6;
    ENC_KEY_ID = 7, "key_id", Be32;
    ENC_DST_PORT = 9, "dst_port", Be16;
    NO_CSUM = 10, "no_csum", Form::OnOff;
    ENC_OPTS = 11, "options", HexBytes;
    ENC_TOS = 12, "tos", U8;
    ENC_TTL = 13, "ttl", U8;
    NO_FRAG = 14, "no_frag", Form::Present;
    TM = 1, "", Omitted("statistics");
    PAD = 8, "", Omitted("padding");
);

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![
        &TRAFFIC,
        &ACTIONS,
        &ACTION,
        &FQ_CODEL,
        &CODEL,
        &FQ,
        &HTB,
        &TBF,
        &U32_FILTER,
        &FLOWER,
        &MATCHALL,
        &FW,
        &BPF,
        &BASIC,
        &GACT,
        &MIRRED,
        &VLAN,
        &SKBEDIT,
        &TUNNEL_KEY,
    ]
}

/// The table of a kind's options, where they are attributes.
fn table_of(kind: &str) -> Option<&'static Table> {
    Some(match kind {
        "fq_codel" => &FQ_CODEL,
        "codel" => &CODEL,
        "fq" => &FQ,
        "htb" => &HTB,
        "tbf" => &TBF,
        "u32" => &U32_FILTER,
        "flower" => &FLOWER,
        "matchall" => &MATCHALL,
        "fw" => &FW,
        "bpf" => &BPF,
        "basic" => &BASIC,
        _ => return None,
    })
}

/// Puts the options of a kind; those of a kind without a table are unknown.
fn options(place: Place<'_>, fields: &mut Fields) -> bool {
    const KIND: u16 = 1;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.name(KIND, kernel_name::LINK).unwrap_or_default();
    let options = match (table_of(&kind), kind.as_str()) {
        (Some(table), _) => table.object(Attributes(value), place.context),
        (None, "pfifo" | "bfifo") if value.len() == 4 => {
            let mut options = Fields::new();
            options.put_some("limit", read_u32(value, 0));
            options
        }
        (None, "prio" | "pfifo_fast") if value.len() == 20 => {
            let mut options = Fields::new();
            options.put_some("bands", read_u32(value, 0));
            options.put("priomap", value.get(4..).unwrap_or_default().to_vec());
            options
        }
        (None, _) if value.is_empty() => return true,
        (None, _) => return false,
    };
    if !options.is_empty() {
        fields.put("options", options);
    }
    true
}

/// The actions of a filter or a message, in their order.
fn actions(value: &[u8], context: Context<'_>) -> Option<Value> {
    let actions = Attributes(value).iter().map(|(order, action)| {
        let mut fields = Fields::new();
        fields.put("order", order);
        fields.extend(ACTION.object(Attributes(action), context));
        Value::from(fields)
    });
    Some(actions.collect::<Vec<_>>().into())
}

/// Puts the options of an action among its keys, as `tc` does.
fn action_options(place: Place<'_>, fields: &mut Fields) -> bool {
    const KIND: u16 = 1;
    let Some(value) = place.value else { return true };
    let kind = place.siblings.name(KIND, kernel_name::LINK).unwrap_or_default();
    let table = match kind.as_str() {
        "gact" => &GACT,
        "mirred" => &MIRRED,
        "vlan" => &VLAN,
        "skbedit" => &SKBEDIT,
        "tunnel_key" => &TUNNEL_KEY,
        _ => return false,
    };
    fields.extend(table.object(Attributes(value), place.context));
    true
}

/// `struct tc_gact` and what begins like it: `tc_gen`.
fn generic_action(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let numbers: Option<Vec<_>> = [0, 4, 8, 12, 16].iter().map(|at| read_u32(value, *at)).collect();
    let Some([index, _capabilities, action, references, bindings]) = numbers.as_deref() else {
        return false;
    };
    fields.put("control_action", json!({ "type": control(*action) }));
    fields.put("index", *index);
    fields.put("ref", *references);
    fields.put("bind", *bindings);
    true
}

/// The name of what is done with a packet (`TC_ACT_*`).
fn control(action: u32) -> Value {
    const NAMES: [&str; 9] =
        ["pass", "reclassify", "drop", "pipe", "stolen", "queued", "repeat", "redirect", "trap"];
    match (action, action >> 28) {
        (u32::MAX, _) => "continue".into(),
        (_, 1) => format!("jump {}", action & 0x0fff_ffff).into(),
        (_, 2) => format!("goto chain {}", action & 0x0fff_ffff).into(),
        (number, _) => match usize::try_from(number).ok().and_then(|at| NAMES.get(at)) {
            Some(name) => (*name).into(),
            None => number.into(),
        },
    }
}

/// `struct tc_mirred`.
fn mirred(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [(&str, &str); 4] = [
        ("redirect", "egress"),
        ("mirror", "egress"),
        ("redirect", "ingress"),
        ("mirror", "ingress"),
    ];
    let Some(value) = place.value else { return true };
    let (Some(action), Some(index)) = (read_u32(value, 20), read_u32(value, 24)) else {
        return false;
    };
    let name = action.checked_sub(1).and_then(|at| NAMES.get(usize::try_from(at).ok()?));
    match name {
        Some((action, direction)) => {
            fields.put("mirred_action", *action);
            fields.put("direction", *direction);
        }
        None => fields.put("mirred_action", action),
    }
    fields.put_some("to_dev", (index != 0).then(|| place.context.names.link(index)));
    generic_action(place, fields)
}

/// `struct tc_vlan`.
fn vlan(place: Place<'_>, fields: &mut Fields) -> bool {
    const NAMES: [&str; 5] = ["pop", "push", "modify", "pop_eth", "push_eth"];
    let Some(value) = place.value else { return true };
    let Some(action) = read_u32(value, 20) else { return false };
    let name = action.checked_sub(1).and_then(|at| NAMES.get(usize::try_from(at).ok()?));
    fields.put("vlan_action", name.map_or_else(|| Value::from(action), |name| (*name).into()));
    generic_action(place, fields)
}

/// `struct tc_tunnel_key`.
fn tunnel_key(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let name = match read_u32(value, 20) {
        Some(1) => Value::from("set"),
        Some(2) => "unset".into(),
        Some(other) => other.into(),
        None => return false,
    };
    fields.put("tunnel_key", name);
    generic_action(place, fields)
}

/// `struct tc_htb_opt`: the rates and buffers of a class. Above 4 GB/s the rate is in `RATE64`.
fn htb_class(place: Place<'_>, fields: &mut Fields) -> bool {
    const LENGTH: usize = 44;
    let Some(value) = place.value else { return true };
    if value.len() != LENGTH {
        return false;
    }
    fields.put_some("prio", read_u32(value, 40));
    fields.put_some("rate", read_u32(value, 8));
    fields.put_some("ceil", read_u32(value, 20));
    fields.put_some("buffer", read_u32(value, 24));
    fields.put_some("cbuffer", read_u32(value, 28));
    fields.put_some("quantum", read_u32(value, 32));
    fields.put_some("level", read_u32(value, 36));
    true
}

/// `struct tc_htb_glob`.
fn htb_root(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(quantum), Some(default)) = (read_u32(value, 4), read_u32(value, 8)) else {
        return false;
    };
    fields.put("r2q", quantum);
    fields.put("default", format!("{default:#x}"));
    fields.put_some("direct_packets_stat", read_u32(value, 16));
    true
}

/// `struct tc_tbf_qopt`.
fn tbf(place: Place<'_>, fields: &mut Fields) -> bool {
    const LENGTH: usize = 36;
    let Some(value) = place.value else { return true };
    if value.len() != LENGTH {
        return false;
    }
    fields.put_some("rate", read_u32(value, 8));
    fields.put_some("peakrate", read_u32(value, 20).filter(|rate| *rate != 0));
    fields.put_some("limit", read_u32(value, 24));
    fields.put_some("buffer", read_u32(value, 28));
    fields.put_some("mtu", read_u32(value, 32).filter(|mtu| *mtu != 0));
    true
}

/// `struct tc_u32_sel`: the keys, each with its offset, and the rest as numbers.
fn selector(value: &[u8], _: Context<'_>) -> Option<Value> {
    const HEADER: usize = 16;
    const KEY: usize = 16;
    let keys = value.get(HEADER..)?;
    if !keys.len().is_multiple_of(KEY) {
        return None;
    }
    let big = |key: &[u8], at| Some(u32::from_be(read_u32(key, at)?));
    let keys = keys.chunks(KEY).map(|key| {
        let (mask, value) = (big(key, 0)?, big(key, 4)?);
        let offset = read_u32(key, 8)?.cast_signed();
        let mut fields = Fields::new();
        fields.put("value", format!("{value:08x}"));
        fields.put("mask", format!("{mask:08x}"));
        fields.put("off", offset);
        fields.put_some("offmask", big(key, 12).filter(|mask| *mask != 0));
        Some(Value::from(fields))
    });
    let keys = keys.collect::<Option<Vec<_>>>()?;
    Some(json!({ "header": digits(value.get(..HEADER)?), "keys": keys }))
}

fn on_off32(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some((number32(value)? != 0).into())
}

fn class(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(handle(number32(value)?).into())
}

fn u32_handle(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(hash_handle(number32(value)?).into())
}

/// The handle of a qdisc or class, `major:minor`, in the notation of `tc`.
pub(crate) fn handle(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (0, 0) => "none".to_owned(),
        (major, 0) => format!("{major:x}:"),
        (0, minor) => format!(":{minor:x}"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// The handle of a filter in the notation of its kind: `800::800` of a table, a bucket and a node for
/// u32, a number for the others.
pub(crate) fn filter_handle(kind: &str, handle: u32) -> String {
    match kind {
        "u32" => hash_handle(handle),
        _ => format!("{handle:#x}"),
    }
}

fn hash_handle(handle: u32) -> String {
    let (table, bucket, node) = (handle >> 20, (handle >> 12) & 0xff, handle & 0xfff);
    let hexadecimal = |number| match number {
        0 => String::new(),
        number => format!("{number:x}"),
    };
    format!("{table:x}:{}:{}", hexadecimal(bucket), hexadecimal(node))
        .trim_end_matches(':')
        .to_owned()
        + if bucket == 0 && node == 0 { ":" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_as_tc_writes_them() {
        for (kind, number, text) in [
            ("u32", 0x8000_0800, "800::800"),
            ("u32", 0x8000_0000, "800:"),
            ("u32", 0x8010_5001, "801:5:1"),
            ("flower", 1, "0x1"),
            ("fw", 0x10, "0x10"),
        ] {
            assert_eq!(filter_handle(kind, number), text);
        }
        for (number, text) in [(0, "none"), (0x1_0000, "1:"), (0x1_0001, "1:1"), (1, ":1")] {
            assert_eq!(handle(number), text);
        }
    }

    #[test]
    fn what_is_done_with_a_packet() {
        for (action, name) in [
            (0, json!("pass")),
            (2, json!("drop")),
            (u32::MAX, json!("continue")),
            (0x1000_0002, json!("jump 2")),
            (0x2000_0003, json!("goto chain 3")),
            (99, json!(99)),
        ] {
            assert_eq!(control(action), name);
        }
    }
}

//! Filters of traffic control: the options of kinds (`linux/pkt_cls.h`), with the keys of `tc`.

use serde_json::{Value, json};

use super::{
    Context, Form, Table,
    action::actions,
    digits,
    form::number32,
    handle::{class, hash_handle},
    table,
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name,
};
use Form::{
    Be16, Be32, By, Bytes, EtherType, Hardware, Hex32, HexBe32, HexBytes, Ipv4, Ipv6, Omitted,
    Text, U8, U16, U32,
};
use netlink_remote::nlmsg::read_u32;

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

/// The table of a kind's options.
pub(super) fn table_of(kind: &str) -> Option<&'static Table> {
    Some(match kind {
        "u32" => &U32_FILTER,
        "flower" => &FLOWER,
        "matchall" => &MATCHALL,
        "fw" => &FW,
        "bpf" => &BPF,
        "basic" => &BASIC,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) fn all() -> Vec<&'static Table> {
    vec![&U32_FILTER, &FLOWER, &MATCHALL, &FW, &BPF, &BASIC]
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

fn u32_handle(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(hash_handle(number32(value)?).into())
}

//! Objects of events that `nlr show` does not list.

use serde_json::Value;

use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, Named},
    names::Names,
    notation::{AF_INET, AF_INET6, family, hexadecimal, host},
    tables::nexthop,
};
use netlink_remote::nlmsg::{Attributes, Message, read_u16, read_u32};

/// The name of an object, and the function that parses its messages.
type Kind = (&'static str, fn(&Message<'_>, &Names) -> Option<Fields>);

/// The object of a message type (`RTM_*`). The last two bits of the number, new, delete, get or
/// set, do not matter.
pub(super) fn kind(message_type: u16) -> Option<Kind> {
    Some(match message_type & !3 {
        36 => ("qdisc", traffic_control),
        40 => ("class", traffic_control),
        44 => ("filter", traffic_control),
        52 => ("prefix", prefix),
        56 => ("maddr", group_address),
        60 => ("acaddr", group_address),
        72 => ("addrlabel", address_label),
        80 => ("netconf", configuration),
        84 => ("mdb", multicast_database),
        88 => ("nsid", namespace),
        100 => ("chain", traffic_control),
        104 => ("nexthop", nexthop::json),
        116 => ("bucket", nexthop::json),
        _ => return None,
    })
}

/// The name of a message type, as `linux/rtnetlink.h` has it.
pub(super) fn name(message_type: u16) -> Option<String> {
    const NAMES: [(u16, &str); 27] = [
        (16, "LINK"),
        (20, "ADDR"),
        (24, "ROUTE"),
        (28, "NEIGH"),
        (32, "RULE"),
        (36, "QDISC"),
        (40, "TCLASS"),
        (44, "TFILTER"),
        (48, "ACTION"),
        (52, "PREFIX"),
        (56, "MULTICAST"),
        (60, "ANYCAST"),
        (64, "NEIGHTBL"),
        (68, "NDUSEROPT"),
        (72, "ADDRLABEL"),
        (76, "DCB"),
        (80, "NETCONF"),
        (84, "MDB"),
        (88, "NSID"),
        (92, "STATS"),
        (96, "CACHEREPORT"),
        (100, "CHAIN"),
        (104, "NEXTHOP"),
        (108, "LINKPROP"),
        (112, "VLAN"),
        (116, "NEXTHOPBUCKET"),
        (120, "TUNNEL"),
    ];
    let object = NAMES.iter().find(|(first, _)| *first == message_type & !3)?.1;
    let action = ["NEW", "DEL", "GET", "SET"].get(usize::from(message_type & 3))?;
    Some(format!("RTM_{action}{object}"))
}

/// `struct tcmsg` and `TCA_*`, with the keys of `tc` but its options.
fn traffic_control(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 20;
    let (index, handle, parent, info) =
        (message.u32(4)?, message.u32(8)?, message.u32(12)?, message.u32(16)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_some("kind", attributes.name(1, kernel_name::LINK));
    fields.put("handle", traffic_handle(handle));
    match parent {
        0xffff_ffff => fields.put("root", true),
        0xffff_fff1 => fields.put("parent", "ingress"),
        parent => fields.put("parent", traffic_handle(parent)),
    }
    if index == u32::MAX {
        // TCM_IFINDEX_MAGIC_BLOCK: a block shared by links.
        fields.put("block", parent);
    } else {
        fields.put("dev", names.link(index));
    }
    match message.header.kind & !3 {
        44 => {
            fields.put("pref", info >> 16);
            fields.put(
                "protocol",
                format!("{:#06x}", u16::from_be(u16::try_from(info & 0xffff).unwrap_or(0))),
            );
        }
        36 => fields.put_some("refcnt", (info != 1).then_some(info)),
        _ => {}
    }
    fields.put_some("chain", attributes.u32(11));
    fields.put_some("ingress_block", attributes.u32(13));
    fields.put_some("egress_block", attributes.u32(14));
    Some(fields)
}

/// The handle of a qdisc or class, `major:minor`, in the notation of `tc`.
fn traffic_handle(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (0, 0) => "none".to_owned(),
        (major, 0) => format!("{major:x}:"),
        (0, minor) => format!(":{minor:x}"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// `struct prefixmsg` and `PREFIX_*`: a prefix of a router advertisement.
fn prefix(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 12;
    let (index, length, flags) = (message.u32(4)?, message.u8(9)?, message.u8(10)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_some(
        "prefix",
        attributes.bytes(1).map(|address| format!("{}/{length}", host(AF_INET6, address))),
    );
    fields.put("dev", names.link(index));
    fields.put_true("onlink", flags & 1 != 0);
    fields.put_true("autoconf", flags & 2 != 0);
    if let Some(times) = attributes.bytes(2) {
        fields.put_some("valid", read_u32(times, 4));
        fields.put_some("preferred", read_u32(times, 0));
    }
    Some(fields)
}

/// `struct ifaddrmsg` with `IFA_MULTICAST` or `IFA_ANYCAST`: a group address of a link. Kernels
/// send these messages since 6.14, which is newer than iproute2 6.1.
fn group_address(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 8;
    let (number, index) = (message.u8(0)?, message.u32(4)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put("dev", names.link(index));
    fields.put("family", family(number));
    for (kind, key) in [(7, "multicast"), (5, "anycast")] {
        fields.put_some(key, attributes.bytes(kind).map(|bytes| host(number, bytes)));
    }
    fields.put("scope", names.scope(message.u8(3)?));
    Some(fields)
}

/// `struct ifaddrlblmsg` and `IFAL_*`.
fn address_label(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 12;
    let (number, length, index) = (message.u8(0)?, message.u8(2)?, message.u32(4)?);
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    if let Some(address) = attributes.bytes(1) {
        fields.put("address", host(number, address));
        fields.put("prefixlen", length);
    }
    fields.put_some("dev", (index != 0).then(|| names.link(index)));
    fields.put_some("label", attributes.u32(2));
    Some(fields)
}

/// `struct netconfmsg` and `NETCONFA_*`, with the keys of `ip netconf`.
fn configuration(message: &Message<'_>, names: &Names) -> Option<Fields> {
    let attributes = message.attributes(1);
    let mut fields = Fields::new();
    fields.put("family", family(message.u8(0)?));
    fields.put_some(
        "interface",
        attributes.i32(1).map(|index| match index {
            -1 => "all".to_owned(),
            -2 => "default".to_owned(),
            index => names.link(index.cast_unsigned()),
        }),
    );
    let switch = |kind: u16| attributes.u32(kind).map(|value| value != 0);
    fields.put_some("forwarding", switch(2));
    fields.put_some(
        "rp_filter",
        attributes.u32(3).map(|value| match value {
            0 => Value::from("off"),
            1 => Value::from("strict"),
            2 => Value::from("loose"),
            other => Value::from(other),
        }),
    );
    fields.put_some("mc_forwarding", switch(4));
    fields.put_some("proxy_neigh", switch(5));
    fields.put_some("ignore_routes_with_linkdown", switch(6));
    fields.put_some("input", switch(7));
    Some(fields)
}

/// `struct br_port_msg` and `MDBA_*`: the group memberships of a bridge's ports.
fn multicast_database(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 8;
    const DATABASE: u16 = 1;
    let mut fields = Fields::new();
    fields.put("dev", names.link(message.u32(4)?));
    let database = message.attributes(HEADER).nested(DATABASE).unwrap_or_default();
    let entries = database.iter().flat_map(|(_, entry)| Attributes(entry).iter());
    let entries: Vec<_> =
        entries.filter_map(|(_, entry)| membership(entry, names)).map(Value::from).collect();
    fields.put("mdb", entries);
    Some(fields)
}

/// `struct br_mdb_entry`.
fn membership(entry: &[u8], names: &Names) -> Option<Fields> {
    const IPV6: u16 = 0x86dd;
    const IPV4: u16 = 0x0800;
    let group = entry.get(8..)?;
    let protocol = u16::from_be(read_u16(group, 16)?);
    let mut fields = Fields::new();
    fields.put("port", names.link(read_u32(entry, 0)?));
    fields.put(
        "grp",
        match protocol {
            IPV4 => host(AF_INET, group),
            IPV6 => host(AF_INET6, group),
            _ => hexadecimal(group.get(..6)?, ":"),
        },
    );
    fields.put("state", if entry.get(4)? & 1 != 0 { "permanent" } else { "temp" });
    let vlan = read_u16(entry, 6)?;
    fields.put_some("vid", (vlan != 0).then_some(vlan));
    Some(fields)
}

/// `struct rtgenmsg` and `NETNSA_*`. An id of -1 stands for none.
fn namespace(message: &Message<'_>, _: &Names) -> Option<Fields> {
    const HEADER: usize = 4;
    let attributes = message.attributes(HEADER);
    let mut fields = Fields::new();
    fields.put_some("nsid", attributes.i32(1).filter(|id| *id >= 0));
    fields.put_some("current-nsid", attributes.i32(5).filter(|id| *id >= 0));
    Some(fields)
}

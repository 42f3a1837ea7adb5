//! Objects of events that `nlr show` does not list: the keys of their headers, and their tables.

use crate::show::{
    fields::{Fields, Put},
    kernel_name::{self, Named as _},
    names::Names,
    notation::family,
    tables::{
        Context, Table,
        action::ACTIONS,
        digits,
        handle::{filter_handle, handle},
        nexthop,
        others::{GROUP_ADDRESS, GROUPS, LABEL, NAMESPACE, NETCONF, OPTIONS, PREFIX, VLANS},
        put_all,
        traffic::TRAFFIC,
    },
};
use netlink_remote::nlmsg::Message;

/// The name of an object, and the function that parses its messages.
type Kind = (&'static str, fn(&Message<'_>, &Names) -> Option<Fields>);

/// The object of a message type (`RTM_*`). The last two bits of the number, new, delete, get or
/// set, do not matter.
pub(super) fn kind(message_type: u16) -> Option<Kind> {
    Some(match message_type & !3 {
        36 => ("qdisc", traffic_control),
        40 => ("class", traffic_control),
        44 => ("filter", traffic_control),
        48 => ("action", actions),
        52 => ("prefix", prefix),
        56 => ("maddr", group_address),
        60 => ("acaddr", group_address),
        68 => ("nduseropt", discovery_options),
        72 => ("addrlabel", address_label),
        80 => ("netconf", configuration),
        84 => ("mdb", multicast_database),
        88 => ("nsid", namespace),
        100 => ("chain", traffic_control),
        104 => ("nexthop", nexthop::json),
        112 => ("vlan", vlans),
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

/// The attributes of a table behind a header.
fn put(fields: &mut Fields, message: &Message<'_>, header: usize, names: &Names, table: &Table) {
    let context = Context { names, message };
    put_all(fields, message.attributes(header), context, &[table], &[]);
}

/// `struct tcmsg` and `TCA_*`.
fn traffic_control(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 20;
    const KIND: u16 = 1;
    let (index, number, parent, info) =
        (message.u32(4)?, message.u32(8)?, message.u32(12)?, message.u32(16)?);
    let is_filter = message.header.kind & !3 == 44;
    let name = message.attributes(HEADER).name(KIND, kernel_name::LINK).unwrap_or_default();
    let mut fields = Fields::new();
    match is_filter {
        true => fields.put_some("handle", (number != 0).then(|| filter_handle(&name, number))),
        false => fields.put("handle", handle(number)),
    }
    match parent {
        0xffff_ffff => fields.put("root", true),
        0xffff_fff1 => fields.put("parent", "ingress"),
        parent => fields.put("parent", handle(parent)),
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
            let protocol = u16::from_be(u16::try_from(info & 0xffff).unwrap_or(0));
            fields.put("protocol", format!("{protocol:#06x}"));
        }
        36 => fields.put_some("refcnt", (info != 1).then_some(info)),
        40 => fields.put_some("leaf", (info != 0).then(|| handle(info))),
        _ => {}
    }
    put(&mut fields, message, HEADER, names, &TRAFFIC);
    // The kind comes first, as in `tc`.
    if let Some(kind) = fields.shift_remove("kind") {
        fields.shift_insert(0, "kind".to_owned(), kind);
    }
    Some(fields)
}

/// `struct tcamsg` and `TCA_ROOT_*`.
fn actions(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 4;
    message.u32(0)?;
    let mut fields = Fields::new();
    put(&mut fields, message, HEADER, names, &ACTIONS);
    Some(fields)
}

/// `struct prefixmsg` and `PREFIX_*`: a prefix of a router advertisement.
fn prefix(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 12;
    let (index, flags) = (message.u32(4)?, message.u8(10)?);
    let mut fields = Fields::new();
    fields.put("dev", names.link(index));
    fields.put_true("onlink", flags & 1 != 0);
    fields.put_true("autoconf", flags & 2 != 0);
    put(&mut fields, message, HEADER, names, &PREFIX);
    Some(fields)
}

/// `struct ifaddrmsg` with `IFA_MULTICAST` or `IFA_ANYCAST`: a group address of a link. Kernels
/// send these messages since 6.14.
fn group_address(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 8;
    let (number, index) = (message.u8(0)?, message.u32(4)?);
    let mut fields = Fields::new();
    fields.put("dev", names.link(index));
    fields.put("family", family(number));
    put(&mut fields, message, HEADER, names, &GROUP_ADDRESS);
    fields.put("scope", names.scope(message.u8(3)?));
    Some(fields)
}

/// `struct nduseroptmsg`, the options behind it as they came, and `NDUSEROPT_*`.
fn discovery_options(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 16;
    let (length, index, kind) = (usize::from(message.u16(2)?), message.u32(4)?, message.u8(8)?);
    let end = HEADER + length;
    let mut fields = Fields::new();
    fields.put("dev", names.link(index));
    fields.put("icmp_type", kind);
    fields.put("options", digits(message.payload.get(HEADER..end)?));
    put(&mut fields, message, end.next_multiple_of(4), names, &OPTIONS);
    Some(fields)
}

/// `struct ifaddrlblmsg` and `IFAL_*`.
fn address_label(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 12;
    let index = message.u32(4)?;
    message.u32(8)?;
    let mut fields = Fields::new();
    fields.put_some("dev", (index != 0).then(|| names.link(index)));
    put(&mut fields, message, HEADER, names, &LABEL);
    Some(fields)
}

/// `struct netconfmsg` and `NETCONFA_*`.
fn configuration(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 1;
    let mut fields = Fields::new();
    fields.put("family", family(message.u8(0)?));
    put(&mut fields, message, HEADER, names, &NETCONF);
    Some(fields)
}

/// `struct br_port_msg` and `MDBA_*`: the group memberships of a bridge's ports.
fn multicast_database(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 8;
    let mut fields = Fields::new();
    fields.put("dev", names.link(message.u32(4)?));
    put(&mut fields, message, HEADER, names, &GROUPS);
    Some(fields)
}

/// `struct br_vlan_msg` and `BRIDGE_VLANDB_*`: the VLANs of a bridge or of its port.
fn vlans(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 8;
    let mut fields = Fields::new();
    fields.put("ifname", names.link(message.u32(4)?));
    put(&mut fields, message, HEADER, names, &VLANS);
    Some(fields)
}

/// `struct rtgenmsg` and `NETNSA_*`.
fn namespace(message: &Message<'_>, names: &Names) -> Option<Fields> {
    const HEADER: usize = 4;
    let mut fields = Fields::new();
    put(&mut fields, message, HEADER, names, &NAMESPACE);
    Some(fields)
}

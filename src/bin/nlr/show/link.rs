//! Links, as `ip -d link` and `ip addr` show them.

use serde_json::Value;

use super::{
    fields::{Fields, Put, flag_names},
    kernel_name::{self, Named, name},
    link_header::{self, LinkHeader},
    link_info,
    names::Names,
    notation::{hexadecimal, link_address, link_type},
    plain_text,
};
use crate::table::{Cell, Paint};
use netlink_remote::nlmsg::{Attributes, Message};

/// Attributes (`IFLA_*`, `linux/if_link.h`).
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const BROADCAST: u16 = 2;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const QDISC: u16 = 6;
    pub(super) const MASTER: u16 = 10;
    pub(super) const TXQLEN: u16 = 13;
    pub(super) const OPERSTATE: u16 = 16;
    pub(super) const LINKMODE: u16 = 17;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const IFALIAS: u16 = 20;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const GROUP: u16 = 27;
    pub(super) const PROMISCUITY: u16 = 30;
    pub(super) const NUM_TX_QUEUES: u16 = 31;
    pub(super) const NUM_RX_QUEUES: u16 = 32;
    pub(super) const PHYS_PORT_ID: u16 = 34;
    pub(super) const PHYS_SWITCH_ID: u16 = 36;
    pub(super) const LINK_NETNSID: u16 = 37;
    pub(super) const PHYS_PORT_NAME: u16 = 38;
    pub(super) const PROTO_DOWN: u16 = 39;
    pub(super) const GSO_MAX_SEGS: u16 = 40;
    pub(super) const GSO_MAX_SIZE: u16 = 41;
    pub(super) const XDP: u16 = 43;
    pub(super) const EVENT: u16 = 44;
    pub(super) const MIN_MTU: u16 = 50;
    pub(super) const MAX_MTU: u16 = 51;
    pub(super) const PROP_LIST: u16 = 52;
    pub(super) const ALT_IFNAME: u16 = 53;
    pub(super) const PERM_ADDRESS: u16 = 54;
    pub(super) const PARENT_DEV_NAME: u16 = 56;
    pub(super) const PARENT_DEV_BUS_NAME: u16 = 57;
    pub(super) const GRO_MAX_SIZE: u16 = 58;
    pub(super) const TSO_MAX_SIZE: u16 = 59;
    pub(super) const TSO_MAX_SEGS: u16 = 60;
    pub(super) const ALLMULTI: u16 = 61;
}

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

/// The operational states (`IF_OPER_*`, RFC 2863).
const OPERATIONAL_STATES: [&str; 7] =
    ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"];

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

/// The keys of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All, as of `ip -d link`.
    Full,
    /// Those of `ip addr`, which with -4 or -6 leaves out the link-layer addresses.
    Addresses { link_layer: bool },
}

/// A link with the keys of `ip`, in their order.
///
/// Missing are `vfinfo_list`, which needs a request of its own and is long; `stats64`; the reasons
/// in `proto_down_reason`; and of `xdp` all but mode and program id: the message has no more.
pub(crate) fn json(message: &Message<'_>, names: &Names, view: View) -> Option<Fields> {
    let header = LinkHeader::parse(message)?;
    let attributes = message.attributes(link_header::LENGTH);
    let mut fields = Fields::new();
    fields.put_true("deleted", message.header.kind == libc::RTM_DELLINK);
    fields.put("ifindex", header.index);
    let lower_is_down = put_lower(&mut fields, attributes, names);
    fields.put("ifname", header.name.unwrap_or_else(|| format!("if{}", header.index)));
    fields.put("flags", flags(header.flags, lower_is_down));
    fields.put_some("mtu", attributes.u32(ifla::MTU));
    put_xdp(&mut fields, attributes);
    fields.put_some("qdisc", attributes.name(ifla::QDISC, kernel_name::LINK));
    fields.put_some("master", attributes.u32(ifla::MASTER).map(|master| names.link(master)));
    put_indexed(&mut fields, "operstate", attributes.u8(ifla::OPERSTATE), &OPERATIONAL_STATES);
    if view == View::Full {
        put_indexed(
            &mut fields,
            "linkmode",
            attributes.u8(ifla::LINKMODE),
            &["DEFAULT", "DORMANT"],
        );
    }
    fields.put_some("group", attributes.u32(ifla::GROUP).map(|group| names.group(group)));
    fields.put_some("txqlen", attributes.u32(ifla::TXQLEN).filter(|length| *length != 0));
    if let Some(event) = attributes.u32(ifla::EVENT).filter(|event| *event != 0) {
        let name = usize::try_from(event).ok().and_then(|event| EVENTS.get(event));
        fields.put("event", name.map_or_else(|| Value::from(event), |name| Value::from(*name)));
    }
    if view != (View::Addresses { link_layer: false }) {
        put_link_layer(&mut fields, attributes, header.link_type, header.flags);
    }
    fields.put_some("link_netnsid", attributes.i32(ifla::LINK_NETNSID));
    fields.put_true("proto_down", attributes.u8(ifla::PROTO_DOWN).is_some_and(|down| down != 0));
    if view == View::Full {
        put_details(&mut fields, attributes, names);
    }
    if let Some(properties) = attributes.nested(ifla::PROP_LIST) {
        let alternatives = properties.iter().filter(|(kind, _)| *kind == ifla::ALT_IFNAME);
        let names = alternatives.map(|(_, bytes)| name(bytes, kernel_name::ALTERNATIVE));
        fields.put("altnames", names.collect::<Vec<_>>());
    }
    Some(fields)
}

/// Puts the lower link or the peer: its name, or the index of one in another namespace. Returns
/// whether the lower link is known to be down.
fn put_lower(fields: &mut Fields, attributes: Attributes<'_>, names: &Names) -> bool {
    match attributes.u32(ifla::LINK) {
        None => return false,
        Some(0) => fields.put("link", Value::Null),
        Some(index) if attributes.has(ifla::LINK_NETNSID) => fields.put("link_index", index),
        Some(index) => {
            fields.put("link", names.link(index));
            return names.link_flags(index).is_some_and(|flags| flags & UP == 0);
        }
    }
    false
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

/// Puts the name of a state, or under `KEY_index` the number of one without a name.
fn put_indexed(fields: &mut Fields, key: &str, state: Option<u8>, names: &[&str]) {
    match state.map(|state| (state, names.get(usize::from(state)))) {
        None => {}
        Some((_, Some(name))) => fields.put(key, *name),
        Some((state, None)) => fields.put(&format!("{key}_index"), state),
    }
}

/// Puts the type and the link-layer addresses.
fn put_link_layer(fields: &mut Fields, attributes: Attributes<'_>, kind: u16, flags: u32) {
    fields.put("link_type", link_type(kind));
    let address = attributes.bytes(ifla::ADDRESS);
    fields.put_some("address", address.map(|bytes| link_address(bytes, kind)));
    if let Some(bytes) = attributes.bytes(ifla::BROADCAST) {
        fields.put_true("link_pointtopoint", flags & POINT_TO_POINT != 0);
        fields.put("broadcast", link_address(bytes, kind));
    }
    let permanent =
        attributes.bytes(ifla::PERM_ADDRESS).filter(|permanent| Some(*permanent) != address);
    fields.put_some("permaddr", permanent.map(|bytes| link_address(bytes, kind)));
}

/// Puts the XDP program: `IFLA_XDP_ATTACHED` (2) and `IFLA_XDP_PROG_ID` (4).
fn put_xdp(fields: &mut Fields, attributes: Attributes<'_>) {
    let Some(xdp) = attributes.nested(ifla::XDP) else {
        return;
    };
    let Some(mode) = xdp.u8(2).filter(|mode| *mode != 0) else {
        return;
    };
    let mut program = Fields::new();
    program.put_some("id", xdp.u32(4));
    let mut attached = Fields::new();
    attached.put("mode", mode);
    attached.put("prog", program);
    fields.put("xdp", attached);
}

/// Puts the keys that `-d` adds.
fn put_details(fields: &mut Fields, attributes: Attributes<'_>, names: &Names) {
    fields.put_some("promiscuity", attributes.u32(ifla::PROMISCUITY));
    fields.put_some("allmulti", attributes.u32(ifla::ALLMULTI));
    fields.put_some("min_mtu", attributes.u32(ifla::MIN_MTU));
    fields.put_some("max_mtu", attributes.u32(ifla::MAX_MTU));
    fields.put_some(
        "linkinfo",
        attributes.nested(ifla::LINKINFO).map(|info| link_info::json(info, names)),
    );
    fields.put_some(
        "inet6_addr_gen_mode",
        attributes.nested(ifla::AF_SPEC).and_then(address_generation),
    );
    fields.put_some("num_tx_queues", attributes.u32(ifla::NUM_TX_QUEUES));
    fields.put_some("num_rx_queues", attributes.u32(ifla::NUM_RX_QUEUES));
    fields.put_some("gso_max_size", attributes.u32(ifla::GSO_MAX_SIZE));
    fields.put_some("gso_max_segs", attributes.u32(ifla::GSO_MAX_SEGS));
    fields.put_some("tso_max_size", attributes.u32(ifla::TSO_MAX_SIZE));
    fields.put_some("tso_max_segs", attributes.u32(ifla::TSO_MAX_SEGS));
    fields.put_some("gro_max_size", attributes.u32(ifla::GRO_MAX_SIZE));
    fields.put_some("phys_port_name", attributes.name(ifla::PHYS_PORT_NAME, kernel_name::LINK));
    fields.put_some(
        "phys_port_id",
        attributes.bytes(ifla::PHYS_PORT_ID).map(|id| hexadecimal(id, "")),
    );
    fields.put_some(
        "phys_switch_id",
        attributes.bytes(ifla::PHYS_SWITCH_ID).map(|id| hexadecimal(id, "")),
    );
    fields.put_some("parentbus", attributes.name(ifla::PARENT_DEV_BUS_NAME, kernel_name::DEVICE));
    fields.put_some("parentdev", attributes.name(ifla::PARENT_DEV_NAME, kernel_name::DEVICE));
    fields.put_some("ifalias", attributes.name(ifla::IFALIAS, kernel_name::ALIAS));
}

/// The generation of IPv6 addresses: `IFLA_INET6_ADDR_GEN_MODE` (8) of `AF_INET6` (10).
fn address_generation(families: Attributes<'_>) -> Option<String> {
    let mode = families.nested(10)?.u8(8)?;
    Some(match mode {
        0 => "eui64".to_owned(),
        1 => "none".to_owned(),
        2 => "stable_secret".to_owned(),
        3 => "random".to_owned(),
        other => format!("{other:#04x}"),
    })
}

/// The columns of the table.
pub(crate) const COLUMNS: &[&str] =
    &["INDEX", "NAME", "STATE", "MTU", "MASTER", "ADDRESS", "TYPE", "FLAGS"];

/// The row of a link.
pub(crate) fn row(link: &Fields) -> Vec<Cell> {
    let text = |key: &str| link.get(key).map(plain_text::value).unwrap_or_default();
    let lower = match (link.get("link"), link.get("link_index")) {
        (Some(Value::String(name)), _) => format!("@{name}"),
        (_, Some(index)) => format!("@if{index}"),
        _ => String::new(),
    };
    let kind = link.get("linkinfo").and_then(|info| info.get("info_kind")?.as_str());
    vec![
        Cell::plain(text("ifindex")),
        Cell::new(format!("{}{lower}", text("ifname")), Paint::Name),
        state(link),
        Cell::plain(text("mtu")),
        Cell::new(text("master"), Paint::Name),
        Cell::new(text("address"), Paint::LinkAddress),
        Cell::plain(kind.map_or_else(|| text("link_type"), str::to_owned)),
        Cell::new(text("flags"), Paint::Dim),
    ]
}

/// The operational state, coloured.
pub(crate) fn state(link: &Fields) -> Cell {
    let state = link.get("operstate").map(plain_text::value).unwrap_or_default();
    let paint = match state.as_str() {
        "UP" => Paint::Good,
        "DOWN" => Paint::Bad,
        _ => Paint::Plain,
    };
    Cell::new(state, paint)
}

//! Neighbours and entries of forwarding databases: `NDA_*` (`linux/neighbour.h`), in the order of
//! `ip neigh`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table,
    form::{number8, number32},
    table,
};
use crate::show::{
    fields::{Fields, Put, flag_names},
    notation::{AF_BRIDGE, AF_INET, AF_INET6, host, link_address},
};
use Form::{Be16, By, I32, Link, Omitted, U16, U32, With};

pub(in super::super) static NEIGH: Table = table!("NDA_":
    DST = 1, "dst", With(destination);
    LLADDR = 2, "lladdr", By(hardware_address);
    FLAGS_EXT = 15, "managed", With(flags_and_state);
    PROTOCOL = 12, "protocol", With(origin);
    VLAN = 5, "vlan", U16;
    PORT = 6, "port", Be16;
    VNI = 7, "vni", U32;
    IFINDEX = 8, "viaIf", Link;
    MASTER = 9, "master", Link;
    LINK_NETNSID = 10, "linkNetNsId", I32;
    SRC_VNI = 11, "src_vni", U32;
    NH_ID = 13, "nhid", U32;
    FDB_EXT_ATTRS = 14, "", Omitted("of requests: whether activity is told");
    CACHEINFO = 3, "", Omitted("statistics");
    PROBES = 4, "", Omitted("statistics");
);

/// `NTF_EXT_*` in the order of `ip`.
const EXTENDED: [(u32, &str); 3] = [(1, "managed"), (2, "locked"), (4, "extern_valid")];

/// The states (`NUD_*`) in the order of `ip`.
const STATES: [(u32, &str); 8] = [
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (0x40, "NOARP"),
    (0x80, "PERMANENT"),
];

/// Puts the address and the link. An entry of a bridge's database may have an address of either family.
fn destination(place: Place<'_>, fields: &mut Fields) -> bool {
    let message = place.context.message;
    let (family, index) = (message.u8(0).unwrap_or_default(), message.u32(4).unwrap_or_default());
    if let Some(address) = place.value {
        let family = match (family, address.len()) {
            (AF_BRIDGE, 16) => AF_INET6,
            (AF_BRIDGE, _) => AF_INET,
            _ => family,
        };
        fields.put("dst", host(family, address));
    }
    if index != 0 {
        fields.put("dev", place.context.names.link(index));
    }
    true
}

fn hardware_address(value: &[u8], context: Context<'_>) -> Option<Value> {
    let kind = context.names.link_type(context.message.u32(4)?);
    Some(link_address(value, kind).into())
}

/// Puts the flags (`NTF_*`), those of 32 bits among them, and the state.
fn flags_and_state(place: Place<'_>, fields: &mut Fields) -> bool {
    let message = place.context.message;
    let (state, flags) = (message.u16(8).unwrap_or_default(), message.u8(10).unwrap_or_default());
    let Some(extended) = place.value.map_or(Some(0), number32) else { return false };
    fields.put_word("router", flags & 0x80 != 0);
    fields.put_word("proxy", flags & 0x08 != 0);
    fields.put_word("managed", extended & 1 != 0);
    fields.put_word("extern_learn", flags & 0x10 != 0);
    fields.put_word("offload", flags & 0x20 != 0);
    for (bit, name) in EXTENDED.into_iter().skip(1) {
        fields.put_word(name, extended & bit != 0);
    }
    let others = EXTENDED.iter().fold(extended, |left, (bit, _)| left & !bit);
    fields.put_some("flags_ext", (others != 0).then(|| format!("{others:#x}")));
    if message.u8(0) == Some(AF_BRIDGE) {
        fields.put_word("self", flags & 0x02 != 0);
        fields.put_word("master_entry", flags & 0x04 != 0);
        fields.put_word("sticky", flags & 0x40 != 0);
    }
    fields.put_word("used", flags & 0x01 != 0);
    if state != 0 {
        fields.put("state", flag_names(state.into(), &STATES));
    }
    true
}

fn origin(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(protocol) = place.value.map_or(Some(0), number8) else { return false };
    if protocol != 0 {
        fields.put("protocol", place.context.names.protocol(protocol));
    }
    true
}

//! Addresses: `IFA_*` (`linux/if_addr.h`), in the order of `ip addr`.

use serde_json::Value;

use super::{
    Context, Form, Place, Table,
    form::{number8, number32},
    route::address,
    table,
};
use crate::show::{
    fields::{Fields, Put},
    kernel_name,
    notation::{AF_INET6, host},
};
use Form::{By, I32, PartOf, Text, With};
use netlink_remote::nlmsg::read_u32;

pub(in super::super) static ADDRESS: Table = table!("IFA_":
    LOCAL = 2, "local", With(local);
    ADDRESS = 1, "address", PartOf("LOCAL");
    RT_PRIORITY = 9, "metric", PartOf("LOCAL");
    BROADCAST = 4, "broadcast", By(address);
    ANYCAST = 5, "anycast", By(address);
    MULTICAST = 7, "multicast", By(address);
    FLAGS = 8, "ifa_flags", With(scope_and_flags);
    PROTO = 11, "protocol", By(origin);
    LABEL = 3, "label", Text(kernel_name::LINK);
    CACHEINFO = 6, "valid_life_time", With(life_times);
    TARGET_NETNSID = 10, "target_netnsid", I32;
);

/// `IFA_F_SECONDARY`; of an IPv6 address `IFA_F_TEMPORARY`.
const SECONDARY: u32 = 0x01;
/// `IFA_F_DEPRECATED`.
const DEPRECATED: u32 = 0x20;
/// `IFA_F_PERMANENT`. Its absence is shown, as "dynamic".
const PERMANENT: u32 = 0x80;

/// The flags in the order of `ip`.
const FLAGS: [(u32, &str); 12] = [
    (SECONDARY, "secondary"),
    (0x02, "nodad"),
    (0x04, "optimistic"),
    (0x08, "dadfailed"),
    (0x10, "home"),
    (DEPRECATED, "deprecated"),
    (0x40, "tentative"),
    (PERMANENT, "dynamic"),
    (0x100, "mngtmpaddr"),
    (0x200, "noprefixroute"),
    (0x400, "autojoin"),
    (0x800, "stable-privacy"),
];

/// The flags of an address: those of 32 bits, or the header's.
fn flags(place: Place<'_>) -> u32 {
    const FLAGS: u16 = 8;
    let short = place.context.message.u8(2).unwrap_or_default();
    place.siblings.u32(FLAGS).unwrap_or_else(|| short.into())
}

/// Puts the address, the peer's, the length of their prefix, and the metric of its route.
fn local(place: Place<'_>, fields: &mut Fields) -> bool {
    const PEER: u16 = 1;
    const METRIC: u16 = 9;
    let field = |at: usize| place.context.message.u8(at).unwrap_or_default();
    let (family, length) = (field(0), field(1));
    let peer = place.siblings.bytes(PEER);
    if let Some(local) = place.value.or(peer) {
        fields.put("local", host(family, local));
        let peer = peer.filter(|peer| *peer != local);
        fields.put_some("address", peer.map(|peer| host(family, peer)));
        fields.put("prefixlen", length);
        fields.put_some("metric", place.siblings.u32(METRIC));
    }
    true
}

/// Puts the scope, and each flag as a key.
fn scope_and_flags(place: Place<'_>, fields: &mut Fields) -> bool {
    if place.value.is_some_and(|value| number32(value).is_none()) {
        return false;
    }
    let message = place.context.message;
    fields.put("scope", place.context.names.scope(message.u8(3).unwrap_or_default()));
    let flags = flags(place);
    for (bit, name) in FLAGS {
        let is_temporary = bit == SECONDARY && message.u8(0) == Some(AF_INET6);
        let name = if is_temporary { "temporary" } else { name };
        fields.put_true(name, (flags & bit != 0) != (bit == PERMANENT));
    }
    let unnamed = FLAGS.iter().fold(flags, |left, (bit, _)| left & !bit);
    if unnamed != 0 {
        fields.put("ifa_flags", format!("{unnamed:02x}"));
    }
    true
}

/// Who has made the address (`IFAPROT_*`).
fn origin(value: &[u8], _: Context<'_>) -> Option<Value> {
    Some(match number8(value)? {
        0 => "unspec".into(),
        1 => "kernel_lo".into(),
        2 => "kernel_ra".into(),
        3 => "kernel_ll".into(),
        other => format!("{other:#x}").into(),
    })
}

/// `struct ifa_cacheinfo`, without when the address was made and changed. Times are in seconds.
fn life_times(place: Place<'_>, fields: &mut Fields) -> bool {
    let Some(value) = place.value else { return true };
    let (Some(preferred), Some(valid)) = (read_u32(value, 0), read_u32(value, 4)) else {
        return false;
    };
    fields.put("valid_life_time", valid);
    // After its preferred time the kernel counts below zero.
    let deprecated = flags(place) & DEPRECATED != 0 && preferred != u32::MAX;
    let preferred = if deprecated { preferred.cast_signed().into() } else { i64::from(preferred) };
    fields.put("preferred_life_time", preferred);
    true
}

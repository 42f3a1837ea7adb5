//! Routes.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::{
    AF_INET, AF_INET6, DELADDR, DELNEXTHOP, DELROUTE, GETROUTE, NEWNEXTHOP, NEWROUTE, address,
    address_or_any, is_of_link, request,
};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::{Attributes, Message, flags},
};

/// IPv4 and IPv6 routes of all tables, without those that the kernel caches.
///
/// Several routes may have one key: IPv4 routes that were appended, and IPv6 routes without a gateway. The
/// kernel deletes and changes IPv4 routes without a word when a link goes down, when an address goes and when
/// a nexthop object changes: events of links, and those of addresses and nexthops, are a
/// [`Doubt`](Reading::Doubt). The flag `RTNH_F_LINKDOWN` follows a carrier as late as [`Links`](super::Links) do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Routes;

/// What tells most routes from each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct RouteKey {
    /// The table's number.
    pub table: u32,
    /// The destination; of all zeros, with a length of 0, for a default route.
    pub destination: IpAddr,
    /// The length of its prefix.
    pub prefix_len: u8,
    /// The source and the length of its prefix, of IPv6 routes that have one (`ip -6 route add .. from`).
    pub source: Option<(IpAddr, u8)>,
    /// The type of service, or DSCP, of IPv4 routes.
    pub tos: u8,
    /// The metric (`RTA_PRIORITY`), 0 where there is none.
    pub metric: u32,
}

/// `10.0.0.0/8 table 254 metric 100`.
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, destination, prefix_len, metric, .. } = self;
        write!(f, "{destination}/{prefix_len} table {table} metric {metric}")
    }
}

/// `struct rtmsg`.
const HEADER: usize = 12;
/// `RTM_F_CLONED`.
const CLONED: u32 = 0x200;
/// `RTA_DST`, `RTA_SRC`, `RTA_PRIORITY`, `RTA_MULTIPATH` and `RTA_TABLE`.
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const PRIORITY: u16 = 6;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
/// Without `RTA_CACHEINFO` and `RTA_EXPIRES`.
const TRIM: Trim = Trim { without: &[12, 23], inside: &[] };

fn key(message: &Message<'_>) -> Option<RouteKey> {
    let attributes = message.attributes(HEADER);
    let family = message.u8(0)?;
    let source_len = message.u8(2)?;
    let source = attributes.bytes(SOURCE).and_then(address).filter(|_| family == AF_INET6);
    Some(RouteKey {
        table: attributes.u32(TABLE).unwrap_or(message.u8(4)?.into()),
        destination: address_or_any(attributes, DESTINATION, family),
        prefix_len: message.u8(1)?,
        source: source.map(|source| (source, source_len)),
        tos: message.u8(3)?,
        metric: attributes.u32(PRIORITY).unwrap_or(0),
    })
}

impl Kind for Routes {
    type Key = RouteKey;

    fn groups(&self) -> Vec<Group> {
        vec![Group::IPV4_ROUTE, Group::IPV6_ROUTE, Group::LINK, Group::IPV4_IFADDR, Group::NEXTHOP]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETROUTE, AF_INET, HEADER), request(GETROUTE, AF_INET6, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<RouteKey> {
        let kind = message.header.kind;
        match kind {
            NEWROUTE | DELROUTE => {}
            DELADDR | NEWNEXTHOP | DELNEXTHOP => return Reading::Doubt,
            _ if is_of_link(message) => return Reading::Doubt,
            _ => return Reading::Other,
        }
        let family = message.u8(0);
        let is_cached = message.u32(8).is_none_or(|flags| flags & CLONED != 0);
        let key = key(message).filter(|_| matches!(family, Some(AF_INET | AF_INET6)) && !is_cached);
        let (replaces, appends) = match message.header.flags {
            // Those of an event are of the request that made the change.
            flags if flags & flags::MULTI != 0 => (false, false),
            flags => (flags & flags::REPLACE != 0, flags & flags::APPEND != 0),
        };
        match (kind, key) {
            (_, None) => Reading::Other,
            (NEWROUTE, Some(key)) if replaces => Reading::Replaces(key),
            // One more nexthop of the route that is there, or one more route.
            (NEWROUTE, Some(_)) if appends && family == Some(AF_INET6) => Reading::Doubt,
            (NEWROUTE, Some(key)) if family == Some(AF_INET6) => Reading::First(key),
            (NEWROUTE, Some(key)) => Reading::Is(key),
            (_, Some(key)) => Reading::IsNot(key),
        }
    }

    fn is_unique(&self) -> bool {
        false
    }

    fn has_part(&self, object: &[u8], _part: &[u8]) -> bool {
        object.first() == Some(&AF_INET6)
            && Attributes(object.get(HEADER..).unwrap_or_default()).has(MULTIPATH)
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        TRIM.payload(payload, HEADER, |_| {})
    }
}

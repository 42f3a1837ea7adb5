//! The kinds of rtnetlink.

mod addresses;
mod fdb;
mod links;
mod neighbours;
mod nexthops;
mod routes;
mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use addresses::{AddressKey, Addresses};
pub use fdb::{Fdb, FdbKey};
pub use links::Links;
pub use neighbours::{NeighbourKey, Neighbours};
pub use nexthops::Nexthops;
pub use routes::{RouteKey, Routes};
pub use rules::{RuleKey, Rules};

use crate::nlmsg::{Attributes, Builder, Message};

/// Address families.
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u8 = 10;

/// Message types of `linux/rtnetlink.h`.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const GETNEIGH: u16 = 30;
const NEWRULE: u16 = 32;
const DELRULE: u16 = 33;
const GETRULE: u16 = 34;
const NEWNEXTHOP: u16 = 104;
const DELNEXTHOP: u16 = 105;
const GETNEXTHOP: u16 = 106;

/// A request of a type with a header of `length` bytes, whose first is the family.
fn request(kind: u16, family: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0; length];
    if let Some(first) = header.first_mut() {
        *first = family;
    }
    Builder::new(kind, 0).put(&header).finish()
}

/// An address of 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        16 => bytes.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

/// The address in an attribute, or that of all zeros.
fn address_or_any(attributes: Attributes<'_>, kind: u16, family: u8) -> IpAddr {
    let any = match family {
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    attributes.bytes(kind).and_then(address).unwrap_or(any)
}

/// Whether a message is about a link itself, and not about a port of a bridge or a radio.
fn is_of_link(message: &Message<'_>) -> bool {
    const WIRELESS: u16 = 11;
    matches!(message.header.kind, NEWLINK | DELLINK)
        && message.u8(0) != Some(AF_BRIDGE)
        && !message.attributes(16).has(WIRELESS)
}

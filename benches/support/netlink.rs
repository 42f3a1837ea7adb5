//! The requests that are measured, as bytes, and as much of the answers as counting takes.

use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_MULTIPART, NLM_F_REQUEST, NLMSG_DONE,
    NetlinkMessage,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::LinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
        RouteType,
    },
};

pub const NETLINK_ROUTE: u32 = 0;

/// `RTNLGRP_IPV4_ROUTE`.
pub const ROUTE_GROUP: u32 = 7;

/// The index of `lo`.
const LOOPBACK: u32 = 1;

/// Room for the largest datagram of a dump, as the stub offers it.
pub const ROOM: usize = 64 << 10;

fn request(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags | NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// `RTM_GETLINK` of the loopback interface, by its index.
pub fn one_link() -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    request(RouteNetlinkMessage::GetLink(link), 0)
}

/// A dump of all IPv4 routes.
pub fn all_routes() -> Vec<u8> {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    request(RouteNetlinkMessage::GetRoute(route), NLM_F_DUMP)
}

/// An IPv4 route to 10.a.b.c/32 by way of `lo`.
fn route(number: u32) -> RouteMessage {
    let [_, a, b, c] = number.to_be_bytes();
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = 32;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Link;
    route.header.kind = RouteType::Unicast;
    let destination = RouteAddress::Inet([10, a, b, c].into());
    route.attributes.push(RouteAttribute::Destination(destination));
    route.attributes.push(RouteAttribute::Oif(LOOPBACK));
    route
}

pub fn add_route(number: u32) -> Vec<u8> {
    request(RouteNetlinkMessage::NewRoute(route(number)), NLM_F_CREATE | NLM_F_EXCL)
}

pub fn delete_route(number: u32) -> Vec<u8> {
    request(RouteNetlinkMessage::DelRoute(route(number)), 0)
}

/// The type of a datagram's first message.
pub fn kind(datagram: &[u8]) -> u16 {
    u16::from_ne_bytes(datagram[4..6].try_into().unwrap())
}

/// Whether a datagram ends a dump: the last 20 bytes are an `NLMSG_DONE`, on which no route ends.
pub fn is_done(datagram: &[u8]) -> bool {
    let Some((_, last)) = datagram.split_last_chunk::<20>() else { return false };
    last[..4] == 20_u32.to_ne_bytes() && kind(last) == NLMSG_DONE
}

/// Whether a datagram is one of several (`NLM_F_MULTI`).
pub fn is_part(datagram: &[u8]) -> bool {
    u16::from_ne_bytes(datagram[6..8].try_into().unwrap()) & NLM_F_MULTIPART != 0
}

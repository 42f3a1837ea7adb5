//! Requests to rtnetlink as bytes, and the parts of its answers that tests look at.

use netlink_remote::nlmsg::{Builder, HEADER_LEN, flags, kind, messages};

/// `NETLINK_ROUTE`.
pub const NETLINK_ROUTE: u32 = 0;

/// `RTNLGRP_LINK`.
pub const RTNLGRP_LINK: u32 = 1;

/// `RTNLGRP_IPV4_ROUTE`.
pub const RTNLGRP_IPV4_ROUTE: u32 = 7;

/// The index of `lo`, in every namespace.
pub const LOOPBACK: u32 = 1;

/// Room for the largest datagram of a dump, as the stub offers it.
pub const ROOM: usize = 64 << 10;

// linux/rtnetlink.h.
/// `RTM_NEWLINK`.
pub const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const AF_INET: u8 = 2;

/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// Bytes of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

/// `IFLA_IFNAME`.
const NAME: u16 = 3;

/// `RTM_GETLINK` of one link.
pub fn link_by_index(index: u32, sequence: u32) -> Vec<u8> {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Builder::new(RTM_GETLINK, flags::REQUEST).sequence(sequence).put(&header).finish()
}

/// `RTM_GETLINK` of all links.
pub fn dump_links(sequence: u32) -> Vec<u8> {
    let builder = Builder::new(RTM_GETLINK, flags::REQUEST | flags::DUMP).sequence(sequence);
    builder.put(&[0; LINK_HEADER]).finish()
}

/// `RTM_GETROUTE` of all IPv4 routes.
pub fn dump_routes(sequence: u32) -> Vec<u8> {
    let mut header = [0; ROUTE_HEADER];
    header[0] = AF_INET;
    let builder = Builder::new(RTM_GETROUTE, flags::REQUEST | flags::DUMP).sequence(sequence);
    builder.put(&header).finish()
}

/// `RTM_NEWROUTE` of an IPv4 route to 10.a.b.c/32 by way of `lo`, where a, b and c are `number`.
/// Its sequence number is `number` + 1.
pub fn add_route(number: u32, more: u16) -> Vec<u8> {
    route(RTM_NEWROUTE, flags::CREATE | flags::EXCL | more, number)
}

/// `RTM_DELROUTE` of such a route.
pub fn delete_route(number: u32) -> Vec<u8> {
    route(RTM_DELROUTE, 0, number)
}

fn route(kind: u16, more: u16, number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let mut header = [0; ROUTE_HEADER];
    header[..8].copy_from_slice(&[
        AF_INET,
        32,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        RT_SCOPE_LINK,
        RTN_UNICAST,
    ]);
    Builder::new(kind, flags::REQUEST | more)
        .sequence(number + 1)
        .put(&header)
        .attribute(RTA_DST, &[10, a, b, c])
        .attribute(RTA_OIF, &LOOPBACK.to_ne_bytes())
        .finish()
}

/// The numbers of the routes of [`add_route`] in a datagram.
pub fn route_numbers(datagram: &[u8]) -> impl Iterator<Item = u32> {
    messages(datagram).filter(|message| message.header.kind == RTM_NEWROUTE).filter_map(|message| {
        match message.attributes(ROUTE_HEADER).bytes(RTA_DST)? {
            [10, a, b, c] => Some(u32::from_be_bytes([0, *a, *b, *c])),
            _ => None,
        }
    })
}

/// The names of the links in a datagram.
pub fn link_names(datagram: &[u8]) -> impl Iterator<Item = String> {
    messages(datagram)
        .filter(|message| message.header.kind == RTM_NEWLINK)
        .filter_map(|message| message.attributes(LINK_HEADER).text(NAME))
}

/// The sequence number of a datagram's first message.
pub fn sequence_of(datagram: &[u8]) -> u32 {
    messages(datagram).next().expect("a message").header.sequence
}

/// The errno of the first `NLMSG_ERROR` in a datagram: 0 for an acknowledgement.
pub fn error_code(datagram: &[u8]) -> Option<i32> {
    let mut errors = messages(datagram).filter(|message| message.header.kind == kind::ERROR);
    Some(errors.next()?.outcome()?.errno)
}

/// Whether a datagram ends a dump.
pub fn is_done(datagram: &[u8]) -> bool {
    messages(datagram).any(|message| message.header.kind == kind::DONE)
}

/// Whether a datagram ends a dump, told from its last 20 bytes: an `NLMSG_DONE`, on which no link
/// and no route ends. For measuring: it does not walk the messages.
pub fn ends_with_done(datagram: &[u8]) -> bool {
    const DONE_LEN: usize = HEADER_LEN + 4;
    datagram.split_last_chunk::<DONE_LEN>().is_some_and(|(_, last)| is_done(last))
}

/// Whether a datagram is one of several (`NLM_F_MULTI`).
pub fn is_part(datagram: &[u8]) -> bool {
    messages(datagram).next().expect("a message").header.flags & flags::MULTI != 0
}

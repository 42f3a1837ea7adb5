//! Multicast groups, and reports of lost events.

use netlink_packet_core::NLM_F_ACK;
use netlink_remote::{Event, RemoteSocket, client::options};

use crate::support::*;

over_every_transport!(
    events_of_a_group_arrive_with_its_number,
    groups_past_32_are_joined_told_and_listed,
    joining_and_leaving_take_effect,
    a_group_that_is_none_is_refused,
    an_overrun_is_told_at_its_place_with_its_count,
    a_silent_overrun_is_told_too,
    events_of_other_namespaces_carry_their_nsid,
    a_burst_of_twenty_thousand_events_is_not_lost,
);

const RTNLGRP_IPV4_MCADDR: u32 = 37;

/// Skips to the first datagram with a message of this type.
async fn next_of_type(socket: &RemoteSocket, wanted: u16) -> netlink_remote::Datagram {
    loop {
        let datagram = datagram(socket).await;
        if nlmsg::Header::parse(&datagram.data).unwrap().kind == wanted {
            return datagram;
        }
    }
}

async fn events_of_a_group_arrive_with_its_number(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let builder = far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let socket = builder.group(RTNLGRP_LINK).open().await.unwrap();
    netns.ip("link add v0 type veth peer name v1");
    let event = next_of_type(&socket, 16).await;
    assert_eq!((event.info.portid, event.info.group, event.info.nsid), (0, RTNLGRP_LINK, None));
    far.end().await;
}

async fn groups_past_32_are_joined_told_and_listed(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let builder = far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let socket = builder.group(RTNLGRP_IPV4_MCADDR).open().await.unwrap();
    let level = options::SOL_NETLINK;
    let members = socket.option(level, options::LIST_MEMBERSHIPS, 64).await.unwrap();
    let bit = RTNLGRP_IPV4_MCADDR as usize - 1;
    let word = u32::from_ne_bytes(members[bit / 32 * 4..][..4].try_into().unwrap());
    assert_eq!(word, 1 << (bit % 32));
    // Setting the link up joins 224.0.0.1, which is an event of this group.
    netns.ip("link add v0 type veth peer name v1");
    netns.ip("link set v0 up");
    assert_eq!(datagram(&socket).await.info.group, RTNLGRP_IPV4_MCADDR);
    far.end().await;
}

async fn joining_and_leaving_take_effect(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let socket = far.client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    netns.ip("link add v0 type veth peer name v1");
    socket.join(RTNLGRP_LINK).await.unwrap();
    netns.ip("link set v0 mtu 1400");
    assert_eq!(datagram(&socket).await.info.group, RTNLGRP_LINK);
    socket.leave(RTNLGRP_LINK).await.unwrap();
    while socket.try_recv().unwrap().is_some() {}
    netns.ip("link set v0 mtu 1401");
    // An event of the change would arrive before the reply to a confirmed request.
    within(socket.send_confirmed(&link_by_index(1, 9))).await.unwrap();
    let Some(Event::Datagram(answer)) = socket.try_recv().unwrap() else { panic!() };
    assert_eq!(sequence_of(&answer.data), 9);
    assert_eq!(socket.try_recv().unwrap(), None);
    far.end().await;
}

async fn a_group_that_is_none_is_refused(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    for group in [0, 5000, -1] {
        assert_eq!(socket.join(group).await.unwrap_err().errno(), Some(EINVAL));
    }
    let error = far.client.socket(NETLINK_ROUTE).group(5000).open().await.unwrap_err();
    assert_eq!(error.errno(), Some(EINVAL));
    assert!(error.to_string().contains("group 5000"), "{error}");
    far.end().await;
}

/// Adds `count` routes, one event each, and waits for their acknowledgements.
async fn add_routes(socket: &RemoteSocket, from: u32, count: u32) {
    for number in from..from + count {
        socket.send(&add_route(number, NLM_F_ACK)).await.unwrap();
        assert_eq!(error_code(&datagram(socket).await.data), Some(0), "route {number}");
    }
}

/// The numbers of routes in the events received, with the losses in their places.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Route(u32),
    Lost(u64),
}

/// Receives up to a route of number `last` or higher: the event of `last` itself may be lost.
async fn collect(socket: &RemoteSocket, last: u32) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        match within(socket.recv()).await.unwrap() {
            Event::Datagram(datagram) => {
                for number in route_numbers(&datagram.data) {
                    seen.push(Seen::Route(number));
                    if number >= last {
                        return seen;
                    }
                }
            }
            Event::Lost { dropped, .. } => seen.push(Seen::Lost(dropped)),
            other => panic!("{other:?}"),
        }
    }
}

/// Asserts that routes are in order and that each gap is reported in its place with its size; gives
/// the sum of the gaps.
fn assert_every_gap_is_told(seen: &[Seen]) -> u64 {
    let (mut next, mut lost) = (0, 0);
    for item in seen {
        match item {
            Seen::Lost(dropped) => {
                lost += dropped;
                next += u32::try_from(*dropped).unwrap();
            }
            Seen::Route(number) => {
                assert_eq!(*number, next, "a gap without a report in its place: {seen:?}");
                next += 1;
            }
        }
    }
    lost
}

/// Adds routes from `number` on, one by one, until `reading` has seen enough.
async fn add_until_finished<T>(
    requests: &RemoteSocket,
    mut number: u32,
    reading: tokio::task::JoinHandle<T>,
) -> T {
    while !reading.is_finished() {
        add_routes(requests, number, 1).await;
        number += 1;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    within(reading).await.unwrap()
}

async fn an_overrun_is_told_at_its_place_with_its_count(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let socket = || far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let events = socket().receive_buffer(4096).window(1, 1).open().await.unwrap();
    events.join(RTNLGRP_IPV4_ROUTE).await.unwrap();
    let requests = socket().open().await.unwrap();
    // The stub has no credit to read, so a few events fill the kernel's buffer.
    add_routes(&requests, 0, 500).await;
    let reading = tokio::spawn(async move { (collect(&events, 600).await, events) });
    // The socket works after the gap.
    let (seen, events) = add_until_finished(&requests, 500, reading).await;
    let lost = assert_every_gap_is_told(&seen);
    assert!(lost > 400, "of 500 events in a 4 KiB buffer, only {lost} were lost");
    assert!(within(events.close()).await.unwrap().dropped >= lost);
    far.end().await;
}

async fn a_silent_overrun_is_told_too(transport: Transport) {
    // Without ENOBUFS the kernel gives a count and no place: the report follows the queued events.
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let socket = || far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let events = socket().group(RTNLGRP_IPV4_ROUTE).receive_buffer(4096).window(1, 1);
    let events = events.netlink_option(options::NO_ENOBUFS, true).open().await.unwrap();
    let requests = socket().open().await.unwrap();
    add_routes(&requests, 0, 300).await;
    let (mut routes, mut lost) = (0, 0);
    while routes + lost < 300 {
        match within(events.recv()).await.unwrap() {
            Event::Datagram(d) => routes += route_numbers(&d.data).count() as u64,
            Event::Lost { dropped, total, .. } => {
                lost += dropped;
                assert_eq!(lost, total);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 100 && routes > 0, "{routes} arrived, {lost} lost");
    assert_eq!(routes + lost, 300);
    far.end().await;
}

async fn events_of_other_namespaces_carry_their_nsid(transport: Transport) {
    let far = Far::new(transport).await;
    let (here, there) = (Namespace::empty(), Namespace::empty());
    here.ip(&format!("netns set {} 7", there.0));
    let builder = far.client.socket(NETLINK_ROUTE).netns(here.netns());
    let builder = builder.netlink_option(options::LISTEN_ALL_NSID, true).group(RTNLGRP_LINK);
    let socket = builder.open().await.unwrap();
    there.ip("link add v0 type veth peer name v1");
    assert_eq!(next_of_type(&socket, 16).await.info.nsid, Some(7));
    here.ip("link add v0 type veth peer name v1");
    assert_eq!(next_of_type(&socket, 16).await.info.nsid, Some(7), "the second end, still there");
    assert_eq!(next_of_type(&socket, 16).await.info.nsid, None);
    far.end().await;
}

async fn a_burst_of_twenty_thousand_events_is_not_lost(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let socket = || far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let events = socket().group(RTNLGRP_IPV4_ROUTE).open().await.unwrap();
    let requests = socket().open().await.unwrap();
    let reading = tokio::spawn(async move { collect(&events, 19_999).await });
    for number in 0..20_000 {
        requests.send(&add_route(number, 0)).await.unwrap();
    }
    let lost = assert_every_gap_is_told(&add_until_finished(&requests, 20_000, reading).await);
    // The kernel limits the buffer of a user without privileges to 212,992 bytes, which a burst may
    // overflow.
    assert!(lost == 0 || world::is_user(), "{lost} lost");
    far.end().await;
}

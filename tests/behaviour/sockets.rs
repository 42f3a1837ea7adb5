//! Sending, receiving, and socket options.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_remote::{
    ErrorKind, Event, Group, Netns, Origin, Protocol,
    client::{Destination, FilterInstruction, options},
};

use crate::support::*;

over_every_transport!(
    a_dump_arrives_whole,
    answers_carry_the_port_id_that_open_told,
    the_kernels_errno_and_its_words_reach_the_caller,
    a_confirmed_send_returns_behind_what_it_was_answered_with,
    a_confirmed_dump_larger_than_the_window_does_not_hang,
    a_confirmed_send_gives_the_errno_of_sendmsg,
    sends_go_before_the_socket_is_open,
    a_pipelined_send_that_fails_is_told_in_its_place,
    many_pipelined_sends_are_answered_in_order_with_a_small_receive_buffer_too,
    sends_of_all_kinds_are_made_in_their_order,
    pipelined_dumps_do_not_get_into_each_others_way,
    what_is_slow_is_answered_before_what_was_sent_behind_it_is_done,
    options_are_set_and_read,
    options_that_hold_pointers_are_refused,
    filters_drop_what_they_match,
    datagrams_have_times_where_they_are_asked_for,
    drained_comes_behind_all_that_was_queued,
    the_kernels_defaults_are_ours,
    a_datagram_of_megabytes_arrives_whole,
    a_datagram_too_large_to_forward_is_told,
    a_datagram_too_large_to_send_is_refused_here,
    a_slow_request_delays_no_other_socket,
    a_socket_without_credit_holds_up_no_other,
    sixty_four_sockets_dump_at_the_same_time,
    a_taken_port_id_is_refused,
    a_protocol_the_kernel_lacks_is_refused,
    sink_and_stream,
    ping_comes_back,
    closing_gives_the_counters,
);

async fn a_dump_arrives_whole(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    assert!(link_names(&socket).await.contains(&"lo".to_owned()));
    far.end().await;
}

async fn answers_carry_the_port_id_that_open_told(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    assert_ne!(socket.portid(), 0);
    assert!(has_portid(socket.portid()));
    socket.send(&link_by_index(1, 77)).await.unwrap();
    let answer = datagram(&socket).await.data;
    let header = nlmsg::Header::parse(&answer).unwrap();
    assert_eq!((header.portid, header.sequence), (socket.portid(), 77));
    far.end().await;
}

async fn the_kernels_errno_and_its_words_reach_the_caller(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    socket.send(&link_by_index(999_999, 5)).await.unwrap();
    assert_eq!(error_code(&datagram(&socket).await.data), Some(ENODEV));
    // NETLINK_EXT_ACK is on: the error has the kernel's words.
    let mut link = LinkMessage::default();
    link.header.index = 1;
    let strict = 1_i32.to_ne_bytes();
    let level = options::SOL_NETLINK;
    socket.set_option(level, options::GET_STRICT_CHK, &strict).await.unwrap();
    link.header.flags = netlink_packet_route::link::LinkFlags::Up;
    socket.send(&request(RouteNetlinkMessage::GetLink(link), 0, 6)).await.unwrap();
    let answer = datagram(&socket).await.data;
    assert_eq!(error_code(&answer), Some(EINVAL));
    let words = b"Invalid values in header";
    assert!(answer.windows(words.len()).any(|w| w == words), "{answer:?}");
    far.end().await;
}

async fn a_confirmed_send_returns_behind_what_it_was_answered_with(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    for sequence in 1..200 {
        let report = within(socket.send_confirmed(&link_by_index(1, sequence))).await.unwrap();
        assert!(report.kernel_time > Duration::ZERO);
        let Ok(Some(Event::Datagram(answer))) = socket.try_recv() else {
            panic!("the answer of request {sequence} was not there");
        };
        assert_eq!(sequence_of(&answer.data), sequence);
        assert_eq!(socket.try_recv().unwrap(), None);
    }
    // Earlier unread answers are delivered too.
    for sequence in 300..330 {
        socket.send(&link_by_index(1, sequence)).await.unwrap();
    }
    within(socket.send_confirmed(&link_by_index(1, 330))).await.unwrap();
    for sequence in 300..=330 {
        let Ok(Some(Event::Datagram(answer))) = socket.try_recv() else {
            panic!("the answer of request {sequence} was not there");
        };
        assert_eq!(sequence_of(&answer.data), sequence);
    }
    far.end().await;
}

async fn a_confirmed_dump_larger_than_the_window_does_not_hang(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    for number in 0..40 {
        netns.ip(&format!("link add v{number} type veth peer name w{number}"));
    }
    let socket =
        far.client.socket(NETLINK_ROUTE).netns(netns.netns()).window(1, 1).open().await.unwrap();
    within(socket.send_confirmed(&dump_links(1))).await.unwrap();
    let dump = whole_dump(&socket).await;
    assert_eq!(all_link_names(&dump).count(), 81);
    far.end().await;
}

async fn a_confirmed_send_gives_the_errno_of_sendmsg(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    let error = within(socket.send_confirmed(&[])).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(ENODATA)));
    assert_eq!(error.origin(), Origin::Kernel);
    let too_large = vec![0; socket.send_buffer() as usize];
    let error = within(socket.send_confirmed(&too_large)).await.unwrap_err();
    assert_eq!(error.errno(), Some(EMSGSIZE));
    // Three bytes are accepted and ignored, as by a local socket.
    within(socket.send_confirmed(&[1, 2, 3])).await.unwrap();
    assert_eq!(socket.try_recv().unwrap(), None);
    far.end().await;
}

async fn sends_go_before_the_socket_is_open(transport: Transport) {
    let far = Far::new(transport).await;
    let builder = || far.client.socket(Protocol::ROUTE);
    // Quick to open, and by another thread there.
    let netns = far.client.host().pid;
    for builder in [builder(), builder().netns(Netns::Pid(netns))] {
        let socket = builder.clone().begin().unwrap();
        within(socket.send_confirmed(&dump_links(7))).await.unwrap();
        assert_eq!(sequence_of(&datagram(&socket).await.data), 7);
        let socket = builder.begin().unwrap();
        for sequence in 1..100 {
            socket.send(&link_by_index(1, sequence)).await.unwrap();
        }
        for sequence in 1..100 {
            assert_eq!(sequence_of(&datagram(&socket).await.data), sequence);
        }
    }
    // By the sink, and of more bytes than may go before.
    let mut socket = builder().netns(Netns::Pid(netns)).begin().unwrap();
    let mut long = link_by_index(1, 5);
    long.resize(100_000, 0);
    within(futures_util::SinkExt::send(&mut socket, long.clone().into())).await.unwrap();
    assert_eq!(sequence_of(&datagram(&socket).await.data), 5);
    let socket = builder().netns(Netns::Pid(netns)).begin().unwrap();
    within(socket.send_confirmed(&long)).await.unwrap();
    assert_eq!(sequence_of(&datagram(&socket).await.data), 5);
    // The open's error is that of everything.
    for builder in [far.client.socket(Protocol::new(31)), builder().netns(Netns::Pid(0))] {
        let socket = builder.begin().unwrap();
        let sent = within(socket.send_confirmed(&dump_links(7))).await.unwrap_err();
        let received = within(socket.recv()).await.unwrap_err();
        assert_eq!((sent.kind(), received.kind()), (ErrorKind::Open, ErrorKind::Open), "{sent}");
        assert!(sent.errno().is_some());
        drop(socket);
    }
    far.end().await;
}

async fn a_pipelined_send_that_fails_is_told_in_its_place(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    socket.send(&link_by_index(1, 1)).await.unwrap();
    socket.send(&[]).await.unwrap();
    socket.send(&link_by_index(1, 2)).await.unwrap();
    assert_eq!(sequence_of(&datagram(&socket).await.data), 1);
    let error = within(socket.recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(ENODATA)));
    assert_eq!(sequence_of(&datagram(&socket).await.data), 2);
    far.end().await;
}

async fn many_pipelined_sends_are_answered_in_order_with_a_small_receive_buffer_too(
    transport: Transport,
) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    // Altnames make the answer some kilobytes long.
    for names in (0..60).collect::<Vec<_>>().chunks(6) {
        let names: Vec<_> = names.iter().map(|n| format!("altname {n:x>120}")).collect();
        netns.ip(&format!("link property add dev lo {}", names.join(" ")));
    }
    let builder = || far.client.socket(NETLINK_ROUTE).netns(netns.netns());
    let plain = builder().open().await.unwrap();
    let small = builder().receive_buffer(2304).open().await.unwrap();
    let shrunk = builder().open().await.unwrap();
    let least = 1_i32.to_ne_bytes();
    within(shrunk.set_option(SOL_SOCKET, SO_RCVBUF, &least)).await.unwrap();
    for socket in [plain, small, shrunk] {
        within(socket.set_option(SOL_SOCKET, SO_SNDBUF, &least)).await.unwrap();
        let fails = |sequence: u32| match sequence % 15 {
            7 => Some((Vec::new(), ENODATA)),
            0 => Some((padded(link_by_index(1, sequence), 8192), EMSGSIZE)),
            _ => None,
        };
        // Few enough at a time that the stub never waits for the stream.
        for round in (0..300).step_by(15) {
            for sequence in round + 1..=round + 15 {
                let request = fails(sequence).map(|(request, _)| request);
                let request = request.unwrap_or_else(|| link_by_index(1, sequence));
                within(socket.send(&request)).await.unwrap();
            }
            for sequence in round + 1..=round + 15 {
                if let Some((_, errno)) = fails(sequence) {
                    let error = within(socket.recv()).await.unwrap_err();
                    assert_eq!(error.errno(), Some(errno));
                    continue;
                }
                let data = datagram(&socket).await.data;
                assert!(data.len() > 7000, "{}", data.len());
                let header = nlmsg::Header::parse(&data).unwrap();
                assert_eq!((header.sequence, header.kind), (sequence, RTM_NEWLINK));
            }
        }
    }
    far.end().await;
}

/// Pads a message with zeros to a length.
fn padded(mut message: Vec<u8>, length: u32) -> Vec<u8> {
    message.resize(length as usize, 0);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

async fn sends_of_all_kinds_are_made_in_their_order(transport: Transport) {
    let far = Far::new(transport).await;
    // The second time with credit for three datagrams.
    for window in [1 << 20, 3] {
        let builder = far.client.socket(NETLINK_ROUTE).window(1 << 20, window);
        let socket = builder.open().await.unwrap();
        let send = async {
            for round in (0..100).step_by(10) {
                for sequence in 1..10 {
                    within(socket.send(&link_by_index(1, round + sequence))).await.unwrap();
                }
                if round % 20 == 0 {
                    // An NLMSG_NOOP that takes several frames.
                    let mut nothing = padded(link_by_index(1, 0), 100_000);
                    nothing[4..6].copy_from_slice(&1_u16.to_ne_bytes());
                    within(socket.send(&nothing)).await.unwrap();
                }
                within(socket.send_confirmed(&link_by_index(1, round + 10))).await.unwrap();
            }
        };
        let receive = async {
            for sequence in 1..=100 {
                assert_eq!(sequence_of(&datagram(&socket).await.data), sequence);
            }
        };
        tokio::join!(send, receive);
        let counters = within(socket.close()).await.unwrap();
        assert_eq!((counters.received_datagrams, counters.sent_datagrams), (100, 105));
    }
    far.end().await;
}

/// The kernel answers a dump request during another dump with EBUSY.
async fn pipelined_dumps_do_not_get_into_each_others_way(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    let dumps = |sequence: u32| sequence.is_multiple_of(3);
    for sequence in 1..=30 {
        let dump = dumps(sequence);
        let request = if dump { dump_links(sequence) } else { link_by_index(1, sequence) };
        within(socket.send(&request)).await.unwrap();
    }
    for sequence in 1..=30 {
        loop {
            let answer = datagram(&socket).await.data;
            assert_eq!(sequence_of(&answer), sequence);
            assert_eq!(error_code(&answer), None);
            if !dumps(sequence) || is_done(&answer) {
                break;
            }
        }
    }
    far.end().await;
}

/// Deleting a link waits in the kernel until every other user has released it.
async fn what_is_slow_is_answered_before_what_was_sent_behind_it_is_done(transport: Transport) {
    const LINKS: u32 = 10;
    let far = Far::new(transport).await;
    let namespace = Namespace::empty();
    for number in 0..LINKS {
        namespace.ip(&format!("link add slow{number} type veth peer name peer{number}"));
    }
    let open = || far.client.socket(NETLINK_ROUTE).netns(namespace.netns()).open();
    let (socket, other) = (open().await.unwrap(), open().await.unwrap());
    // Quick sends before must not make the stub expect another quick one.
    for sequence in 0..5 {
        within(socket.send(&link_by_index(1, sequence))).await.unwrap();
        datagram(&socket).await;
    }
    for number in 0..LINKS {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(format!("slow{number}")));
        let request = ack_of(RouteNetlinkMessage::DelLink(link), number);
        within(socket.send(&request)).await.unwrap();
    }
    assert_eq!(error_code(&datagram(&socket).await.data), Some(0));
    let left = link_names(&other).await;
    assert!(left.contains(&format!("slow{}", LINKS - 1)), "{left:?}");
    for _ in 1..LINKS {
        assert_eq!(error_code(&datagram(&socket).await.data), Some(0));
    }
    far.end().await;
}

async fn options_are_set_and_read(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    let level = options::SOL_NETLINK;
    let read = |name| socket.option(level, name, 4);
    assert_eq!(read(options::GET_STRICT_CHK).await.unwrap()[..], 0_i32.to_ne_bytes());
    let on = 1_i32.to_ne_bytes();
    socket.set_option(level, options::GET_STRICT_CHK, &on).await.unwrap();
    assert_eq!(read(options::GET_STRICT_CHK).await.unwrap()[..], on);
    let error = socket.set_option(level, 9999, &on).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(ENOPROTOOPT)));
    let error = socket.option(level, 9999, 4).await.unwrap_err();
    assert_eq!(error.errno(), Some(ENOPROTOOPT));
    // Options of open: one that fails makes open fail.
    let builder = || far.client.socket(NETLINK_ROUTE);
    let socket = builder().netlink_option(options::CAP_ACK, true).open().await.unwrap();
    assert_eq!(socket.option(level, options::CAP_ACK, 4).await.unwrap()[..], on);
    let error = builder().netlink_option(9999, true).open().await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(ENOPROTOOPT)));
    let error = builder().option(1, 8, vec![0; 70_000]).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "and is not cut to what has room");
    // What no stub takes is refused here, and the socket goes on.
    let error = socket.set_option(level, options::CAP_ACK, &[1; 32_769]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    socket.set_option(level, options::CAP_ACK, &[1; 32_768]).await.unwrap();
    let error = far.client.netns().add(&"x".repeat(70_000)).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Invalid, Some(EMSGSIZE)), "{error}");
    assert!(error.to_string().contains("65536 at most"), "{error}");
    let options = (0..3).fold(builder(), |builder, _| builder.option(level, 1, vec![0; 30_000]));
    let error = options.open().await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Invalid, Some(EMSGSIZE)), "{error}");
    far.end().await;
}

/// With such an option a client would have the kernel read or write the stub's memory.
async fn options_that_hold_pointers_are_refused(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.client.socket(NETLINK_ROUTE).open().await.unwrap();
    const SO_ATTACH_FILTER: i32 = 26;
    const SO_ATTACH_BPF: i32 = 50;
    // A `struct sock_fprog`: 4,096 instructions at an address.
    let program = [4096_u64.to_ne_bytes(), 0x1000_u64.to_ne_bytes()].concat();
    for name in [SO_ATTACH_FILTER, SO_ATTACH_BPF] {
        let error = socket.set_option(SOL_SOCKET, name, &program).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(ENOPROTOOPT)));
        let error = socket.option(SOL_SOCKET, name, 4096).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(ENOPROTOOPT)));
        let builder = far.client.socket(NETLINK_ROUTE).option(SOL_SOCKET, name, program.clone());
        let error = builder.open().await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(ENOPROTOOPT)));
    }
    within(far.client.ping()).await.unwrap();
    drop(socket);
    far.end().await;
}

/// As FRR and udev have them: by the type of the first message.
fn drops(message_type: u16) -> Vec<FilterInstruction> {
    // BPF_LD | BPF_H | BPF_ABS of nlmsg_type, as a big-endian number, and BPF_JMP | BPF_JEQ | BPF_K.
    let in_filter = u32::from(u16::from_be_bytes(message_type.to_ne_bytes()));
    vec![
        FilterInstruction::stmt(0x28, 4),
        FilterInstruction::jump(0x15, in_filter, 0, 1),
        FilterInstruction::stmt(0x06, 0),
        FilterInstruction::stmt(0x06, u32::MAX),
    ]
}

async fn filters_drop_what_they_match(transport: Transport) {
    const SO_DETACH_FILTER: i32 = 27;
    const SO_LOCK_FILTER: i32 = 44;
    const RTM_DELLINK: u16 = 17;
    let far = Far::new(transport).await;
    let namespace = Namespace::new();
    let builder = || {
        let builder = far.client.socket(NETLINK_ROUTE).netns(namespace.netns());
        builder.group(RTNLGRP_LINK)
    };
    let all = builder().open().await.unwrap();
    // The first stands from before the socket is bound; the others come later.
    let first = builder().filter(&drops(RTM_NEWLINK)).open().await.unwrap();
    let later = builder().open().await.unwrap();
    later.attach_filter(&drops(RTM_DELLINK)).await.unwrap();
    later.attach_filter(&drops(RTM_NEWLINK)).await.unwrap();
    let type_of = |data: &[u8]| u16::from_ne_bytes(data[4..6].try_into().unwrap());
    namespace.ip("link add d0 type veth peer name d1");
    namespace.ip("link del d0");
    let mut seen = [0, 0];
    while seen[1] < 2 {
        match type_of(&datagram(&all).await.data) {
            RTM_NEWLINK => seen[0] += 1,
            RTM_DELLINK => seen[1] += 1,
            other => panic!("an event of type {other}"),
        }
    }
    assert!(seen[0] > 0);
    for socket in [&first, &later] {
        for _ in 0..2 {
            assert_eq!(type_of(&datagram(socket).await.data), RTM_DELLINK);
        }
    }
    // Detached, the next link is seen.
    let on = 1_i32.to_ne_bytes();
    first.set_option(SOL_SOCKET, SO_DETACH_FILTER, &on).await.unwrap();
    namespace.ip("link add d0 type veth peer name d1");
    assert_eq!(type_of(&datagram(&first).await.data), RTM_NEWLINK);
    assert!(later.try_recv().unwrap().is_none());
    // The kernel judges, and its errno stays.
    let bad = [FilterInstruction::jump(0x15, 0, 9, 9)];
    for filter in [&bad[..], &[]] {
        let error = later.attach_filter(filter).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(EINVAL)), "{error}");
        assert!(error.to_string().contains("setting the filter"), "{error}");
        let error = builder().filter(filter).open().await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(EINVAL)), "{error}");
    }
    let longest = vec![FilterInstruction::stmt(0x06, 0); 4096];
    // Where net.core.optmem_max is small, the kernel has no memory for it, and says so.
    let whole = builder().filter(&longest).open().await;
    assert!(whole.map_or_else(|error| error.errno() == Some(ENOMEM), |_| true));
    let socket = builder().open().await.unwrap();
    let longer = vec![longest[0]; 4097];
    let error = builder().filter(&longer).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = socket.attach_filter(&longer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // Locked, it stays.
    let builder = builder().filter(&drops(RTM_NEWLINK)).option(SOL_SOCKET, SO_LOCK_FILTER, on);
    let locked = builder.open().await.unwrap();
    let error = locked.attach_filter(&longest).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(EPERM)), "{error}");
    let error = locked.set_option(SOL_SOCKET, SO_DETACH_FILTER, &on).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(EPERM)), "{error}");
    far.end().await;
}

async fn datagrams_have_times_where_they_are_asked_for(transport: Transport) {
    let far = Far::new(transport).await;
    let mut loopback = LinkMessage::default();
    loopback.header.index = 1;
    let request = request(RouteNetlinkMessage::GetLink(loopback), 0, 1);
    let plain = far.route().await;
    plain.send(&request).await.unwrap();
    assert_eq!(datagram(&plain).await.received, None);
    let timed = far.client.socket(NETLINK_ROUTE).times().open().await.unwrap();
    let mut last = SystemTime::now();
    for _ in 0..3 {
        timed.send(&request).await.unwrap();
        let received = datagram(&timed).await.received.unwrap();
        assert!(last <= received && received <= SystemTime::now(), "{received:?}");
        last = received;
    }
    for value in [&[2][..], &[], &[1, 0, 0, 0]] {
        let error = timed.set_option(-1, 2, value).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(EINVAL)), "{error}");
    }
    far.end().await;
}

/// The answer waits for datagrams that wait for room at this side, and for no others.
async fn drained_comes_behind_all_that_was_queued(transport: Transport) {
    const LINKS: usize = 40;
    let far = Far::new(transport).await;
    let namespace = Namespace::new();
    let builder = far.client.socket(NETLINK_ROUTE).netns(namespace.netns()).group(Group::LINK);
    let events = builder.window(4096, 3).open().await.unwrap();
    within(events.drained()).await.unwrap();
    assert_eq!(events.try_recv().unwrap(), None);
    let batch: String = (0..LINKS).map(|link| format!("link add b{link} type bridge\n")).collect();
    namespace.batch(&batch);
    let mut seen = 0;
    let mut drained = Box::pin(events.drained());
    let mut is_drained = false;
    while !is_drained {
        tokio::select! {
            biased;
            event = events.recv() => match event.unwrap() {
                Event::Datagram(datagram) => seen += usize::from(datagram.data.get(4) == Some(&16)),
                other => panic!("{other:?}"),
            },
            result = &mut drained => is_drained = result.is_ok(),
        }
    }
    drop(drained);
    while let Some(event) = events.try_recv().unwrap() {
        seen += usize::from(matches!(event, Event::Datagram(_)));
    }
    assert!(seen >= LINKS, "{seen}");
    // Who does not read waits, and a socket that is closed answers.
    namespace.batch(&batch.replace("add", "del"));
    let pending = tokio::time::timeout(Duration::from_millis(300), events.drained()).await;
    assert!(pending.is_err());
    within(events.close()).await.unwrap();
    within(far.client.ping()).await.unwrap();
    far.end().await;
}

async fn the_kernels_defaults_are_ours(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    let ext_ack = socket.option(options::SOL_NETLINK, options::EXT_ACK, 4).await.unwrap();
    assert_eq!(ext_ack[..], 1_i32.to_ne_bytes());
    // Twice 32 MiB in the kernel's accounting, or the kernel's limit for a user.
    if world::is_user() {
        assert!(socket.receive_buffer() >= 212_992, "{}", socket.receive_buffer());
    } else {
        assert_eq!(socket.receive_buffer(), 64 << 20);
    }
    far.end().await;
}

/// Sends from one remote socket to another, which takes root.
async fn send_across(far: &Far, length: usize) -> (Vec<u8>, netlink_remote::RemoteSocket) {
    let room = 32 << 20;
    let builder = || far.client.socket(NETLINK_USERSOCK).send_buffer(room).receive_buffer(room);
    let (from, to) = (builder().open().await.unwrap(), builder().open().await.unwrap());
    let length = length.min(from.send_buffer() as usize - 32);
    let sent: Vec<u8> = (0..length).map(|i| (i / 7) as u8).collect();
    let destination = Destination::new(to.portid(), 0);
    within(from.send_confirmed_to(&sent, destination)).await.unwrap();
    (sent, to)
}

async fn a_datagram_of_megabytes_arrives_whole(transport: Transport) {
    let far = Far::new(transport).await;
    for length in [1, 65_535, 65_536, 65_537, 200_000, 3_000_000] {
        let (sent, to) = send_across(&far, length).await;
        let received = datagram(&to).await;
        assert_ne!(received.info.portid, 0);
        assert!(received.data[..] == sent[..], "of {length}, {} came", received.data.len());
    }
    far.end().await;
}

async fn a_datagram_too_large_to_forward_is_told(transport: Transport) {
    let far = Far::new(transport).await;
    let (sent, to) = send_across(&far, 6_000_000).await;
    if sent.len() < 6_000_000 {
        // Without privileges net.core.wmem_max may be too small for a datagram of this size.
        assert!(world::is_user());
        assert_eq!(datagram(&to).await.data.len(), sent.len());
    } else {
        let error = within(to.recv()).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Receive, Some(EMSGSIZE)));
        assert!(error.to_string().contains(&sent.len().to_string()), "{error}");
    }
    // The socket works afterwards.
    assert_eq!(to.try_recv().unwrap(), None);
    far.end().await;
}

async fn a_datagram_too_large_to_send_is_refused_here(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route().await;
    let error = within(socket.send(&vec![0; 17 << 20])).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(EMSGSIZE)));
    assert_eq!(error.origin(), Origin::Caller);
    assert!(link_names(&socket).await.contains(&"lo".to_owned()), "nothing was harmed");
    far.end().await;
}

/// An nft transaction that adds a set of `count` elements.
pub(crate) fn nft_transaction(count: u32) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let (nft, inet, create) = (10 << 8, 1, flags::CREATE);
    let message = |kind, more, family: u8, resource: u16| {
        let [high, low] = resource.to_be_bytes();
        Builder::new(kind, flags::REQUEST | more).put(&[family, 0, high, low])
    };
    let begin = message(0x10, 0, 0, 10);
    let table = message(nft, create, inet, 0).attribute(1, b"slow\0");
    let set = message(nft | 9, create, inet, 0).attribute(1, b"slow\0").attribute(2, b"s\0");
    let numbers: [(u16, u32); 4] = [(3, 0), (4, 0), (5, 4), (10, 1)];
    let set = numbers
        .into_iter()
        .fold(set, |set, (kind, number)| set.attribute(kind, &number.to_be_bytes()));
    let mut out = [begin.finish(), table.finish(), set.finish()].concat();
    let elements: Vec<Vec<u8>> = (0..count)
        .map(|i| {
            let value = attribute(1, &i.to_be_bytes());
            attribute(1 | NESTED, &attribute(1 | NESTED, &value))
        })
        .collect();
    for some in elements.chunks(3000) {
        let add = message(nft | 12, create, inet, 0).attribute(1, b"slow\0");
        let add = add.attribute(2, b"s\0").attribute(3 | NESTED, &some.concat());
        out.extend(add.finish());
    }
    // The end of the batch asks for an acknowledgement of the whole.
    out.extend(message(0x11, flags::ACK, 0, 10).finish());
    out
}

/// An attribute to be nested in another one.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    Builder::new(0, 0).attribute(kind, value).finish().split_off(nlmsg::HEADER_LEN)
}

/// CTRL_CMD_GETFAMILY by name, which takes no lock that nftables or rtnetlink hold.
fn genl_family(sequence: u32) -> Vec<u8> {
    let builder = Builder::new(16, flags::REQUEST).sequence(sequence);
    builder.put(&[3, 1, 0, 0]).attribute(2, b"nlctrl\0").finish()
}

async fn a_slow_request_delays_no_other_socket(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let nft = far.client.socket(NETLINK_NETFILTER).netns(netns.netns()).send_buffer(8 << 20);
    let nft = Arc::new(nft.open().await.unwrap());
    let quick = far.client.socket(NETLINK_GENERIC).open().await.unwrap();
    // Without privileges the send buffer may be too small for all of it.
    let fits = |transaction: &Vec<u8>| transaction.len() + 32 <= nft.send_buffer() as usize;
    let counts = [100_000, 50_000, 9_000];
    let transaction = counts.into_iter().map(nft_transaction).find(fits).unwrap();
    // The kernel does not interrupt the transaction, so on a busy machine the other threads may get
    // no CPU until its end. A stub that waits for the transaction answers at most two requests
    // meanwhile, each time; another stub needs one time with a free CPU.
    let mut sequence = 0;
    for attempt in 0.. {
        let (theirs, transaction) = (Arc::clone(&nft), transaction.clone());
        let slow = tokio::spawn(async move { theirs.send_confirmed(&transaction).await });
        let mut meanwhile = 0;
        while !slow.is_finished() {
            sequence += 1;
            within(quick.send_confirmed(&genl_family(sequence))).await.unwrap();
            assert!(matches!(quick.try_recv(), Ok(Some(Event::Datagram(_)))));
            meanwhile += usize::from(!slow.is_finished());
        }
        let report = slow.await.unwrap().unwrap();
        // An NLMSG_ERROR with errno 0: the transaction succeeded.
        let ack = datagram(&nft).await.data;
        assert_eq!((ack[4], i32::from_ne_bytes(ack[16..20].try_into().unwrap())), (2, 0));
        if meanwhile > 10 {
            break;
        }
        assert!(attempt < 20, "{meanwhile} requests in {:?}", report.kernel_time);
    }
    far.end().await;
}

async fn a_socket_without_credit_holds_up_no_other(transport: Transport) {
    let far = Far::new(transport).await;
    let full = far.client.socket(NETLINK_ROUTE).window(1, 1).open().await.unwrap();
    let free = far.route().await;
    for sequence in 1..=100 {
        full.send(&link_by_index(1, sequence)).await.unwrap();
    }
    for _ in 0..10 {
        assert!(link_names(&free).await.contains(&"lo".to_owned()));
    }
    for sequence in 1..=100 {
        let answer = datagram(&full).await;
        assert_eq!(sequence_of(&answer.data), sequence);
    }
    far.end().await;
}

async fn sixty_four_sockets_dump_at_the_same_time(transport: Transport) {
    let far = Far::new(transport).await;
    let dumps: Vec<_> = (0..64)
        .map(|_| {
            let client = far.client.clone();
            tokio::spawn(async move {
                let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
                link_names(&socket).await
            })
        })
        .collect();
    for dump in dumps {
        assert!(within(dump).await.unwrap().contains(&"lo".to_owned()));
    }
    far.end().await;
}

async fn a_taken_port_id_is_refused(transport: Transport) {
    let far = Far::new(transport).await;
    let first = far.route().await;
    let again = far.client.socket(NETLINK_ROUTE).portid(first.portid()).open().await;
    let error = again.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(EADDRINUSE)));
    far.end().await;
}

async fn a_protocol_the_kernel_lacks_is_refused(transport: Transport) {
    let far = Far::new(transport).await;
    for protocol in [31, 1000, u32::MAX] {
        let error = far.client.socket(protocol).open().await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(EPROTONOSUPPORT)));
        assert!(error.to_string().contains(&protocol.to_string()), "{error}");
    }
    assert!(link_names(&far.route().await).await.contains(&"lo".to_owned()));
    far.end().await;
}

async fn sink_and_stream(transport: Transport) {
    use futures_util::{SinkExt, StreamExt};
    let far = Far::new(transport).await;
    let mut socket = far.route().await;
    socket
        .send_all(&mut futures_util::stream::iter((1..=20).map(|n| Ok(link_by_index(1, n).into()))))
        .await
        .unwrap();
    for sequence in 1..=20 {
        let Some(Ok(Event::Datagram(answer))) = within(socket.next()).await else { panic!() };
        assert_eq!(sequence_of(&answer.data), sequence);
    }
    far.end().await;
    let end = within(socket.next()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::Disconnected);
    assert!(within(socket.next()).await.is_none());
}

async fn ping_comes_back(transport: Transport) {
    let far = Far::new(transport).await;
    assert!(within(far.client.ping()).await.unwrap() < PATIENCE);
    assert_eq!(far.client.host().kernel_release, kernel_release());
    assert!(far.client.far_software().starts_with("netlink-remote "));
    assert_eq!(far.client.protocol_version(), netlink_remote::wire::VERSION);
    far.end().await;
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned()
}

async fn closing_gives_the_counters(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route_of_its_own().await;
    let portid = socket.portid();
    let request = link_by_index(1, 1);
    let mut bytes = 0;
    for _ in 0..3 {
        socket.send(&request).await.unwrap();
        bytes += datagram(&socket).await.data.len() as u64;
    }
    let counters = within(socket.close()).await.unwrap();
    assert_eq!((counters.sent_datagrams, counters.received_datagrams, counters.dropped), (3, 3, 0));
    assert_eq!((counters.sent_bytes, counters.received_bytes), (3 * request.len() as u64, bytes));
    assert!(!has_portid(portid), "closed means closed");
    far.end().await;
}

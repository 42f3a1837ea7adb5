//! Single orders of events, played step by step.

use super::*;

/// A pair with one socket open.
fn open_pair(window: Credit) -> (Pair, SocketId) {
    let mut pair = pair();
    let id = pair.client.open(opening(window)).unwrap();
    pair.settle();
    assert!(pair.client.state.is_open(id));
    (pair, id)
}

fn make(pair: &mut Pair, moves: &[Move]) {
    for next in moves {
        assert!(pair.moves().contains(next), "{next:?} is not possible: {:?}", pair.moves());
        pair.make(*next).unwrap();
    }
}

#[test]
fn an_id_is_used_again_only_after_closed() {
    let mut pair = pair();
    let first = pair.client.open(opening(credit(9, 9))).unwrap();
    assert_eq!(first, SocketId(1));
    pair.settle();
    pair.client.close(first);
    let second = pair.client.open(opening(credit(9, 9))).unwrap();
    assert_ne!(first, second);
    pair.settle();
    // A client may take an id again once it has seen it closed, and the stub agrees.
    to_stub(&mut pair.stub, 1, Flags::NONE, &Message::Open(opening(credit(9, 9)))).unwrap();
}

#[test]
fn a_send_may_come_before_the_answer_to_the_open() {
    let mut pair = Pair::new(PeerLimits { max_early_send: 8, ..LIMITS }, credit(64, 4), 4096);
    let id = pair.client.open(opening(credit(9, 9))).unwrap();
    let to = Destination::default();
    assert!(pair.client.send(id, to, true, &[0; 9]).is_err());
    let serial = pair.client.send(id, to, true, &[7; 8]).unwrap();
    // A second one waits.
    assert!(pair.client.state.may_send(id, 1).is_err());
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::ToStub]);
    assert!(pair.to_client.is_empty());
    make(&mut pair, &[Move::Stub(StubStep::Opened(id)), Move::Stub(StubStep::SendDone(id))]);
    pair.settle();
    assert_eq!(pair.client.views[&id].answers, [(serial, 0, true)]);
    assert_eq!(pair.client.views[&id].consumed, credit(8, 1));
    pair.client.send(id, to, true, &[0; 9]).unwrap();
    pair.settle();
}

#[test]
fn an_abandoned_open_is_closed_when_it_completes() {
    let mut pair = pair();
    let id = pair.client.open(opening(credit(9, 9))).unwrap();
    pair.client.close(id);
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::ToStub]);
    assert!(pair.to_client.is_empty(), "nothing is answered while the kernel is at it");
    make(&mut pair, &[Move::Stub(StubStep::Opened(id))]);
    assert_eq!(pair.to_client.len(), 1, "closed, and no opened before it");
    make(&mut pair, &[Move::ToClient]);
    assert_eq!(pair.client.views[&id].opened, 0);
    pair.check_end();
}

#[test]
fn opened_that_comes_after_the_close_is_dropped() {
    let mut pair = pair();
    let id = pair.client.open(opening(credit(9, 9))).unwrap();
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::Stub(StubStep::Opened(id))]);
    pair.client.close(id);
    pair.pump();
    make(&mut pair, &[Move::ToClient]);
    assert_eq!(pair.client.views[&id].opened, 0);
    pair.settle();
    pair.check_end();
}

#[test]
fn a_failed_open_is_closed_by_its_client() {
    let mut pair = pair();
    pair.stub.failures = true;
    let id = pair.client.open(opening(credit(9, 9))).unwrap();
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::Stub(StubStep::OpenFailed(id)), Move::ToClient]);
    assert_eq!(pair.client.views[&id].failed, 1);
    assert_eq!(pair.to_stub.len(), 1, "the close is under way without the user's doing");
    assert!(!pair.client.state.close(id, &mut Vec::new()), "it need not be closed again");
    make(&mut pair, &[Move::ToStub, Move::ToClient]);
    pair.check_end();
}

#[test]
fn a_close_waits_for_the_send_being_made_and_cancels_the_others() {
    let (mut pair, id) = open_pair(credit(64, 9));
    for _ in 0..3 {
        pair.client.send(id, Destination::default(), true, &[1, 2]).unwrap();
    }
    pair.client.close(id);
    pair.pump();
    make(&mut pair, &[Move::ToStub; 4]);
    assert_eq!(pair.stub.state.waiting(), cost(FrameType::Send, 2), "one is being made");
    make(&mut pair, &[Move::Stub(StubStep::SendDone(id)), Move::Stub(StubStep::Closed(id))]);
    pair.settle();
    let counters = pair.client.views[&id].closed.unwrap();
    assert_eq!((counters.sent_datagrams, counters.sent_bytes), (1, 2));
    assert!(pair.client.views[&id].answers.is_empty(), "closing drops the answers");
    pair.check_end();
}

#[test]
fn datagrams_under_way_at_the_close_are_counted() {
    let (mut pair, id) = open_pair(credit(64, 9));
    pair.stub.arrive(id, &[7; 5]);
    make(&mut pair, &[Move::Stub(StubStep::Forward(id))]);
    pair.client.close(id);
    pair.settle();
    let counters = pair.client.views[&id].closed.unwrap();
    assert_eq!((counters.received_datagrams, counters.received_bytes), (1, 5));
    assert!(pair.client.views[&id].unread.is_empty(), "they are not delivered");
    pair.check_end();
}

#[test]
fn a_late_reply_reaches_a_client_whose_socket_is_closed() {
    let (mut pair, id) = open_pair(credit(9, 9));
    let join = pair.client.request(id, |request| Message::Join { request, group: 1 }).unwrap();
    pair.client.close(id);
    let list = |request| Message::Netns { request, operation: NetnsRequest::List };
    let list = pair.client.request(SocketId::CONNECTION, list).unwrap();
    assert!(!pair.client.state.may_request());
    pair.pump();
    make(&mut pair, &[Move::ToStub; 3]);
    make(&mut pair, &[Move::Stub(StubStep::Closed(id)), Move::ToClient]);
    assert_eq!(pair.client.replies, [join], "before the socket's closed frame");
    make(&mut pair, &[Move::ToClient]);
    assert!(pair.client.views[&id].closed.is_some());
    pair.settle();
    assert_eq!(pair.client.replies, [join, list]);
    pair.check_end();
}

#[test]
fn a_closed_socket_makes_no_requests() {
    let (mut pair, id) = open_pair(credit(9, 9));
    pair.client.close(id);
    assert_eq!(pair.client.request(id, |request| Message::Join { request, group: 1 }), None);
    assert!(pair.client.state.may_request());
}

#[test]
fn credit_runs_out_and_comes_back() {
    let (mut pair, id) = open_pair(credit(64, 9));
    let to = Destination::default();
    for _ in 0..4 {
        pair.client.send(id, to, false, &[1; 3]).unwrap();
    }
    assert_eq!(pair.client.send(id, to, false, &[1]), Err(SendError::NoCredit));
    pair.pump();
    make(&mut pair, &[Move::ToStub; 4]);
    assert_eq!(pair.client.send(id, to, false, &[1]), Err(SendError::NoCredit));
    // Two of four is half the window: worth a grant.
    make(&mut pair, &[Move::Stub(StubStep::SendDone(id))]);
    assert!(pair.to_client.is_empty());
    make(&mut pair, &[Move::Stub(StubStep::SendDone(id)), Move::ToClient]);
    pair.client.send(id, to, false, &[1]).unwrap();
    pair.client.send(id, to, false, &[1]).unwrap();
    assert_eq!(pair.client.send(id, to, false, &[1]), Err(SendError::NoCredit));
    pair.finish();
}

#[test]
fn the_stub_stops_at_the_clients_window() {
    let (mut pair, id) = open_pair(credit(10, 9));
    for _ in 0..3 {
        pair.stub.arrive(id, &[1; 6]);
    }
    let forward = Move::Stub(StubStep::Forward(id));
    // Six bytes are below ten; twelve are not.
    make(&mut pair, &[forward, forward]);
    assert!(!pair.moves().contains(&forward));
    make(&mut pair, &[Move::ToClient, Move::ToClient, Move::Receive(id), Move::ToStub]);
    make(&mut pair, &[forward]);
    pair.finish();
}

#[test]
fn the_overdraft_is_one_window_and_for_a_confirmed_send() {
    let (mut pair, id) = open_pair(credit(1000, 2));
    pair.stub.echo = 5;
    pair.client.send(id, Destination::default(), true, &[1]).unwrap();
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::Stub(StubStep::SendDone(id))]);
    let forward = Move::Stub(StubStep::Forward(id));
    make(&mut pair, &[forward; 4]);
    assert!(!pair.moves().contains(&forward), "two windows are enough");
    // The answer comes behind what could come, and the client takes all of it.
    make(&mut pair, &[Move::Stub(StubStep::Answer(id))]);
    while !pair.to_client.is_empty() {
        make(&mut pair, &[Move::ToClient]);
    }
    assert_eq!(pair.client.views[&id].unread.len(), 4);
    assert_eq!(pair.client.views[&id].answers, [(1, 0, true)]);
    // The fifth waits until what was overdrawn is paid back: two reads free nothing.
    make(&mut pair, &[Move::Receive(id), Move::Receive(id)]);
    while !pair.to_stub.is_empty() {
        make(&mut pair, &[Move::ToStub]);
    }
    assert!(!pair.moves().contains(&forward));
    make(&mut pair, &[Move::Receive(id), Move::ToStub, forward]);
    pair.finish();
}

#[test]
fn no_overdraft_without_a_confirmed_send() {
    let (mut pair, id) = open_pair(credit(1000, 2));
    pair.stub.echo = 5;
    pair.client.send(id, Destination::default(), false, &[1]).unwrap();
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::Stub(StubStep::SendDone(id))]);
    let forward = Move::Stub(StubStep::Forward(id));
    make(&mut pair, &[forward; 2]);
    assert!(!pair.moves().contains(&forward));
}

#[test]
fn a_window_of_nothing_is_a_window_of_one() {
    let (mut pair, id) = open_pair(Credit::default());
    pair.stub.arrive(id, &[1]);
    pair.stub.arrive(id, &[2]);
    pair.settle();
    assert_eq!(pair.client.views[&id].closed, None);
    pair.client.close(id);
    pair.settle();
    assert_eq!(pair.client.views[&id].closed.unwrap().received_datagrams, 2);
}

#[test]
fn a_window_without_bound_is_never_taken_back() {
    let (mut pair, id) = open_pair(credit(u64::MAX, 2));
    for _ in 0..5 {
        pair.stub.arrive(id, &[1; 9]);
    }
    pair.settle();
    pair.client.close(id);
    pair.settle();
    assert_eq!(pair.client.views[&id].closed.unwrap().received_datagrams, 5);
}

#[test]
fn one_datagram_larger_than_the_window_is_legal_both_ways() {
    let mut pair = Pair::new(LIMITS, credit(10, 4), 1 << 20);
    pair.stub.piece = 32 * 1024;
    let id = pair.client.open(opening(credit(10, 4))).unwrap();
    pair.settle();
    let large: Vec<u8> = (0..60_000u32).map(|i| i as u8).collect();
    pair.client.send(id, Destination::default(), false, &large).unwrap();
    assert_eq!(pair.client.send(id, Destination::default(), false, &[1]), Err(SendError::NoCredit));
    pair.pump();
    make(&mut pair, &[Move::ToStub, Move::Stub(StubStep::SendDone(id))]);
    make(&mut pair, &[Move::Stub(StubStep::Forward(id))]);
    // Credit, and two pieces of one datagram.
    make(&mut pair, &[Move::ToClient; 3]);
    assert_eq!(pair.client.receive(id), Some(large));
    pair.client.send(id, Destination::default(), false, &[1]).unwrap();
    pair.finish();
}

#[test]
fn a_datagram_larger_than_a_frame_is_refused_at_once() {
    let mut pair = Pair::new(LIMITS, credit(10, 4), 1 << 20);
    let id = pair.client.open(opening(credit(10, 4))).unwrap();
    pair.settle();
    let limit = 64 * 1024 - 24;
    assert_eq!(pair.client.state.max_datagram(), limit);
    let refused = pair.client.send(id, Destination::default(), false, &vec![0; limit + 1]);
    assert_eq!(refused, Err(SendError::TooLarge(limit)));
    pair.client.send(id, Destination::default(), false, &vec![0; limit]).unwrap();
    pair.finish();
}

#[test]
fn a_large_send_is_cut_so_that_each_frame_is_short() {
    let limits = PeerLimits { max_frame: 1 << 20, ..LIMITS };
    let mut pair = Pair::new(limits, credit(10, 4), 1 << 20);
    let id = pair.client.open(opening(credit(1 << 20, 4))).unwrap();
    pair.settle();
    // Of two and of one and a half pieces: the last one must not be empty.
    for length in [120 * 1024, 90 * 1024] {
        pair.client.send(id, Destination::default(), true, &vec![3; length]).unwrap();
        while pair.client.turn() {}
        pair.pump();
        assert_eq!(pair.to_stub.len(), 2);
        assert!(pair.to_stub.iter().all(|frame| frame.len() <= 60 * 1024 + 24));
        pair.stub.echo = 0;
        pair.settle();
    }
    pair.finish();
    let view = &pair.client.views[&id];
    assert_eq!(view.closed.unwrap().sent_bytes, (120 + 90) * 1024);
    assert_eq!(view.answers, [(1, 0, true), (2, 0, true)]);
}

#[test]
fn pieces_of_two_sockets_may_alternate_towards_the_stub() {
    let mut stub = StubEnd::new(LIMITS, credit(64, 4), 4096);
    for id in [1, 2] {
        to_stub(&mut stub, id, Flags::NONE, &Message::Open(opening(credit(9, 9)))).unwrap();
        stub.step(StubStep::Opened(SocketId(id)));
    }
    for (id, flags, piece) in [
        (1, Flags::MORE, [1, 2]),
        (2, Flags::MORE, [11, 12]),
        (1, Flags::MORE, [3, 4]),
        (2, Flags::NONE, [13, 14]),
        (1, Flags::NONE, [5, 6]),
    ] {
        to_stub(&mut stub, id, flags, &send(&piece)).unwrap();
    }
    // The make-believe kernel sends them back.
    stub.take_out();
    stub.piece = 100;
    let mut echoed = Vec::new();
    for id in [2, 1].map(SocketId) {
        stub.step(StubStep::SendDone(id));
        stub.step(StubStep::Forward(id));
        let frames = stub.take_out();
        echoed.push(frames.last().unwrap()[24..].to_vec());
    }
    assert_eq!(echoed, [vec![11, 12, 13, 14], vec![1, 2, 3, 4, 5, 6, 0, 0]]);
    stub.finish();
}

/// A client with sockets 1 and 2 open.
fn client_with_two(window: Credit) -> ClientEnd {
    let mut client = ClientEnd::new(LIMITS);
    for id in [1, 2] {
        assert_eq!(client.open(opening(window)), Some(SocketId(id)));
        to_client(&mut client, id, Flags::NONE, &Message::Opened(Default::default())).unwrap();
    }
    client
}

#[test]
fn pieces_of_two_sockets_may_alternate_towards_the_client() {
    let mut client = client_with_two(credit(64, 9));
    for (id, flags, piece) in [
        (1, Flags::MORE, [1, 2]),
        (2, Flags::MORE, [11, 12]),
        (1, Flags::MORE, [3, 4]),
        (2, Flags::NONE, [13, 14]),
        (1, Flags::NONE, [5, 6]),
        (2, Flags::NONE, [15, 16]),
    ] {
        to_client(&mut client, id, flags, &datagram(&piece)).unwrap();
    }
    assert_eq!(client.receive(SocketId(1)).unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(client.receive(SocketId(2)).unwrap(), [11, 12, 13, 14]);
    assert_eq!(client.receive(SocketId(2)).unwrap(), [15, 16]);
}

#[test]
fn pieces_left_unfinished_by_a_close_are_forgotten() {
    let mut stub = StubEnd::new(LIMITS, credit(64, 4), 4096);
    to_stub(&mut stub, 1, Flags::NONE, &Message::Open(opening(credit(9, 9)))).unwrap();
    stub.step(StubStep::Opened(SocketId(1)));
    to_stub(&mut stub, 1, Flags::MORE, &send(&[1, 2, 3])).unwrap();
    assert_eq!(stub.state.incomplete(), 3);
    to_stub(&mut stub, 1, Flags::NONE, &Message::Close).unwrap();
    assert_eq!(stub.state.incomplete(), 0);
    stub.finish();
}

#[test]
fn the_end_of_the_pieces_may_be_empty() {
    let mut client = client_with_two(credit(64, 9));
    to_client(&mut client, 1, Flags::MORE, &datagram(&[1])).unwrap();
    to_client(&mut client, 1, Flags::NONE, &datagram(&[])).unwrap();
    assert_eq!(client.receive(SocketId(1)).unwrap(), [1]);
    // And a datagram without bytes is one.
    to_client(&mut client, 1, Flags::NONE, &datagram(&[])).unwrap();
    assert_eq!(client.receive(SocketId(1)).unwrap(), [0_u8; 0]);
}

#[test]
fn the_client_keeps_within_the_stubs_limits() {
    let mut pair = pair();
    for _ in 0..LIMITS.max_sockets {
        pair.client.open(opening(credit(9, 9))).unwrap();
    }
    assert_eq!(pair.client.open(opening(credit(9, 9))), None);
    pair.settle();
    pair.client.close(SocketId(1));
    assert_eq!(pair.client.open(opening(credit(9, 9))), None, "it is not closed yet");
    pair.settle();
    pair.client.open(opening(credit(9, 9))).unwrap();
    for _ in 0..LIMITS.max_requests {
        let list = |request| Message::Netns { request, operation: NetnsRequest::List };
        pair.client.request(SocketId::CONNECTION, list).unwrap();
    }
    assert!(!pair.client.state.may_request());
    assert_eq!(
        pair.client.request(SocketId(2), |request| Message::Join { request, group: 1 }),
        None
    );
    pair.settle();
    assert!(pair.client.state.may_request());
    pair.finish();
}

#[test]
fn lost_is_reported_as_a_difference_and_in_all() {
    let (mut pair, id) = open_pair(credit(9, 9));
    pair.stub.drops = true;
    make(&mut pair, &[Move::Stub(StubStep::Drop(id)), Move::ToClient]);
    assert_eq!(pair.client.views[&id].dropped, 1);
    let mut out = Vec::new();
    pair.stub.state.lost(id, 5, &mut out);
    let (_, expected) = frame(id.0, Flags::NONE, &Message::Lost { dropped: 4, total: 5 });
    assert_eq!(out[12..], expected);
}

#[test]
fn pings_are_answered_and_pongs_reported() {
    let mut pair = pair();
    pair.client.state.ping(77, &mut pair.client.out);
    pair.pump();
    make(&mut pair, &[Move::ToStub]);
    let (_, pong) = frame(0, Flags::NONE, &Message::Pong(77));
    assert_eq!(pair.to_client[0][12..], pong);
    let (header, payload) = frame(0, Flags::NONE, &Message::Pong(77));
    let mut out = Vec::new();
    let event = pair.client.state.on_frame(header, &payload, &mut out);
    assert_eq!(event, Ok(ClientEvent::Pong(77)));
    // A stub may ask as well.
    to_client(&mut pair.client, 0, Flags::NONE, &Message::Ping(78)).unwrap();
    let (_, pong) = frame(0, Flags::NONE, &Message::Pong(78));
    assert_eq!(pair.client.out[12..], pong);
}

#[test]
fn what_was_counted_comes_with_closed() {
    let (mut pair, id) = open_pair(credit(64, 9));
    pair.stub.echo = 2;
    pair.client.send(id, Destination::default(), true, &[1; 4]).unwrap();
    pair.settle();
    pair.finish();
    let expected = Counters {
        sent_datagrams: 1,
        sent_bytes: 4,
        received_datagrams: 2,
        received_bytes: 8,
        dropped: 0,
    };
    assert_eq!(pair.client.views[&id].closed, Some(expected));
}

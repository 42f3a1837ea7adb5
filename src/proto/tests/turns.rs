//! Large sends, of which each socket's gets its turn.

use super::*;
use crate::{proto::Refusal, wire::DEFAULT_MAX_FRAME};

/// A client with this many open sockets, which cuts what it sends into pieces of ten bytes.
fn opened(sockets: u32) -> (Pair, Vec<SocketId>) {
    let limits = PeerLimits { max_sockets: sockets, ..LIMITS };
    let mut pair = Pair::new(limits, credit(1 << 20, 100), 1 << 20);
    pair.client.state.set_piece(10);
    pair.stub.echo = 0;
    let open = |_| pair.client.open(opening(credit(10, 10))).unwrap();
    let ids = (0..sockets).map(open).collect();
    pair.settle();
    (pair, ids)
}

fn sends(pair: &mut Pair, id: SocketId, length: usize) {
    pair.client.send(id, Destination::default(), false, &vec![1; length]).unwrap();
}

/// What has been written since the last time: socket and bytes of each send.
fn written(pair: &mut Pair) -> Vec<(u32, usize)> {
    let frames = pair.client.take_out();
    let sent = |frame: &Vec<u8>| {
        let length = u32::from_le_bytes(frame[..4].try_into().unwrap());
        let is_send = frame[4] == FrameType::Send as u8;
        is_send.then(|| (u32::from(frame[8]), length as usize - 24))
    };
    let sent = frames.iter().filter_map(sent).collect();
    pair.to_stub.extend(frames);
    sent
}

#[test]
fn what_is_small_goes_at_once_and_before_what_is_large() {
    let (mut pair, ids) = opened(2);
    sends(&mut pair, ids[0], 25);
    sends(&mut pair, ids[1], 10);
    assert_eq!(written(&mut pair), [(2, 10)]);
    assert!(pair.client.turn());
    sends(&mut pair, ids[1], 1);
    while pair.client.turn() {}
    assert_eq!(written(&mut pair), [(1, 10), (2, 1), (1, 10), (1, 5)]);
    pair.settle();
    pair.finish();
    assert_eq!(pair.client.views[&ids[0]].closed.unwrap().sent_bytes, 25);
}

#[test]
fn a_socket_keeps_its_order() {
    let (mut pair, ids) = opened(1);
    for length in [11, 3, 0, 12, 4] {
        sends(&mut pair, ids[0], length);
    }
    assert_eq!(pair.client.state.waiting_bytes(), 30);
    while pair.client.turn() {}
    sends(&mut pair, ids[0], 5);
    let order = [10, 1, 3, 0, 10, 2, 4, 5].map(|length| (1, length));
    assert_eq!(written(&mut pair), order);
    pair.settle();
    pair.finish();
}

#[test]
fn four_take_turns_and_the_others_wait() {
    let (mut pair, ids) = opened(6);
    for id in &ids {
        sends(&mut pair, *id, 20);
    }
    sends(&mut pair, ids[0], 20);
    while pair.client.turn() {}
    let order: Vec<_> = written(&mut pair).iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 1, 5, 6, 1]);
    pair.settle();
    pair.finish();
}

#[test]
fn closing_discards_what_waits_and_makes_room() {
    let (mut pair, ids) = opened(6);
    for id in &ids {
        sends(&mut pair, *id, 30);
    }
    (0..2).for_each(|_| assert!(pair.client.turn()));
    // One that has begun, and one that has not.
    pair.client.close(ids[0]);
    pair.client.close(ids[4]);
    assert_eq!(pair.client.state.waiting_bytes(), 20 + 3 * 30);
    assert_eq!(written(&mut pair), [(1, 10), (2, 10)]);
    while pair.client.turn() {}
    let order: Vec<_> = written(&mut pair).iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [3, 4, 2, 6, 3, 4, 2, 6, 3, 4, 6]);
    pair.settle();
    pair.finish();
    assert_eq!(pair.client.views[&ids[0]].closed.unwrap().sent_bytes, 0);
    assert_eq!(pair.client.views[&ids[1]].closed.unwrap().sent_bytes, 30);
}

/// Were it sent, the stub would end the connection.
#[test]
fn what_fits_no_frame_is_refused_and_nothing_changes() {
    let (mut pair, ids) = opened(1);
    let value = vec![0; LIMITS.max_frame as usize];
    let set = |request| Message::OptionSet { request, level: 1, name: 2, value: &value };
    let state = &mut pair.client.state;
    let refused = state.request(ids[0], set, &mut pair.client.out);
    let length = LIMITS.max_frame + 24;
    assert_eq!(refused, Err(Refusal::TooLong { length, limit: LIMITS.max_frame }));
    let fits = |request| Message::OptionSet { request, level: 1, name: 2, value: &value[24..] };
    assert_eq!(state.request(ids[0], fits, &mut pair.client.out), Ok(1), "no number is lost");
    let limits = PeerLimits { max_frame: DEFAULT_MAX_FRAME, ..LIMITS };
    let mut state = crate::proto::ClientState::new(limits, LIMITS.max_frame);
    let groups = vec![1; 9000];
    let refused = state.open(Open { groups, ..Open::default() }, &mut Vec::new());
    assert!(matches!(refused, Err(Refusal::TooLong { .. })), "{refused:?}");
    assert_eq!(state.socket_count(), 0);
    assert_eq!(state.open(Open::default(), &mut Vec::new()), Ok(SocketId(1)));
}

/// The stub holds the pieces that have come: those of one limit on frames, and no more.
#[test]
fn sends_that_take_turns_keep_to_the_limit_on_frames_together() {
    let (mut pair, ids) = opened(3);
    let piece = 10 << 10;
    pair.client.state.set_piece(piece);
    for &id in &ids {
        sends(&mut pair, id, 3 * piece);
    }
    while pair.client.turn() {}
    let order = [1, 2, 1, 2, 1, 2, 3, 3, 3].map(|id| (id, piece));
    assert_eq!(written(&mut pair), order);
    // One that is discarded in mid-turn makes room, too.
    for &id in &ids {
        sends(&mut pair, id, 3 * piece);
    }
    assert!(pair.client.turn() && pair.client.turn());
    pair.client.close(ids[0]);
    while pair.client.turn() {}
    let order = [1, 2, 2, 3, 2, 3, 3].map(|id| (id, piece));
    assert_eq!(written(&mut pair), order);
    pair.settle();
    pair.finish();
}

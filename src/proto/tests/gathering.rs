//! Which sends a client permits the stub to gather, and which the stub believes.

use super::*;
use crate::{
    proto::{ClientState, SendMode, StubAction},
    wire::{MAX_GATHERED, Opened},
};

const KERNEL: Destination = Destination { portid: 0, groups: 0 };

/// A client with sockets 1 and 2 open, and room for everything.
fn client() -> ClientState {
    let limits = PeerLimits { max_frame: 1 << 20, ..LIMITS };
    let mut client = ClientState::new(limits, limits.max_frame);
    for id in [1, 2] {
        client.open(opening(credit(9, 9)), &mut Vec::new()).unwrap();
        let opened = Opened { credit: credit(1 << 20, 100), ..Opened::default() };
        let (header, payload) = frame(id, Flags::NONE, &Message::Opened(opened));
        client.on_frame(header, &payload, &mut Vec::new()).unwrap();
    }
    client
}

/// The flags of the frame that a send is written as.
fn flags(
    client: &mut ClientState,
    id: u32,
    to: Destination,
    mode: SendMode,
    length: usize,
) -> Flags {
    let mut out = Vec::new();
    client.send(SocketId(id), to, mode, &vec![0; length], &mut out).unwrap();
    Flags::from_bits(out[5])
}

#[test]
fn a_send_is_gathered_with_one_of_its_kind_right_before_it() {
    let mut client = client();
    let (one, other) = (SendMode::Gathered(18), SendMode::Gathered(19));
    let across = Destination { portid: 7, groups: 0 };
    let group = Destination { portid: 0, groups: 1 };
    for (id, to, mode, length, expected) in [
        (1, KERNEL, one, 4, Flags::NONE),
        (1, KERNEL, one, 4, Flags::GATHER),
        (2, KERNEL, one, 4, Flags::NONE),
        (1, KERNEL, one, 4, Flags::GATHER),
        (1, KERNEL, other, 4, Flags::NONE),
        (1, KERNEL, one, 4, Flags::NONE),
        (1, KERNEL, SendMode::Pipelined, 4, Flags::NONE),
        (1, KERNEL, one, 4, Flags::NONE),
        (1, KERNEL, SendMode::Confirmed, 4, Flags::CONFIRM),
        (1, KERNEL, one, 4, Flags::NONE),
        (1, across, one, 4, Flags::NONE),
        (1, KERNEL, one, 4, Flags::NONE),
        (1, group, one, 4, Flags::NONE),
        (1, KERNEL, one, MAX_GATHERED, Flags::NONE),
        (1, KERNEL, one, MAX_GATHERED, Flags::GATHER),
        (1, KERNEL, one, MAX_GATHERED + 1, Flags::NONE),
        (1, KERNEL, one, 4, Flags::NONE),
        (2, KERNEL, one, 4, Flags::GATHER),
    ] {
        let found = flags(&mut client, id, to, mode, length);
        assert_eq!(found, expected, "socket {id}, {to:?}, {mode:?}, {length} bytes");
    }
}

/// Behind a send in pieces on its socket, too.
#[test]
fn a_send_that_waits_keeps_its_flag() {
    let mut client = client();
    client.set_piece(10);
    let mode = SendMode::Gathered(18);
    let mut out = Vec::new();
    for length in [4, 11, 5] {
        client.send(SocketId(1), KERNEL, mode, &vec![0; length], &mut out).unwrap();
    }
    while client.take_turn(&mut out).is_some() {}
    let mut found = Vec::new();
    let mut rest = out.as_slice();
    while let Ok(crate::wire::Decoded::Known(header)) = Header::decode(rest, u32::MAX) {
        found.push((header.payload_len() - 12, header.flags));
        rest = &rest[header.stream_len()..];
    }
    let (gather, more) = (Flags::GATHER, Flags::GATHER.with(Flags::MORE));
    assert_eq!(found, [(4, Flags::NONE), (10, more), (1, gather), (5, gather)]);
}

#[test]
fn the_stub_believes_only_what_the_frame_does_not_contradict() {
    let limits = PeerLimits { max_frame: 1 << 20, ..LIMITS };
    let mut stub = StubState::new(limits, credit(1 << 20, 100), 1 << 20);
    let mut out = Vec::new();
    let (header, payload) = frame(1, Flags::NONE, &Message::Open(opening(credit(9, 9))));
    stub.on_frame(header, &payload, &mut out).unwrap();
    stub.opened(SocketId(1), Ok(Opened::default()), &mut out);
    let across = Destination { portid: 7, groups: 0 };
    for (flags, destination, length, expected) in [
        (Flags::NONE, KERNEL, 4, false),
        (Flags::GATHER, KERNEL, 4, true),
        (Flags::GATHER, KERNEL, MAX_GATHERED, true),
        (Flags::GATHER, KERNEL, MAX_GATHERED + 1, false),
        (Flags::GATHER, across, 4, false),
        (Flags::GATHER.with(Flags::CONFIRM), KERNEL, 4, false),
        (Flags::from_bits(0xf9), KERNEL, 4, true),
    ] {
        let data = vec![0; length];
        let (header, payload) =
            frame(1, flags, &Message::Send { serial: 1, destination, data: &data });
        let action = stub.on_frame(header, &payload, &mut out).unwrap();
        let StubAction::Send { gather, .. } = action else { panic!("{action:?}") };
        assert_eq!(gather, expected, "{flags:?}, {destination:?}, {length} bytes");
    }
    for (flags, whole) in [(Flags::GATHER.with(Flags::MORE), false), (Flags::GATHER, true)] {
        let (header, payload) = frame(1, flags, &send(&[1]));
        let action = stub.on_frame(header, &payload, &mut out).unwrap();
        assert_eq!(matches!(action, StubAction::Send { gather: false, .. }), whole, "{action:?}");
    }
}

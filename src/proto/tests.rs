//! The two state machines against each other, without a runtime.
//!
//! [`interleavings`] goes through every order of events of small scenarios; [`scenarios`] plays
//! single ones step by step; [`turns`] has large sends share a connection; [`violations`] has one end
//! do what is forbidden.

mod credit;
mod gathering;
mod interleavings;
mod scenarios;
mod turns;
mod violations;

use super::*;
use crate::{
    fuzzing::{ClientEnd, Move, Pair, StubEnd, StubStep},
    wire::{
        Counters, Credit, DatagramInfo, Destination, Flags, FrameType, Header, Message,
        NetnsRequest, Open, SocketId, WireError, hello::PeerLimits,
    },
};

const LIMITS: PeerLimits =
    PeerLimits { max_frame: 64 * 1024, max_sockets: 3, max_requests: 2, max_early_send: 0 };

const fn credit(bytes: u64, datagrams: u64) -> Credit {
    Credit { bytes, datagrams }
}

fn opening(window: Credit) -> Open {
    Open { credit: window, ..Open::default() }
}

fn pair() -> Pair {
    Pair::new(LIMITS, credit(64, 4), 4096)
}

/// The header of a frame with this message, and its payload.
fn frame(id: u32, flags: Flags, message: &Message<'_>) -> (Header, Vec<u8>) {
    let mut bytes = Vec::new();
    message.encode(SocketId(id), flags, &mut bytes);
    let frame_type = message.frame_type();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let header = Header { length, frame_type, flags, socket: SocketId(id) };
    (header, bytes[12..length as usize].to_vec())
}

fn to_stub(
    stub: &mut StubEnd,
    id: u32,
    flags: Flags,
    message: &Message<'_>,
) -> Result<(), Violation> {
    let (header, payload) = frame(id, flags, message);
    stub.frame(header, &payload)
}

fn to_client(
    client: &mut ClientEnd,
    id: u32,
    flags: Flags,
    message: &Message<'_>,
) -> Result<(), Violation> {
    let (header, payload) = frame(id, flags, message);
    client.frame(header, &payload)
}

fn send(data: &[u8]) -> Message<'_> {
    Message::Send { serial: 1, destination: Destination::default(), data }
}

fn datagram(data: &[u8]) -> Message<'_> {
    Message::Datagram { info: DatagramInfo::default(), data }
}

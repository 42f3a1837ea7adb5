//! Tracing events of a connection: sockets at debug level, frames at trace level. No event holds
//! a byte of a datagram.

use tracing::{Level, debug, enabled, trace};

use crate::wire::{Counters, Decoded, Failure, Header, Opened, SocketId};

/// The target of the events of sockets.
const SOCKETS: &str = "netlink_remote::client";

/// The target of the events of frames.
const FRAMES: &str = "netlink_remote::frames";

/// An event that happens under the connection's lock, to be emitted after its release.
#[derive(Debug)]
pub(super) enum Note {
    Opened(SocketId, u32, Opened),
    OpenFailed(SocketId, Box<Failure>),
    Closed(SocketId, Box<Counters>),
    Received(Header),
}

impl Note {
    pub(super) fn emit(self) {
        match self {
            Note::Opened(socket, protocol, opened) => {
                debug!(target: SOCKETS, %socket, protocol, portid = opened.portid,
                    receive_buffer = opened.receive_buffer, "socket opened");
            }
            Note::OpenFailed(socket, failure) => {
                debug!(target: SOCKETS, %socket, errno = failure.errno,
                    reason = failure.text, "socket not opened");
            }
            Note::Closed(socket, counters) => {
                debug!(target: SOCKETS, %socket, sent = counters.sent_datagrams,
                    received = counters.received_datagrams, dropped = counters.dropped,
                    "socket closed");
            }
            Note::Received(header) => frame("received", &header),
        }
    }
}

/// Whether a subscriber wants the events of frames; one load of an atomic where there is none.
pub(super) fn wants_frames() -> bool {
    enabled!(target: FRAMES, Level::TRACE)
}

/// Emits the events of the frames in `bytes`, which are whole and about to be written.
pub(super) fn sent(mut bytes: &[u8]) {
    if !wants_frames() {
        return;
    }
    while let Ok(Decoded::Known(header)) = Header::decode(bytes, u32::MAX) {
        frame("sent", &header);
        bytes = bytes.get(header.stream_len()..).unwrap_or_default();
    }
}

fn frame(direction: &'static str, header: &Header) {
    trace!(target: FRAMES, frame = ?header.frame_type, socket = %header.socket,
        length = header.payload_len(), "{direction}");
}

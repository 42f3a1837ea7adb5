//! The protocol state together with the frames that wait to be written.

use std::ops::Range;

use bytes::BytesMut;

use super::gathering::send_mode;
use crate::{
    Error, ErrorKind, Origin,
    errno::{EMSGSIZE, EPROTO},
    limits::client::{LARGE_OUTBOX, OUTBOX, UNREAD_ANSWERS},
    proto::{ClientEvent, ClientState, Refusal, SendError, Violation},
    wire::{
        Destination, Failure, Flags, Frame, MAX_OPTION, Message, Open, SocketId, hello::PeerLimits,
    },
};

/// Bytes waiting to be written below which pieces of large datagrams are added. A frame of another
/// socket waits for no more than this and a piece.
const PIECES_MARK: usize = 64 << 10;

/// The protocol state of a connection, and its outbox.
#[derive(Debug)]
pub(super) struct WireState {
    protocol: ClientState,
    outbox: BytesMut,
    /// Bytes of the outbox that answer frames of the stub.
    answers: usize,
}

/// A piece of a large datagram that was added to the outbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) socket: SocketId,
    /// Whether the socket has no more pieces waiting.
    pub(super) was_last: bool,
    /// Whether the socket may have another large datagram accepted since.
    pub(super) made_room: bool,
}

/// The bytes that were waiting at some time: frames in the outbox, and pieces of large datagrams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    outbox: usize,
    large: usize,
}

impl WireState {
    /// The state after the hellos: `limits` are the stub's, `max_frame` the agreed one.
    pub(super) fn new(limits: PeerLimits, max_frame: u32) -> Self {
        let protocol = ClientState::new(limits, max_frame);
        Self { protocol, outbox: BytesMut::new(), answers: 0 }
    }

    pub(super) fn open(&mut self, open: Open) -> Result<SocketId, Error> {
        self.protocol.open(open, &mut self.outbox).map_err(|refusal| match refusal {
            Refusal::TooLong { length, limit } => too_long(length, limit),
            Refusal::TooMany | Refusal::NotOpen => {
                let text =
                    "the far end allows no more sockets on this connection; close some first";
                Error::new(ErrorKind::Open, text).with_origin(Origin::Library)
            }
        })
    }

    /// Closes a socket in any state; its pieces that wait are discarded.
    pub(super) fn close(&mut self, socket: SocketId) {
        self.protocol.close(socket, &mut self.outbox);
    }

    /// Whether a datagram of this length may be sent now: there is credit, and room for it.
    pub(super) fn may_send(&self, socket: SocketId, length: usize) -> Result<bool, SendError> {
        match self.protocol.may_send(socket, length) {
            Ok(()) => {}
            Err(SendError::NoCredit) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(if self.protocol.would_wait(socket, length) {
            self.protocol.waiting_bytes_of(socket).unwrap_or_default() < OUTBOX
                && self.protocol.waiting_bytes() < LARGE_OUTBOX
        } else {
            self.outbox.len() < OUTBOX
        })
    }

    /// Sends a datagram, with credit for it; room is not asked for. Gives the send's serial.
    pub(super) fn send(
        &mut self,
        socket: SocketId,
        destination: Destination,
        confirm: bool,
        datagram: &[u8],
    ) -> Result<u32, SendError> {
        let mode = send_mode(confirm, datagram);
        self.protocol.send(socket, destination, mode, datagram, &mut self.outbox)
    }

    /// Whether large datagrams of a socket wait to be written.
    pub(super) fn has_pieces(&self, socket: SocketId) -> bool {
        self.protocol.waiting_bytes_of(socket).is_some()
    }

    /// Adds one piece to the outbox, of the socket whose turn it is; `None` if none is waiting.
    pub(super) fn add_piece(&mut self) -> Option<Piece> {
        let (socket, taken) = self.protocol.take_turn(&mut self.outbox)?;
        let left = self.protocol.waiting_bytes_of(socket);
        let was_last = left.is_none();
        let bytes = left.unwrap_or_default();
        let passed: Range<usize> = bytes..bytes + taken;
        let made_room = was_last || passed.contains(&(OUTBOX - 1));
        Some(Piece { socket, was_last, made_room })
    }

    /// Whether the outbox has room for another piece.
    pub(super) fn wants_pieces(&self) -> bool {
        self.outbox.len() < PIECES_MARK
    }

    pub(super) fn backlog(&self) -> Backlog {
        Backlog { outbox: self.outbox.len(), large: self.protocol.waiting_bytes() }
    }

    /// Whether every socket may send again that could not for want of room, since `before`.
    pub(super) fn made_room(&self, before: Backlog) -> bool {
        let now = self.backlog();
        (before.outbox >= OUTBOX && now.outbox < OUTBOX)
            || (before.large >= LARGE_OUTBOX && now.large < LARGE_OUTBOX)
    }

    /// Whether there is more to write than at `before`.
    pub(super) fn has_grown(&self, before: Backlog) -> bool {
        let now = self.backlog();
        now.outbox > before.outbox || now.large > before.large
    }

    /// Moves the outbox into `empty`, whose memory becomes the outbox's.
    pub(super) fn take_outbox(&mut self, empty: &mut BytesMut) {
        std::mem::swap(empty, &mut self.outbox);
        self.answers = 0;
    }

    /// Moves the outbox to the end of `writing`, and after it the frame that accuses the stub of a
    /// violation: the connection's last.
    pub(super) fn accuse(&mut self, violation: &Violation, writing: &mut BytesMut) {
        let fault = Message::Fault(Failure { errno: EPROTO, text: violation.to_string() });
        fault.encode(SocketId::CONNECTION, Flags::NONE, &mut self.outbox);
        writing.unsplit(self.outbox.split());
    }

    /// Makes a numbered request of the stub.
    pub(super) fn request<'m>(
        &mut self,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
    ) -> Result<u32, Error> {
        self.protocol.request(socket, message, &mut self.outbox).map_err(|refusal| match refusal {
            Refusal::TooLong { length, limit } => too_long(length, limit),
            Refusal::TooMany | Refusal::NotOpen => Error::closed(),
        })
    }

    pub(super) fn ping(&mut self, token: u64) {
        self.protocol.ping(token, &mut self.outbox);
    }

    /// Gives credit back for a datagram that the caller has received.
    pub(super) fn consumed(&mut self, socket: SocketId, bytes: usize) {
        let before = self.outbox.len();
        self.protocol.consumed(socket, bytes, &mut self.outbox);
        self.answers += self.outbox.len() - before;
    }

    /// Takes in a frame.
    pub(super) fn on_frame<'a>(&mut self, frame: &'a Frame) -> Result<ClientEvent<'a>, Violation> {
        let before = self.outbox.len();
        let event = self.protocol.on_frame(frame.header, &frame.payload, &mut self.outbox)?;
        self.answers += self.outbox.len() - before;
        if self.answers > UNREAD_ANSWERS {
            let (what, limit) = ("bytes of answers left unread", UNREAD_ANSWERS as u64);
            return Err(Violation::TooMany { what, limit });
        }
        Ok(event)
    }
}

/// Refuses an option's value that no stub takes.
pub(super) fn check_option(value: &[u8]) -> Result<(), Error> {
    match value.len() {
        length if length > MAX_OPTION => {
            let text = format!(
                "a socket option's value of {length} bytes: it has {MAX_OPTION} at most, and a filter \
                 4096 instructions"
            );
            Err(Error::invalid(text))
        }
        _ => Ok(()),
    }
}

/// The error of a datagram longer than the connection carries.
pub(super) fn datagram_too_long(length: usize, limit: usize) -> Error {
    let text = format!("a datagram of {length} bytes: this connection carries {limit}");
    Error::new(ErrorKind::Send, text).with_origin(Origin::Caller).with_errno(EMSGSIZE)
}

fn too_long(length: u32, limit: u32) -> Error {
    let text = format!("a request of {length} bytes: it has {limit} at most");
    Error::new(ErrorKind::Invalid, text).with_errno(EMSGSIZE)
}

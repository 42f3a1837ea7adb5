//! A client's sends that are not written at once: those that are cut into pieces, and whatever is
//! sent behind one on its socket. Sockets take turns, so that none waits for another's whole send.

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes};

use crate::wire::{Destination, Flags, Message, SocketId};

/// Sockets whose sends in pieces take turns with each other; more of them wait. The stub has to hold
/// the pieces that have come of each.
const AT_A_TIME: usize = 4;

/// A send of which nothing, or only the first pieces, is written.
#[derive(Debug)]
pub(super) struct QueuedSend {
    pub(super) serial: u32,
    pub(super) destination: Destination,
    pub(super) flags: Flags,
    /// The bytes that are not written.
    pub(super) rest: Bytes,
}

/// The queued sends of one socket: at least one.
#[derive(Debug, Default)]
struct SocketQueue {
    sends: VecDeque<QueuedSend>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct SendQueue {
    sockets: HashMap<SocketId, SocketQueue>,
    /// Sockets that take turns, the next one first.
    in_turn: VecDeque<SocketId>,
    /// Sockets whose first send has not begun.
    not_begun: VecDeque<SocketId>,
    /// Bytes in all queues.
    bytes: usize,
}

impl SendQueue {
    pub(super) fn push(&mut self, id: SocketId, send: QueuedSend) {
        let socket = self.sockets.entry(id).or_default();
        if socket.sends.is_empty() {
            self.not_begun.push_back(id);
        }
        socket.bytes += send.rest.len();
        self.bytes += send.rest.len();
        socket.sends.push_back(send);
    }

    /// Drops the sends of a socket.
    pub(super) fn discard(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.remove(&id) {
            self.bytes -= socket.bytes;
            self.in_turn.retain(|other| *other != id);
            self.not_begun.retain(|other| *other != id);
        }
    }

    /// Appends the frame that is next, with at most `piece` bytes of its datagram. Gives the socket
    /// and the number of those bytes; `None` if nothing is queued.
    pub(super) fn write_next<B: BufMut + AsMut<[u8]>>(
        &mut self,
        piece: usize,
        out: &mut B,
    ) -> Option<(SocketId, usize)> {
        while self.in_turn.len() < AT_A_TIME
            && let Some(id) = self.not_begun.pop_front()
        {
            self.in_turn.push_back(id);
        }
        let id = self.in_turn.pop_front()?;
        let socket = self.sockets.get_mut(&id)?;
        let QueuedSend { serial, destination, flags, rest } = socket.sends.front_mut()?;
        let data = rest.split_to(piece.min(rest.len()));
        let (serial, destination, ends) = (*serial, *destination, rest.is_empty());
        let flags = if ends { *flags } else { flags.with(Flags::MORE) };
        Message::Send { serial, destination, data: &data }.encode(id, flags, out);
        socket.bytes -= data.len();
        self.bytes -= data.len();
        if !ends {
            self.in_turn.push_back(id);
        } else {
            socket.sends.pop_front();
            if socket.sends.is_empty() {
                self.sockets.remove(&id);
            } else {
                // The next one begins behind those of other sockets that have not begun.
                self.not_begun.push_back(id);
            }
        }
        Some((id, data.len()))
    }

    /// Bytes queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes queued on a socket; `None` if nothing is, not even a send without bytes.
    pub(super) fn bytes_of(&self, id: SocketId) -> Option<usize> {
        self.sockets.get(&id).map(|socket| socket.bytes)
    }
}

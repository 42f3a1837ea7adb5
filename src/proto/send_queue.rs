//! A client's sends that are not written at once: those that are cut into pieces, and whatever is
//! sent behind one on its socket. Sockets take turns, so that none waits for another's whole send.

use std::{
    collections::{HashMap, VecDeque},
    mem::take,
};

use bytes::{BufMut, Bytes};

use crate::wire::{Destination, Flags, Message, SocketId};

/// Sockets whose sends in pieces take turns with each other; more of them wait.
const AT_A_TIME: usize = 4;

/// A send of which nothing, or only the first pieces, is written.
#[derive(Debug)]
pub(super) struct QueuedSend {
    pub(super) serial: u32,
    pub(super) destination: Destination,
    pub(super) flags: Flags,
    /// The bytes that are not written; at first, all.
    pub(super) rest: Bytes,
}

/// The queued sends of one socket: at least one.
#[derive(Debug, Default)]
struct SocketQueue {
    sends: VecDeque<QueuedSend>,
    bytes: usize,
    /// Bytes of the first send's whole datagram, once the socket takes turns.
    begun: usize,
}

#[derive(Debug)]
pub(super) struct SendQueue {
    /// Bytes of the whole datagrams that take turns, at most. The stub has to hold the pieces that
    /// have come of each.
    limit: usize,
    /// Bytes of those.
    begun: usize,
    sockets: HashMap<SocketId, SocketQueue>,
    /// Sockets that take turns, the next one first.
    in_turn: VecDeque<SocketId>,
    /// Sockets whose first send has not begun.
    not_begun: VecDeque<SocketId>,
    /// Bytes in all queues.
    bytes: usize,
}

impl SendQueue {
    /// A queue of datagrams that have `limit` bytes at most, and as many together while they take
    /// turns.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            begun: 0,
            sockets: HashMap::new(),
            in_turn: VecDeque::new(),
            not_begun: VecDeque::new(),
            bytes: 0,
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

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
            self.begun -= socket.begun;
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
        while self.in_turn.len() < AT_A_TIME && self.begin_next() {}
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
            self.begun -= take(&mut socket.begun);
            if socket.sends.is_empty() {
                self.sockets.remove(&id);
            } else {
                // The next one begins behind those of other sockets that have not begun.
                self.not_begun.push_back(id);
            }
        }
        Some((id, data.len()))
    }

    /// Has the next send take turns with those that have begun; false if there is none, or no room
    /// for it.
    fn begin_next(&mut self) -> bool {
        let Some(id) = self.not_begun.front() else { return false };
        let socket = self.sockets.get_mut(id);
        let length = socket.as_ref().and_then(|socket| socket.sends.front()).map(|s| s.rest.len());
        let (Some(socket), Some(length)) = (socket, length) else { return false };
        if !self.in_turn.is_empty() && self.begun + length > self.limit {
            return false;
        }
        socket.begun = length;
        self.begun += length;
        self.in_turn.extend(self.not_begun.pop_front());
        true
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

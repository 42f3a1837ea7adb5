//! The kernel sockets of one connection, and which of them is to be read or sent on next.

use std::{
    collections::{HashMap, VecDeque},
    mem::take,
    sync::Arc,
};

use nix::errno::Errno;

use super::{
    buffers::{ExchangeResults, IoBuffers, SendHeader},
    exchange::{Drained, Exchange},
    open_socket::OpenSocket,
    option_request::Operation,
    poller::{Poller, Source},
    socket::{Queued, Socket},
    syscall::Syscall,
};
use crate::{kernel::failure, proto::StubState, wire::SocketId};

#[derive(Debug)]
pub(super) struct SocketTable {
    sockets: HashMap<SocketId, Socket>,
    /// Sockets with a queued send or request that may be made now.
    sendable: VecDeque<SocketId>,
    /// Sockets that are to be read, in this order.
    ready: VecDeque<SocketId>,
    /// The agreed limit on frames.
    max_frame: usize,
    poller: Arc<Poller>,
}

impl SocketTable {
    pub(super) fn new(max_frame: u32, poller: Arc<Poller>) -> Self {
        let max_frame = max_frame as usize;
        let (sendable, ready) = (VecDeque::new(), VecDeque::new());
        Self { sockets: HashMap::new(), sendable, ready, max_frame, poller }
    }

    pub(super) fn insert(&mut self, id: SocketId, socket: OpenSocket) {
        self.sockets.insert(id, Socket::new(socket));
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.sockets.clear();
    }

    /// Whether any is to be read now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Has the poller watch a socket that may be read, and no other: epoll reports errors of a
    /// socket that it holds even where no event is asked for.
    pub(super) fn watch(&mut self, id: SocketId, state: &StubState) -> Result<(), Errno> {
        let Some(socket) = self.sockets.get_mut(&id) else { return Ok(()) };
        let wanted =
            !socket.closing && !socket.receiving && state.may_forward(id, socket.has_confirming());
        if wanted != socket.watched {
            match wanted {
                true => self.poller.watch_readable(&*socket.kernel, Source::Socket(id))?,
                false => self.poller.unwatch(&*socket.kernel)?,
            }
            socket.watched = wanted;
        }
        Ok(())
    }

    /// Queues a socket to be read, unless it is queued.
    fn set_ready(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && !socket.ready
            && !socket.receiving
        {
            socket.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Takes in that the poller finds a socket readable. One from which another thread is receiving
    /// is left to that thread, and is watched again when that has ended: until then the poller would
    /// report it again and again.
    pub(super) fn readable(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && (socket.receiving || socket.closing)
            && take(&mut socket.watched)
        {
            let _ = self.poller.unwatch(&*socket.kernel);
        }
        self.set_ready(id);
    }

    /// Begins the next receive turn.
    pub(super) fn next_receive(
        &mut self,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> Option<Syscall> {
        while let Some(id) = self.ready.pop_front() {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            socket.ready = false;
            if socket.closing || socket.receiving {
                continue;
            }
            match socket.begin_receive(id, state) {
                Some(syscall) => return Some(syscall),
                None => socket.answer(id, Drained::More, state, out),
            }
        }
        None
    }

    /// Begins a send, whose datagram is put into `buffers`; or queues it, if a send or request on its
    /// socket is under way. With `room` in the output, its answer is received in the same call.
    pub(super) fn send(
        &mut self,
        id: SocketId,
        send: SendHeader,
        datagram: &[u8],
        room: bool,
        state: &StubState,
        buffers: &mut IoBuffers,
    ) -> Option<Syscall> {
        let socket = self.sockets.get_mut(&id)?;
        if socket.must_queue() {
            socket.queue.push_back(Queued::Send(send, datagram.to_vec()));
            return None;
        }
        buffers.set_send(send, datagram);
        Some(socket.begin_send(id, send, room, state))
    }

    /// Queues the send that had come before the socket was open.
    pub(super) fn queue_first(&mut self, id: SocketId, send: SendHeader, datagram: Vec<u8>) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.queue.push_back(Queued::Send(send, datagram));
            self.sendable.push_back(id);
        }
    }

    /// Adds a send to an exchange that has not begun, and the receiving of its answer.
    pub(super) fn gather(
        exchange: &mut Exchange,
        send: SendHeader,
        datagram: &[u8],
        state: &StubState,
        buffers: &mut IoBuffers,
    ) {
        buffers.add_send(send, datagram);
        exchange.sends += 1;
        let allowed = &mut exchange.allowance.datagrams;
        if *allowed > 0 {
            *allowed = (*allowed + 1).min(state.credit_left(exchange.id, false).datagrams);
        }
    }

    /// Begins the next send or request that was queued and may be made now.
    pub(super) fn next_queued(
        &mut self,
        room: bool,
        state: &StubState,
        buffers: &mut IoBuffers,
    ) -> Option<Syscall> {
        while let Some(id) = self.sendable.pop_front() {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            if socket.sending || socket.closing {
                continue;
            }
            return Some(match socket.queue.pop_front() {
                None => continue,
                Some(Queued::Request(number, operation)) => {
                    socket.begin_request(id, number, operation)
                }
                Some(Queued::Send(send, datagram)) => {
                    buffers.set_send(send, &datagram);
                    socket.begin_send(id, send, room, state)
                }
            });
        }
        None
    }

    /// Begins a request on options or groups, or queues it likewise.
    pub(super) fn request(
        &mut self,
        id: SocketId,
        number: u32,
        operation: Operation,
    ) -> Option<Syscall> {
        let socket = self.sockets.get_mut(&id)?;
        if socket.must_queue() {
            socket.queue.push_back(Queued::Request(number, operation));
            return None;
        }
        Some(socket.begin_request(id, number, operation))
    }

    /// Takes in the results of an exchange. Begins to close a socket that has waited for that.
    pub(super) fn exchanged(
        &mut self,
        exchange: Exchange,
        drained: Drained,
        results: &ExchangeResults,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> Option<Syscall> {
        let (id, sends) = (exchange.id, exchange.sends);
        for (send, result) in &results.sends {
            state.sent(id, send.length, send.confirm, result.errno, out);
        }
        let socket = self.sockets.get_mut(&id)?;
        let receives = socket.end_exchange(&exchange);
        drop(exchange);
        if socket.closing {
            return self.close_if_idle(id);
        }
        if sends > 0 && !socket.queue.is_empty() {
            self.sendable.push_back(id);
        }
        let received = receives.then_some(drained);
        socket.deliver(id, results, received, self.max_frame, state, out);
        // After a send nothing but its answer is likely to be queued, and the poller reports if more
        // is. A turn that ended at its quantum goes on after those of other sockets.
        let goes_on = sends == 0 && received == Some(Drained::More);
        if goes_on || socket.has_pending_acks() {
            self.set_ready(id);
        }
        None
    }

    /// Takes in that a request for [`DRAINED`](crate::wire::DRAINED) found so many bytes queued.
    pub(super) fn drained(
        &mut self,
        id: SocketId,
        request: u32,
        queued: u64,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) {
        match self.sockets.get_mut(&id) {
            Some(socket) if !socket.closing => {
                socket.begin_drained(request, queued);
                socket.answer(id, Drained::More, state, out);
                // If another thread has just taken the last datagram, the poller reports none.
                if socket.has_pending_acks() {
                    self.set_ready(id);
                }
            }
            _ => closed(id, request, state, out),
        }
    }

    /// Takes in that a request is done.
    pub(super) fn requested(&mut self, id: SocketId) -> Option<Syscall> {
        let socket = self.sockets.get_mut(&id)?;
        socket.calls -= 1;
        socket.sending = false;
        if !socket.queue.is_empty() {
            self.sendable.push_back(id);
        }
        self.close_if_idle(id)
    }

    /// Closes a socket, at once or when the calls under way on it have ended.
    pub(super) fn close(
        &mut self,
        id: SocketId,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> Option<Syscall> {
        let socket = self.sockets.get_mut(&id)?;
        socket.closing = true;
        if take(&mut socket.watched) {
            // Closing it would not end that while a call on another thread holds it.
            let _ = self.poller.unwatch(&*socket.kernel);
        }
        for queued in socket.queue.drain(..) {
            match queued {
                Queued::Send(send, datagram) => {
                    let errno = Errno::ECANCELED as i32;
                    state.sent(id, datagram.len(), send.confirm, errno, out);
                }
                Queued::Request(number, _) => closed(id, number, state, out),
            }
        }
        // Those of sends go with the socket.
        for number in socket.abandoned() {
            closed(id, number, state, out);
        }
        self.close_if_idle(id)
    }

    fn close_if_idle(&mut self, id: SocketId) -> Option<Syscall> {
        if !self.sockets.get(&id).is_some_and(|socket| socket.closing && socket.calls == 0) {
            return None;
        }
        self.sockets.remove(&id).map(|socket| Syscall::Close(id, socket.kernel))
    }
}

/// Answers a request on a socket that was closed meanwhile.
fn closed(id: SocketId, request: u32, state: &mut StubState, out: &mut Vec<u8>) {
    let failure = failure(Errno::ECANCELED, "the socket was closed");
    state.reply(id, request, Err(&failure), out);
}

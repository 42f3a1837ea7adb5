//! The kernel sockets of one connection: whose turn it is, and how what they receive comes into
//! the output.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollEvent, EpollFlags},
};

use super::syscall::{
    Batch, Drained, Exchange, Gap, Item, Job, Operation, Scratch, SendPart, SendResult,
    SocketRequest,
};
use crate::{
    kernel::{KernelSocket, failure},
    proto::StubState,
    wire::{Credit, Flags, Message, SocketId},
};

/// What one socket may receive before another has its turn.
const TURN: Credit = Credit { bytes: 32 << 10, datagrams: 64 };

/// What is received right behind a send: its answer, which is there already.
const ANSWER: Credit = Credit { bytes: u64::MAX, datagrams: 1 };

/// A datagram goes out in frames of at most this much data, and fewer where frames are smaller.
const PIECE: usize = 60 << 10;

/// What a datagram's frame has besides the datagram.
const OVERHEAD: usize = crate::wire::HEADER_LEN + crate::wire::DATAGRAM_PREFIX;

/// What waits for the send or request before it on the same socket: they take effect in order.
#[derive(Debug)]
enum Waiting {
    Send(SendPart, Vec<u8>),
    Request(u32, Operation),
}

/// A confirmed send that is done, and whose answer waits for what was readable by then.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    serial: u32,
    result: SendResult,
    /// Bytes still to be read: the kernel counts more for a datagram than its length, so once
    /// this much has been read, all that was queued has.
    behind: u64,
    /// False as long as what another thread is receiving may have come before the send.
    counts: bool,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<KernelSocket>,
    /// Whether epoll tells when it is readable.
    watched: bool,
    /// Whether it is in the row of those that are to be read.
    ready: bool,
    receiving: bool,
    /// Whether a send or a request is being made.
    sending: bool,
    /// Jobs under way, this one's sends and receives included.
    jobs: usize,
    gap: Gap,
    /// How many sends like the last may be made at once, by their pace.
    at_once: u32,
    waiting: VecDeque<Waiting>,
    confirming: VecDeque<Confirming>,
    closing: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sockets {
    entries: HashMap<SocketId, Entry>,
    /// Those with a waiting send that may be made now.
    sendable: VecDeque<SocketId>,
    /// Those that are to be read, in turn.
    ready: VecDeque<SocketId>,
    /// The agreed limit on frames.
    max_frame: usize,
}

/// The token of a socket in epoll; smaller ones are the engine's.
pub(super) fn token(id: SocketId) -> u64 {
    1 << 32 | u64::from(id.0)
}

impl Sockets {
    pub(super) fn new(max_frame: u32) -> Self {
        let max_frame = max_frame as usize;
        let (sendable, ready) = (VecDeque::new(), VecDeque::new());
        Self { entries: HashMap::new(), sendable, ready, max_frame }
    }

    pub(super) fn insert(&mut self, id: SocketId, socket: KernelSocket) {
        self.entries.insert(
            id,
            Entry {
                socket: Arc::new(socket),
                watched: false,
                ready: false,
                receiving: false,
                sending: false,
                jobs: 0,
                gap: Gap::default(),
                at_once: 1,
                waiting: VecDeque::new(),
                confirming: VecDeque::new(),
                closing: false,
            },
        );
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Whether any is to be read now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Has epoll tell when this socket is readable, if it may be read, and not otherwise: epoll
    /// reports errors of a socket it holds even where nobody asked for events.
    pub(super) fn watch(
        &mut self,
        id: SocketId,
        state: &StubState,
        epoll: &Epoll,
    ) -> Result<(), Errno> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let wanted = !entry.closing
            && !entry.receiving
            && state.may_forward(id, !entry.confirming.is_empty());
        if wanted != entry.watched {
            if wanted {
                epoll.add(&*entry.socket, EpollEvent::new(EpollFlags::EPOLLIN, token(id)))?;
            } else {
                epoll.delete(&*entry.socket)?;
            }
            entry.watched = wanted;
        }
        Ok(())
    }

    /// Puts a socket into the row of those that are to be read, where it is not there yet.
    pub(super) fn set_ready(&mut self, id: SocketId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && !entry.ready
            && !entry.receiving
        {
            entry.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Takes in that epoll finds a socket readable. One that another thread is receiving from is
    /// left to that, and epoll would tell of it again and again; it is watched again behind it.
    pub(super) fn readable(&mut self, id: SocketId, epoll: &Epoll) {
        if let Some(entry) = self.entries.get_mut(&id)
            && (entry.receiving || entry.closing)
            && std::mem::take(&mut entry.watched)
        {
            let _ = epoll.delete(&*entry.socket);
        }
        self.set_ready(id);
    }

    /// The next turn of receiving.
    pub(super) fn next_turn(&mut self, state: &StubState, out: &mut Vec<u8>) -> Option<Job> {
        while let Some(id) = self.ready.pop_front() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.ready = false;
            if entry.closing || entry.receiving {
                continue;
            }
            let allowance = entry.allowance(id, state, TURN);
            if allowance == Credit::default() {
                entry.answer(id, Drained::More, state, out);
                continue;
            }
            return Some(Job::Exchange(entry.exchange(id, 0, 1, allowance)));
        }
        None
    }

    /// Prepares a send: gives the job, with its bytes in `scratch`; or queues it behind one that
    /// is being made on the same socket. With `room` in the output, its answer is received in the
    /// same job.
    pub(super) fn send(
        &mut self,
        id: SocketId,
        part: SendPart,
        data: &[u8],
        room: bool,
        state: &StubState,
        scratch: &mut Scratch,
    ) -> Option<Job> {
        let entry = self.entries.get_mut(&id)?;
        if entry.sending || !entry.waiting.is_empty() {
            entry.waiting.push_back(Waiting::Send(part, data.to_vec()));
            return None;
        }
        scratch.send(part, data);
        Some(Job::Exchange(entry.send(id, part, room, state)))
    }

    /// Has an exchange that was just prepared send this, too, and receive the answer.
    pub(super) fn send_too(
        exchange: &mut Exchange,
        part: SendPart,
        data: &[u8],
        state: &StubState,
        scratch: &mut Scratch,
    ) {
        scratch.send_too(part, data);
        exchange.sends += 1;
        let allowed = &mut exchange.allowance.datagrams;
        if *allowed > 0 {
            *allowed = (*allowed + 1).min(state.credit_left(exchange.id, false).datagrams);
        }
    }

    /// The next send that waited and may be made now.
    pub(super) fn next_send(
        &mut self,
        room: bool,
        state: &StubState,
        scratch: &mut Scratch,
    ) -> Option<Job> {
        while let Some(id) = self.sendable.pop_front() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.sending || entry.closing {
                continue;
            }
            return Some(match entry.waiting.pop_front() {
                None => continue,
                Some(Waiting::Request(request, operation)) => entry.request(id, request, operation),
                Some(Waiting::Send(part, data)) => {
                    scratch.send(part, &data);
                    Job::Exchange(entry.send(id, part, room, state))
                }
            });
        }
        None
    }

    /// Prepares a request on options or groups, or queues it likewise.
    pub(super) fn request(
        &mut self,
        id: SocketId,
        request: u32,
        operation: Operation,
    ) -> Option<Job> {
        let entry = self.entries.get_mut(&id)?;
        if entry.sending || !entry.waiting.is_empty() {
            entry.waiting.push_back(Waiting::Request(request, operation));
            return None;
        }
        Some(entry.request(id, request, operation))
    }

    /// Takes in what an exchange came to. Gives the job of closing the socket where that has
    /// waited for this.
    pub(super) fn exchanged(
        &mut self,
        exchange: Exchange,
        drained: Drained,
        batch: &Batch,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> Option<Job> {
        let Exchange { id, socket, sends, at_once, allowance, gap } = exchange;
        drop(socket);
        for (part, result) in &batch.sent {
            state.sent(id, part.length, result.errno, out);
        }
        let entry = self.entries.get_mut(&id)?;
        entry.jobs -= 1;
        let receiving = allowance != Credit::default();
        if receiving {
            entry.receiving = false;
            entry.gap = gap;
        }
        if sends > 0 {
            entry.sending = false;
            entry.at_once = at_once;
        }
        if entry.closing {
            return self.close_if_idle(id);
        }
        if sends > 0 && !entry.waiting.is_empty() {
            self.sendable.push_back(id);
        }
        for &(SendPart { serial, confirm, .. }, result) in &batch.sent {
            if confirm {
                let (behind, counts) = (result.behind, receiving || !entry.receiving);
                entry.confirming.push_back(Confirming { serial, result, behind, counts });
            }
        }
        entry.deliver(id, batch, self.max_frame, state, out);
        // Where nothing was tried, nothing is known of what is left.
        entry.answer(id, if receiving { drained } else { Drained::More }, state, out);
        if receiving {
            entry.confirming.iter_mut().for_each(|confirming| confirming.counts = true);
        }
        // The answer behind a send is mostly all there is, and epoll tells if it is not. A turn
        // that ended for its length goes on behind the others'.
        let turn_left = receiving && sends == 0 && drained == Drained::More;
        if turn_left || !entry.confirming.is_empty() {
            self.set_ready(id);
        }
        None
    }

    /// Takes in that a request is done.
    pub(super) fn requested(&mut self, id: SocketId) -> Option<Job> {
        let entry = self.entries.get_mut(&id)?;
        entry.jobs -= 1;
        entry.sending = false;
        if !entry.waiting.is_empty() {
            self.sendable.push_back(id);
        }
        self.close_if_idle(id)
    }

    /// Begins to close a socket. Gives the job to do so, unless another has to end first.
    pub(super) fn close(
        &mut self,
        id: SocketId,
        state: &mut StubState,
        epoll: &Epoll,
        out: &mut Vec<u8>,
    ) -> Option<Job> {
        let entry = self.entries.get_mut(&id)?;
        entry.closing = true;
        if std::mem::take(&mut entry.watched) {
            // Closing it would not be enough while a job holds it on another thread.
            let _ = epoll.delete(&*entry.socket);
        }
        for waiting in entry.waiting.drain(..) {
            match waiting {
                Waiting::Send(_, data) => {
                    state.sent(id, data.len(), Errno::ECANCELED as i32, out);
                }
                Waiting::Request(request, _) => {
                    let failure = failure(Errno::ECANCELED, "the socket was closed");
                    state.reply(id, request, Err(&failure), out);
                }
            }
        }
        self.close_if_idle(id)
    }

    fn close_if_idle(&mut self, id: SocketId) -> Option<Job> {
        if !self.entries.get(&id).is_some_and(|entry| entry.closing && entry.jobs == 0) {
            return None;
        }
        self.entries.remove(&id).map(|entry| Job::Close(id, entry.socket))
    }
}

impl Entry {
    /// What may be received now, `most` at most; zeros where it is nothing.
    fn allowance(&self, id: SocketId, state: &StubState, most: Credit) -> Credit {
        let left = state.credit_left(id, !self.confirming.is_empty());
        if self.receiving || left.bytes == 0 || left.datagrams == 0 {
            return Credit::default();
        }
        Credit { bytes: left.bytes.min(most.bytes), datagrams: left.datagrams.min(most.datagrams) }
    }

    fn send(&mut self, id: SocketId, part: SendPart, room: bool, state: &StubState) -> Exchange {
        self.sending = true;
        let most = if part.confirm { TURN } else { ANSWER };
        let allowance = if room { self.allowance(id, state, most) } else { Credit::default() };
        // One of another kind than those before may be slower than they were.
        let at_once = if part.gather { self.at_once } else { 1 };
        self.exchange(id, 1, at_once, allowance)
    }

    fn request(&mut self, id: SocketId, request: u32, operation: Operation) -> Job {
        self.sending = true;
        self.jobs += 1;
        let socket = Arc::clone(&self.socket);
        Job::Request(SocketRequest { id, socket, request, operation })
    }

    fn exchange(&mut self, id: SocketId, sends: u32, at_once: u32, allowance: Credit) -> Exchange {
        self.jobs += 1;
        self.receiving |= allowance != Credit::default();
        let socket = Arc::clone(&self.socket);
        Exchange { id, socket, sends, at_once, allowance, gap: self.gap }
    }

    /// Puts what was received into the output.
    fn deliver(
        &mut self,
        id: SocketId,
        batch: &Batch,
        max_frame: usize,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) {
        for item in &batch.items {
            match *item {
                Item::Refused(serial, SendResult { errno, nanoseconds, .. }) => {
                    state.answer_send(id, serial, errno, nanoseconds, out);
                }
                Item::Datagram(info, start, length) if length + OVERHEAD <= max_frame => {
                    let whole = batch.data.get(start..start + length).unwrap_or_default();
                    let piece = PIECE.min(max_frame - OVERHEAD);
                    let mut pieces = whole.chunks(piece).peekable();
                    loop {
                        let data = pieces.next().unwrap_or_default();
                        let more = pieces.peek().is_some();
                        let flags = if more { Flags::MORE } else { Flags::NONE };
                        Message::Datagram { info, data }.encode(id, flags, out);
                        if !more {
                            break;
                        }
                    }
                    state.forwarded(id, length);
                    for confirming in self.confirming.iter_mut().filter(|c| c.counts) {
                        confirming.behind = confirming.behind.saturating_sub(length as u64);
                    }
                }
                Item::Datagram(_, _, length) | Item::TooLarge(length) => {
                    let (errno, length) = (Errno::EMSGSIZE as i32, length as u64);
                    Message::ReceiveError { errno, length }.encode(id, Flags::NONE, out);
                }
                Item::Failed(errno) => {
                    let errno = errno as i32;
                    Message::ReceiveError { errno, length: 0 }.encode(id, Flags::NONE, out);
                }
                Item::Lost(total) => state.lost(id, total, out),
            }
        }
    }

    /// Answers the confirmed sends behind whose datagrams the stream now is. Where the client
    /// has left more than it has credit for unread, the answer no longer waits for it.
    fn answer(&mut self, id: SocketId, drained: Drained, state: &StubState, out: &mut Vec<u8>) {
        while let Some(first) = self.confirming.front() {
            let waits = first.behind > 0 && (drained == Drained::More || !first.counts);
            if waits && (self.receiving || state.may_forward(id, true)) {
                return;
            }
            let SendResult { errno, nanoseconds, .. } = first.result;
            state.answer_send(id, first.serial, errno, nanoseconds, out);
            self.confirming.pop_front();
        }
    }
}

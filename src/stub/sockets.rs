//! The kernel sockets of one connection, and how their datagrams come into the output.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::AsFd,
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollEvent, EpollFlags},
};

use crate::{
    kernel::{KernelSocket, RECEIVE_ROOM, Received},
    proto::StubState,
    wire::{
        DatagramInfo, Destination, Flags, Message, SocketId, begin_datagram, describe_datagram,
        finish_frame,
    },
};

/// Datagrams taken from one socket before another has its turn.
const TURN: usize = 32;

/// Room for the part of a datagram beyond [`RECEIVE_ROOM`]. It is only touched, and so only
/// takes memory, where a datagram is that large.
const SPILL: usize = 4 << 20;

/// A datagram goes out in frames of at most this much data.
const PIECE: usize = 64 * 1024;

/// A send that is to be made, or was.
#[derive(Debug)]
pub(super) struct SendJob {
    pub(super) id: SocketId,
    pub(super) socket: Arc<KernelSocket>,
    pub(super) serial: u32,
    pub(super) confirm: bool,
    pub(super) destination: Destination,
    pub(super) length: usize,
}

/// A send that waits for the one before it on the same socket.
#[derive(Debug)]
struct Waiting {
    serial: u32,
    confirm: bool,
    destination: Destination,
    data: Vec<u8>,
}

/// A confirmed send that is done, and whose answer waits for what was readable by then.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    serial: u32,
    errno: i32,
    nanoseconds: u64,
    /// Bytes that the receive queue held, by the kernel's accounting, which is more than the
    /// datagrams' own: once this much has been read, all of it has.
    behind: u64,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<KernelSocket>,
    watched: bool,
    /// After ENOBUFS: bytes queued before the gap, when last looked at.
    overrun: Option<u32>,
    sending: bool,
    waiting: VecDeque<Waiting>,
    confirming: VecDeque<Confirming>,
    closing: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sockets {
    entries: HashMap<SocketId, Entry>,
    spill: Vec<u8>,
    /// Those with a waiting send that may be made now.
    sendable: VecDeque<SocketId>,
    /// Those that owe an answer to a confirmed send.
    owing: Vec<SocketId>,
}

/// The token of a socket in epoll; smaller ones are the engine's.
pub(super) fn token(id: SocketId) -> u64 {
    1 << 32 | u64::from(id.0)
}

/// What reading a socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// There may be more.
    More,
    /// There is nothing more.
    Empty,
    /// There is no credit for more.
    NoCredit,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            spill: Vec::new(),
            sendable: VecDeque::new(),
            owing: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, id: SocketId, socket: KernelSocket) {
        self.entries.insert(
            id,
            Entry {
                socket: Arc::new(socket),
                watched: false,
                overrun: None,
                sending: false,
                waiting: VecDeque::new(),
                confirming: VecDeque::new(),
                closing: false,
            },
        );
    }

    pub(super) fn socket(&self, id: SocketId) -> Option<&KernelSocket> {
        self.entries.get(&id).map(|entry| &*entry.socket)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
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
        let wanted = !entry.closing && state.may_forward(id, !entry.confirming.is_empty());
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

    /// Prepares a send: gives the job, with its bytes in `scratch`, or queues it behind one that
    /// is being made on the same socket.
    pub(super) fn send(
        &mut self,
        id: SocketId,
        serial: u32,
        confirm: bool,
        destination: Destination,
        data: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Option<SendJob> {
        let entry = self.entries.get_mut(&id)?;
        if entry.sending || !entry.waiting.is_empty() {
            let data = data.to_vec();
            entry.waiting.push_back(Waiting { serial, confirm, destination, data });
            return None;
        }
        entry.sending = true;
        scratch.clear();
        scratch.extend_from_slice(data);
        let (socket, length) = (Arc::clone(&entry.socket), data.len());
        Some(SendJob { id, socket, serial, confirm, destination, length })
    }

    /// The next send that waited and may be made now.
    pub(super) fn next_send(&mut self, scratch: &mut Vec<u8>) -> Option<SendJob> {
        while let Some(id) = self.sendable.pop_front() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.sending {
                continue;
            }
            let Some(next) = entry.waiting.pop_front() else { continue };
            entry.sending = true;
            *scratch = next.data;
            let (socket, length) = (Arc::clone(&entry.socket), scratch.len());
            let Waiting { serial, confirm, destination, .. } = next;
            return Some(SendJob { id, socket, serial, confirm, destination, length });
        }
        None
    }

    /// Takes in how a send ended and, if there is `room` in the output, forwards what it was
    /// answered with: the answer is there already, and need not wait for epoll. True if the socket, which waited for it, can be closed now.
    pub(super) fn sent(
        &mut self,
        job: &SendJob,
        result: Result<(), Errno>,
        nanoseconds: u64,
        room: bool,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> bool {
        let errno = result.err().map_or(0, |errno| errno as i32);
        state.sent(job.id, job.length, errno, out);
        let Some(entry) = self.entries.get_mut(&job.id) else { return false };
        entry.sending = false;
        if entry.closing {
            return true;
        }
        if !entry.waiting.is_empty() {
            self.sendable.push_back(job.id);
        }
        let serial = job.serial;
        if job.confirm {
            // Where the kernel cannot say what is queued, all there is comes first.
            let queued = entry.socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
            let behind = queued.into();
            entry.confirming.push_back(Confirming { serial, errno, nanoseconds, behind });
        } else if errno != 0 {
            state.answer_send(job.id, serial, errno, nanoseconds, out);
        }
        if room {
            self.forward(job.id, if job.confirm { TURN } else { 1 }, state, out);
        }
        if self.entries.get(&job.id).is_some_and(|entry| !entry.confirming.is_empty()) {
            self.owing.push(job.id);
        }
        false
    }

    /// Begins to close a socket; true if it can be closed now, false if a send is being made.
    pub(super) fn close(&mut self, id: SocketId, state: &mut StubState, epoll: &Epoll) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return true };
        entry.closing = true;
        if std::mem::take(&mut entry.watched) {
            // Closing it would not be enough while a send holds it on another thread.
            let _ = epoll.delete(&*entry.socket);
        }
        for waiting in entry.waiting.drain(..) {
            state.sent(id, waiting.data.len(), Errno::ECANCELED as i32, &mut Vec::new());
        }
        !entry.sending
    }

    /// Lets go of a socket; gives the kernel's drop counter.
    pub(super) fn remove(&mut self, id: SocketId) -> u64 {
        let drops = |entry: Entry| entry.socket.drops_and_queued().ok();
        self.entries.remove(&id).and_then(drops).map_or(0, |(drops, _)| drops.into())
    }

    /// Forwards one turn's worth of datagrams of a socket that is readable.
    pub(super) fn turn(&mut self, id: SocketId, state: &mut StubState, out: &mut Vec<u8>) {
        self.forward(id, TURN, state, out);
        let Some(entry) = self.entries.get(&id) else { return };
        if !entry.confirming.is_empty() && !entry.closing && !self.owing.contains(&id) {
            self.owing.push(id);
        }
    }

    /// Takes the list of sockets that owe an answer to a confirmed send; each has to be given a
    /// [`turn`](Self::turn), after which it is on the list again if it still does.
    pub(super) fn owing(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.owing)
    }

    /// Whether there are such sockets.
    pub(super) fn is_owing(&self) -> bool {
        !self.owing.is_empty()
    }

    fn forward(&mut self, id: SocketId, turn: usize, state: &mut StubState, out: &mut Vec<u8>) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.closing) else { return };
        let mut drained = Drained::More;
        for _ in 0..turn {
            if !state.may_forward(id, !entry.confirming.is_empty()) {
                drained = Drained::NoCredit;
                break;
            }
            drained = entry.forward_one(id, &mut self.spill, state, out);
            if drained != Drained::More {
                break;
            }
        }
        entry.answer(id, drained, state, out);
    }
}

impl Entry {
    /// Moves one datagram, or what happened instead of one, into the output.
    fn forward_one(
        &mut self,
        id: SocketId,
        spill: &mut Vec<u8>,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) -> Drained {
        out.reserve(RECEIVE_ROOM + 64);
        if spill.is_empty() {
            *spill = vec![0; SPILL];
        }
        let start = begin_datagram(id, out);
        let data = out.len();
        match self.socket.receive(out, spill) {
            Received::Datagram(info, length) => {
                describe_datagram(out, start, &info);
                let direct = out.len() - data;
                if direct == length && length <= PIECE {
                    finish_frame(out, start);
                } else {
                    let rest = spill.get(..length - direct).unwrap_or_default();
                    in_pieces(id, &info, start, data, rest, out);
                }
                state.forwarded(id, length);
                self.count_down(length);
                self.look_for_gap(id, false, state, out);
                Drained::More
            }
            Received::TooLarge(length) => {
                out.truncate(start);
                let (errno, length) = (Errno::EMSGSIZE as i32, length as u64);
                Message::ReceiveError { errno, length }.encode(id, Flags::NONE, out);
                Drained::More
            }
            Received::Empty => {
                out.truncate(start);
                self.look_for_gap(id, true, state, out);
                Drained::Empty
            }
            Received::Overrun => {
                // What is queued now came before the gap, and nothing joins it until all of it
                // is read (netlink(7); `NETLINK_S_CONGESTED` in the kernel's af_netlink.c).
                out.truncate(start);
                let queued = self.socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
                self.overrun = Some(queued);
                if queued == 0 {
                    self.tell_gap(id, state, out);
                }
                Drained::More
            }
            Received::Failed(errno) => {
                out.truncate(start);
                let errno = errno as i32;
                Message::ReceiveError { errno, length: 0 }.encode(id, Flags::NONE, out);
                Drained::Empty
            }
        }
    }

    /// Tells a gap as soon as everything that was queued before it has been read: the queue has
    /// become empty, or has not become shorter by a datagram, so that new ones have come since.
    fn look_for_gap(
        &mut self,
        id: SocketId,
        empty: bool,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) {
        match self.overrun {
            Some(before) => {
                let queued = self.socket.drops_and_queued().map_or(before, |(_, queued)| queued);
                self.overrun = Some(queued);
                if empty || queued == 0 || queued >= before {
                    self.tell_gap(id, state, out);
                }
            }
            // The kernel tells neither that there is a gap nor where: it is looked for whenever
            // the queue has become empty.
            None if self.socket.has_silent_overruns() => {
                let queued = || self.socket.drops_and_queued().map_or(0, |(_, queued)| queued);
                if empty || queued() == 0 {
                    self.tell_gap(id, state, out);
                }
            }
            None => {}
        }
    }

    fn tell_gap(&mut self, id: SocketId, state: &mut StubState, out: &mut Vec<u8>) {
        self.overrun = None;
        let Ok((drops, _)) = self.socket.drops_and_queued() else { return };
        // The counter has 32 bits and may wrap.
        let told = state.dropped(id);
        let since = drops.wrapping_sub(told as u32);
        if since > 0 {
            state.lost(id, told + u64::from(since), out);
        }
    }

    fn count_down(&mut self, length: usize) {
        for confirming in &mut self.confirming {
            confirming.behind = confirming.behind.saturating_sub(length as u64);
        }
    }

    /// Answers the confirmed sends behind whose datagrams the stream now is. Where the client
    /// has left more than it has credit for unread, the answer no longer waits for it.
    fn answer(&mut self, id: SocketId, drained: Drained, state: &mut StubState, out: &mut Vec<u8>) {
        while let Some(first) = self.confirming.front() {
            if drained == Drained::More && first.behind > 0 {
                return;
            }
            state.answer_send(id, first.serial, first.errno, first.nanoseconds, out);
            self.confirming.pop_front();
        }
    }
}

/// Rebuilds the frame begun at `start`, whose data begins at `data` and goes on in `rest`, as
/// several frames.
fn in_pieces(
    id: SocketId,
    info: &DatagramInfo,
    start: usize,
    data: usize,
    rest: &[u8],
    out: &mut Vec<u8>,
) {
    let mut whole = out.split_off(data);
    out.truncate(start);
    whole.extend_from_slice(rest);
    let mut pieces = whole.chunks(PIECE).peekable();
    while let Some(data) = pieces.next() {
        let flags = if pieces.peek().is_some() { Flags::MORE } else { Flags::NONE };
        Message::Datagram { info: *info, data }.encode(id, flags, out);
    }
}

impl AsFd for SendJob {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

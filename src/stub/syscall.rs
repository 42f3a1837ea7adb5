//! What is done in the kernel, by a thread that has unlocked the engine meanwhile.
//!
//! Any of it can take long: netlink runs a request inside `sendmsg`, makes the next part of a
//! dump inside `recvmsg`, and may have to wait for a lock to close a socket. So all of it is a
//! job, which the watcher sees to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use crate::{
    kernel::{KernelSocket, RECEIVE_ROOM, Received, failure},
    wire::{Credit, DatagramInfo, Destination, Failure, Open, Opened, SocketId},
};

/// How long answers may wait for the sends behind theirs.
const PATIENCE: Duration = Duration::from_millis(1);

/// Room for the part of a datagram beyond [`RECEIVE_ROOM`]. It is only touched, and so only
/// takes memory, where a datagram is that large.
const SPILL: usize = 4 << 20;

/// A job.
#[derive(Debug)]
pub(super) enum Job {
    /// Send, receive, or one after the other.
    Exchange(Exchange),
    /// A request on a socket's options or groups.
    Request(SocketRequest),
    /// Create a socket in the stub's own namespace.
    Open(SocketId, Box<Open>),
    /// Close one.
    Close(SocketId, Arc<KernelSocket>),
}

/// What came of a job. What was sent and received is in the batch.
#[derive(Debug)]
pub(super) enum Done {
    Exchange(Exchange, Drained),
    Request(SocketRequest, Result<Vec<u8>, Failure>),
    Open(SocketId, Result<(KernelSocket, Opened), Failure>),
    /// With the kernel's drop counter.
    Close(SocketId, u64),
}

/// Sends, a turn of receiving, or one after the other.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: SocketId,
    pub(super) socket: Arc<KernelSocket>,
    /// How many sends there are; they are in the scratch.
    pub(super) sends: u32,
    /// How many there may be, by the pace of those before; then by the pace of these.
    pub(super) at_once: u32,
    /// What may be received; nothing where one of its numbers is 0.
    pub(super) allowance: Credit,
    pub(super) gap: Gap,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SendPart {
    pub(super) serial: u32,
    pub(super) confirm: bool,
    /// Whether it may be made in one system call with the send before it.
    pub(super) gather: bool,
    pub(super) destination: Destination,
    pub(super) length: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendResult {
    pub(super) errno: i32,
    /// Measured only of those that are told: confirmed ones, and those that failed.
    pub(super) nanoseconds: u64,
    /// For a confirmed send, the bytes its receive queue then held, by the kernel's accounting.
    pub(super) behind: u64,
}

#[derive(Debug)]
pub(super) struct SocketRequest {
    pub(super) id: SocketId,
    pub(super) socket: Arc<KernelSocket>,
    pub(super) request: u32,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum Operation {
    Get { level: i32, name: i32, capacity: usize },
    Set { level: i32, name: i32, value: Vec<u8> },
    Join(u32),
    Leave(u32),
}

/// Whether a socket has been read until nothing was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    More,
    Empty,
}

/// What the reader of a socket remembers of overruns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gap {
    /// After ENOBUFS: bytes queued before the gap, when last looked at.
    before: Option<u32>,
    /// Dropped datagrams that have been told.
    told: u64,
}

/// Something to be told, in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    /// An unconfirmed send of this serial failed.
    Refused(u32, SendResult),
    /// A datagram, at this place of the batch's data.
    Datagram(DatagramInfo, usize, usize),
    TooLarge(usize),
    Failed(Errno),
    /// The kernel's counter of dropped datagrams has come to this.
    Lost(u64),
}

/// What an exchange came to.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What was sent, in order.
    pub(super) sent: Vec<(SendPart, SendResult)>,
    /// A turn's worth of what was received.
    pub(super) data: Vec<u8>,
    pub(super) items: Vec<Item>,
}

/// The buffers of an I/O thread, used again for each job.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What is to be sent, one behind the other.
    parts: Vec<SendPart>,
    send: Vec<u8>,
    pub(super) batch: Batch,
    spill: Vec<u8>,
}

impl Scratch {
    /// Has the next exchange send this, and nothing else so far.
    pub(super) fn send(&mut self, part: SendPart, data: &[u8]) {
        self.parts.clear();
        self.send.clear();
        self.send_too(part, data);
    }

    /// Has the next exchange send this as well.
    pub(super) fn send_too(&mut self, part: SendPart, data: &[u8]) {
        self.parts.push(part);
        self.send.extend_from_slice(data);
    }

    /// Lets go of what an unusually large datagram took.
    pub(super) fn trim(&mut self) {
        if self.send.capacity() > 1 << 20 {
            self.send = Vec::new();
        }
        self.batch.trim();
    }
}

impl Batch {
    fn clear(&mut self) {
        self.sent.clear();
        self.data.clear();
        self.items.clear();
    }

    /// Likewise.
    pub(super) fn trim(&mut self) {
        if self.data.capacity() > 1 << 20 {
            *self = Self::default();
        }
    }
}

impl Job {
    /// Does it.
    pub(super) fn run(self, scratch: &mut Scratch) -> Done {
        scratch.batch.clear();
        match self {
            Job::Exchange(mut exchange) => {
                let drained = exchange.run(scratch);
                Done::Exchange(exchange, drained)
            }
            Job::Request(request) => {
                let result = request.run();
                Done::Request(request, result)
            }
            Job::Open(id, open) => Done::Open(id, KernelSocket::open(&open, None)),
            Job::Close(id, socket) => {
                let drops = socket.drops_and_queued().map_or(0, |(drops, _)| drops.into());
                drop(socket);
                Done::Close(id, drops)
            }
        }
    }
}

fn send(socket: &KernelSocket, part: &SendPart, data: &[u8]) -> SendResult {
    let began = Instant::now();
    let result = socket.send(data, part.destination);
    let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // Where the kernel cannot say what is queued, all there is comes first.
    let queued = || socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
    let behind = if part.confirm { queued().into() } else { 0 };
    SendResult { errno: result.err().map_or(0, |errno| errno as i32), nanoseconds, behind }
}

impl SocketRequest {
    fn run(&self) -> Result<Vec<u8>, Failure> {
        let socket = &self.socket;
        let nothing = |()| Vec::new();
        match &self.operation {
            Operation::Get { level, name, capacity } => {
                socket.option(*level, *name, *capacity).map_err(|errno| {
                    failure(errno, format_args!("reading option {name} of level {level}"))
                })
            }
            Operation::Set { level, name, value } => {
                socket.set_option(*level, *name, value).map(nothing).map_err(|errno| {
                    failure(errno, format_args!("setting option {name} of level {level}"))
                })
            }
            Operation::Join(group) => socket
                .join(*group)
                .map(nothing)
                .map_err(|errno| failure(errno, format_args!("joining multicast group {group}"))),
            Operation::Leave(group) => socket
                .leave(*group)
                .map(nothing)
                .map_err(|errno| failure(errno, format_args!("leaving multicast group {group}"))),
        }
    }
}

impl Exchange {
    /// Whether one more send may be made before the first is answered.
    pub(super) fn takes_more(&self) -> bool {
        self.sends < self.at_once.min(self.socket.sends_at_once())
    }

    /// Sends what it is to send, and receives what the allowance lets.
    fn run(&mut self, scratch: &mut Scratch) -> Drained {
        let Scratch { parts, send: data, batch, spill } = scratch;
        let mut left = self.allowance.datagrams;
        if self.sends > 0 {
            let began = Instant::now();
            self.send(parts, data, &mut left, batch, spill);
            let each = began.elapsed() / self.sends;
            let at_once = PATIENCE.as_nanos() / each.as_nanos().max(1);
            self.at_once = u32::try_from(at_once).unwrap_or(u32::MAX).max(1);
        }
        self.receive(&mut left, u64::MAX, batch, spill)
    }

    fn send(
        &mut self,
        mut parts: &[SendPart],
        mut data: &[u8],
        left: &mut u64,
        batch: &mut Batch,
        spill: &mut Vec<u8>,
    ) {
        while let [first, others @ ..] = parts {
            let lengths = parts.iter().map(|part| part.length);
            let taken = if others.is_empty() { 0 } else { self.socket.send_many(data, lengths) };
            if let Some((done, refused)) = parts.split_at_checked(taken)
                && taken > 0
            {
                batch.sent.extend(done.iter().map(|part| (*part, SendResult::default())));
                data = data.get(done.iter().map(|part| part.length).sum()..).unwrap_or_default();
                parts = refused;
                if !refused.is_empty() {
                    // Their answers come before what is told of the next.
                    self.receive(left, taken as u64, batch, spill);
                }
                continue;
            }
            // By itself, or refused among others: of a datagram that it refuses the kernel has done
            // nothing, so that it may be asked again for the errno.
            let (own, behind) = data.split_at_checked(first.length).unwrap_or((data, &[]));
            let result = send(&self.socket, first, own);
            if result.errno != 0 && !first.confirm {
                batch.items.push(Item::Refused(first.serial, result));
            }
            batch.sent.push((*first, result));
            (parts, data) = (others, behind);
        }
    }

    /// Receives what the allowance lets, but so many datagrams at most.
    fn receive(
        &mut self,
        left: &mut u64,
        most: u64,
        batch: &mut Batch,
        spill: &mut Vec<u8>,
    ) -> Drained {
        for _ in 0..most.min(*left) {
            if batch.data.len() as u64 >= self.allowance.bytes {
                break;
            }
            if self.receive_one(batch, spill) == Drained::Empty {
                return Drained::Empty;
            }
            *left -= 1;
        }
        Drained::More
    }

    fn receive_one(&mut self, batch: &mut Batch, spill: &mut Vec<u8>) -> Drained {
        let Batch { data, items, .. } = batch;
        data.reserve(RECEIVE_ROOM);
        if spill.capacity() == 0 {
            *spill = Vec::with_capacity(SPILL);
        }
        let start = data.len();
        match self.socket.receive(data, spill) {
            Received::Datagram(info, length) => {
                if !spill.is_empty() {
                    data.extend_from_slice(spill);
                    *spill = Vec::new();
                }
                items.push(Item::Datagram(info, start, length));
                self.look_for_gap(length, items);
                Drained::More
            }
            Received::TooLarge(length) => {
                items.push(Item::TooLarge(length));
                self.look_for_gap(length, items);
                *spill = Vec::new();
                Drained::More
            }
            Received::Overrun => {
                // What is queued now came before the gap, and nothing joins it until all of it
                // is read (`NETLINK_S_CONGESTED` in the kernel's af_netlink.c).
                let queued = self.socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
                self.gap.before = Some(queued);
                if queued == 0 {
                    self.tell_gap(items);
                }
                Drained::More
            }
            Received::Failed(errno) => {
                items.push(Item::Failed(errno));
                Drained::More
            }
            Received::Empty => {
                if self.gap.before.is_some() || self.socket.has_silent_overruns() {
                    self.tell_gap(items);
                }
                Drained::Empty
            }
        }
    }

    /// After a datagram of this length: tells a gap as soon as everything that was queued before
    /// it has been read. Then the queue is empty, or what is in it has not become less by at least
    /// the datagram, so that new ones have come since.
    fn look_for_gap(&mut self, length: usize, items: &mut Vec<Item>) {
        let silent = self.socket.has_silent_overruns();
        if self.gap.before.is_none() && !silent {
            return;
        }
        let Ok((_, queued)) = self.socket.drops_and_queued() else { return };
        let refilled = |before: u32| u64::from(queued) + length as u64 > u64::from(before);
        match &mut self.gap.before {
            Some(before) if queued > 0 && !refilled(*before) => *before = queued,
            // With NETLINK_NO_ENOBUFS the kernel tells neither that there is a gap nor where: it is
            // looked for whenever the queue is empty.
            None if queued > 0 => {}
            _ => self.tell_gap(items),
        }
    }

    fn tell_gap(&mut self, items: &mut Vec<Item>) {
        let overrun = self.gap.before.take().is_some();
        let Ok((drops, _)) = self.socket.drops_and_queued() else { return };
        // The kernel's counter has 32 bits and may wrap.
        let since = drops.wrapping_sub(self.gap.told as u32);
        self.gap.told += u64::from(since);
        // The kernel also says ENOBUFS where it failed to make an event or a part of a dump, and
        // counts nothing: something is missing all the same.
        if since > 0 || overrun {
            items.push(Item::Lost(self.gap.told));
        }
    }
}

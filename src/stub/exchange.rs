//! Sends and receives on one socket, made by a thread that has unlocked the engine meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    buffers::{ExchangeResults, IoBuffers, SendHeader, SendResult, StreamItem, reserve_spill},
    open_socket::OpenSocket,
    overrun::Overrun,
};
use crate::{
    kernel::{KernelSocket, RECEIVE_ROOM, Received},
    wire::{Credit, SocketId},
};

/// How long the answer of a send may wait for the sends that are gathered with it.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many sends may be made in one system call, by the time that the last of them took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace(u32);

impl Pace {
    /// Of sends that have not been timed.
    pub(super) const UNKNOWN: Self = Self(1);

    /// Of sends, so many of which took this time.
    fn of(sends: u32, took: Duration) -> Self {
        let each = (took / sends).as_nanos().max(1);
        Self(u32::try_from(PATIENCE.as_nanos() / each).unwrap_or(u32::MAX).max(1))
    }
}

/// Whether a socket has been read until nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    More,
    Empty,
}

/// Sends, a receive turn, or both in this order.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: SocketId,
    pub(super) socket: Arc<OpenSocket>,
    /// How many sends there are; they are in the thread's buffers.
    pub(super) sends: u32,
    /// The pace of the sends before; then that of these.
    pub(super) pace: Pace,
    /// Bytes and datagrams that may be received; nothing if either number is 0.
    pub(super) allowance: Credit,
    pub(super) overrun: Overrun,
}

impl Exchange {
    /// Whether another send may be made before the first is answered.
    pub(super) fn takes_more(&self) -> bool {
        self.sends < self.pace.0.min(self.socket.sends_at_once())
    }

    /// Makes the sends, and receives as much as the allowance permits.
    pub(super) fn run(&mut self, buffers: &mut IoBuffers) -> Drained {
        let IoBuffers { sends, send_data, results, spill } = buffers;
        let mut left = self.allowance.datagrams;
        if self.sends > 0 {
            let began = Instant::now();
            self.send(sends, send_data, &mut left, results, spill);
            self.pace = Pace::of(self.sends, began.elapsed());
        }
        self.receive(&mut left, u64::MAX, results, spill)
    }

    fn send(
        &mut self,
        mut sends: &[SendHeader],
        mut data: &[u8],
        left: &mut u64,
        results: &mut ExchangeResults,
        spill: &mut Vec<u8>,
    ) {
        while let [first, others @ ..] = sends {
            let lengths = sends.iter().map(|send| send.length);
            let taken = if others.is_empty() { 0 } else { self.socket.send_many(data, lengths) };
            if let Some((done, refused)) = sends.split_at_checked(taken)
                && taken > 0
            {
                results.sends.extend(done.iter().map(|send| (*send, SendResult::default())));
                data = data.get(done.iter().map(|send| send.length).sum()..).unwrap_or_default();
                sends = refused;
                if !refused.is_empty() {
                    // Their answers come before the refusal of the next.
                    self.receive(left, taken as u64, results, spill);
                }
                continue;
            }
            // A single one, or one that was refused among others. The kernel has done nothing about
            // a datagram that sendmsg refuses, so it may be asked again for the errno.
            let (own, rest) = data.split_at_checked(first.length).unwrap_or((data, &[]));
            let result = send(&self.socket, first, own);
            if result.errno != 0 && !first.confirm {
                results.items.push(StreamItem::SendFailed(first.serial, result));
            }
            results.sends.push((*first, result));
            (sends, data) = (others, rest);
        }
    }

    /// Receives as much as the allowance permits, and at most so many datagrams.
    fn receive(
        &mut self,
        left: &mut u64,
        most: u64,
        results: &mut ExchangeResults,
        spill: &mut Vec<u8>,
    ) -> Drained {
        for _ in 0..most.min(*left) {
            if results.data.len() as u64 >= self.allowance.bytes {
                break;
            }
            if self.receive_one(results, spill) == Drained::Empty {
                return Drained::Empty;
            }
            *left -= 1;
        }
        Drained::More
    }

    fn receive_one(&mut self, results: &mut ExchangeResults, spill: &mut Vec<u8>) -> Drained {
        let ExchangeResults { data, items, .. } = results;
        data.reserve(RECEIVE_ROOM);
        reserve_spill(spill);
        let start = data.len();
        let (drained, drops) = match self.socket.receive(data, spill) {
            Received::Datagram(info, length) => {
                if !spill.is_empty() {
                    data.extend_from_slice(spill);
                    *spill = Vec::new();
                }
                items.push(StreamItem::Datagram { info, start, length });
                (Drained::More, self.overrun.after_datagram(&self.socket, length))
            }
            Received::TooLarge(length) => {
                *spill = Vec::new();
                items.push(StreamItem::TooLarge(length));
                (Drained::More, self.overrun.after_datagram(&self.socket, length))
            }
            Received::Overrun => (Drained::More, self.overrun.begins(&self.socket)),
            Received::Failed(errno) => {
                items.push(StreamItem::ReceiveFailed(errno));
                (Drained::More, None)
            }
            Received::Empty => (Drained::Empty, self.overrun.at_empty(&self.socket)),
        };
        items.extend(drops.map(StreamItem::Dropped));
        drained
    }
}

/// Makes one send by itself.
fn send(socket: &KernelSocket, send: &SendHeader, datagram: &[u8]) -> SendResult {
    let began = Instant::now();
    let result = socket.send(datagram, send.destination);
    let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // Where the kernel cannot say how much is queued, all of it comes before the answer.
    let queued = || socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
    let unread_before_ack = if send.confirm { queued().into() } else { 0 };
    SendResult {
        errno: result.err().map_or(0, |errno| errno as i32),
        nanoseconds,
        unread_before_ack,
    }
}

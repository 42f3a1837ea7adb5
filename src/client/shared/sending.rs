//! Sending datagrams: when one may be sent, and how those fare that are confirmed.

use std::task::{Context, Poll, Waker};

use super::{Inner, Slot, Wake, keep};
use crate::{
    Error, ErrorKind, Origin,
    client::{gathering::send_mode, socket::send_failed},
    errno::EMSGSIZE,
    proto::SendError,
    wire::{Destination, SocketId},
};

/// Bytes waiting to be written above which no small datagram is accepted for sending; and bytes of
/// one socket's large datagrams above which it gets no other accepted.
const OUTBOX_HIGH_WATER: usize = 1 << 20;

/// Bytes of large datagrams of all sockets above which none is accepted for sending.
const LARGE_HIGH_WATER: usize = 64 << 20;

/// Bytes waiting to be written below which pieces of large datagrams are added. What is sent on
/// another socket meanwhile waits behind no more than this and a piece.
const TURN_MARK: usize = 64 << 10;

/// Failures of pipelined sends that wait to be received, above which sending fails at once.
const UNTOLD_FAILURES: usize = 1024;

/// How a confirmed send ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct SentResult {
    pub(in crate::client) errno: i32,
    pub(in crate::client) nanoseconds: u64,
}

/// A confirmed send, for which one task waits.
#[derive(Debug)]
pub(super) enum Confirmed {
    Waiting(Option<Waker>),
    Done(SentResult),
}

impl Slot {
    /// Why a datagram cannot be sent, of those reasons that do not pass.
    fn send_error(&self, error: SendError, length: usize) -> Error {
        match (error, &self.opened) {
            (SendError::TooLarge(limit), _) => {
                let text = format!("a datagram of {length} bytes: this connection carries {limit}");
                Error::new(ErrorKind::Send, text).with_origin(Origin::Caller).with_errno(EMSGSIZE)
            }
            (_, Some(Err(error))) => error.clone(),
            (SendError::NotOpen, Some(Ok(_))) => Error::closed(),
            _ => Error::invalid("a datagram was sent without waiting until one may be"),
        }
    }
}

impl Inner {
    /// Whether a datagram may be sent now, rather than wait for credit or room.
    pub(in crate::client) fn may_send(
        &self,
        id: SocketId,
        length: usize,
        confirm: bool,
    ) -> Result<bool, Error> {
        let slot = self.slots.get(&id).ok_or_else(Error::closed)?;
        match self.state.may_send(id, length) {
            Ok(()) => {}
            Err(SendError::NoCredit) => return Ok(false),
            Err(SendError::NotOpen) if slot.opened.is_none() => return Ok(false),
            Err(error) => return Err(slot.send_error(error, length)),
        }
        if let (false, (UNTOLD_FAILURES.., errno)) = (confirm, slot.failures) {
            let error = send_failed(errno);
            return Err(error.context("nobody receives what earlier sends came to, the last"));
        }
        Ok(if self.state.would_wait(id, length) {
            self.state.waiting_bytes_of(id).unwrap_or_default() < OUTBOX_HIGH_WATER
                && self.state.waiting_bytes() < LARGE_HIGH_WATER
        } else {
            self.outbox.len() < OUTBOX_HIGH_WATER
        })
    }

    /// Has the task woken when [`may_send`](Self::may_send) may have changed, instead of the one
    /// that polled before.
    pub(in crate::client) fn poll_sendable(&mut self, id: SocketId, cx: &Context<'_>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            keep(&mut slot.sender, cx);
        }
    }

    /// Sends a datagram for which [`may_send`](Self::may_send) has said yes, whatever has happened
    /// since to the room that all sockets share.
    pub(in crate::client) fn send(
        &mut self,
        id: SocketId,
        destination: Destination,
        confirm: bool,
        datagram: &[u8],
    ) -> Result<u32, Error> {
        let Self { state, outbox, slots, .. } = self;
        let slot = slots.get_mut(&id).ok_or_else(Error::closed)?;
        let sent = state.send(id, destination, send_mode(confirm, datagram), datagram, outbox);
        let serial = sent.map_err(|error| slot.send_error(error, datagram.len()))?;
        if confirm {
            slot.confirmed.insert(serial, Confirmed::Waiting(None));
        }
        Ok(serial)
    }

    /// Fills the outbox with pieces of what is sent in turns.
    pub(in crate::client) fn take_turns(&mut self, wakes: &mut Vec<Wake>) {
        let waiting = self.state.waiting_bytes();
        // At least one, or small datagrams could hold up the large ones for ever.
        while let Some((id, taken)) = self.state.take_turn(&mut self.outbox) {
            if let Some(slot) = self.slots.get_mut(&id) {
                let left = self.state.waiting_bytes_of(id);
                let bytes = left.unwrap_or_default();
                if left.is_none() {
                    slot.wake_state(wakes);
                }
                if left.is_none() || (bytes..bytes + taken).contains(&(OUTBOX_HIGH_WATER - 1)) {
                    slot.wake_senders(wakes);
                }
            }
            if self.outbox.len() >= TURN_MARK {
                break;
            }
        }
        self.made_room(waiting, wakes);
    }

    /// Wakes the senders, if fewer bytes of large datagrams are waiting than `before` and that was
    /// what held some up.
    pub(super) fn made_room(&mut self, before: usize, wakes: &mut Vec<Wake>) {
        if before >= LARGE_HIGH_WATER && self.state.waiting_bytes() < LARGE_HIGH_WATER {
            self.wake_senders(wakes);
        }
    }

    /// Wakes the senders, after the outbox has been emptied of `was` bytes.
    pub(in crate::client) fn outbox_taken(&mut self, was: usize, wakes: &mut Vec<Wake>) {
        if was >= OUTBOX_HIGH_WATER {
            self.wake_senders(wakes);
        }
    }

    fn wake_senders(&mut self, wakes: &mut Vec<Wake>) {
        for slot in self.slots.values_mut() {
            slot.wake_senders(wakes);
        }
    }

    pub(in crate::client) fn poll_sent(
        &mut self,
        id: SocketId,
        serial: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<SentResult, Error>> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Poll::Ready(Err(Error::closed()));
        };
        match slot.confirmed.get_mut(&serial) {
            Some(Confirmed::Done(result)) => Poll::Ready(Ok(*result)),
            Some(Confirmed::Waiting(waker)) => match &self.ended {
                Some(error) => Poll::Ready(Err(error.clone())),
                None => {
                    keep(waker, cx);
                    Poll::Pending
                }
            },
            None => Poll::Ready(Err(Error::closed())),
        }
    }

    pub(in crate::client) fn forget_sent(&mut self, id: SocketId, serial: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.confirmed.remove(&serial);
        }
    }
}

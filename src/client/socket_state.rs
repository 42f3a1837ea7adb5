//! One socket's state at this side: its receive queue, its sends, and the tasks that wait on it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use super::{
    deferred::{Deferred, Signals, keep},
    delivery::{Delivery, SentReport, send_failed},
    wire_state::{WireState, datagram_too_long},
};
use crate::{
    Error,
    limits::client::{SEND_FAILURES, UNREAD_FAILURES},
    proto::{SendError, Violation},
    wire::{Counters, Destination, Opened, SocketId},
};

/// A confirmed send, for which one task waits.
#[derive(Debug)]
enum Confirmed {
    Waiting(Option<Waker>),
    Done(Result<SentReport, Error>),
}

/// The state of one socket. Its receive queue is bounded by the credit granted for datagrams and, for
/// failures, by [`UNREAD_FAILURES`]; between two of these there is one report of loss at most.
#[derive(Debug)]
pub(super) struct SocketState {
    id: SocketId,
    protocol: u32,
    /// The answer to the open frame.
    opened: Option<Result<Opened, Error>>,
    /// The answer to the close frame.
    closed: Option<Counters>,
    queue: VecDeque<Delivery>,
    /// Failed sends in the queue, and the errno of the last.
    failures: usize,
    last_failure: i32,
    /// Entries of the queue that took no credit, without reports of loss.
    without_credit: usize,
    /// When the stub received the datagrams that come, where it tells.
    received: Option<SystemTime>,
    /// Confirmed sends, by their serial.
    confirmed: HashMap<u32, Confirmed>,
    signals: Arc<Signals>,
    /// The task that polled last to receive, and to send.
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl SocketState {
    /// A socket whose open frame was sent.
    pub(super) fn new(id: SocketId, protocol: u32) -> Self {
        Self {
            id,
            protocol,
            opened: None,
            closed: None,
            queue: VecDeque::new(),
            failures: 0,
            last_failure: 0,
            without_credit: 0,
            received: None,
            confirmed: HashMap::new(),
            signals: Arc::default(),
            receiver: None,
            sender: None,
        }
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    pub(super) fn protocol(&self) -> u32 {
        self.protocol
    }

    // ---- opening and closing

    /// The answer to the open frame; `None` while it is awaited.
    pub(super) fn opened(&self) -> Option<Result<Opened, Error>> {
        self.opened.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.opened, Some(Ok(_)))
    }

    /// The error of an open that failed.
    pub(super) fn open_error(&self) -> Option<&Error> {
        self.opened.as_ref()?.as_ref().err()
    }

    pub(super) fn on_opened(&mut self, opened: Opened, deferred: &mut Deferred) {
        self.opened = Some(Ok(opened));
        deferred.wake_state(&self.signals);
        self.wake_senders(deferred);
    }

    pub(super) fn on_open_failed(&mut self, error: Error, deferred: &mut Deferred) {
        self.opened = Some(Err(error));
        self.wake_all(deferred);
    }

    /// The final counters, once they have come.
    pub(super) fn counters(&self) -> Option<Counters> {
        self.closed
    }

    pub(super) fn on_closed(&mut self, counters: Counters, deferred: &mut Deferred) {
        self.closed = Some(counters);
        deferred.wake_state(&self.signals);
    }

    // ---- receiving

    /// Queues a delivery and wakes a receiver for it. A report of loss behind another becomes one with
    /// it.
    ///
    /// # Errors
    /// A [`Violation`] if too many failures wait to be received.
    pub(super) fn deliver(
        &mut self,
        delivery: Delivery,
        deferred: &mut Deferred,
    ) -> Result<(), Violation> {
        match delivery {
            Delivery::Datagram(_) => {}
            Delivery::Lost { dropped, total } => {
                if let Some(Delivery::Lost { dropped: sum, total: last }) = self.queue.back_mut() {
                    *sum = sum.saturating_add(dropped);
                    *last = total;
                    return Ok(());
                }
            }
            Delivery::ReceiveError { .. } => self.without_credit += 1,
            Delivery::SendFailed { errno, .. } => {
                self.without_credit += 1;
                self.failures += 1;
                self.last_failure = errno;
            }
        }
        if self.without_credit > UNREAD_FAILURES {
            let (what, limit) = ("failures on a socket left unread", UNREAD_FAILURES as u64);
            return Err(Violation::TooMany { what, limit });
        }
        self.queue.push_back(delivery);
        deferred.wake(self.receiver.take());
        deferred.wake_receiver(&self.signals);
        Ok(())
    }

    /// Records when the stub received the datagrams that come.
    pub(super) fn on_time(&mut self, since_1970: Duration) {
        self.received = SystemTime::UNIX_EPOCH.checked_add(since_1970);
    }

    /// When the stub received the datagrams that come, where it tells.
    pub(super) fn received(&self) -> Option<SystemTime> {
        self.received
    }

    /// The next delivery, whose credit is given back; `None` if the queue is empty.
    pub(super) fn receive(&mut self, wire: &mut WireState) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        match &delivery {
            Delivery::Datagram(datagram) => wire.consumed(self.id, datagram.data.len()),
            Delivery::SendFailed { .. } => {
                self.failures = self.failures.saturating_sub(1);
                self.without_credit = self.without_credit.saturating_sub(1);
            }
            Delivery::ReceiveError { .. } => {
                self.without_credit = self.without_credit.saturating_sub(1);
            }
            Delivery::Lost { .. } => {}
        }
        Some(delivery)
    }

    /// Discards the receive queue.
    pub(super) fn discard_queue(&mut self) {
        self.queue.clear();
    }

    /// Has the next delivery wake this task, instead of the one that polled before.
    pub(super) fn keep_receiver(&mut self, cx: &Context<'_>) {
        keep(&mut self.receiver, cx);
    }

    // ---- sending

    /// Whether a datagram may be sent now; `false` while it has to wait for the socket to be open,
    /// for credit or for room.
    pub(super) fn may_send(
        &self,
        wire: &WireState,
        length: usize,
        confirm: bool,
    ) -> Result<bool, Error> {
        let may_send = match wire.may_send(self.id, length) {
            Ok(may_send) => may_send,
            Err(SendError::NotOpen) if self.opened.is_none() => false,
            Err(error) => return Err(self.send_error(error, length)),
        };
        if may_send && !confirm && self.failures >= SEND_FAILURES {
            let error = send_failed(self.last_failure);
            return Err(
                error.context("nobody receives the errors of earlier sends, the last of which is")
            );
        }
        Ok(may_send)
    }

    /// Sends a datagram that [`may_send`](Self::may_send) has accepted, even if the room that all
    /// sockets share has been taken since. Gives the send's serial.
    pub(super) fn send(
        &mut self,
        wire: &mut WireState,
        destination: Destination,
        confirm: bool,
        datagram: &[u8],
    ) -> Result<u32, Error> {
        let sent = wire.send(self.id, destination, confirm, datagram);
        let serial = sent.map_err(|error| self.send_error(error, datagram.len()))?;
        if confirm {
            self.confirmed.insert(serial, Confirmed::Waiting(None));
        }
        Ok(serial)
    }

    /// The error of a datagram that cannot be sent later either.
    fn send_error(&self, error: SendError, length: usize) -> Error {
        match (error, &self.opened) {
            (SendError::TooLarge(limit), _) => datagram_too_long(length, limit),
            (_, Some(Err(error))) => error.clone(),
            (SendError::NotOpen, Some(Ok(_))) => Error::closed(),
            _ => Error::invalid("a datagram was sent without waiting until one may be"),
        }
    }

    /// Has credit or room wake this task, instead of the one that polled before.
    pub(super) fn keep_sender(&mut self, cx: &Context<'_>) {
        keep(&mut self.sender, cx);
    }

    /// Records the end of a confirmed send.
    pub(super) fn on_sent(
        &mut self,
        serial: u32,
        errno: i32,
        kernel_time: Duration,
        deferred: &mut Deferred,
    ) {
        let Some(confirmed) = self.confirmed.get_mut(&serial) else { return };
        let result = match errno {
            0 => Ok(SentReport { kernel_time }),
            _ => Err(send_failed(errno)),
        };
        if let Confirmed::Waiting(waker) = std::mem::replace(confirmed, Confirmed::Done(result)) {
            deferred.wake(waker);
        }
    }

    /// The end of a confirmed send; `ended` is the connection's.
    pub(super) fn poll_sent(
        &mut self,
        serial: u32,
        ended: Option<&Error>,
        cx: &Context<'_>,
    ) -> Poll<Result<SentReport, Error>> {
        // The answer to an open that has failed answers the send that went out before it, too.
        let failed = match &self.opened {
            Some(Err(error)) => Some(error),
            _ => ended,
        };
        match (self.confirmed.get_mut(&serial), failed) {
            (Some(Confirmed::Done(result)), _) => Poll::Ready(result.clone()),
            (Some(Confirmed::Waiting(_)), Some(error)) => Poll::Ready(Err(error.clone())),
            (Some(Confirmed::Waiting(waker)), None) => {
                keep(waker, cx);
                Poll::Pending
            }
            (None, _) => Poll::Ready(Err(Error::closed())),
        }
    }

    /// Forgets a confirmed send, whose task has stopped waiting.
    pub(super) fn forget_sent(&mut self, serial: u32) {
        self.confirmed.remove(&serial);
    }

    // ---- waking

    pub(super) fn wake_senders(&mut self, deferred: &mut Deferred) {
        deferred.wake(self.sender.take());
        deferred.wake_senders(&self.signals);
    }

    /// Wakes the tasks that wait until the socket's large datagrams are written.
    pub(super) fn wake_state(&self, deferred: &mut Deferred) {
        deferred.wake_state(&self.signals);
    }

    /// Wakes every task that waits on the socket: it failed to open, or the connection ended.
    pub(super) fn wake_all(&mut self, deferred: &mut Deferred) {
        deferred.wake(self.sender.take());
        deferred.wake(self.receiver.take());
        for confirmed in self.confirmed.values_mut() {
            if let Confirmed::Waiting(waker) = confirmed {
                deferred.wake(waker.take());
            }
        }
        deferred.wake_socket(&self.signals);
    }
}

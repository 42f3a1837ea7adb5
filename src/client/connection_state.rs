//! The state of one connection at this side, all of it under one lock.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::{
    deferred::{Deferred, Signals, keep},
    delivery::{Datagram, Delivery, SentReport},
    handshake::Greeted,
    pings::Pings,
    replies::Replies,
    socket_state::SocketState,
    trace::Note,
    wire_state::{Backlog, WireState},
};
use crate::{
    Error, ErrorKind, errno,
    proto::{ClientEvent, Data, Violation},
    wire::{Counters, Failure, Frame, Hello, Open, Opened, SocketId},
};

/// Payload parts below this many bytes are copied out of the read buffer, which takes a microsecond at
/// most. A small part that is kept would keep the whole buffer, whatever else the far end has put into
/// it: credit counts the part alone.
const COPIED: usize = 16 << 10;

/// A frame that ends the connection.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The stub broke the protocol; a fault frame says so to it.
    Violation(Violation),
    /// The stub ends the connection, with its reason.
    Fault(Failure),
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    wire: WireState,
    sockets: HashMap<SocketId, SocketState>,
    replies: Replies,
    pings: Pings,
    driver: Option<Waker>,
    /// References that keep the connection alive.
    refs: usize,
    finishing: bool,
    ended: Option<Error>,
    driver_gone: bool,
    /// Notified when `ended` or `driver_gone` is set.
    end: Arc<Notify>,
    /// The far host's architecture, as `uname -m` names it: it may number errors otherwise.
    architecture: String,
}

impl ConnectionState {
    /// The state after the hellos.
    pub(super) fn new(greeted: &Greeted, end: Arc<Notify>) -> Self {
        let Greeted { hello: Hello { limits, host, .. }, max_frame, .. } = greeted;
        Self {
            wire: WireState::new(*limits, *max_frame),
            sockets: HashMap::new(),
            replies: Replies::new(limits.max_requests),
            pings: Pings::default(),
            driver: None,
            refs: 0,
            finishing: false,
            ended: None,
            driver_gone: false,
            end,
            architecture: host.as_ref().map_or_else(String::new, |host| host.architecture.clone()),
        }
    }

    // ---- life

    pub(super) fn add_ref(&mut self) {
        self.refs += 1;
    }

    /// Drops a reference; with the last one the connection finishes.
    pub(super) fn drop_ref(&mut self) {
        self.refs -= 1;
        self.finishing |= self.refs == 0;
    }

    /// Has the driver write the outbox and end the connection.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing
    }

    /// The connection's end, once it has ended.
    pub(super) fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    pub(super) fn is_driver_gone(&self) -> bool {
        self.driver_gone
    }

    /// Ends the connection, unless it has ended: every task that waits is woken.
    pub(super) fn end(&mut self, error: Error, deferred: &mut Deferred) {
        self.ended.get_or_insert(error);
        self.sockets.values_mut().for_each(|socket| socket.wake_all(deferred));
        self.replies.wake_all(deferred);
        self.pings.wake_all(deferred);
        deferred.notify_all(&self.end);
    }

    pub(super) fn set_driver_gone(&mut self, deferred: &mut Deferred) {
        self.driver_gone = true;
        deferred.notify_all(&self.end);
    }

    // ---- the driver

    /// Keeps the driver's waker.
    pub(super) fn keep_driver(&mut self, cx: &Context<'_>) {
        keep(&mut self.driver, cx);
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.wire.backlog()
    }

    /// The driver's waker, if it has more to do than at `before`.
    pub(super) fn driver_to_wake(&mut self, before: Backlog) -> Option<Waker> {
        match self.finishing || self.wire.has_grown(before) {
            true => self.driver.take(),
            false => None,
        }
    }

    /// Moves the outbox into `writing`, which is empty, with pieces of large datagrams at its end.
    pub(super) fn take_outbox(&mut self, writing: &mut BytesMut, deferred: &mut Deferred) {
        let before = self.wire.backlog();
        // At least one piece, or small datagrams could hold up the large ones for ever.
        while let Some(piece) = self.wire.add_piece() {
            if let Some(socket) = self.sockets.get_mut(&piece.socket) {
                if piece.was_last {
                    socket.wake_state(deferred);
                }
                if piece.made_room {
                    socket.wake_senders(deferred);
                }
            }
            if !self.wire.wants_pieces() {
                break;
            }
        }
        self.wire.take_outbox(writing);
        self.wake_senders_since(before, deferred);
    }

    /// As [`WireState::accuse`].
    pub(super) fn accuse(&mut self, violation: &Violation, writing: &mut BytesMut) {
        self.wire.accuse(violation, writing);
    }

    /// Sends a ping, so that a stub that is there sends a frame.
    pub(super) fn probe(&mut self) {
        if self.ended.is_none() {
            self.pings.probe(&mut self.wire);
        }
    }

    /// Takes in a frame.
    pub(super) fn on_frame(
        &mut self,
        frame: &Frame,
        deferred: &mut Deferred,
    ) -> Result<(), FrameError> {
        let mut event = self.wire.on_frame(frame).map_err(FrameError::Violation)?;
        number_as_here(&mut event, &self.architecture);
        match event {
            ClientEvent::None => {}
            ClientEvent::Fault(failure) => return Err(FrameError::Fault(failure)),
            ClientEvent::Opened(id, opened) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.on_opened(opened, deferred);
                    deferred.trace(Note::Opened(id, socket.protocol(), opened));
                }
            }
            ClientEvent::OpenFailed(id, failure) => {
                deferred.trace(Note::OpenFailed(id, Box::new(failure.clone())));
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.on_open_failed(Error::failure(ErrorKind::Open, failure), deferred);
                }
            }
            ClientEvent::Closed(id, counters) => {
                deferred.trace(Note::Closed(id, Box::new(counters)));
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.on_closed(counters, deferred);
                }
            }
            ClientEvent::Datagram(id, info, data) => {
                let data = match data {
                    Data::Whole(part) => share(frame, part),
                    Data::Assembled(bytes) => bytes,
                };
                let received = self.sockets.get(&id).and_then(SocketState::received);
                let datagram = Datagram { data, info, received };
                self.deliver(id, Delivery::Datagram(datagram), deferred)?;
            }
            ClientEvent::Time(id, nanoseconds) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.on_time(Duration::from_nanos(nanoseconds));
                }
            }
            ClientEvent::Lost { socket, dropped, total } => {
                self.deliver(socket, Delivery::Lost { dropped, total }, deferred)?;
            }
            ClientEvent::ReceiveError { socket, errno, length } => {
                self.deliver(socket, Delivery::ReceiveError { errno, length }, deferred)?;
            }
            ClientEvent::Sent { socket, serial, errno, confirmed: false, .. } => {
                self.deliver(socket, Delivery::SendFailed { serial, errno }, deferred)?;
            }
            ClientEvent::Sent { socket, serial, errno, nanoseconds, confirmed: true } => {
                if let Some(socket) = self.sockets.get_mut(&socket) {
                    let kernel_time = Duration::from_nanos(nanoseconds);
                    socket.on_sent(serial, errno, kernel_time, deferred);
                }
            }
            ClientEvent::SendCredit(id) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.wake_senders(deferred);
                }
            }
            ClientEvent::Reply { request, result } => {
                let result = result.map(|value| share(frame, value));
                self.replies.on_reply(&mut self.wire, request, result, deferred);
            }
            ClientEvent::Pong(token) => self.pings.on_pong(token, deferred),
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        id: SocketId,
        delivery: Delivery,
        deferred: &mut Deferred,
    ) -> Result<(), FrameError> {
        match self.sockets.get_mut(&id) {
            Some(socket) => socket.deliver(delivery, deferred).map_err(FrameError::Violation),
            None => Ok(()),
        }
    }

    // ---- sockets

    pub(super) fn open(&mut self, open: Open) -> Result<(SocketId, Arc<Signals>), Error> {
        let protocol = open.protocol;
        let id = self.wire.open(open)?;
        let socket = SocketState::new(id, protocol);
        let signals = Arc::clone(socket.signals());
        self.sockets.insert(id, socket);
        Ok((id, signals))
    }

    /// A socket that is not closed, and the state that sending and receiving on it take.
    pub(super) fn socket(
        &mut self,
        id: SocketId,
    ) -> Result<(&mut SocketState, &mut WireState), Error> {
        let socket = self.sockets.get_mut(&id).ok_or_else(Error::closed)?;
        Ok((socket, &mut self.wire))
    }

    /// The next delivery of a socket; `None` if none has come. The end of the connection, or of an
    /// open that failed, comes after the last delivery.
    pub(super) fn receive(&mut self, id: SocketId) -> Option<Result<Delivery, Error>> {
        let Some(socket) = self.sockets.get_mut(&id) else { return Some(Err(Error::closed())) };
        match socket.receive(&mut self.wire) {
            Some(delivery) => Some(Ok(delivery)),
            None => self.ended.as_ref().or(socket.open_error()).cloned().map(Err),
        }
    }

    /// As [`receive`](Self::receive), and otherwise has the next delivery wake the task, instead of
    /// the one that polled before.
    pub(super) fn poll_receive(
        &mut self,
        id: SocketId,
        cx: &Context<'_>,
    ) -> Poll<Result<Delivery, Error>> {
        if let Some(received) = self.receive(id) {
            return Poll::Ready(received);
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.keep_receiver(cx);
        }
        Poll::Pending
    }

    /// As [`SocketState::poll_sent`].
    pub(super) fn poll_sent(
        &mut self,
        id: SocketId,
        serial: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<SentReport, Error>> {
        match self.sockets.get_mut(&id) {
            Some(socket) => socket.poll_sent(serial, self.ended.as_ref(), cx),
            None => Poll::Ready(Err(Error::closed())),
        }
    }

    /// Closes a socket: its queue and its pieces that wait are discarded. Its state is kept for the
    /// final counters where `wait` says so.
    pub(super) fn close(&mut self, id: SocketId, wait: bool, deferred: &mut Deferred) {
        let before = self.wire.backlog();
        self.wire.close(id);
        match self.sockets.get_mut(&id) {
            Some(socket) if wait => socket.discard_queue(),
            _ => {
                self.sockets.remove(&id);
            }
        }
        self.wake_senders_since(before, deferred);
    }

    /// The final counters of a socket, once they have come; then its state is dropped.
    pub(super) fn closed(&mut self, id: SocketId) -> Option<Counters> {
        let Some(socket) = self.sockets.get(&id) else { return Some(Counters::default()) };
        let counters = socket.counters()?;
        self.sockets.remove(&id);
        Some(counters)
    }

    /// The answer to a socket's open frame, if the socket is open.
    pub(super) fn facts(&self, id: SocketId) -> Option<Opened> {
        self.sockets.get(&id)?.opened()?.ok()
    }

    /// Wakes the senders of every socket, if there is room again since `before`.
    fn wake_senders_since(&mut self, before: Backlog, deferred: &mut Deferred) {
        if self.wire.made_room(before) {
            self.sockets.values_mut().for_each(|socket| socket.wake_senders(deferred));
        }
    }

    // ---- requests and pings

    /// The numbered requests, and the state that making one takes.
    pub(super) fn replies(&mut self) -> (&mut Replies, &mut WireState, Option<&Error>) {
        (&mut self.replies, &mut self.wire, self.ended.as_ref())
    }

    /// The pings, and the state that sending one takes.
    pub(super) fn pings(&mut self) -> (&mut Pings, &mut WireState, Option<&Error>) {
        (&mut self.pings, &mut self.wire, self.ended.as_ref())
    }
}

/// Turns the far kernel's errno into this host's number for the same error.
fn number_as_here(event: &mut ClientEvent<'_>, architecture: &str) {
    let errno = match event {
        ClientEvent::ReceiveError { errno, .. } | ClientEvent::Sent { errno, .. } => errno,
        ClientEvent::OpenFailed(_, failure)
        | ClientEvent::Reply { result: Err(failure), .. }
        | ClientEvent::Fault(failure) => &mut failure.errno,
        _ => return,
    };
    *errno = errno::translate(*errno, architecture);
}

/// A part of a frame's payload as bytes to keep.
fn share(frame: &Frame, part: &[u8]) -> Bytes {
    if part.len() < COPIED { Bytes::copy_from_slice(part) } else { frame.share(part) }
}

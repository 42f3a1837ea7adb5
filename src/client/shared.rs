//! What the handles of one connection and its driver share.

#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, VecDeque},
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};

mod dispatch;

use super::{handshake::Greeted, socket::Datagram};
use crate::{
    Error, ErrorKind, Origin,
    proto::{ClientState, SendError},
    wire::{
        Counters, Destination, Failure, Message, NetnsOpened, NetnsRequest, Open, Opened, SocketId,
        hello::HostInfo,
    },
};
pub(super) use dispatch::FrameError;

/// Bytes waiting to be written above which no datagram is accepted for sending.
const OUTBOX_HIGH_WATER: usize = 1 << 20;

/// Tasks that wait for one thing.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Vec<Waker>);

impl Waiters {
    /// Has the task of `cx` woken by the next [`wake`](Self::wake).
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        if !self.0.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.0.push(cx.waker().clone());
        }
    }

    fn drain_into(&mut self, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.0);
    }
}

/// Something that arrived on a socket, in order.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    Datagram(Datagram),
    Lost {
        dropped: u64,
        total: u64,
    },
    ReceiveError {
        errno: i32,
        length: u64,
    },
    #[cfg_attr(not(feature = "rust-netlink"), expect(dead_code, reason = "for the adapter"))]
    SendFailed {
        serial: u32,
        errno: i32,
    },
}

/// How a confirmed send ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentResult {
    pub(super) errno: i32,
    pub(super) nanoseconds: u64,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    opened: Option<Result<Opened, Error>>,
    queue: VecDeque<Delivery>,
    confirmed: HashMap<u32, Option<SentResult>>,
    closed: Option<Counters>,
    receivers: Waiters,
    senders: Waiters,
    others: Waiters,
}

#[derive(Debug)]
enum Request {
    Waiting(Option<Waker>),
    Done(Result<Bytes, Failure>),
    /// The caller has gone; if it opens a namespace, that has to be closed again.
    Abandoned {
        opens_netns: bool,
    },
}

pub(super) struct Inner {
    pub(super) state: ClientState,
    /// Frames waiting to be written.
    pub(super) outbox: BytesMut,
    slots: HashMap<SocketId, Slot>,
    requests: HashMap<u32, Request>,
    request_room: Waiters,
    pings: HashMap<u64, Option<Waker>>,
    next_ping: u64,
    driver: Option<Waker>,
    handles: usize,
    pub(super) finishing: bool,
    ended: Option<Error>,
    end_waiters: Waiters,
    driver_gone: bool,
}

/// One connection, as its handles see it.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(super) host: HostInfo,
    pub(super) software: String,
    pub(super) version: u16,
}

impl Shared {
    pub(super) fn new(greeted: &Greeted) -> Self {
        let hello = &greeted.hello;
        let inner = Inner {
            state: ClientState::new(hello.limits, greeted.max_frame),
            outbox: BytesMut::new(),
            slots: HashMap::new(),
            requests: HashMap::new(),
            request_room: Waiters::default(),
            pings: HashMap::new(),
            next_ping: 0,
            driver: None,
            handles: 0,
            finishing: false,
            ended: None,
            end_waiters: Waiters::default(),
            driver_gone: false,
        };
        Self {
            inner: Mutex::new(inner),
            host: hello.host.clone().unwrap_or_default(),
            software: hello.software.clone(),
            version: greeted.version,
        }
    }

    /// Runs `work` on the state, then wakes whom it gathered, and the driver if there is
    /// something new for it to write.
    pub(super) fn run<T>(&self, work: impl FnOnce(&mut Inner, &mut Vec<Waker>) -> T) -> T {
        let mut wakers = Vec::new();
        let result = {
            // A panic while it was held would have been in code that does not panic.
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let before = inner.outbox.len();
            let result = work(&mut inner, &mut wakers);
            if inner.outbox.len() > before || inner.finishing {
                wakers.extend(inner.driver.take());
            }
            result
        };
        for waker in wakers {
            waker.wake();
        }
        result
    }
}

/// A counted reference: the driver ends when the last one is dropped.
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.run(|inner, _| inner.handles += 1);
        Self(shared)
    }

    /// [`Shared::run`] on a connection that has not ended.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Inner, &mut Vec<Waker>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.run(|inner, wakers| match &inner.ended {
            Some(error) => Err(error.clone()),
            None => work(inner, wakers),
        })
    }

    pub(super) fn finish(&self) {
        self.run(|inner, _| inner.finishing = true);
    }

    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Error> {
        self.run(|inner, _| match &inner.ended {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                inner.end_waiters.wait(cx);
                Poll::Pending
            }
        })
    }

    pub(super) fn poll_driver_gone(&self, cx: &mut Context<'_>) -> bool {
        self.run(|inner, _| {
            inner.end_waiters.wait(cx);
            inner.driver_gone
        })
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.run(|inner, _| {
            inner.handles -= 1;
            inner.finishing |= inner.handles == 0;
        });
    }
}

impl Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Inner {
    /// Notes the driver's task, to be woken when there is something to write.
    pub(super) fn set_driver(&mut self, cx: &Context<'_>) {
        match &mut self.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// The connection is over: everyone is told.
    pub(super) fn end(&mut self, error: Error, wakers: &mut Vec<Waker>) {
        self.ended.get_or_insert(error);
        for slot in self.slots.values_mut() {
            for waiters in [&mut slot.receivers, &mut slot.senders, &mut slot.others] {
                waiters.drain_into(wakers);
            }
        }
        for request in self.requests.values_mut() {
            if let Request::Waiting(waker) = request {
                wakers.extend(waker.take());
            }
        }
        wakers.extend(self.pings.values_mut().filter_map(Option::take));
        self.request_room.drain_into(wakers);
        self.end_waiters.drain_into(wakers);
    }

    pub(super) fn set_driver_gone(&mut self, wakers: &mut Vec<Waker>) {
        self.driver_gone = true;
        self.end_waiters.drain_into(wakers);
    }

    // ---- sockets

    pub(super) fn open(&mut self, open: Open) -> Result<SocketId, Error> {
        let Some(id) = self.state.open(open, &mut self.outbox) else {
            let text = "the far end allows no more sockets on this connection; close some first";
            return Err(Error::new(ErrorKind::Open, Origin::Library, None, text));
        };
        self.slots.insert(id, Slot::default());
        Ok(id)
    }

    pub(super) fn poll_opened(
        &mut self,
        id: SocketId,
        cx: &Context<'_>,
    ) -> Poll<Result<Opened, Error>> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Poll::Ready(Err(Error::closed()));
        };
        match &slot.opened {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                slot.others.wait(cx);
                Poll::Pending
            }
        }
    }

    /// What the far end told when it opened the socket.
    pub(super) fn facts(&self, id: SocketId) -> Option<Opened> {
        self.slots.get(&id)?.opened.as_ref()?.as_ref().ok().copied()
    }

    /// Closes a socket and forgets what it would still deliver. Its slot goes when the answer
    /// has come or, if nobody waits for that, now.
    pub(super) fn close(&mut self, id: SocketId, wait: bool) {
        self.state.close(id, &mut self.outbox);
        match self.slots.get_mut(&id) {
            Some(slot) if wait => slot.queue.clear(),
            _ => {
                self.slots.remove(&id);
            }
        }
    }

    pub(super) fn poll_closed(&mut self, id: SocketId, cx: &Context<'_>) -> Poll<Counters> {
        let Some(slot) = self.slots.get_mut(&id) else { return Poll::Ready(Counters::default()) };
        match slot.closed {
            Some(counters) => {
                self.slots.remove(&id);
                Poll::Ready(counters)
            }
            None => {
                slot.others.wait(cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_send_ready(
        &mut self,
        id: SocketId,
        length: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Poll::Ready(Err(Error::closed()));
        };
        if let Some(Err(error)) = &slot.opened {
            return Poll::Ready(Err(error.clone()));
        }
        match self.state.may_send(id, length) {
            Err(SendError::TooLarge(limit)) => {
                let text = format!("a datagram of {length} bytes: this connection carries {limit}");
                let errno = Some(EMSGSIZE);
                Poll::Ready(Err(Error::new(ErrorKind::Send, Origin::Caller, errno, text)))
            }
            Ok(()) if self.outbox.len() < OUTBOX_HIGH_WATER => Poll::Ready(Ok(())),
            Err(SendError::NotOpen) if slot.opened.is_some() => Poll::Ready(Err(Error::closed())),
            _ => {
                slot.senders.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Sends a datagram for which [`poll_send_ready`](Self::poll_send_ready) has just said yes.
    pub(super) fn send(
        &mut self,
        id: SocketId,
        destination: Destination,
        confirm: bool,
        datagram: &[u8],
    ) -> Result<u32, Error> {
        let sent = self.state.send(id, destination, confirm, datagram, &mut self.outbox);
        let serial = sent.map_err(|_| Error::closed())?;
        if let (true, Some(slot)) = (confirm, self.slots.get_mut(&id)) {
            slot.confirmed.insert(serial, None);
        }
        Ok(serial)
    }

    pub(super) fn poll_sent(
        &mut self,
        id: SocketId,
        serial: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<SentResult, Error>> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Poll::Ready(Err(Error::closed()));
        };
        match slot.confirmed.get(&serial) {
            Some(Some(result)) => {
                let result = *result;
                slot.confirmed.remove(&serial);
                Poll::Ready(Ok(result))
            }
            _ => match &self.ended {
                Some(error) => Poll::Ready(Err(error.clone())),
                None => {
                    slot.others.wait(cx);
                    Poll::Pending
                }
            },
        }
    }

    pub(super) fn forget_sent(&mut self, id: SocketId, serial: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.confirmed.remove(&serial);
        }
    }

    /// The next delivery, for which credit is given back.
    pub(super) fn poll_receive(
        &mut self,
        id: SocketId,
        cx: &Context<'_>,
    ) -> Poll<Result<Delivery, Error>> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Poll::Ready(Err(Error::closed()));
        };
        match slot.queue.pop_front() {
            Some(Delivery::Datagram(datagram)) => {
                self.state.consumed(id, datagram.data.len(), &mut self.outbox);
                Poll::Ready(Ok(Delivery::Datagram(datagram)))
            }
            Some(other) => Poll::Ready(Ok(other)),
            // What came before the end is still delivered; then the end is told.
            None => match (&self.ended, &slot.opened) {
                (Some(error), _) | (None, Some(Err(error))) => Poll::Ready(Err(error.clone())),
                _ => {
                    slot.receivers.wait(cx);
                    Poll::Pending
                }
            },
        }
    }

    // ---- requests

    pub(super) fn poll_request<'m>(
        &mut self,
        socket: SocketId,
        message: &mut Option<impl FnOnce(u32) -> Message<'m>>,
        cx: &Context<'_>,
    ) -> Poll<Result<u32, Error>> {
        if socket != SocketId::CONNECTION && !self.state.is_open(socket) {
            return Poll::Ready(Err(Error::closed()));
        }
        if !self.state.may_request() {
            self.request_room.wait(cx);
            return Poll::Pending;
        }
        let Some(message) = message.take() else { return Poll::Pending };
        match self.state.request(socket, message, &mut self.outbox) {
            Some(number) => {
                self.requests.insert(number, Request::Waiting(None));
                Poll::Ready(Ok(number))
            }
            None => Poll::Ready(Err(Error::closed())),
        }
    }

    pub(super) fn poll_reply(
        &mut self,
        number: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<Bytes, RequestError>> {
        match self.requests.get_mut(&number) {
            Some(Request::Waiting(waker)) => {
                if let Some(error) = &self.ended {
                    return Poll::Ready(Err(RequestError::Ended(error.clone())));
                }
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => match self.requests.remove(&number) {
                Some(Request::Done(result)) => Poll::Ready(result.map_err(RequestError::Failed)),
                _ => Poll::Ready(Err(RequestError::Ended(Error::closed()))),
            },
        }
    }

    pub(super) fn abandon_request(&mut self, number: u32, opens_netns: bool) {
        match self.requests.remove(&number) {
            Some(Request::Done(Ok(value))) if opens_netns => self.close_netns_of(&value),
            Some(Request::Waiting(_)) => {
                self.requests.insert(number, Request::Abandoned { opens_netns });
            }
            _ => {}
        }
    }

    fn close_netns_of(&mut self, value: &[u8]) {
        if let Ok(opened) = NetnsOpened::decode(value) {
            self.close_netns(opened.fd);
        }
    }

    /// Has the stub close a namespace, without waiting for the answer. Where as many requests as
    /// are allowed are in flight, it stays open until the connection ends.
    pub(super) fn close_netns(&mut self, fd: u32) {
        let message = crate::proto::netns_message(NetnsRequest::Close(fd));
        let number = self.state.request(SocketId::CONNECTION, message, &mut self.outbox);
        if let Some(number) = number {
            self.requests.insert(number, Request::Abandoned { opens_netns: false });
        }
    }

    // ---- pings

    pub(super) fn begin_ping(&mut self) -> Result<u64, Error> {
        self.next_ping += 1;
        self.pings.insert(self.next_ping, None);
        self.state.ping(self.next_ping, &mut self.outbox);
        Ok(self.next_ping)
    }
}

/// Why a request has no value.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The far end says so.
    Failed(Failure),
    /// The connection ended first.
    Ended(Error),
}

impl RequestError {
    pub(super) fn into_error(self, kind: ErrorKind) -> Error {
        match self {
            RequestError::Failed(failure) => Error::failure(kind, failure),
            RequestError::Ended(error) => error,
        }
    }
}

/// A ping under way; forgotten when dropped.
pub(super) struct PingGuard<'a> {
    pub(super) handle: &'a Handle,
    pub(super) token: u64,
}

impl PingGuard<'_> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handle.run(|inner, _| match inner.pings.get_mut(&self.token) {
            None => Poll::Ready(Ok(())),
            Some(waker) => {
                if let Some(error) = &inner.ended {
                    return Poll::Ready(Err(error.clone()));
                }
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }
}

impl Drop for PingGuard<'_> {
    fn drop(&mut self) {
        self.handle.run(|inner, _| inner.pings.remove(&self.token));
    }
}

/// Linux's EMSGSIZE, on every architecture that Rust's generic errno table covers.
const EMSGSIZE: i32 = 90;

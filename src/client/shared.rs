//! What the handles of one connection and its driver share.

#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, VecDeque},
    ops::Deref,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::sync::{Notify, Semaphore};

mod dispatch;
mod requests;
mod sending;

use self::{requests::Request, sending::Confirmed};
use super::{handshake::Greeted, socket::Datagram};
use crate::{
    Error, ErrorKind, Origin,
    errno::EMSGSIZE,
    proto::{ClientState, Refusal},
    wire::{Counters, Message, Open, Opened, SocketId, hello::HostInfo},
};
pub(super) use dispatch::FrameError;
pub(super) use requests::PingGuard;

/// Waits until `check` gives something, which it may once `notify` was notified.
///
/// It looks before it registers, because mostly there is something; and once more behind that,
/// because what came in between would wake nobody.
pub(super) async fn until<T>(notify: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    if let Some(found) = check() {
        return found;
    }
    let mut notified = pin!(notify.notified());
    loop {
        notified.as_mut().enable();
        if let Some(found) = check() {
            return found;
        }
        notified.as_mut().await;
        notified.set(notify.notified());
    }
}

/// What the tasks of one socket wait for.
///
/// A task that stops waiting leaves nothing behind in these, however it stops. A `poll_` function
/// cannot know whether its task has stopped: of those the last waker is kept, in the [`Slot`].
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Something was received. Each wakes one task, which takes it.
    pub(super) received: Notify,
    /// There may be credit, or room.
    pub(super) sendable: Notify,
    /// It was opened or closed, or what it had to send in pieces is written.
    pub(super) state: Notify,
}

/// Who is to be woken, once the lock is released: a waker may run anything.
#[derive(Debug)]
pub(super) enum Wake {
    Task(Waker),
    /// So many of those who receive.
    Receivers(Arc<Signals>, usize),
    Senders(Arc<Signals>),
    State(Arc<Signals>),
    /// Everyone who waits for anything on this socket.
    Socket(Arc<Signals>),
    /// One who waits to make a request.
    RequestRoom,
    /// Everyone who waits for the end of the connection, or for what comes no more.
    Ended,
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

#[derive(Debug, Default)]
pub(super) struct Slot {
    opened: Option<Result<Opened, Error>>,
    queue: VecDeque<Delivery>,
    /// Of the sends that failed and are in the queue: how many, and the errno of the last.
    failures: (usize, i32),
    confirmed: HashMap<u32, Confirmed>,
    closed: Option<Counters>,
    signals: Arc<Signals>,
    /// Who polled last to receive, and to send.
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl Slot {
    fn wake_senders(&mut self, wakes: &mut Vec<Wake>) {
        wakes.extend(self.sender.take().map(Wake::Task));
        wakes.push(Wake::Senders(Arc::clone(&self.signals)));
    }

    fn wake_state(&self, wakes: &mut Vec<Wake>) {
        wakes.push(Wake::State(Arc::clone(&self.signals)));
    }

    /// Wakes everyone, for it is open, or over.
    fn wake_all(&mut self, wakes: &mut Vec<Wake>) {
        wakes.extend(self.sender.take().map(Wake::Task));
        wakes.extend(self.receiver.take().map(Wake::Task));
        for confirmed in self.confirmed.values_mut() {
            if let Confirmed::Waiting(waker) = confirmed {
                wakes.extend(waker.take().map(Wake::Task));
            }
        }
        wakes.push(Wake::Socket(Arc::clone(&self.signals)));
    }
}

pub(super) struct Inner {
    pub(super) state: ClientState,
    /// Frames waiting to be written.
    pub(super) outbox: BytesMut,
    slots: HashMap<SocketId, Slot>,
    requests: HashMap<u32, Request>,
    request_room: Arc<Semaphore>,
    /// Namespaces to be closed at the far end, once there is room for another request.
    unclosed: Vec<u32>,
    pings: HashMap<u64, Option<Waker>>,
    next_ping: u64,
    driver: Option<Waker>,
    handles: usize,
    pub(super) finishing: bool,
    /// The far host's, as `uname -m` names it: its errno numbers may be others than here.
    architecture: String,
    ended: Option<Error>,
    driver_gone: bool,
}

/// One connection, as its handles see it.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// As many permits as requests may still be made.
    request_room: Arc<Semaphore>,
    ended: Notify,
    pub(super) host: HostInfo,
    pub(super) software: String,
    pub(super) version: u16,
}

impl Shared {
    pub(super) fn new(greeted: &Greeted) -> Self {
        let hello = &greeted.hello;
        let requests = usize::try_from(hello.limits.max_requests).unwrap_or(usize::MAX);
        let request_room = Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS)));
        let inner = Inner {
            state: ClientState::new(hello.limits, greeted.max_frame),
            outbox: BytesMut::new(),
            slots: HashMap::new(),
            requests: HashMap::new(),
            request_room: Arc::clone(&request_room),
            unclosed: Vec::new(),
            pings: HashMap::new(),
            next_ping: 0,
            driver: None,
            handles: 0,
            finishing: false,
            architecture: hello.host.as_ref().map_or_else(String::new, |h| h.architecture.clone()),
            ended: None,
            driver_gone: false,
        };
        Self {
            inner: Mutex::new(inner),
            request_room,
            ended: Notify::new(),
            host: hello.host.clone().unwrap_or_default(),
            software: hello.software.clone(),
            version: greeted.version,
        }
    }

    /// Runs `work` on the state, then wakes whom it gathered, and the driver if there is
    /// something new for it to write.
    pub(super) fn run<T>(&self, work: impl FnOnce(&mut Inner, &mut Vec<Wake>) -> T) -> T {
        self.run_with(&mut Vec::new(), work)
    }

    /// [`run`](Self::run) that gathers in `wakes`, which is empty before and after.
    pub(super) fn run_with<T>(
        &self,
        wakes: &mut Vec<Wake>,
        work: impl FnOnce(&mut Inner, &mut Vec<Wake>) -> T,
    ) -> T {
        // Not among the others: it is all that sending and receiving wake, which then take no
        // memory for it.
        let mut driver = None;
        let result = {
            // A panic while it was held would have been in code that does not panic.
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let unwritten = |inner: &Inner| (inner.outbox.len(), inner.state.waiting_bytes());
            let before = unwritten(&inner);
            let result = work(&mut inner, wakes);
            let after = unwritten(&inner);
            if after.0 > before.0 || after.1 > before.1 || inner.finishing {
                driver = inner.driver.take();
            }
            result
        };
        for wake in wakes.drain(..) {
            self.wake(wake);
        }
        driver.into_iter().for_each(Waker::wake);
        result
    }

    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Task(waker) => waker.wake(),
            Wake::Receivers(signals, count) => {
                (0..count).for_each(|_| signals.received.notify_one());
            }
            Wake::Senders(signals) => signals.sendable.notify_waiters(),
            Wake::State(signals) => signals.state.notify_waiters(),
            Wake::Socket(signals) => {
                signals.received.notify_waiters();
                signals.sendable.notify_waiters();
                signals.state.notify_waiters();
            }
            Wake::RequestRoom => self.request_room.add_permits(1),
            Wake::Ended => {
                self.request_room.close();
                self.ended.notify_waiters();
            }
        }
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
        work: impl FnOnce(&mut Inner, &mut Vec<Wake>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.run(|inner, wakes| match &inner.ended {
            Some(error) => Err(error.clone()),
            None => work(inner, wakes),
        })
    }

    pub(super) fn finish(&self) {
        self.run(|inner, _| inner.finishing = true);
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&self) -> Error {
        until(&self.ended, || self.run(|inner, _| inner.ended.clone())).await
    }

    /// Waits until the driver has closed the stream, too.
    pub(super) async fn driver_gone(&self) {
        until(&self.ended, || self.run(|inner, _| inner.driver_gone.then_some(()))).await;
    }

    /// Makes a numbered request as soon as there is room for one.
    pub(super) async fn request<'m>(
        &self,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
    ) -> Result<u32, Error> {
        // It is closed once the connection has ended, which `with` tells.
        let room = self.request_room.acquire().await;
        let number = self.with(|inner, _| inner.request(socket, message))?;
        // The reply makes room again.
        room.into_iter().for_each(tokio::sync::SemaphorePermit::forget);
        Ok(number)
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
        keep(&mut self.driver, cx);
    }

    /// The connection is over: everyone is told.
    pub(super) fn end(&mut self, error: Error, wakes: &mut Vec<Wake>) {
        self.ended.get_or_insert(error);
        for slot in self.slots.values_mut() {
            slot.wake_all(wakes);
        }
        for request in self.requests.values_mut() {
            if let Request::Waiting(waker) = request {
                wakes.extend(waker.take().map(Wake::Task));
            }
        }
        wakes.extend(self.pings.values_mut().filter_map(Option::take).map(Wake::Task));
        wakes.push(Wake::Ended);
    }

    pub(super) fn set_driver_gone(&mut self, wakes: &mut Vec<Wake>) {
        self.driver_gone = true;
        wakes.push(Wake::Ended);
    }

    // ---- sockets

    pub(super) fn open(&mut self, open: Open) -> Result<(SocketId, Arc<Signals>), Error> {
        let id = match self.state.open(open, &mut self.outbox) {
            Ok(id) => id,
            Err(Refusal::TooLong { length, limit }) => return Err(too_long(length, limit)),
            Err(_) => {
                let text =
                    "the far end allows no more sockets on this connection; close some first";
                return Err(Error::new(ErrorKind::Open, text).with_origin(Origin::Library));
            }
        };
        let slot = Slot::default();
        let signals = Arc::clone(&slot.signals);
        self.slots.insert(id, slot);
        Ok((id, signals))
    }

    /// What opening came to; `None` while it is under way.
    pub(super) fn opened(&self, id: SocketId) -> Result<Option<Opened>, Error> {
        let slot = self.slots.get(&id).ok_or_else(Error::closed)?;
        slot.opened.clone().transpose()
    }

    /// What the far end told when it opened the socket.
    pub(super) fn facts(&self, id: SocketId) -> Option<Opened> {
        self.slots.get(&id)?.opened.as_ref()?.as_ref().ok().copied()
    }

    /// Closes a socket and forgets what it would still deliver, or send. Its slot goes when the
    /// answer has come or, if nobody waits for that, now.
    pub(super) fn close(&mut self, id: SocketId, wait: bool, wakes: &mut Vec<Wake>) {
        let waiting = self.state.waiting_bytes();
        self.state.close(id, &mut self.outbox);
        match self.slots.get_mut(&id) {
            Some(slot) if wait => slot.queue.clear(),
            _ => {
                self.slots.remove(&id);
            }
        }
        self.made_room(waiting, wakes);
    }

    /// The final counters, once they have come.
    pub(super) fn closed(&mut self, id: SocketId) -> Option<Counters> {
        let Some(slot) = self.slots.get(&id) else { return Some(Counters::default()) };
        let counters = slot.closed?;
        self.slots.remove(&id);
        Some(counters)
    }

    // ---- receiving

    /// The next delivery, for which credit is given back; `None` if nothing has come.
    pub(super) fn receive(&mut self, id: SocketId) -> Option<Result<Delivery, Error>> {
        let Some(slot) = self.slots.get_mut(&id) else { return Some(Err(Error::closed())) };
        match slot.queue.pop_front() {
            Some(Delivery::Datagram(datagram)) => {
                self.state.consumed(id, datagram.data.len(), &mut self.outbox);
                Some(Ok(Delivery::Datagram(datagram)))
            }
            Some(other) => {
                if let Delivery::SendFailed { .. } = other {
                    slot.failures.0 = slot.failures.0.saturating_sub(1);
                }
                Some(Ok(other))
            }
            // What came before the end is still delivered; then the end is told.
            None => match (&self.ended, &slot.opened) {
                (Some(error), _) | (None, Some(Err(error))) => Some(Err(error.clone())),
                _ => None,
            },
        }
    }

    /// [`receive`](Self::receive), or else has the task woken by what comes next, instead of the
    /// one that polled before.
    pub(super) fn poll_receive(
        &mut self,
        id: SocketId,
        cx: &Context<'_>,
    ) -> Poll<Result<Delivery, Error>> {
        if let Some(received) = self.receive(id) {
            return Poll::Ready(received);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            keep(&mut slot.receiver, cx);
        }
        Poll::Pending
    }
}

/// Keeps the waker of the task that polled last.
fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

fn too_long(length: u32, limit: u32) -> Error {
    let text = format!("a request of {length} bytes: this connection carries {limit}");
    Error::new(ErrorKind::Invalid, text).with_errno(EMSGSIZE)
}

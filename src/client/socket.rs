//! A socket in another place.

#![forbid(unsafe_code)]

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;

use super::{
    netns::{self, NetnsHandle},
    shared::{Delivery, Handle, Signals, until},
};
use crate::{
    Error, ErrorKind, Origin,
    errno::describe,
    wire::{Counters, DatagramInfo, Destination, Message, Opened, SocketId},
};

/// A datagram from the far kernel: exactly its bytes, which may hold several netlink messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The bytes, in the byte order of the far host. From 4 KiB on they may share memory with what
    /// arrived next to them: copy what is to be kept for long. Fewer have memory of their own.
    pub data: Bytes,
    /// Source port id, multicast group and nsid.
    pub info: DatagramInfo,
}

/// What a socket receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A datagram.
    Datagram(Datagram),
    /// At exactly this place in the stream the far kernel dropped datagrams, because its receive
    /// buffer was full. The socket goes on; to resynchronise, dump what the events are about.
    Lost {
        /// How many were dropped here.
        dropped: u64,
        /// How many since the socket was opened.
        total: u64,
    },
}

/// How a confirmed send went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentReport {
    /// How long the far kernel's sendmsg(2) took.
    pub kernel_time: Duration,
}

/// A netlink socket that lives in another process, and there in any network namespace.
///
/// Dropping it closes the far socket at once: what it had not delivered is gone, and so is what
/// was sent and not yet written, such as the rest of a large datagram.
///
/// All methods but the traits' take `&self`: share it in an [`Arc`] to send from one task and
/// receive in another. Any number of tasks may do either; each thing received goes to one of them.
///
/// Sockets of a connection share one stream. A large datagram does not hold up those of other
/// sockets: from 60 KiB on it is sent in pieces, between which others go, and up to four sockets'
/// take turns. On one socket the order is kept.
pub struct RemoteSocket {
    handle: Handle,
    id: SocketId,
    signals: Arc<Signals>,
    /// Kept until the far end has opened the socket in it; after that it does no harm.
    _namespace: Option<NetnsHandle>,
    /// Whether the stream has told of its end.
    exhausted: bool,
}

impl RemoteSocket {
    pub(super) fn new(
        handle: Handle,
        (id, signals): (SocketId, Arc<Signals>),
        namespace: Option<NetnsHandle>,
    ) -> Self {
        Self { handle, id, signals, _namespace: namespace, exhausted: false }
    }

    /// Whether the far host has another byte order than this one.
    #[cfg(feature = "rust-netlink")]
    pub(super) fn is_foreign(&self) -> bool {
        self.handle.host.big_endian != cfg!(target_endian = "big")
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn set_exhausted(&mut self) {
        self.exhausted = true;
    }

    /// Waits until the far socket is open.
    pub(crate) async fn opened(&self) -> Result<Opened, Error> {
        let opened = || self.handle.with(|inner, _| inner.opened(self.id)).transpose();
        until(&self.signals.state, opened).await
    }

    fn facts(&self) -> Opened {
        self.handle.run(|inner, _| inner.facts(self.id)).unwrap_or_default()
    }

    /// The port id the far kernel bound the socket to.
    pub fn portid(&self) -> u32 {
        self.facts().portid
    }

    /// The receive buffer the far kernel gave, in bytes of its own accounting: twice what was
    /// asked for, or what `net.core.rmem_max` allows.
    pub fn receive_buffer(&self) -> u32 {
        self.facts().receive_buffer
    }

    /// Likewise the send buffer.
    pub fn send_buffer(&self) -> u32 {
        self.facts().send_buffer
    }

    /// Sends a datagram to the kernel, *pipelined*: returns once it is on its way. Waits only
    /// for credit and for room: at this side no more than a megabyte waits to be written, and of
    /// large datagrams 64 MiB. Should the far sendmsg(2) fail, [`recv`](Self::recv) tells in its
    /// place.
    ///
    /// Cancel-safe: a dropped future has sent all or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Send`] for a datagram larger than the connection carries, and with the far
    /// errno of the last one once 1,024 failures wait to be received: the datagram is not sent
    /// then. [`ErrorKind::Disconnected`], [`ErrorKind::Closed`].
    pub async fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        self.send_to(datagram, Destination::default()).await
    }

    /// [`send`](Self::send) to another port id or group than the kernel.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_to(&self, datagram: &[u8], destination: Destination) -> Result<(), Error> {
        self.send_any(datagram, destination, false).await.map(drop)
    }

    async fn send_any(
        &self,
        datagram: &[u8],
        destination: Destination,
        confirm: bool,
    ) -> Result<u32, Error> {
        let send = || {
            let sent = self.handle.with(|inner, _| {
                if !inner.may_send(self.id, datagram.len(), confirm)? {
                    return Ok(None);
                }
                inner.send(self.id, destination, confirm, datagram).map(Some)
            });
            sent.transpose()
        };
        // A task that has much to send must not keep the driver from writing it meanwhile.
        tokio::task::coop::consume_budget().await;
        until(&self.signals.sendable, send).await
    }

    /// Sends, for hand-written futures; keeps the last waker only.
    #[cfg(feature = "rust-netlink")]
    pub(crate) fn poll_send(
        &self,
        cx: &Context<'_>,
        datagram: &[u8],
        destination: Destination,
    ) -> Poll<Result<u32, Error>> {
        let polled = self.handle.with(|inner, _| {
            if !inner.may_send(self.id, datagram.len(), false)? {
                inner.poll_sendable(self.id, cx);
                return Ok(None);
            }
            inner.send(self.id, destination, false, datagram).map(Some)
        });
        polled.transpose().map_or(Poll::Pending, Poll::Ready)
    }

    pub(super) fn poll_send_ready(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let polled = self.handle.with(|inner, _| {
            if !inner.may_send(self.id, 0, false)? {
                inner.poll_sendable(self.id, cx);
                return Ok(None);
            }
            Ok(Some(()))
        });
        polled.transpose().map_or(Poll::Pending, Poll::Ready)
    }

    /// Sends what [`poll_send_ready`](Self::poll_send_ready) has accepted.
    pub(super) fn start_send(&self, datagram: &[u8]) -> Result<(), Error> {
        let to = Destination::default();
        self.handle.with(|inner, _| inner.send(self.id, to, false, datagram)).map(drop)
    }

    /// Sends a datagram and waits for the far kernel's sendmsg(2) to return. Everything that was
    /// readable at that moment has arrived before this returns, as it would with a local socket:
    /// [`try_recv`](Self::try_recv) gives it without waiting. (Where more than twice the window
    /// was left unread, what exceeds it comes later.)
    ///
    /// Cancel-safe in that nothing is left behind; the datagram may have been sent.
    ///
    /// # Errors
    /// [`ErrorKind::Send`] with the errno of the far sendmsg; otherwise as
    /// [`send`](Self::send), whose failures do not matter here.
    pub async fn send_confirmed(&self, datagram: &[u8]) -> Result<SentReport, Error> {
        self.send_confirmed_to(datagram, Destination::default()).await
    }

    /// [`send_confirmed`](Self::send_confirmed) to another port id or group than the kernel.
    ///
    /// # Errors
    /// As for [`send_confirmed`](Self::send_confirmed).
    pub async fn send_confirmed_to(
        &self,
        datagram: &[u8],
        destination: Destination,
    ) -> Result<SentReport, Error> {
        struct Guard<'a>(&'a RemoteSocket, u32);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.handle.run(|inner, _| inner.forget_sent(self.0.id, self.1));
            }
        }
        let serial = self.send_any(datagram, destination, true).await?;
        let _guard = Guard(self, serial);
        let sent = poll_fn(|cx| self.handle.run(|inner, _| inner.poll_sent(self.id, serial, cx)));
        let sent = sent.await?;
        match sent.errno {
            0 => Ok(SentReport { kernel_time: Duration::from_nanos(sent.nanoseconds) }),
            errno => Err(send_failed(errno)),
        }
    }

    /// Receives what comes next. Cancel-safe: what a dropped future would have got, the next one
    /// gets.
    ///
    /// # Errors
    /// [`ErrorKind::Receive`] for a datagram that could not be forwarded, and
    /// [`ErrorKind::Send`] for a pipelined send that failed: both in their place, and the socket
    /// goes on. [`ErrorKind::Disconnected`] once all that had arrived has been received.
    pub async fn recv(&self) -> Result<Event, Error> {
        let check = || self.handle.run(|inner, _| inner.receive(self.id));
        // A socket with much to deliver must not keep its task from yielding.
        let receive = poll_fn(|cx| {
            let budget = ready!(tokio::task::coop::poll_proceed(cx));
            let received = check();
            if received.is_some() {
                budget.made_progress();
            }
            Poll::Ready(received)
        });
        let received = match receive.await {
            Some(received) => received,
            None => until(&self.signals.received, check).await,
        };
        received.and_then(Delivery::into_event)
    }

    /// [`recv`](Self::recv) for hand-written futures. As with tokio's own, only the task that
    /// polled last is woken; give several tasks [`recv`](Self::recv) instead.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        self.poll_delivery(cx).map(|delivery| delivery.and_then(Delivery::into_event))
    }

    pub(crate) fn poll_delivery(&self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Error>> {
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let polled = self.handle.run(|inner, _| inner.poll_receive(self.id, cx));
        if polled.is_ready() {
            budget.made_progress();
        }
        polled
    }

    /// Receives what has arrived already; `None` if nothing has.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Event>, Error> {
        let received = self.handle.run(|inner, _| inner.receive(self.id)).transpose()?;
        received.map(Delivery::into_event).transpose()
    }

    /// Joins a multicast group. Events begin after it returns, at the latest. Cancel-safe in
    /// that nothing is left behind; the group may have been joined.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno: EINVAL for a group the protocol does not have,
    /// EPERM; [`ErrorKind::Disconnected`].
    pub async fn join(&self, group: u32) -> Result<(), Error> {
        self.request(|request| Message::Join { request, group }).await.map(drop)
    }

    /// Leaves a multicast group. Cancel-safe likewise.
    ///
    /// # Errors
    /// As for [`join`](Self::join).
    pub async fn leave(&self, group: u32) -> Result<(), Error> {
        self.request(|request| Message::Leave { request, group }).await.map(drop)
    }

    /// setsockopt(2) at the far end; the value is in the far host's byte order. Cancel-safe in
    /// that nothing is left behind; the option may have been set.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno; [`ErrorKind::Invalid`] for a value that is
    /// larger than the connection carries; [`ErrorKind::Disconnected`].
    pub async fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Error> {
        self.request(|request| Message::OptionSet { request, level, name, value }).await.map(drop)
    }

    /// getsockopt(2) at the far end, with room for `capacity` bytes, 64 KiB at most. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno; [`ErrorKind::Disconnected`].
    pub async fn option(&self, level: i32, name: i32, capacity: u32) -> Result<Bytes, Error> {
        self.request(|request| Message::OptionGet { request, level, name, capacity }).await
    }

    async fn request<'m>(&self, message: impl FnOnce(u32) -> Message<'m>) -> Result<Bytes, Error> {
        self.opened().await?;
        // What is sent in pieces comes before it, too.
        let written = || {
            let waiting = self.handle.with(|inner, _| Ok(inner.state.waiting_bytes_of(self.id)));
            waiting.map(|waiting| waiting.is_none().then_some(())).transpose()
        };
        until(&self.signals.state, written).await?;
        netns::request(&self.handle, self.id, message, ErrorKind::Request, false).await
    }

    /// Closes the socket and waits for the far end's final counters. What had arrived and was
    /// not received is discarded, as is what was sent and not yet written. Not cancel-safe, but a dropped future closes the socket too.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`].
    pub async fn close(self) -> Result<Counters, Error> {
        self.handle.with(|inner, wakes| {
            inner.close(self.id, true, wakes);
            Ok(())
        })?;
        let closed = || self.handle.with(|inner, _| Ok(inner.closed(self.id))).transpose();
        until(&self.signals.state, closed).await
    }
}

impl Drop for RemoteSocket {
    fn drop(&mut self) {
        self.handle.run(|inner, wakes| inner.close(self.id, false, wakes));
    }
}

impl std::fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteSocket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Delivery {
    fn into_event(self) -> Result<Event, Error> {
        match self {
            Delivery::Datagram(datagram) => Ok(Event::Datagram(datagram)),
            Delivery::Lost { dropped, total } => Ok(Event::Lost { dropped, total }),
            Delivery::SendFailed { errno, .. } => Err(send_failed(errno)),
            Delivery::ReceiveError { errno, length } => {
                let text = match length {
                    0 => format!("receiving failed: {}", describe(errno)),
                    _ => format!("a datagram of {length} bytes was too large to forward"),
                };
                Err(Error::new(ErrorKind::Receive, text)
                    .with_origin(Origin::Kernel)
                    .with_errno(errno))
            }
        }
    }
}

pub(super) fn send_failed(errno: i32) -> Error {
    let text = format!("the kernel refused the datagram: {}", describe(errno));
    Error::new(ErrorKind::Send, text).with_origin(Origin::Kernel).with_errno(errno)
}

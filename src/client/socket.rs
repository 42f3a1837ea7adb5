//! A netlink socket at the far end.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    connection_ref::ConnectionRef,
    deferred::{Signals, until},
    delivery::{Delivery, Event, SentReport},
    netns::NetnsHandle,
    wire_state::check_option,
};
use crate::{
    Error, ErrorKind, Group, Protocol,
    wire::{
        Counters, DRAINED, Destination, FILTER, FilterInstruction, Message, OWN_LEVEL, Opened,
        SocketId,
    },
};

/// A netlink socket at the far end, in any network namespace there.
///
/// Dropping it closes the far socket at once. Datagrams that were not received are discarded, and so
/// are datagrams that were sent and are not yet written, such as the rest of a large one.
///
/// All methods but the traits' take `&self`: share the socket in an [`Arc`] to send from one task
/// and receive in another. Any number of tasks may do either; one of them receives each event.
///
/// Sockets of a connection share one stream. A large datagram does not delay other sockets: beyond
/// 60 KiB it is written in pieces, with frames of other sockets between them, and the pieces of up to
/// four sockets alternate. Each socket keeps its order.
pub struct RemoteSocket {
    connection: ConnectionRef,
    id: SocketId,
    signals: Arc<Signals>,
    /// The socket's namespace, which must be open until the far end has opened the socket.
    _namespace: Option<NetnsHandle>,
    /// Whether the stream has given its last item.
    exhausted: bool,
}

impl RemoteSocket {
    pub(super) fn new(
        connection: ConnectionRef,
        (id, signals): (SocketId, Arc<Signals>),
        namespace: Option<NetnsHandle>,
    ) -> Self {
        Self { connection, id, signals, _namespace: namespace, exhausted: false }
    }

    /// Whether the far host has another byte order than this one.
    pub(super) fn is_foreign(&self) -> bool {
        self.connection.is_foreign()
    }

    /// The far host's architecture, as `uname -m` names it.
    pub(super) fn architecture(&self) -> &str {
        &self.connection.host().architecture
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn set_exhausted(&mut self) {
        self.exhausted = true;
    }

    /// Waits until the far socket is open.
    pub(crate) async fn opened(&self) -> Result<Opened, Error> {
        let opened = || {
            let opened = self.connection.with(|state, _| Ok(state.socket(self.id)?.0.opened()));
            opened.and_then(Option::transpose).transpose()
        };
        until(&self.signals.state, opened).await
    }

    /// The netlink protocol.
    pub(super) fn protocol(&self) -> Protocol {
        let protocol = self.connection.run(|state, _| {
            let (socket, _) = state.socket(self.id)?;
            Ok::<_, Error>(socket.protocol())
        });
        Protocol::new(protocol.unwrap_or_default())
    }

    fn facts(&self) -> Opened {
        self.connection.run(|state, _| state.facts(self.id)).unwrap_or_default()
    }

    /// The port id to which the far kernel bound the socket; 0 until the socket is open, as one that
    /// `SocketBuilder::scope` makes may not be yet.
    pub fn portid(&self) -> u32 {
        self.facts().portid
    }

    /// The size of the far socket's receive buffer, in bytes of the kernel's own accounting: twice
    /// the size asked for; without CAP_NET_ADMIN, twice the smaller of that size and
    /// `net.core.rmem_max`; and `net.core.rmem_default` where size 0 was asked for. 0 until the
    /// socket is open. Source: socket(7).
    pub fn receive_buffer(&self) -> u32 {
        self.facts().receive_buffer
    }

    /// The size of the far socket's send buffer, likewise, with `net.core.wmem_max` and
    /// `net.core.wmem_default`.
    pub fn send_buffer(&self) -> u32 {
        self.facts().send_buffer
    }

    /// Sends a datagram to the kernel, *pipelined*: returns before the far kernel has it. Waits
    /// only for credit and for room: at this side at most a megabyte waits to be written, and of
    /// large datagrams 64 MiB. A far sendmsg(2) that fails is an error of [`recv`](Self::recv), in
    /// its place among the events.
    ///
    /// Cancel-safe: a dropped future has sent the whole datagram or none of it. Dropping the
    /// *socket* discards datagrams that are not written yet; a confirmed send is made by then.
    ///
    /// # Errors
    /// [`ErrorKind::Send`] for a datagram larger than the connection carries (EMSGSIZE), and, with
    /// the errno of the last one, while 1,024 failures wait to be received: the datagram is not
    /// sent then. [`ErrorKind::Open`] on a socket that `SocketBuilder::scope` made and the far end
    /// could not open. [`ErrorKind::Disconnected`].
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
        let send = || self.try_send(datagram, destination, confirm, None).transpose();
        // Between a task's sends the driver's task must have its chance to write.
        tokio::task::coop::consume_budget().await;
        until(&self.signals.sendable, send).await
    }

    /// Sends a datagram and gives the send's serial; `None` if it has to wait, until credit or room
    /// wakes the task `cx`.
    fn try_send(
        &self,
        datagram: &[u8],
        destination: Destination,
        confirm: bool,
        cx: Option<&Context<'_>>,
    ) -> Result<Option<u32>, Error> {
        self.connection.with(|state, _| {
            let (socket, wire) = state.socket(self.id)?;
            if socket.may_send(wire, datagram.len(), confirm)? {
                return socket.send(wire, destination, confirm, datagram).map(Some);
            }
            if let Some(cx) = cx {
                socket.keep_sender(cx);
            }
            Ok(None)
        })
    }

    /// Sends a datagram to the kernel, for hand-written futures, and gives the send's serial; keeps
    /// the last waker only.
    pub(super) fn poll_send(
        &self,
        cx: &Context<'_>,
        datagram: &[u8],
        destination: Destination,
    ) -> Poll<Result<u32, Error>> {
        let sent = self.try_send(datagram, destination, false, Some(cx)).transpose();
        sent.map_or(Poll::Pending, Poll::Ready)
    }

    /// Ready once [`start_send`](Self::start_send) may be called; keeps the last waker only.
    pub(super) fn poll_send_ready(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let ready = self.connection.with(|state, _| {
            let (socket, wire) = state.socket(self.id)?;
            // The datagram's length is not known here, and a stub takes short ones alone before it has opened the
            // socket.
            let may_send = socket.may_send(wire, 0, false)? && socket.is_open();
            if !may_send {
                socket.keep_sender(cx);
            }
            Ok(may_send)
        });
        match ready {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Sends a datagram for which [`poll_send_ready`](Self::poll_send_ready) was ready.
    pub(super) fn start_send(&self, datagram: &[u8]) -> Result<(), Error> {
        self.connection.with(|state, _| {
            let (socket, wire) = state.socket(self.id)?;
            socket.send(wire, Destination::default(), false, datagram).map(drop)
        })
    }

    /// Sends a datagram and waits for the far kernel's sendmsg(2) to return. Every datagram that
    /// was readable at that moment has arrived before this returns, as it would with a local
    /// socket: [`try_recv`](Self::try_recv) gives it without waiting. Datagrams beyond twice the
    /// [window](crate::SocketBuilder::window) arrive later.
    ///
    /// A dropped future keeps no state; the datagram may have been sent.
    ///
    /// # Errors
    /// [`ErrorKind::Send`] with the errno of the far sendmsg; otherwise as
    /// [`send`](Self::send), but failures that wait to be received do not matter.
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
                self.0.connection.run(|state, _| {
                    if let Ok((socket, _)) = state.socket(self.0.id) {
                        socket.forget_sent(self.1);
                    }
                });
            }
        }
        let serial = self.send_any(datagram, destination, true).await?;
        let _guard = Guard(self, serial);
        poll_fn(|cx| self.connection.run(|state, _| state.poll_sent(self.id, serial, cx))).await
    }

    /// Receives the next event. Cancel-safe: a dropped future loses no event.
    ///
    /// # Errors
    /// [`ErrorKind::Receive`] for a datagram that could not be forwarded, and
    /// [`ErrorKind::Send`] for a pipelined send that failed: both in their place among the events,
    /// and the socket stays open. [`ErrorKind::Disconnected`] after the last event that had arrived; a
    /// far end that sends more than 16,384 such errors that nobody receives is cut off.
    pub async fn recv(&self) -> Result<Event, Error> {
        let check = || self.connection.run(|state, _| state.receive(self.id));
        // A socket with many events must not keep its task from yielding.
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
    /// polled last is woken; for several tasks there is [`recv`](Self::recv).
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let polled = self.poll_delivery(cx);
        if polled.is_ready() {
            budget.made_progress();
        }
        polled.map(|delivery| delivery.and_then(Delivery::into_event))
    }

    /// Receives the next delivery, without regard to the task's budget; keeps the last waker only.
    pub(super) fn poll_delivery(&self, cx: &Context<'_>) -> Poll<Result<Delivery, Error>> {
        self.connection.run(|state, _| state.poll_receive(self.id, cx))
    }

    /// Receives an event that has arrived; `None` if there is none.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Event>, Error> {
        let received = self.connection.run(|state, _| state.receive(self.id)).transpose()?;
        received.map(Delivery::into_event).transpose()
    }

    /// Joins a multicast group. Its events may arrive before this returns. A dropped future keeps no
    /// state; the group may have been joined.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno: EINVAL for a group that the protocol does not
    /// have, EPERM; [`ErrorKind::Disconnected`].
    pub async fn join(&self, group: impl Into<Group>) -> Result<(), Error> {
        let group = group.into().number();
        self.request(|request| Message::Join { request, group }).await.map(drop)
    }

    /// Leaves a multicast group. Cancel safety is that of [`join`](Self::join).
    ///
    /// # Errors
    /// As for [`join`](Self::join).
    pub async fn leave(&self, group: impl Into<Group>) -> Result<(), Error> {
        let group = group.into().number();
        self.request(|request| Message::Leave { request, group }).await.map(drop)
    }

    /// setsockopt(2) at the far end, for the options of netlink(7) and those of socket(7) whose value
    /// holds no pointer; others fail with ENOPROTOOPT. The value is in the far host's byte order. A dropped future
    /// keeps no state; the option may have been set.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno, and ENOBUFS for a buffer beyond what the stub
    /// permits to the client's sockets together; [`ErrorKind::Invalid`] for a value of more than 32 KiB; [`ErrorKind::Disconnected`].
    pub async fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Error> {
        check_option(value)?;
        self.request(|request| Message::OptionSet { request, level, name, value }).await.map(drop)
    }

    /// Attaches a classic BPF filter, in place of the one before: the kernel drops a datagram for which
    /// it returns 0, and cuts one of more bytes than it returns. The filter sees the datagram from its
    /// first nlmsghdr on; `BPF_LD` loads numbers as big-endian ones, whatever the far host's order is.
    /// A dropped future keeps no state; the filter may have been attached.
    ///
    /// SO_DETACH_FILTER and SO_LOCK_FILTER are options of the far host, with an int for their value:
    /// see [`set_option`](Self::set_option). Source: socket(7), `<linux/filter.h>`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno: EINVAL for a filter that the kernel refuses, EPERM
    /// for a locked one, ENOMEM for more than `net.core.optmem_max` allows, ENOPROTOOPT where the stub is older than this call;
    /// [`ErrorKind::Invalid`] for more than 4,096 instructions; [`ErrorKind::Disconnected`].
    pub async fn attach_filter(&self, instructions: &[FilterInstruction]) -> Result<(), Error> {
        let value = FilterInstruction::encode_all(instructions);
        self.set_option(OWN_LEVEL, FILTER, &value).await
    }

    /// getsockopt(2) at the far end, with room for `capacity` bytes; above 32 KiB it counts as
    /// 32 KiB. The value is in the far host's byte order. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the far errno; [`ErrorKind::Disconnected`].
    pub async fn option(&self, level: i32, name: i32, capacity: u32) -> Result<Bytes, Error> {
        self.request(|request| Message::OptionGet { request, level, name, capacity }).await
    }

    /// Waits until every datagram that the far kernel has queued by now has come to this side, where
    /// [`try_recv`](Self::try_recv) gives it without waiting. Somebody has to go on receiving meanwhile: a
    /// [window](crate::SocketBuilder::window) full of unread datagrams holds the others back.
    ///
    /// With it a program that has read the state of the kernel on another socket knows which events are
    /// older than that. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with ENOPROTOOPT where the stub is older than this call;
    /// [`ErrorKind::Disconnected`].
    pub async fn drained(&self) -> Result<(), Error> {
        self.option(OWN_LEVEL, DRAINED, 0).await.map(drop)
    }

    async fn request<'m>(&self, message: impl FnOnce(u32) -> Message<'m>) -> Result<Bytes, Error> {
        self.opened().await?;
        // A request comes after the datagrams sent before it, large ones included.
        let written = || {
            let has_pieces = self.connection.with(|state, _| {
                let (_, wire) = state.socket(self.id)?;
                Ok(wire.has_pieces(self.id))
            });
            has_pieces.map(|has_pieces| (!has_pieces).then_some(())).transpose()
        };
        until(&self.signals.state, written).await?;
        let reply = self.connection.request(self.id, message, false).await;
        reply.map_err(|error| error.into_error(ErrorKind::Request))
    }

    /// Closes the socket and waits for the far end's final counters. Discards the same datagrams
    /// as dropping the socket. A dropped future still closes the socket; only the counters are lost.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`].
    pub async fn close(self) -> Result<Counters, Error> {
        self.connection.with(|state, deferred| {
            state.close(self.id, true, deferred);
            Ok(())
        })?;
        let closed = || self.connection.with(|state, _| Ok(state.closed(self.id))).transpose();
        until(&self.signals.state, closed).await
    }
}

impl Drop for RemoteSocket {
    fn drop(&mut self) {
        self.connection.run(|state, deferred| state.close(self.id, false, deferred));
    }
}

impl std::fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteSocket").field("id", &self.id).finish_non_exhaustive()
    }
}

//! A remote socket for rust-netlink.

use std::{
    cell::RefCell,
    io,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes};
use netlink_sys::{AsyncSocket, Socket, SocketAddr};

mod in_flight;
mod placeholder;

use self::{in_flight::InFlight, placeholder::Placeholder};
use super::{builder::SocketBuilder, delivery::Delivery, socket::RemoteSocket};
use crate::{
    Error,
    errno::{ECONNRESET, ENOBUFS, EPROTONOSUPPORT},
    sync::lock,
    wire::Destination,
};

thread_local! {
    static BUILDER: RefCell<Option<SocketBuilder>> = const { RefCell::new(None) };
}

/// A [`RemoteSocket`] as a [`netlink_sys::AsyncSocket`]: rtnetlink, genetlink, ethtool and the rest
/// of rust-netlink run on it unmodified.
///
/// A library that takes a socket is given one: `rtnetlink::from_socket(socket.into())`. One that
/// makes its own (`genetlink::new_connection_with_socket::<NetlinkSocket>()`) does so inside
/// [`SocketBuilder::scope`].
///
/// [`socket_ref`](AsyncSocket::socket_ref) and `socket_mut` give a placeholder, since there is no
/// local socket: every call on it fails with EBADF. It takes a descriptor of this process from when
/// it is first asked for. Groups, port id and options are set by [`SocketBuilder`].
///
/// Dropping it closes the far socket.
///
/// # Errors as answers
/// netlink-proto takes the end of a socket for the end of an answer, and some ends of answers for
/// success. So the socket answers requests itself where no answer of the kernel reports the error:
///
/// - when the connection ends, it answers each request in flight, and each queued one, with the
///   connection's errno or `ECONNRESET`, and then ends;
/// - if the far end could not open the socket, it answers each request with the errno;
/// - if the far kernel refuses a send, it answers the requests in it with the errno;
/// - a dump that ends with an error code, which netlink-proto ignores, becomes that error;
/// - a dump during which objects changed (`NLM_F_DUMP_INTR`) becomes an error, `EINTR`, unless
///   [`tolerate_interrupted_dumps`](Self::tolerate_interrupted_dumps) is called.
///
/// The errno in an error or a DONE becomes this host's number for the same error
/// ([`errno::translate`](crate::errno::translate)): rust-netlink makes an `io::Error` of it.
///
/// # Byte order
/// rust-netlink reads and writes messages in the byte order of its own host. If the far host has the
/// other byte order, no request is sent: each is answered with `EPROTONOSUPPORT`. A [`RemoteSocket`]
/// alone works there.
#[derive(Debug)]
pub struct NetlinkSocket {
    remote: RemoteSocket,
    placeholder: Placeholder,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: InFlight,
    /// The end of the socket as netlink-proto is to see it.
    end: End,
}

/// netlink-proto hands over one queued request at each poll. After the connection's end each is
/// answered with an error; the socket ends at the second poll that brings none.
#[derive(Debug, Default)]
struct End {
    /// Whether a request came since the last poll that found the connection ended.
    has_request: bool,
    /// Whether such a poll has found none.
    found_none: bool,
}

impl End {
    /// Whether the socket ends with this poll.
    fn is_reached(&mut self) -> bool {
        let has_request = std::mem::take(&mut self.has_request);
        !has_request && std::mem::replace(&mut self.found_none, true)
    }
}

impl NetlinkSocket {
    /// Lets dumps that were interrupted by a change end as if they were whole. By default they
    /// end with EINTR, for the caller to repeat.
    #[must_use]
    pub fn tolerate_interrupted_dumps(self) -> Self {
        self.state().in_flight.tolerate_interrupted();
        self
    }

    /// The remote socket inside.
    pub fn remote(&self) -> &RemoteSocket {
        &self.remote
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Receives the next delivery within the task's budget: netlink-proto reads until there is none
    /// before it forwards any.
    fn poll_delivery(&self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Error>> {
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let polled = self.remote.poll_delivery(cx);
        if polled.is_ready() {
            budget.made_progress();
        }
        polled
    }

    /// The next datagram for netlink-proto: the far kernel's, or the errors of requests whose
    /// answers cannot come.
    fn poll_datagram(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, SocketAddr)>> {
        loop {
            if let Some(errors) = self.state().in_flight.take_errors() {
                return Poll::Ready(Ok((errors, SocketAddr::new(0, 0))));
            }
            match ready!(self.poll_delivery(cx)) {
                Ok(Delivery::Datagram(datagram)) => {
                    let data = self.state().in_flight.on_datagram(datagram.data);
                    // Answers are keyed by their source: the kernel's must be port id 0, group 0.
                    return Poll::Ready(Ok((data, SocketAddr::new(datagram.info.portid, 0))));
                }
                // A datagram that was not forwarded is lost as well. netlink-proto makes
                // NLMSG_OVERRUN of ENOBUFS.
                Ok(Delivery::Lost { .. } | Delivery::ReceiveError { .. }) => {
                    return Poll::Ready(Err(io::Error::from_raw_os_error(ENOBUFS)));
                }
                Ok(Delivery::SendFailed { serial, errno }) => {
                    self.state().in_flight.on_send_failed(serial, errno);
                }
                Err(error) => {
                    let mut state = self.state();
                    let State { in_flight, end } = &mut *state;
                    in_flight.fail_all(error.errno().unwrap_or(ECONNRESET));
                    if let Some(errors) = in_flight.take_errors() {
                        return Poll::Ready(Ok((errors, SocketAddr::new(0, 0))));
                    }
                    if end.is_reached() {
                        let error = io::Error::new(io::ErrorKind::ConnectionReset, error);
                        return Poll::Ready(Err(error));
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_send_datagram(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        destination: Destination,
    ) -> Poll<io::Result<usize>> {
        let sent = match self.remote.is_foreign() {
            false => {
                ready!(self.remote.poll_send(cx, buf, destination).map_err(|error| error.errno()))
            }
            true => Err(Some(EPROTONOSUPPORT)),
        };
        // netlink-proto sends one queued request at each poll and does not ask for another poll.
        cx.waker().wake_by_ref();
        let mut state = self.state();
        match sent {
            Ok(serial) => state.in_flight.on_sent(serial, buf),
            // An error here would end the connection, and the request with it: the error is given
            // as the request's answer instead.
            Err(errno) => {
                state.in_flight.on_refused(buf, errno.unwrap_or(ECONNRESET));
                state.end.has_request = true;
            }
        }
        Poll::Ready(Ok(buf.len()))
    }
}

impl From<RemoteSocket> for NetlinkSocket {
    fn from(remote: RemoteSocket) -> Self {
        let in_flight = InFlight::new(remote.architecture());
        let state = Mutex::new(State { in_flight, end: End::default() });
        Self { remote, placeholder: Placeholder::default(), state }
    }
}

impl SocketBuilder {
    /// Runs `make`; each [`NetlinkSocket::new`] on this thread during the call uses this builder, with
    /// the protocol that the library asks for. Futures that `make` returns run outside the scope.
    ///
    /// ```no_run
    /// # async fn f(client: netlink_remote::Client) -> std::io::Result<()> {
    /// use netlink_remote::{NetlinkSocket, Netns};
    /// let builder = client.socket(16).netns(Netns::Name("blue".into()));
    /// let (connection, handle, _) =
    ///     builder.scope(genetlink::new_connection_with_socket::<NetlinkSocket>)?;
    /// # Ok(()) }
    /// ```
    pub fn scope<T>(self, make: impl FnOnce() -> T) -> T {
        struct Restore(Option<SocketBuilder>);
        impl Drop for Restore {
            fn drop(&mut self) {
                BUILDER.set(self.0.take());
            }
        }
        let _restore = Restore(BUILDER.replace(Some(self)));
        make()
    }
}

impl AsyncSocket for NetlinkSocket {
    /// A placeholder; see [`NetlinkSocket`].
    ///
    /// # Panics
    /// Where no descriptor is left for it the first time.
    fn socket_ref(&self) -> &Socket {
        self.placeholder.get()
    }

    /// A placeholder; see [`NetlinkSocket`].
    ///
    /// # Panics
    /// Where no descriptor is left for it the first time.
    fn socket_mut(&mut self) -> &mut Socket {
        self.placeholder.get_mut()
    }

    /// A socket of the enclosing [`SocketBuilder::scope`]. It does not wait for the far end to open
    /// the socket: if that fails, each request is answered with the errno.
    ///
    /// # Errors
    /// `InvalidInput` outside a scope, and for options that the connection cannot carry;
    /// `ConnectionAborted` if the connection has ended.
    fn new(protocol: isize) -> io::Result<Self> {
        let builder = BUILDER.with_borrow(Clone::clone).ok_or_else(|| {
            let text = "a remote socket can only be made inside SocketBuilder::scope";
            io::Error::from(Error::invalid(text))
        })?;
        Ok(builder.protocol(protocol).begin()?.into())
    }

    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_datagram(cx, buf, Destination::default())
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        addr: &SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let destination =
            Destination { portid: addr.port_number(), groups: addr.multicast_groups() };
        self.poll_send_datagram(cx, buf, destination)
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(drop)
    }

    fn poll_recv_from<B: BufMut>(
        &self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<io::Result<SocketAddr>> {
        let (data, address) = ready!(self.poll_datagram(cx))?;
        if buf.remaining_mut() < data.len() {
            // A datagram is never cut.
            let text = format!("a datagram of {} bytes and room for fewer", data.len());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        buf.put_slice(&data);
        Poll::Ready(Ok(address))
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        self.poll_datagram(cx).map_ok(|(data, address)| (data.to_vec(), address))
    }
}

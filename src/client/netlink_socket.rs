//! A remote socket for rust-netlink: rtnetlink, genetlink, ethtool and the rest of it run on
//! [`NetlinkSocket`] unmodified.
//!
//! It does more than pass datagrams on, because netlink-proto takes the end of a socket for the
//! end of an answer, and some ends of answers for success:
//!
//! - when the link dies, every request in flight is answered with an error (`ECONNRESET`), and so
//!   is every one that was queued behind it; only then does the connection end;
//! - a socket that could not be opened answers every request with the errno;
//! - a send that the far kernel refuses answers its requests with the errno;
//! - a dump that ends with an error code, which netlink-proto ignores, becomes that error;
//! - a dump that was interrupted by a change (`NLM_F_DUMP_INTR`) becomes an error, `EINTR`, unless
//!   [`tolerate_interrupted_dumps`](NetlinkSocket::tolerate_interrupted_dumps) is called.
//!
//! rust-netlink reads and writes everything in the byte order of the host it runs on. Where the
//! far host has the other one, nothing is sent, and every request is answered with
//! `EPROTONOSUPPORT`; a [`RemoteSocket`] alone does not mind.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use netlink_sys::{AsyncSocket, Socket, SocketAddr};

use super::{Delivery, RemoteSocket, SocketBuilder};
use crate::{
    Error,
    errno::{ECONNRESET, EINTR, ENOBUFS, EPROTONOSUPPORT},
    wire::Destination,
};

mod placeholder;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 0x2;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const HEADER: usize = 16;

thread_local! {
    static BUILDER: RefCell<Option<SocketBuilder>> = const { RefCell::new(None) };
}

/// A [`RemoteSocket`] as a [`netlink_sys::AsyncSocket`].
///
/// Where a library takes a socket, give it one: `rtnetlink::from_socket(socket.into())`. Where it
/// makes its own (`genetlink::new_connection_with_socket::<NetlinkSocket>()`), have it do so
/// inside [`SocketBuilder::scope`].
///
/// [`socket_ref`](AsyncSocket::socket_ref) and `socket_mut` give a placeholder, for there is no
/// local socket: what is called on it fails with EBADF. Groups, port id and options are those
/// of [`SocketBuilder`].
///
/// Dropping it closes the far socket.
#[derive(Debug)]
pub struct NetlinkSocket {
    remote: RemoteSocket,
    placeholder: Socket,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: HashMap<u32, InFlight>,
    /// Sequence numbers of the sends made, by their serial, as long as they may still fail.
    sends: VecDeque<(u32, Vec<u32>)>,
    /// Sequence numbers to be answered with an errno.
    failed: Vec<(u32, i32)>,
    /// Whether something was sent since the socket was last found dead and idle.
    sent_since: bool,
    grace: bool,
    tolerate_interrupted: bool,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    expects_ack: bool,
    interrupted: bool,
}

impl NetlinkSocket {
    /// Lets dumps that were interrupted by a change end as if they were whole. By default they
    /// end with EINTR, and want to be repeated.
    #[must_use]
    pub fn tolerate_interrupted_dumps(self) -> Self {
        self.state().tolerate_interrupted = true;
        self
    }

    /// The remote socket inside.
    pub fn remote(&self) -> &RemoteSocket {
        &self.remote
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next datagram for netlink-proto, made here where the far end cannot make it any more.
    fn poll_datagram(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, SocketAddr)>> {
        loop {
            if let Some(errors) = self.state().take_errors() {
                return Poll::Ready(Ok((errors, SocketAddr::new(0, 0))));
            }
            match ready!(self.remote.poll_delivery(cx)) {
                Ok(Delivery::Datagram(datagram)) => {
                    let data = self.state().take_answers(datagram.data);
                    // Answers are keyed by their source: the kernel's must be port id 0, group 0.
                    return Poll::Ready(Ok((data, SocketAddr::new(datagram.info.portid, 0))));
                }
                // netlink-proto makes NLMSG_OVERRUN of ENOBUFS.
                Ok(Delivery::Lost { .. }) => {
                    return Poll::Ready(Err(io::Error::from_raw_os_error(ENOBUFS)));
                }
                Ok(Delivery::SendFailed { serial, errno }) => self.state().fail_send(serial, errno),
                // Whose answer that was nobody can tell; what is sure is that something is lost.
                Ok(Delivery::ReceiveError { .. }) => {
                    return Poll::Ready(Err(io::Error::from_raw_os_error(ENOBUFS)));
                }
                Err(error) => {
                    let mut state = self.state();
                    state.fail_all(error.errno().unwrap_or(ECONNRESET));
                    if !state.failed.is_empty() {
                        continue;
                    }
                    // Requests may be queued in netlink-proto, which hands over one each time it
                    // is polled. As long as it does, they are answered; then the end is told.
                    let queued = std::mem::take(&mut state.sent_since);
                    if queued || !std::mem::replace(&mut state.grace, true) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error)));
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
        // netlink-proto sends one queued request each time it is polled and does not ask to be
        // polled again.
        cx.waker().wake_by_ref();
        match sent {
            Ok(serial) => self.state().sent(serial, buf),
            // The error would end the connection, and the request with it: it is answered instead.
            Err(errno) => self.state().refused(buf, errno.unwrap_or(ECONNRESET)),
        }
        Poll::Ready(Ok(buf.len()))
    }
}

impl From<RemoteSocket> for NetlinkSocket {
    fn from(remote: RemoteSocket) -> Self {
        Self { remote, placeholder: placeholder::socket(), state: Mutex::default() }
    }
}

impl SocketBuilder {
    /// Runs `make` with this builder as the one by which [`NetlinkSocket::new`] makes sockets, for
    /// libraries that make their own. The protocol is theirs to say.
    ///
    /// ```no_run
    /// # async fn f(client: netlink_remote::Client) -> std::io::Result<()> {
    /// use netlink_remote::{Netns, client::NetlinkSocket};
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
    fn socket_ref(&self) -> &Socket {
        &self.placeholder
    }

    /// A placeholder; see [`NetlinkSocket`].
    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.placeholder
    }

    /// A socket as the [`SocketBuilder::scope`] around says. It is opened meanwhile; should that
    /// fail, the first request tells.
    fn new(protocol: isize) -> io::Result<Self> {
        let builder = BUILDER.with_borrow(Clone::clone).ok_or_else(|| {
            let text = "a remote socket can only be made inside SocketBuilder::scope";
            io::Error::from(Error::invalid(text))
        })?;
        let protocol = u32::try_from(protocol)
            .map_err(|_| io::Error::from(Error::invalid("a netlink protocol is not negative")))?;
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
            // A datagram is never cut: what has no room here fails as a whole.
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

/// The fields of a netlink message's header (`struct nlmsghdr`) that matter here. Byte order is
/// that of this host, as everything in rust-netlink.
#[derive(Debug, Clone, Copy)]
struct MessageHeader {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// The messages of a datagram: the offset of each, and its header.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (usize, MessageHeader)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = datagram.get(at..)?;
        let header: &[u8; HEADER] = rest.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        if length < HEADER || length > rest.len() {
            return None;
        }
        let message = MessageHeader {
            length,
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        };
        let offset = at;
        at += (length + 3) & !3;
        Some((offset, message))
    })
}

/// Appends an NLMSG_ERROR that answers `sequence`.
fn put_error(out: &mut BytesMut, sequence: u32, errno: i32) {
    const LENGTH: usize = 2 * HEADER + 4;
    out.put_u32_ne(LENGTH as u32);
    out.put_u16_ne(NLMSG_ERROR);
    out.put_u16_ne(0);
    out.put_u32_ne(sequence);
    out.put_u32_ne(0);
    out.put_i32_ne(-errno);
    // The header of the message that the error answers.
    out.put_u32_ne(HEADER as u32);
    out.put_u32_ne(0);
    out.put_u32_ne(sequence);
    out.put_u32_ne(0);
}

/// Sends remembered in case they fail: more than any window lets be under way.
const REMEMBERED_SENDS: usize = 8192;

impl State {
    fn note(&mut self, datagram: &[u8]) -> Vec<u32> {
        messages(datagram)
            .map(|(_, message)| {
                let expects_ack = message.flags & NLM_F_ACK != 0;
                let entry = InFlight { expects_ack, interrupted: false };
                self.in_flight.insert(message.sequence, entry);
                message.sequence
            })
            .collect()
    }

    fn sent(&mut self, serial: u32, datagram: &[u8]) {
        let sequences = self.note(datagram);
        if self.sends.len() >= REMEMBERED_SENDS {
            self.sends.pop_front();
        }
        self.sends.push_back((serial, sequences));
    }

    fn refused(&mut self, datagram: &[u8], errno: i32) {
        self.sent_since = true;
        let sequences = self.note(datagram);
        self.failed.extend(sequences.into_iter().map(|sequence| (sequence, errno)));
    }

    fn fail_send(&mut self, serial: u32, errno: i32) {
        let found = self.sends.iter().position(|(number, _)| *number == serial);
        let Some((_, sequences)) = found.and_then(|at| self.sends.remove(at)) else { return };
        self.failed.extend(sequences.into_iter().map(|sequence| (sequence, errno)));
    }

    fn fail_all(&mut self, errno: i32) {
        self.sends.clear();
        self.failed.extend(self.in_flight.keys().map(|sequence| (*sequence, errno)));
    }

    /// The errors to be given, as one datagram.
    fn take_errors(&mut self) -> Option<Bytes> {
        if self.failed.is_empty() {
            return None;
        }
        let mut out = BytesMut::new();
        for (sequence, errno) in self.failed.drain(..) {
            if self.in_flight.remove(&sequence).is_some() {
                put_error(&mut out, sequence, errno);
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// Notes which requests a datagram answers, and makes errors of dumps that did not succeed.
    fn take_answers(&mut self, datagram: Bytes) -> Bytes {
        let mut replaced: Option<BytesMut> = None;
        for (offset, message) in messages(&datagram) {
            let mut errno = None;
            if let Some(entry) = self.in_flight.get_mut(&message.sequence) {
                entry.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                let done = match message.kind {
                    NLMSG_DONE => {
                        let code = done_code(datagram.get(offset..offset + message.length));
                        let interrupted = entry.interrupted && !self.tolerate_interrupted;
                        errno = (code < 0).then_some(-code).or(interrupted.then_some(EINTR));
                        true
                    }
                    NLMSG_ERROR => true,
                    _ => message.flags & NLM_F_MULTI == 0 && !entry.expects_ack,
                };
                if done {
                    self.in_flight.remove(&message.sequence);
                }
            }
            match (errno, &mut replaced) {
                (Some(errno), replaced) => {
                    let before = datagram.get(..offset).unwrap_or_default();
                    put_error(
                        replaced.get_or_insert_with(|| before.into()),
                        message.sequence,
                        errno,
                    );
                }
                (None, Some(out)) => {
                    let end = (offset + ((message.length + 3) & !3)).min(datagram.len());
                    out.extend_from_slice(datagram.get(offset..end).unwrap_or_default());
                }
                (None, None) => {}
            }
        }
        replaced.map_or(datagram, BytesMut::freeze)
    }
}

/// The error code that an NLMSG_DONE carries, 0 where it carries none.
fn done_code(message: Option<&[u8]>) -> i32 {
    let payload = message.and_then(|message| message.get(HEADER..));
    payload.and_then(|payload| payload.first_chunk()).map_or(0, |code| i32::from_ne_bytes(*code))
}

#[cfg(test)]
mod tests;

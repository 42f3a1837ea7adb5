//! Requests and their answers, as raw messages.

mod answer;
mod error;
mod outgoing;
mod raw_message;
mod router;
mod table;

use std::{fmt, sync::Arc};

pub use self::{
    answer::Answer,
    error::{RequestError, RequestErrorKind},
    raw_message::RawMessage,
};

use self::{outgoing::Outgoing, router::Router, table::Limits};
use super::socket::RemoteSocket;
use crate::{
    Protocol,
    limits::client::{REQUESTS_IN_FLIGHT, UNREAD_OF_REQUEST},
    nlmsg::flags,
};

/// Bytes of the far receive buffer for each request in flight. A message of 1,468 bytes is charged
/// 2,304.
const BUFFER_EACH: u32 = 4096;

/// Requests on one socket: bytes in, a stream of raw messages out, many in flight.
///
/// It numbers requests, sends them, sorts the answers by sequence number, and finds their ends and
/// their errors; the caller interprets messages. [`nlmsg`](crate::nlmsg) builds requests
/// and reads answers, and so does any library that parses netlink.
///
/// ```no_run
/// use netlink_remote::{Protocol, Requests, nlmsg::Builder};
///
/// # async fn f(client: netlink_remote::Client) -> Result<(), netlink_remote::Error> {
/// let requests = Requests::new(client.socket(Protocol::ROUTE).open().await?);
/// // RTM_GETLINK with an empty ifinfomsg: every link has an IFLA_IFNAME (3).
/// for link in requests.dump(Builder::new(18, 0).put(&[0; 16])).await? {
///     println!("{:?}", link.attributes(16).text(3));
/// }
/// # Ok(()) }
/// ```
///
/// Cheap to clone; clones are the same requests. The socket is closed when the last clone and the
/// last [`Answer`] are dropped.
///
/// # Order
/// Requests are sent in the order of their calls, whether their answers are polled or not. Only
/// dumps wait for one another: a kernel socket runs one at a time and refuses a second with EBUSY.
/// A dump whose answer was dropped runs to its end before the next begins. Concurrent dumps take
/// several sockets of one [`Client`](crate::Client).
///
/// # Memory
/// While one answer alone is awaited, as much of it waits at this side as the socket's
/// [window](crate::SocketBuilder::window) allows, and the rest at the far end. While others are
/// awaited too, reading continues for them; an answer of which more than
/// [`max_unread`](Self::max_unread) is left unread then fails with [`RequestErrorKind::Unread`].
///
/// # Sockets
/// The socket should be in no multicast group: its events are discarded, and a burst of them
/// crowds out answers ([`RequestErrorKind::Lost`]). Nothing else may receive from it.
///
/// Each request to a host of the other byte order fails with [`RequestErrorKind::Invalid`], errno
/// EPROTONOSUPPORT.
///
/// Sources: netlink(7); `Documentation/userspace-api/netlink/intro.rst` and
/// `net/netfilter/nfnetlink.c` of the kernel.
#[derive(Clone)]
pub struct Requests {
    router: Arc<Router>,
    is_netfilter: bool,
}

impl Requests {
    /// Requests on a socket.
    pub fn new(socket: RemoteSocket) -> Self {
        let in_flight = (socket.receive_buffer() / BUFFER_EACH).clamp(1, REQUESTS_IN_FLIGHT);
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        let limits = Limits { in_flight, unread: UNREAD_OF_REQUEST, tolerates_interrupted: false };
        let is_netfilter = socket.protocol() == Protocol::NETFILTER;
        Self { router: Router::new(socket, limits), is_netfilter }
    }

    /// Lets dumps that were interrupted by a change end as if they were whole. By default they
    /// end with [`RequestErrorKind::Interrupted`].
    #[must_use]
    pub fn tolerate_interrupted_dumps(self) -> Self {
        self.router.set_limits(|limits| limits.tolerates_interrupted = true);
        self
    }

    /// Sets the bytes of memory that an answer may take while it is left unread and others are awaited:
    /// 16 MiB by default. They are those of its messages, and some 80 for each.
    #[must_use]
    pub fn max_unread(self, bytes: usize) -> Self {
        self.router.set_limits(|limits| limits.unread = bytes);
        self
    }

    /// Sets how many requests may be sent and not answered; more of them wait at this side. By
    /// default one for each 4 KiB of the far receive buffer, and 4,096 at most, so that the far
    /// kernel has room for their answers. 0 counts as 1.
    #[must_use]
    pub fn max_in_flight(self, requests: usize) -> Self {
        self.router.set_limits(|limits| limits.in_flight = requests.max(1));
        self
    }

    /// The socket, for its port id and options.
    pub fn socket(&self) -> &RemoteSocket {
        self.router.socket()
    }

    /// Sends a request and gives its answer. Never waits: without credit, or with too many
    /// requests in flight, the request is sent later.
    ///
    /// `datagram` is one message with its `nlmsghdr`, or several. Their lengths have to be right;
    /// sequence numbers are written, and `NLM_F_REQUEST` is set.
    ///
    /// The answer to one request ends, by the request's flags, with
    ///
    /// * `NLM_F_DUMP`: `NLMSG_DONE`, or an error;
    /// * `NLM_F_ACK`: the acknowledgement, or an error;
    /// * neither: also the first message that is not one of several (`NLM_F_MULTI`).
    ///
    /// So `NLM_F_ACK` is needed by a request that has no
    /// other answer ([`acknowledged`](Self::acknowledged) sets it), and by one with `NLM_F_ECHO`
    /// that has several messages.
    ///
    /// The answer to several requests in one datagram, such as a batch of nfnetlink, has the
    /// messages of each and an error for each that was refused. `send` sets `NLM_F_ACK` on the last
    /// request before `NFNL_MSG_BATCH_END`, and the answer ends with its acknowledgement; or, on a
    /// socket of `NETLINK_NETFILTER`, with an error for the batch as a whole, whose
    /// [index](RequestError::index) is 0. A dump needs a datagram of its own.
    pub fn send(&self, datagram: impl Into<Vec<u8>>) -> Answer {
        self.send_with(datagram.into(), 0)
    }

    /// Sends requests with `NLM_F_ACK` and waits for their acknowledgement; messages are discarded.
    /// A dropped future cancels as [`Answer`] does.
    ///
    /// # Errors
    /// The first [`RequestError`].
    pub async fn acknowledged(&self, datagram: impl Into<Vec<u8>>) -> Result<(), RequestError> {
        let mut answer = self.send_with(datagram.into(), flags::ACK);
        while let Some(item) = answer.next().await {
            item?;
        }
        Ok(())
    }

    /// Sends a request with `NLM_F_DUMP` and waits for all messages. A dropped future cancels as
    /// [`Answer`] does.
    ///
    /// # Errors
    /// A [`RequestError`]; repeat the dump after [`RequestErrorKind::Interrupted`] and
    /// [`RequestErrorKind::Lost`].
    pub async fn dump(&self, message: impl Into<Vec<u8>>) -> Result<Vec<RawMessage>, RequestError> {
        let mut answer = self.send_with(message.into(), flags::DUMP);
        let mut messages = Vec::new();
        while let Some(item) = answer.next().await {
            messages.push(item?);
        }
        Ok(messages)
    }

    /// Sends a request and waits for the end of its answer; gives the first message. A dropped
    /// future cancels as [`Answer`] does.
    ///
    /// # Errors
    /// The first [`RequestError`]; [`RequestErrorKind::Empty`] for an answer without messages.
    pub async fn one(&self, message: impl Into<Vec<u8>>) -> Result<RawMessage, RequestError> {
        let mut answer = self.send(message);
        let mut first = None;
        while let Some(item) = answer.next().await {
            first.get_or_insert(item?);
        }
        first.ok_or_else(RequestError::empty)
    }

    fn send_with(&self, datagram: Vec<u8>, flags: u16) -> Answer {
        let outgoing = match self.socket().is_foreign() {
            false => Outgoing::check(datagram, flags, self.is_netfilter),
            true => Err(RequestError::foreign()),
        };
        match outgoing.and_then(|outgoing| self.router.send(outgoing)) {
            Ok(sequence) => Answer::new(Arc::clone(&self.router), sequence),
            Err(error) => Answer::failed(error),
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("socket", self.socket()).finish_non_exhaustive()
    }
}

//! Options of a remote socket, and opening it.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    connection_ref::ConnectionRef,
    netns::{NetnsHandle, check_container},
    socket::RemoteSocket,
    wire_state::check_option,
};
use crate::{
    Error, ErrorKind, Group, Protocol, Step,
    limits::client::{OPEN_TIMEOUT, RECEIVE_BUFFER, WINDOW_BYTES, WINDOW_DATAGRAMS},
    wire::{
        Credit, FILTER, FilterInstruction, MAX_OPTION, Netns, NetnsMode, OWN_LEVEL, Open,
        SocketOption, TIMES,
    },
};

/// Credit for datagrams: the bound on unread datagrams of one socket at this side.
const WINDOW: Credit = Credit { bytes: WINDOW_BYTES, datagrams: WINDOW_DATAGRAMS };

/// Options of a socket that is not open yet; [`Client::socket`](crate::Client::socket) makes it, and
/// [`open`](Self::open) opens the socket.
///
/// A clone opens another socket with the same options.
#[derive(Clone)]
#[must_use]
pub struct SocketBuilder {
    handle: ConnectionRef,
    open: Open,
    timeout: Duration,
    /// Keeps the namespace open at the far end until the socket is in it.
    namespace: Option<NetnsHandle>,
}

impl SocketBuilder {
    pub(super) fn new(handle: ConnectionRef, protocol: Protocol) -> Self {
        let protocol = protocol.number();
        let open =
            Open { protocol, credit: WINDOW, receive_buffer: RECEIVE_BUFFER, ..Open::default() };
        Self { handle, open, timeout: OPEN_TIMEOUT, namespace: None }
    }

    /// Replaces the netlink protocol.
    pub fn protocol(mut self, protocol: impl Into<Protocol>) -> Self {
        self.open.protocol = protocol.into().number();
        self
    }

    /// Sets the network namespace of the socket; by default that of the stub.
    pub fn netns(mut self, netns: Netns) -> Self {
        self.open.netns = netns;
        self
    }

    /// Sets whether opening may create a namespace that is given by name. By default the namespace
    /// must exist.
    pub fn netns_mode(mut self, mode: NetnsMode) -> Self {
        self.open.mode = mode;
        self
    }

    /// Sets the network namespace to that of a handle of the same connection.
    pub fn netns_handle(mut self, handle: &NetnsHandle) -> Self {
        self.open.netns = Netns::Handle(handle.fd());
        self.namespace = Some(handle.clone());
        self
    }

    /// Joins a multicast group once the socket is bound, such as [`Group::LINK`]; may be called
    /// repeatedly.
    pub fn group(mut self, group: impl Into<Group>) -> Self {
        self.open.groups.push(group.into().number());
        self
    }

    /// Sets the port id to bind to; by default the kernel chooses one.
    pub fn portid(mut self, portid: u32) -> Self {
        self.open.portid = portid;
        self
    }

    /// Sets the bytes of receive buffer to ask for: 32 MiB by default, and 0 for the kernel's own
    /// default. With CAP_NET_ADMIN the stub may exceed `net.core.rmem_max` (SO_RCVBUFFORCE);
    /// otherwise the kernel limits the size to it. The buffers of a client's sockets have a limit
    /// together, 256 MiB beyond the kernel's defaults: a socket gets a quarter of what is left, at
    /// most. [`RemoteSocket::receive_buffer`] gives the result.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.open.receive_buffer = bytes;
        self
    }

    /// Sets the bytes of send buffer to ask for: the bound on one datagram to the kernel. 0, the
    /// default, is for the kernel's own.
    pub fn send_buffer(mut self, bytes: u32) -> Self {
        self.open.send_buffer = bytes;
        self
    }

    /// Sets a socket option before the socket is bound; may be called repeatedly. The value has the
    /// byte order of the far host, and 32 KiB at most: [`open`](Self::open) refuses a longer one
    /// ([`ErrorKind::Invalid`]).
    pub fn option(mut self, level: i32, name: i32, value: impl Into<Vec<u8>>) -> Self {
        self.open.options.push(SocketOption { level, name, value: value.into() });
        self
    }

    /// Attaches a classic BPF filter before the socket is bound, so that nothing comes unfiltered. The
    /// rest is as for [`RemoteSocket::attach_filter`]. [`open`](Self::open) refuses more than 4,096
    /// instructions ([`ErrorKind::Invalid`]).
    pub fn filter(self, instructions: &[FilterInstruction]) -> Self {
        self.option(OWN_LEVEL, FILTER, FilterInstruction::encode_all(instructions))
    }

    /// Has the stub tell when it received each datagram ([`Datagram::received`]). [`open`](Self::open) fails with ENOPROTOOPT where the stub is older than this call.
    ///
    /// [`Datagram::received`]: crate::Datagram::received
    pub fn times(self) -> Self {
        self.option(OWN_LEVEL, TIMES, vec![1])
    }

    /// Sets an on-off option of level `SOL_NETLINK`, such as
    /// [`NETLINK_GET_STRICT_CHK`](options::GET_STRICT_CHK).
    ///
    /// The stub sets [`EXT_ACK`](options::EXT_ACK) by itself, and
    /// [`PKTINFO`](options::PKTINFO) when a group is joined.
    pub fn netlink_option(self, name: i32, on: bool) -> Self {
        let value = i32::from(on);
        let big_endian = self.handle.host().big_endian;
        let value = if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.option(options::SOL_NETLINK, name, value)
    }

    /// Sets how many bytes and datagrams may wait unread at this side before the stub stops reading
    /// the kernel socket: 4 MiB and 16,384 by default. 0 counts as 1. The last datagram may exceed
    /// `bytes`.
    pub fn window(mut self, bytes: u64, datagrams: u64) -> Self {
        self.open.credit = Credit { bytes: bytes.max(1), datagrams: datagrams.max(1) };
        self
    }

    /// Sets the time limit of opening: 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the socket. Cancel-safe: a dropped future closes the far socket.
    ///
    /// # Errors
    /// [`ErrorKind::Open`] with the far kernel's errno: ENOENT and ESRCH for a namespace that
    /// does not exist, EINVAL for a file that is no namespace, for a group that the protocol lacks and
    /// for the creation of a namespace given otherwise than by name, EADDRINUSE for a port id that is
    /// taken, EPERM, EPROTONOSUPPORT, and those of setsockopt(2) for an [`option`](Self::option); for
    /// a container's namespace also those of [`RemoteNetns::open`](super::RemoteNetns::open). Without
    /// errno if the far end allows no more sockets ([`PeerLimits`](crate::PeerLimits)).
    ///
    /// [`ErrorKind::Invalid`] for an option's value or a name of more than 32 KiB, for options, groups
    /// and names that together have more than 64 KiB, and for an impossible container name. [`ErrorKind::Timeout`]. [`ErrorKind::Disconnected`].
    pub async fn open(self) -> Result<RemoteSocket, Error> {
        let limit = self.timeout;
        let socket = self.begin()?;
        match timeout(limit, socket.opened()).await {
            Ok(Ok(_)) => Ok(socket),
            Ok(Err(error)) => Err(error.with_step(Step::Open)),
            Err(_) => {
                let text = format!("the far end did not open the socket within {limit:?}");
                let error = Error::new(ErrorKind::Timeout, text);
                Err(error.with_step(Step::Open))
            }
        }
    }

    /// Sends the open frame and does not wait for the answer: a round trip less than [`open`](Self::open).
    /// The first send, of up to 32 KiB, goes at once, where the stub takes it; other sends, and requests on the
    /// socket, wait for the answer, and its port id and buffers are 0 until then.
    /// If the far end cannot open the socket, every method fails with that error ([`ErrorKind::Open`]).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] as for [`open`](Self::open); [`ErrorKind::Disconnected`].
    pub fn begin(self) -> Result<RemoteSocket, Error> {
        let Self { handle, open, namespace, .. } = self;
        check(&open)?;
        let opening = handle.with(|state, _| state.open(open))?;
        Ok(RemoteSocket::new(handle, opening, namespace))
    }
}

/// Refuses what would be cut in an open frame, whose options have at most 64 KiB each.
fn check(open: &Open) -> Result<(), Error> {
    open.options.iter().try_for_each(|option| check_option(&option.value))?;
    match &open.netns {
        Netns::Name(text) | Netns::Path(text) if text.len() > MAX_OPTION => {
            let length = text.len();
            let text = format!("a namespace's name or path of {length} bytes: it is too long");
            Err(Error::invalid(text))
        }
        netns => check_container(netns),
    }
}

impl std::fmt::Debug for SocketBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketBuilder").field("open", &self.open).finish_non_exhaustive()
    }
}

/// Options of level `SOL_NETLINK`, as in `<linux/netlink.h>` and netlink(7).
pub mod options {
    /// The level itself.
    pub const SOL_NETLINK: i32 = 270;
    /// Joins a multicast group.
    pub const ADD_MEMBERSHIP: i32 = 1;
    /// Leaves a multicast group.
    pub const DROP_MEMBERSHIP: i32 = 2;
    /// Delivers the multicast group with each datagram.
    pub const PKTINFO: i32 = 3;
    /// Makes a broadcast report delivery failures to its sender.
    pub const BROADCAST_ERROR: i32 = 4;
    /// Overruns give no ENOBUFS. The socket reports them all the same, from the kernel's drop
    /// counter, but not at their exact place.
    pub const NO_ENOBUFS: i32 = 5;
    /// Receives from all namespaces that have an nsid in the socket's own.
    pub const LISTEN_ALL_NSID: i32 = 8;
    /// The groups of the socket, as a bit set; read-only.
    pub const LIST_MEMBERSHIPS: i32 = 9;
    /// Leaves the request's payload out of acknowledgements.
    pub const CAP_ACK: i32 = 10;
    /// Adds the kernel's words and the offset of the offending attribute to acknowledgements.
    pub const EXT_ACK: i32 = 11;
    /// Checks dump requests strictly, and obeys the filters in them.
    pub const GET_STRICT_CHK: i32 = 12;
}

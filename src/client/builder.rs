//! Configuring and opening a socket.

#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::time::timeout;

use super::{
    RemoteSocket,
    netns::{NetnsHandle, check_container},
    shared::Handle,
};
use crate::{
    Error, ErrorKind, Step,
    wire::{Credit, Netns, NetnsMode, Open, SocketOption},
};

/// Bytes of receive buffer asked for: what bursts of a hundred thousand events need to wait in
/// the kernel while the stream is busy. The kernel takes memory only for what is queued.
const RECEIVE_BUFFER: u32 = 32 << 20;

/// Credit for datagrams, which bounds what one socket keeps unread at this side.
const WINDOW: Credit = Credit { bytes: 4 << 20, datagrams: 16 << 10 };

/// A socket to be opened, made by [`Client::socket`](super::Client::socket).
#[derive(Clone)]
#[must_use]
pub struct SocketBuilder {
    handle: Handle,
    open: Open,
    timeout: Duration,
    /// Keeps a namespace open at the far end until the socket is in it.
    namespace: Option<NetnsHandle>,
}

impl SocketBuilder {
    pub(super) fn new(handle: Handle, protocol: u32) -> Self {
        let open =
            Open { protocol, credit: WINDOW, receive_buffer: RECEIVE_BUFFER, ..Open::default() };
        Self { handle, open, timeout: Duration::from_secs(30), namespace: None }
    }

    /// The netlink protocol, instead of the one the builder was made for.
    pub fn protocol(mut self, protocol: u32) -> Self {
        self.open.protocol = protocol;
        self
    }

    /// The namespace to create the socket in; by default the one the stub runs in.
    pub fn netns(mut self, netns: Netns) -> Self {
        self.open.netns = netns;
        self
    }

    /// Whether a namespace given by name is to be created. By default it must exist.
    pub fn netns_mode(mut self, mode: NetnsMode) -> Self {
        self.open.mode = mode;
        self
    }

    /// The namespace behind a handle of the same connection.
    pub fn netns_handle(mut self, handle: &NetnsHandle) -> Self {
        self.open.netns = Netns::Handle(handle.fd());
        self.namespace = Some(handle.clone());
        self
    }

    /// Joins a multicast group once the socket is bound; may be called repeatedly.
    pub fn group(mut self, group: u32) -> Self {
        self.open.groups.push(group);
        self
    }

    /// The port id to bind to; by default the kernel chooses.
    pub fn portid(mut self, portid: u32) -> Self {
        self.open.portid = portid;
        self
    }

    /// Bytes of receive buffer to ask for, 32 MiB by default and 0 for the kernel's default. The
    /// stub goes past `net.core.rmem_max` where it has CAP_NET_ADMIN; otherwise the kernel cuts
    /// the number down to that. [`RemoteSocket::receive_buffer`] tells what it came to.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.open.receive_buffer = bytes;
        self
    }

    /// Bytes of send buffer to ask for, which bounds the largest datagram the kernel takes. By
    /// default the kernel's own.
    pub fn send_buffer(mut self, bytes: u32) -> Self {
        self.open.send_buffer = bytes;
        self
    }

    /// Sets any socket option before the socket is bound; may be called repeatedly. The value is
    /// in the byte order of the far host.
    pub fn option(mut self, level: i32, name: i32, value: impl Into<Vec<u8>>) -> Self {
        self.open.options.push(SocketOption { level, name, value: value.into() });
        self
    }

    /// Sets an on-off option of level `SOL_NETLINK`, such as
    /// [`NETLINK_GET_STRICT_CHK`](options::GET_STRICT_CHK).
    ///
    /// The stub sets [`EXT_ACK`](options::EXT_ACK) by itself, and
    /// [`PKTINFO`](options::PKTINFO) when a group is joined.
    pub fn netlink_option(self, name: i32, on: bool) -> Self {
        let value = i32::from(on);
        let big_endian = self.handle.host.big_endian;
        let value = if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.option(options::SOL_NETLINK, name, value)
    }

    /// Bytes and datagrams that may wait unread at this side before the stub stops reading the
    /// kernel socket: 4 MiB and 16,384.
    pub fn window(mut self, bytes: u64, datagrams: u64) -> Self {
        self.open.credit = Credit { bytes: bytes.max(1), datagrams: datagrams.max(1) };
        self
    }

    /// How long opening may take: 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the socket. Cancel-safe: a dropped future closes what it had opened.
    ///
    /// # Errors
    /// [`ErrorKind::Open`] with the far kernel's errno: ENOENT and ESRCH for a namespace that
    /// does not exist, EINVAL for a file that is none, EPERM, EPROTONOSUPPORT; for a container's
    /// also what [`RemoteNetns::open`](super::RemoteNetns::open) lists; [`ErrorKind::Invalid`] for
    /// options, groups or a name that together are larger than the connection carries, and for
    /// what no container can be called; [`ErrorKind::Timeout`]; [`ErrorKind::Disconnected`].
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

    /// Has the socket opened without waiting for it. What is done with it before waits then.
    pub(crate) fn begin(self) -> Result<RemoteSocket, Error> {
        let Self { handle, open, namespace, .. } = self;
        check(&open)?;
        let slot = handle.with(|inner, _| inner.open(open))?;
        Ok(RemoteSocket::new(handle, slot, namespace))
    }
}

/// Refuses what has no room in an open frame, whose options are at most 64 KiB each.
fn check(open: &Open) -> Result<(), Error> {
    const LONGEST: usize = 32 << 10;
    if open.options.iter().any(|option| option.value.len() > LONGEST) {
        return Err(Error::invalid("a socket option's value of more than 32 KiB"));
    }
    match &open.netns {
        Netns::Name(text) | Netns::Path(text) if text.len() > LONGEST => {
            Err(Error::invalid("a namespace's name of more than 32 KiB"))
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
    /// Membership in a group, to join.
    pub const ADD_MEMBERSHIP: i32 = 1;
    /// Membership in a group, to leave.
    pub const DROP_MEMBERSHIP: i32 = 2;
    /// Tells the group of each datagram.
    pub const PKTINFO: i32 = 3;
    /// Makes a broadcast report delivery failures to its sender.
    pub const BROADCAST_ERROR: i32 = 4;
    /// Overruns give no error; they are told all the same, but not at their exact place.
    pub const NO_ENOBUFS: i32 = 5;
    /// Receives from all namespaces that have an nsid in the socket's own.
    pub const LISTEN_ALL_NSID: i32 = 8;
    /// The groups the socket is in, as a bit set; read-only.
    pub const LIST_MEMBERSHIPS: i32 = 9;
    /// Acknowledgements leave out the request's payload.
    pub const CAP_ACK: i32 = 10;
    /// Acknowledgements say in words what was wrong.
    pub const EXT_ACK: i32 = 11;
    /// Dump requests are checked strictly, and filters in them count.
    pub const GET_STRICT_CHK: i32 = 12;
}

//! What a socket receives, and the reports of its sends.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{Error, ErrorKind, Group, Origin, errno::describe, wire::DatagramInfo};

/// A datagram from the far kernel: exactly its bytes, which may hold several netlink messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// The bytes, in the byte order of the far host. From 16 KiB on they may share a buffer with other
    /// datagrams, and keep all of it: copy bytes that are kept for long. Smaller ones are copies.
    pub data: Bytes,
    /// Source port id, multicast group and nsid.
    pub info: DatagramInfo,
    /// When the stub received the datagram, by the far host's clock; `None` on a socket without
    /// [`times`](crate::SocketBuilder::times). Datagrams that the stub received in one turn, of up to
    /// 64 of them, have one time.
    pub received: Option<SystemTime>,
}

impl Datagram {
    /// A datagram, such as one that stands for the kernel's in a test.
    pub fn new(data: impl Into<Bytes>, info: DatagramInfo) -> Self {
        Self { data: data.into(), info, received: None }
    }

    /// The multicast group that the kernel sent the datagram to; `None` for one to this socket
    /// alone.
    pub fn group(&self) -> Option<Group> {
        (self.info.group != 0).then(|| Group::new(self.info.group))
    }
}

/// A datagram received, or datagrams lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A datagram.
    Datagram(Datagram),
    /// The far kernel dropped datagrams at exactly this place of the stream (near it with
    /// `NETLINK_NO_ENOBUFS`), because the socket's receive buffer was full. Losses without a datagram
    /// between them become one event while they wait to be received. The socket stays open; to
    /// resynchronise, dump the objects that the events are about.
    #[non_exhaustive]
    Lost {
        /// Datagrams dropped here.
        dropped: u64,
        /// Datagrams dropped since the socket was opened.
        total: u64,
    },
}

/// A confirmed send that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentReport {
    /// Time that the far kernel's sendmsg(2) took.
    pub kernel_time: Duration,
}

/// An entry of a socket's receive queue.
#[derive(Debug, Clone)]
pub(super) enum Delivery {
    Datagram(Datagram),
    Lost { dropped: u64, total: u64 },
    ReceiveError { errno: i32, length: u64 },
    SendFailed { serial: u32, errno: i32 },
}

impl Delivery {
    /// The delivery as the public API gives it.
    pub(super) fn into_event(self) -> Result<Event, Error> {
        match self {
            Delivery::Datagram(datagram) => Ok(Event::Datagram(datagram)),
            Delivery::Lost { dropped, total } => Ok(Event::Lost { dropped, total }),
            Delivery::SendFailed { errno, .. } => Err(send_failed(errno)),
            Delivery::ReceiveError { errno, length } => Err(receive_failed(errno, length)),
        }
    }
}

/// The error of a datagram that the far kernel's sendmsg(2) refused.
pub(super) fn send_failed(errno: i32) -> Error {
    let text = format!("the kernel refused the datagram: {}", describe(errno));
    Error::new(ErrorKind::Send, text).with_origin(Origin::Kernel).with_errno(errno)
}

/// The error of a datagram of `length` bytes that no frame holds or, where the length is 0, of a
/// far recvmsg(2) that failed.
pub(super) fn receive_failed(errno: i32, length: u64) -> Error {
    let text = match length {
        0 => format!("receiving failed: {}", describe(errno)),
        _ => format!("a datagram of {length} bytes was too large to forward"),
    };
    Error::new(ErrorKind::Receive, text).with_origin(Origin::Kernel).with_errno(errno)
}

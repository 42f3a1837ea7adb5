//! Events of a client: the meaning of the frames that it receives.

use bytes::Bytes;

use crate::wire::{Counters, DatagramInfo, Failure, Opened, SocketId};

/// A datagram's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    /// A part of the one frame that it came in.
    Whole(&'a [u8]),
    /// Put together from several frames.
    Assembled(Bytes),
}

impl Data<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Data::Whole(bytes) => bytes.len(),
            Data::Assembled(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The meaning of a frame to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// Nothing that the client's user needs to know.
    None,
    /// The socket is open.
    Opened(SocketId, Opened),
    /// The socket could not be opened. The close frame that answers this is appended already.
    OpenFailed(SocketId, Failure),
    /// The socket is closed, and its id free.
    Closed(SocketId, Counters),
    /// A datagram.
    Datagram(SocketId, DatagramInfo, Data<'a>),
    /// When the stub received the datagrams that follow on the socket, in nanoseconds since 1970.
    Time(SocketId, u64),
    /// The kernel dropped datagrams at this place.
    Lost {
        /// The socket.
        socket: SocketId,
        /// Datagrams dropped at this place.
        dropped: u64,
        /// Datagrams dropped since the socket was opened.
        total: u64,
    },
    /// A receive failed at this place.
    ReceiveError {
        /// The socket.
        socket: SocketId,
        /// The errno, as the stub's host numbers it.
        errno: i32,
        /// Length of a datagram too large to forward, or 0.
        length: u64,
    },
    /// The result of a send.
    Sent {
        /// The socket.
        socket: SocketId,
        /// The send's serial.
        serial: u32,
        /// 0, or the errno as the stub's host numbers it.
        errno: i32,
        /// The time that the kernel's sendmsg(2) took.
        nanoseconds: u64,
        /// Whether it was a confirmed one.
        confirmed: bool,
    },
    /// More may be sent on this socket.
    SendCredit(SocketId),
    /// The answer to a request.
    Reply {
        /// The request's number.
        request: u32,
        /// The value, or the failure.
        result: Result<&'a [u8], Failure>,
    },
    /// The answer to a ping.
    Pong(u64),
    /// The stub ends the connection, for this reason.
    Fault(Failure),
}

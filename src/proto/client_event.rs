//! What frames mean to a client.

use bytes::Bytes;

use crate::wire::{Counters, DatagramInfo, Failure, Opened, SocketId};

/// A datagram's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    /// They came in one frame, of whose payload this is a part.
    Whole(&'a [u8]),
    /// They came in several.
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

/// What a frame means to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// Nothing that anyone waits for.
    None,
    /// The socket is open.
    Opened(SocketId, Opened),
    /// It could not be opened; a close frame is under way already.
    OpenFailed(SocketId, Failure),
    /// The socket's last word; the id is free.
    Closed(SocketId, Counters),
    /// A datagram.
    Datagram(SocketId, DatagramInfo, Data<'a>),
    /// The kernel dropped datagrams here.
    Lost {
        /// The socket.
        socket: SocketId,
        /// Dropped at this place.
        dropped: u64,
        /// Dropped in all.
        total: u64,
    },
    /// Receiving failed here.
    ReceiveError {
        /// The socket.
        socket: SocketId,
        /// Errno of the stub's host.
        errno: i32,
        /// Length of a datagram too large to forward, or 0.
        length: u64,
    },
    /// How a send ended.
    Sent {
        /// The socket.
        socket: SocketId,
        /// The send's number.
        serial: u32,
        /// 0 or an errno.
        errno: i32,
        /// How long the kernel took.
        nanoseconds: u64,
        /// Whether it was a confirmed one.
        confirmed: bool,
    },
    /// More may be sent on this socket.
    SendCredit(SocketId),
    /// The answer to a request.
    Reply {
        /// Its number.
        request: u32,
        /// The value, or what failed.
        result: Result<&'a [u8], Failure>,
    },
    /// The answer to a ping.
    Pong(u64),
    /// The stub ended the connection.
    Fault(Failure),
}

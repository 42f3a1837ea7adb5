//! What frames ask of a stub.

use std::borrow::Cow;

use crate::wire::{Destination, Failure, NetnsRequest, Open, SocketId};

/// What the engine has to do about a frame.
#[derive(Debug)]
#[non_exhaustive]
pub enum StubAction<'a> {
    /// Nothing: it was taken in.
    None,
    /// Create a kernel socket and report with [`StubState::opened`].
    Open(SocketId, Open),
    /// Close the kernel socket, or wait for the one still being opened, and report with
    /// [`StubState::closed`].
    Close(SocketId),
    /// Send a datagram and report with [`StubState::sent`].
    Send {
        /// The socket.
        socket: SocketId,
        /// The client's number for it.
        serial: u32,
        /// Whether the answer has to come behind all that is readable after the send.
        confirm: bool,
        /// Whether it may be made in one system call with the send before it.
        gather: bool,
        /// Where it goes.
        destination: Destination,
        /// The whole datagram.
        data: Cow<'a, [u8]>,
    },
    /// The socket has new credit and may be read again.
    Credit(SocketId),
    /// getsockopt(2), answered with [`StubState::reply`], as are all that follow.
    OptionGet {
        /// The socket.
        socket: SocketId,
        /// Number of the request.
        request: u32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// Bytes of value to allow for.
        capacity: u32,
    },
    /// setsockopt(2).
    OptionSet {
        /// The socket.
        socket: SocketId,
        /// Number of the request.
        request: u32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// The value.
        value: &'a [u8],
    },
    /// Join or leave a multicast group.
    Membership {
        /// The socket.
        socket: SocketId,
        /// Number of the request.
        request: u32,
        /// The group, from 1.
        group: u32,
        /// Join, or leave.
        join: bool,
    },
    /// An operation on namespaces.
    Netns {
        /// Number of the request.
        request: u32,
        /// What to do.
        operation: NetnsRequest,
    },
    /// The client ended the connection and said why.
    Fault(Failure),
}

/// What to do with a kernel socket that has just been created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    /// Keep it, and read from it.
    Keep,
    /// The client has closed it meanwhile: close it and report with [`StubState::closed`].
    Close,
}

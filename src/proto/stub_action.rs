//! Actions of a stub: the meaning of the frames that it receives.

use std::borrow::Cow;

use crate::wire::{Destination, Failure, NetnsRequest, Open, SocketId};

/// The action that a frame asks of the stub's engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum StubAction<'a> {
    /// None.
    None,
    /// Create a kernel socket and report with [`opened`](super::StubState::opened).
    Open(SocketId, Open),
    /// Close the kernel socket, at once or when it is open, and report with
    /// [`closed`](super::StubState::closed).
    Close(SocketId),
    /// Send a datagram and report with [`sent`](super::StubState::sent).
    Send {
        /// The socket.
        socket: SocketId,
        /// The client's number for the send.
        serial: u32,
        /// Whether the send is answered in any case, behind all datagrams that are readable after it.
        confirm: bool,
        /// Whether the send may be made in one system call with the send before it.
        gather: bool,
        /// The datagram's receiver.
        destination: Destination,
        /// The whole datagram.
        data: Cow<'a, [u8]>,
    },
    /// The socket has new credit and may be read again.
    Credit(SocketId),
    /// getsockopt(2); answered with [`reply`](super::StubState::reply), as are the actions below.
    OptionGet {
        /// The socket.
        socket: SocketId,
        /// Number of the request.
        request: u32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// Bytes of room for the value.
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
        /// Whether to join or to leave.
        join: bool,
    },
    /// An operation on namespaces.
    Netns {
        /// Number of the request.
        request: u32,
        /// The operation.
        operation: NetnsRequest,
    },
    /// The client ends the connection, for this reason.
    Fault(Failure),
}

/// The fate of a kernel socket that has just been created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    /// Keep it.
    Keep,
    /// Close it, because the client has closed it meanwhile, and report with
    /// [`closed`](super::StubState::closed).
    Close,
}

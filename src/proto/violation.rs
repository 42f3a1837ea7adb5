//! Breaches of the protocol.

use crate::wire::{FrameType, SocketId, WireError};

/// A breach of the protocol by the peer, which ends the connection with a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The bytes themselves are wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A frame that this side never receives.
    #[error("a {0:?} frame is not for this side to receive")]
    WrongDirection(FrameType),
    /// A frame on a socket whose state forbids it.
    #[error("a {frame:?} frame on socket {socket}, which is {state}")]
    WrongState {
        /// The frame's type.
        frame: FrameType,
        /// The socket.
        socket: SocketId,
        /// `not open`, `already open`, `opening` or `closing`.
        state: &'static str,
    },
    /// More than the credit granted was sent.
    #[error("a {frame:?} frame beyond the credit of socket {socket}")]
    CreditOverflow {
        /// The frame's type.
        frame: FrameType,
        /// The socket.
        socket: SocketId,
    },
    /// A grant smaller than one before it.
    #[error("credit of socket {0} was taken back")]
    CreditShrunk(SocketId),
    /// A limit was passed.
    #[error("more than {limit} {what}")]
    TooMany {
        /// The things that are limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A reply, a pong, or a sent frame, with a number that nothing waits for.
    #[error("an answer to number {0}, which was not asked")]
    Unasked(u64),
}

//! What a peer must not do.

use crate::wire::{FrameType, SocketId, WireError};

/// The peer did what the protocol forbids; the connection ends with a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The bytes themselves are wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A frame that this side never receives.
    #[error("a {0:?} frame is not for this side to receive")]
    WrongDirection(FrameType),
    /// A frame for a socket that is not in a state to get it.
    #[error("a {frame:?} frame on socket {socket}, which is {state}")]
    WrongState {
        /// What came.
        frame: FrameType,
        /// On which socket.
        socket: SocketId,
        /// `not open`, `already open`, `opening` or `closing`.
        state: &'static str,
    },
    /// More than the credit granted was sent.
    #[error("a {frame:?} frame beyond the credit of socket {socket}")]
    CreditOverflow {
        /// What came.
        frame: FrameType,
        /// On which socket.
        socket: SocketId,
    },
    /// A grant smaller than one before it.
    #[error("credit of socket {0} was taken back")]
    CreditShrunk(SocketId),
    /// A limit announced in the hello was passed.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A reply, or a sent frame, to something that was not asked.
    #[error("an answer to number {0}, which was not asked")]
    Unasked(u32),
}

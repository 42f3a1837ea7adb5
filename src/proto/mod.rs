//! The protocol's state on either side, without I/O, clock or task: frames in, actions out.
//!
//! ```text
//!            client                                       stub
//!                         open
//!   opening  ------------------------------------------>  opening
//!      |                  opened                             |
//!     open   <------------------------------------------    open
//!      |        send, option-get/set, join, leave, credit    |
//!      |  <------------------------------------------------> |
//!      |        datagram, lost, sent, reply, credit          |
//!      |                  close                              |
//!   closing  ------------------------------------------>  closing
//!      |                  closed                             |
//!    (free)  <------------------------------------------   (free)
//! ```
//!
//! Rules that the two state machines enforce on each other:
//!
//! - A client sends nothing on a socket but a close before it has seen *opened*. It may close at
//!   any time, which is how an open is abandoned.
//! - A socket whose open failed is closed by its client like any other, so that every id has one
//!   life: open, close, closed. Only then may the id be used again.
//! - *Closed* is the last frame of a socket. Until then its client accepts, and drops, whatever
//!   was under way.
//! - Requests are numbered per connection and answered by one reply each; those of a socket are
//!   answered before its closed frame.

#![forbid(unsafe_code)]

mod client_state;
mod credit;
mod stub_state;
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub(crate) use client_state::netns_message;
pub use client_state::{ClientEvent, ClientState, Data, Refusal, SendError, SendMode};
pub use credit::{Granted, Granting};
pub use stub_state::{OpenOutcome, StubAction, StubState};

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

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
//!
//! This module is public with the feature `unstable` only: it is made for this crate's client and
//! stub, and for testing other implementations against them. Its types may change at any time; the
//! protocol itself is that of [`wire`](crate::wire) and its versions.

#![forbid(unsafe_code)]

mod client_event;
mod client_socket;
mod client_state;
mod cost;
mod credit;
mod refusal;
mod send_mode;
mod send_queue;
mod stub_action;
mod stub_socket;
mod stub_state;
#[cfg(test)]
mod tests;
mod violation;

pub use client_event::{ClientEvent, Data};
pub use client_state::ClientState;
#[cfg(feature = "client")]
pub(crate) use client_state::netns_message;
#[cfg(any(test, fuzzing))]
pub(crate) use cost::cost;
pub use credit::{Granted, Granting};
pub use refusal::{Refusal, SendError};
pub use send_mode::SendMode;
pub use stub_action::{OpenOutcome, StubAction};
pub use stub_state::StubState;
pub use violation::Violation;

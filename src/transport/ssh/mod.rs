//! ssh in this process, by libssh2.
//!
//! ```text
//! session    what one uses: connect, exec
//! tcp, tunnel     the socket below it: over TCP, or through another session's channel
//! handshake, auth     alone with the session, one operation at a time, each on a thread
//! shared, state, opening, pipe    many users, any of whom may be cancelled
//! calls      libssh2's own use of the socket, the only unsafe code
//! channel    what a user of one channel holds
//! ```
//!
//! async-ssh2-lite serves up to where a session is authenticated, over a stream of our own
//! ([`wire`]). Its channels are not used: their flush loses data, they leave it to their user to
//! finish a packet that was begun, and wake nobody else when they took in what is another's.

mod auth;
#[allow(unsafe_code)]
mod callbacks;
mod channel;
mod channel_state;
pub(crate) mod config;
mod fault;
mod handshake;
pub(crate) mod host;
mod keepalive;
pub(crate) mod known_hosts;
mod opening;
mod session;
mod shared;
mod state;
mod tcp;
mod thread;
mod tunnel;
mod wakers;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use config::ConfigSource;
pub(crate) use opening::Turn;
pub(crate) use session::{Reached, Session, WeakSession};

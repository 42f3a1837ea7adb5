//! ssh within this process, by libssh2.
//!
//! | modules | duty |
//! |---|---|
//! | `config`, `host`, `known_hosts` | a host's settings and keys, from OpenSSH's files |
//! | `session` | the entry: reach a host, log in, run a command |
//! | `tcp`, `tunnel`, `socket` | the socket below a session: TCP, or a channel of another session |
//! | `handshake`, `greeting`, `auth` | one operation at a time, each on a thread, until the session is authenticated |
//! | `shared_session`, `session_state`, `opening`, `channel_state` | many users of one session, any of whom may be cancelled |
//! | `callbacks` | libssh2's calls to recv and send; the only unsafe code |
//! | `channel` | the handles of one channel's user |
//!
//! async-ssh2-lite serves up to authentication, over a stream of this crate's own ([`socket`]). Its
//! channels are not used: their flush discards received data, a packet sent in part is left to
//! their user to finish, and an operation that receives another channel's data wakes no waiter.
//!
//! # OpenSSL
//!
//! libssh2 is always built from the source its crate bundles; the cryptography below it is the
//! system's OpenSSL, or with the feature `vendored-openssl` one built from source. The two differ in
//! one point: the post-quantum key exchanges (`mlkem768x25519-sha256`, `mlkem768nistp256-sha256`,
//! `mlkem1024nistp384-sha384`) need OpenSSL 3.5 or later, as the vendored one is. Without them the
//! handshake agrees on `curve25519-sha256` or an older one, and fails only with a server that accepts
//! nothing else. No code here names a key exchange: libssh2 offers all it was built with.
//!
//! The tests always have the feature; `OPENSSL_NO_VENDOR=1 tests/run --lib transport::ssh`, with a
//! target folder of its own, runs them with the system's OpenSSL all the same.

mod algorithms;
mod auth;
mod bounded;
#[allow(unsafe_code, reason = "libssh2 takes C functions")]
mod callbacks;
mod channel;
mod channel_state;
pub(crate) mod config;
mod fault;
mod greeting;
mod handshake;
pub(crate) mod host;
mod keepalive;
mod key_blob;
mod known_hosts;
#[cfg(any(test, fuzzing))]
mod memory_file;
mod opening;
pub(crate) mod pattern;
mod session;
mod session_state;
mod shared_session;
mod socket;
mod tcp;
mod thread;
mod tunnel;
mod wakers;

#[cfg(test)]
mod tests;

pub(crate) use config::ConfigSource;
#[cfg(any(test, fuzzing))]
pub(crate) use known_hosts::fuzzing::known_hosts as fuzz_known_hosts;
pub(crate) use opening::OpenPermit;
pub(crate) use session::{ReachedHost, Session, WeakSession};

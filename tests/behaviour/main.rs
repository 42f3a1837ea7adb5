//! What the crate does, on the real kernel, over every transport.

#![allow(
    clippy::expect_used,
    clippy::field_reassign_with_default,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share one support module"
)]

mod adapter;
mod bad_input;
mod client;
mod fairness;
mod keepalive;
mod lifetime;
mod monitoring;
mod namespaces;
mod sockets;
#[cfg(feature = "ssh")]
mod sshd;
#[path = "../lab/stub.rs"]
mod stub;
mod support;

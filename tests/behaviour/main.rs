//! What the crate does, on the real kernel, over every transport.

#![cfg(test)]

mod adapter;
mod bad_input;
mod client;
mod fairness;
mod gathering;
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

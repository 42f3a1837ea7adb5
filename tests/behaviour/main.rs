//! What the crate does, on the real kernel, over every transport.

#![allow(unreachable_pub, reason = "the support module is shared by all of this one program")]

mod adapter;
mod bad_input;
mod lifetime;
mod monitoring;
mod namespaces;
mod sockets;
mod support;

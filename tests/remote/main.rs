//! Hosts with nothing installed there, over ssh, gateways, sudo and containers: real sshds, real
//! sudo, and hosts that are namespaces of their own.

#![allow(
    clippy::expect_used,
    clippy::field_reassign_with_default,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests say what they expect by panicking, and share one support module"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod architectures;
mod bootstrap;
mod cases;
mod deaths;
mod errors;
mod gateways;
mod privilege;
mod round_trips;
mod stand_ins;
mod support;
mod terminal;

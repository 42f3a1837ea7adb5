//! Hosts with nothing installed there, over ssh, gateways, sudo and containers: real sshds, real
//! sudo, and hosts that are namespaces of their own.

#![cfg(test)]

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
mod verbose;

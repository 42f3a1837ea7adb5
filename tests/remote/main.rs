//! Hosts with nothing installed there, over ssh, gateways, sudo and containers: real sshds, real
//! sudo, and hosts that are namespaces of their own.

#![cfg(test)]

mod architectures;
mod bootstrap;
mod deaths;
mod errors;
mod gateways;
mod privilege;
mod pyroute2_cases;
mod round_trips;
mod stand_ins;
mod terminal;

//! Hosts without an installed stub, over ssh, gateways, sudo and containers: real sshds and sudo, on
//! hosts of the lab.

#![cfg(test)]

mod architectures;
mod bootstrap;
mod deaths;
mod errors;
mod gateways;
mod privilege;
mod pyroute2_cases;
mod round_trips;
mod secrets;
mod stand_ins;
mod terminal;
mod verbose;
mod watching;

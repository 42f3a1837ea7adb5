//! The tool `nlr`: the program itself, on the real kernel.

#![cfg(test)]

mod cli_support;

#[path = "cli_support/cases/bench.rs"]
mod bench;
#[path = "cli_support/cases/connection.rs"]
mod connection;
#[path = "cli_support/cases/ends.rs"]
mod ends;
#[path = "cli_support/cases/monitor.rs"]
mod monitor;
#[path = "cli_support/cases/netns.rs"]
mod netns;
#[path = "cli_support/cases/serve.rs"]
mod serve;
#[path = "cli_support/cases/usage.rs"]
mod usage;
#[path = "cli_support/cases/verbose.rs"]
mod verbose;

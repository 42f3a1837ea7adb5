//! The tool `nlr`: the program itself, on the real kernel.

#![cfg(test)]

mod bench;
mod confinement;
mod connection;
mod exit_codes;
mod hostile;
mod inventory;
mod mirror;
mod monitor;
mod monitor_many;
mod netns;
mod parity;
mod serve;
mod usage;
mod verbose;
mod wrong_lines;

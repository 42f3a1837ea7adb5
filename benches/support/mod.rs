//! What the benchmarks share: the world they run in, the ways to a stub, and netlink messages.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod cpu;
pub mod far;
pub mod floor;
pub mod local;
pub mod measure;
pub mod netlink;
pub mod routes;
pub mod world;

/// What an sshd asks for that changes the world it is in.
pub fn in_test_world() {
    assert!(std::env::var_os("NLR_TEST_WORLD").is_some(), "world::enter comes first");
}

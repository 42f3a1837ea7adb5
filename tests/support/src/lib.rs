//! What the tests and benchmarks of netlink-remote share.
//!
//! Everything here panics where it cannot go on: a panic is how a test fails.

pub mod bench;
pub mod command;
pub mod docker;
mod expected;
pub mod far_end;
pub mod lab;
pub mod namespace;
pub mod netlink;
pub mod processes;
pub mod programs;
pub mod remote;
pub mod sshd;
pub mod tool;
pub mod vectors;
pub mod world;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

pub use command::{Ended, Running, finish, finish_with, is_alive, run, wait, wait_up_to};
pub use expected::is_text;
pub use namespace::Namespace;

/// The longest wait for anything: no step takes so long on a machine that is not stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits a future, and fails rather than hangs.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this hangs")
}

/// A name that no other caller in this world gets.
pub fn unique(prefix: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// An unused path in the folder for temporary files.
pub fn temporary(name: &str) -> std::path::PathBuf {
    world::require();
    std::env::temp_dir().join(unique(name))
}

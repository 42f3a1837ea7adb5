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

/// The socket file of a server that was killed.
pub fn leave_socket(path: &std::path::Path) {
    use std::os::fd::AsRawFd;
    let socket = std::os::unix::net::UnixListener::bind(path).unwrap();
    // A child that another test starts may hold a copy of the descriptor for a moment: whoever
    // connects is refused all the same.
    nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
}

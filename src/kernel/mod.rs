//! The kernel: netlink sockets, the namespaces they live in, and the host they run on.
//!
//! This is the only part of the library that has unsafe code, and all of it is in `sys`.

mod container;
pub mod descriptors;
mod host;
pub mod netns;
mod socket;
#[allow(unsafe_code)]
mod sys;

pub use host::host_info;
pub use nix::errno::Errno;
pub use socket::{KernelSocket, RECEIVE_ROOM, Received};

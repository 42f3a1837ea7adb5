//! The kernel: netlink sockets, the namespaces they live in, and the host they run on.
//!
//! What unsafe code it needs is in `sys`.

mod container;
pub mod descriptors;
mod failure;
mod host;
pub mod netns;
mod nsfs;
mod socket;
mod subprocess;
#[allow(unsafe_code)]
mod sys;

pub(crate) use failure::{errno_of, failure};
pub use host::host_info;
pub use nix::errno::Errno;
pub use socket::{KernelSocket, RECEIVE_ROOM, Received};

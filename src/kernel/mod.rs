//! The kernel: netlink sockets, the namespaces they live in, and the host they run on.
//!
//! All unsafe code is in `sys`. Errors are nix's `Errno` here, and [`Failure`](crate::wire::Failure)
//! where a client gets to see them.
//!
//! This module is public with the feature `unstable` only: it is made for the stub, names types of a
//! 0.x crate, and may change at any time.

mod account;
mod buffers;
mod cancel;
mod capabilities;
mod container;
pub mod descriptors;
mod engine;
mod engine_helper;
mod failure;
mod file_lock;
mod heap;
mod host;
pub mod netns;
mod network_file;
mod nsfs;
mod path_walk;
mod plain_option;
mod seccomp;
mod socket;
mod subprocess;
#[allow(unsafe_code)]
mod sys;

pub(crate) use account::Account;
pub use buffers::BufferAccount;
pub use cancel::Cancel;
pub(crate) use capabilities::{Duties, keep, looking_part, needed, only_look};
pub(crate) use engine_helper::start as start_engine_helper;
pub(crate) use failure::{errno_of, explained, failure, option_name};
pub(crate) use file_lock::lock_file;
pub(crate) use heap::{dedicate_heap, give_memory_back};
pub use host::host_info;
pub use nix::errno::Errno;
pub(crate) use seccomp::install as install_filter;
pub use socket::{KernelSocket, RECEIVE_ROOM, Received};
pub(crate) use sys::threads;

//! The clients of a listener, and their limits.

use nix::unistd::geteuid;

use super::config::Config;
use crate::limits::server::{MAX_CLIENTS, MAX_KERNEL_MEMORY, MAX_MEMORY, MAX_THREADS};

/// The clients of a [`Listener`](super::Listener), and their limits.
///
/// Half of each total is divided evenly among the users that may connect, and is theirs alone; the
/// other half goes to whoever asks first. One client may have a quarter of each total. So no number of
/// users keeps another from connecting. Descriptors are shared in the same way: clients have those of
/// the soft RLIMIT_NOFILE but 200; see [`dedicate_process`](super::dedicate_process).
///
/// ```
/// let mut config = netlink_remote::stub::ListenConfig::default();
/// config.max_clients = 16;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenConfig {
    /// The limits of each client.
    pub stub: Config,
    /// Users that may connect, by uid: the effective uid of this process by default. A client has
    /// the privileges of this process.
    pub allowed_uids: Vec<u32>,
    /// Mode of the socket's file: 0600. Connecting needs the permission to write.
    pub mode: u32,
    /// Clients at a time: 1024.
    pub max_clients: usize,
    /// Threads of all clients beyond the two that each has, one for each slow system call: 1024.
    /// Where there is none, a connection waits for its slow call.
    pub max_threads: usize,
    /// Bytes that wait for all clients, such as sends that the kernel has not taken and answers that
    /// nobody reads: 256 MiB.
    pub max_memory: u64,
    /// Bytes of the buffers of all kernel sockets, as `SO_RCVBUF` and `SO_SNDBUF` report them: 1 GiB.
    pub max_kernel_memory: u64,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            stub: Config::default(),
            allowed_uids: vec![geteuid().as_raw()],
            mode: 0o600,
            max_clients: MAX_CLIENTS,
            max_threads: MAX_THREADS,
            max_memory: MAX_MEMORY,
            max_kernel_memory: MAX_KERNEL_MEMORY,
        }
    }
}

//! What a stub permits its client, and the limits that it sets.

use std::time::Duration;

use super::access::Access;
use crate::{
    limits::stub as limits,
    wire::{Credit, hello::PeerLimits},
};

/// What a stub permits its client, and the limits that it sets.
///
/// ```
/// let mut config = netlink_remote::stub::Config::default();
/// config.limits.max_sockets = 16;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What the client may do: all that this process may.
    pub access: Access,
    /// Frame size, sockets and requests, as the hello announces them.
    pub limits: PeerLimits,
    /// Credit for sends on each socket: 4 MiB and 4096 datagrams.
    pub send_window: Credit,
    /// Bytes of memory for what waits for the kernel, over all sockets: whole sends, opens and
    /// requests; 32 MiB. With more, the stub stops reading frames until the kernel has taken some.
    /// With more in incomplete sends, or more than the limit on frames if that is larger, the
    /// connection ends.
    pub max_queued: u64,
    /// Bytes of output above which no kernel socket is read: 256 KiB.
    pub output_high_water: usize,
    /// Bytes of output above which the stub ends the connection of a client that asks without
    /// reading: 16 MiB.
    pub output_limit: usize,
    /// Time from the start until the client's hello is complete: 60 seconds.
    pub hello_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: Access::default(),
            limits: PeerLimits::default(),
            send_window: Credit {
                bytes: limits::SEND_WINDOW_BYTES,
                datagrams: limits::SEND_WINDOW_DATAGRAMS,
            },
            max_queued: limits::MAX_QUEUED,
            output_high_water: limits::OUTPUT_HIGH_WATER,
            output_limit: limits::OUTPUT_LIMIT,
            hello_timeout: limits::HELLO_TIMEOUT,
        }
    }
}

impl Config {
    /// The most that waits in a connection, in bytes: for the kernel, for the rest of sends and of the
    /// frame that is being read, and to be read by the client.
    pub(super) fn max_memory(&self) -> u64 {
        let frame = u64::from(self.limits.max_frame);
        let incomplete = self.max_queued.max(frame);
        // One frame may come on top of each: what is over a limit is noticed behind it.
        self.max_queued
            .saturating_add(incomplete)
            .saturating_add(2 * frame)
            .saturating_add(self.output_limit as u64)
            .saturating_add(frame)
    }
}

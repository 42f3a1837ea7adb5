//! Overruns of a kernel socket's receive buffer: how many datagrams the kernel dropped, and between
//! which two of those that it queued.
//!
//! When the buffer is full, the kernel marks the socket congested, reports ENOBUFS once, and queues
//! nothing until everything queued before has been read (`NETLINK_S_CONGESTED` in its af_netlink.c).
//! So the gap follows the datagrams that are queued when ENOBUFS comes. Their end has to be found by
//! the number of bytes queued, because new datagrams may follow at once.
//!
//! From Linux 6.16 on that number is too high for a moment while the kernel drops a datagram
//! (`netlink_broadcast_deliver` adds its size before it looks): it is read several times before it
//! counts as grown. Should it deceive all the same, the rest of the gap is told at the next empty queue.

use crate::kernel::KernelSocket;

/// How often a number of queued bytes is read that seems to have grown.
const READS: usize = 8;

/// The overruns of one socket, as its reader finds them. Each method gives the kernel's count of
/// dropped datagrams if that is to be reported at this place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Overrun {
    /// After ENOBUFS: bytes queued before the gap, when last looked at.
    queued_before: Option<u32>,
    /// Whether a gap was told while something was queued: the kernel may have been congested still,
    /// and announces no more drops then.
    is_unsure: bool,
    /// Dropped datagrams that have been reported.
    reported: u64,
}

impl Overrun {
    /// After ENOBUFS.
    pub(super) fn begins(&mut self, socket: &KernelSocket) -> Option<u64> {
        let queued = socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
        self.queued_before = Some(queued);
        if queued == 0 { self.report(socket) } else { None }
    }

    /// After a datagram of this length.
    ///
    /// The gap follows it if the queue is empty now, or has not become shorter by at least this
    /// datagram, because others have joined.
    pub(super) fn after_datagram(&mut self, socket: &KernelSocket, length: usize) -> Option<u64> {
        let silent = socket.has_silent_overruns() || self.is_unsure;
        if self.queued_before.is_none() && !silent {
            return None;
        }
        let (_, mut queued) = socket.drops_and_queued().ok()?;
        if let Some(before) = self.queued_before {
            let has_grown = |queued: u32| u64::from(queued) + length as u64 > u64::from(before);
            for _ in 1..READS {
                if queued == 0 || !has_grown(queued) {
                    break;
                }
                queued = queued.min(socket.drops_and_queued().ok()?.1);
            }
            if queued > 0 && !has_grown(queued) {
                self.queued_before = Some(queued);
                return None;
            }
        } else if queued > 0 {
            // With NETLINK_NO_ENOBUFS the kernel reports neither a gap nor its place: an empty queue
            // is the first place where there may have been one.
            return None;
        }
        self.is_unsure = queued > 0;
        self.report(socket)
    }

    /// When nothing is queued.
    pub(super) fn at_empty(&mut self, socket: &KernelSocket) -> Option<u64> {
        let is_unsure = std::mem::take(&mut self.is_unsure);
        let possible = self.queued_before.is_some() || is_unsure || socket.has_silent_overruns();
        if possible { self.report(socket) } else { None }
    }

    fn report(&mut self, socket: &KernelSocket) -> Option<u64> {
        let announced = self.queued_before.take().is_some();
        let (drops, _) = socket.drops_and_queued().ok()?;
        // The kernel's counter has 32 bits and may wrap.
        let since = drops.wrapping_sub(self.reported as u32);
        self.reported += u64::from(since);
        // The kernel also gives ENOBUFS where it failed to make an event or a part of a dump, and
        // counts nothing: something is missing all the same.
        (since > 0 || announced).then_some(self.reported)
    }
}

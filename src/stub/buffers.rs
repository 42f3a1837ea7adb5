//! The memory of an I/O thread: datagrams to send, and the results of sends and receives.

use nix::errno::Errno;

use crate::{
    limits::stub::SPILL,
    wire::{DatagramInfo, Destination},
};

/// Capacity above which a buffer is given back to the allocator after its use: 512 KiB.
const KEPT: usize = 512 << 10;

/// Capacity above which a buffer of a quiet connection is given back: 256 KiB.
pub(super) const QUIET: usize = 256 << 10;

/// A send, without its datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendHeader {
    pub(super) serial: u32,
    pub(super) confirm: bool,
    /// Whether it may be made in one system call with the send before it.
    pub(super) gather: bool,
    pub(super) destination: Destination,
    pub(super) length: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendResult {
    /// 0 for success.
    pub(super) errno: i32,
    /// Measured only of sends that are answered: confirmed ones, and those that failed.
    pub(super) nanoseconds: u64,
    /// Of a confirmed send: bytes in the receive queue when it returned, by the kernel's accounting.
    pub(super) unread_before_ack: u64,
}

/// Something that goes into the stream to the client, in this order.
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamItem {
    /// An unconfirmed send of this serial failed.
    SendFailed(u32, SendResult),
    /// A datagram of `length` bytes, from `start` of the results' data.
    Datagram { info: DatagramInfo, start: usize, length: usize },
    /// A datagram of this length, larger than any buffer. It is lost.
    TooLarge(usize),
    /// recvmsg(2) failed.
    ReceiveFailed(Errno),
    /// The kernel has dropped as many datagrams in all, the last of them here.
    Dropped(u64),
}

/// The results of an exchange.
#[derive(Debug, Default)]
pub(super) struct ExchangeResults {
    /// Every send that was made, in order.
    pub(super) sends: Vec<(SendHeader, SendResult)>,
    pub(super) items: Vec<StreamItem>,
    /// The bytes of the datagrams received.
    pub(super) data: Vec<u8>,
}

impl ExchangeResults {
    pub(super) fn clear(&mut self) {
        self.sends.clear();
        self.items.clear();
        self.data.clear();
    }

    /// Gives back the memory of an unusually large datagram.
    pub(super) fn trim(&mut self) {
        if self.data.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// The buffers of an I/O thread, used again for each call.
#[derive(Debug, Default)]
pub(super) struct IoBuffers {
    /// The sends of the next exchange.
    pub(super) sends: Vec<SendHeader>,
    /// The datagrams of `sends`, without a gap.
    pub(super) send_data: Vec<u8>,
    pub(super) results: ExchangeResults,
    /// Room for the rests of long datagrams.
    pub(super) spill: Vec<u8>,
}

impl IoBuffers {
    /// Makes this the first send of the next exchange.
    pub(super) fn set_send(&mut self, send: SendHeader, datagram: &[u8]) {
        self.sends.clear();
        self.send_data.clear();
        self.add_send(send, datagram);
    }

    /// Adds a send to the next exchange.
    pub(super) fn add_send(&mut self, send: SendHeader, datagram: &[u8]) {
        self.sends.push(send);
        self.send_data.extend_from_slice(datagram);
    }

    /// Whether a quiet connection keeps more memory than it is worth.
    pub(super) fn is_swollen(&self) -> bool {
        self.results.data.capacity().max(self.send_data.capacity()) > QUIET
    }

    /// Gives back all memory.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }

    /// Gives back the memory of unusually large datagrams.
    pub(super) fn trim(&mut self) {
        if self.send_data.capacity() > KEPT {
            self.send_data = Vec::new();
        }
        self.results.trim();
    }
}

/// Has `spill` offer its room to the next receive. The room is only touched, and so only takes memory, if
/// a datagram is that long.
pub(super) fn reserve_spill(spill: &mut Vec<u8>) {
    if spill.capacity() == 0 {
        // Without it a long datagram is reported as lost, which is better than the end of a server.
        let _ = spill.try_reserve_exact(SPILL);
    }
}

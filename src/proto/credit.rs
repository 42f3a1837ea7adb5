//! Flow control: the two ends of one window.

use crate::wire::Credit;

/// The sender's end of a window: the grant, and the totals sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Granted {
    granted: Credit,
    used: Credit,
}

impl Granted {
    /// A window that begins with this grant.
    pub fn new(granted: Credit) -> Self {
        Self { granted, used: Credit::default() }
    }

    /// Replaces the grant of a window of which something may have been used already.
    pub fn begin(&mut self, granted: Credit) {
        self.granted = granted;
    }

    /// Whether another datagram may begin.
    pub fn may_send(&self) -> bool {
        self.may_overdraw(Credit::default())
    }

    /// Whether another datagram may begin, `extra` beyond the grant.
    pub fn may_overdraw(&self, extra: Credit) -> bool {
        let left = self.left(extra);
        left.bytes > 0 && left.datagrams > 0
    }

    /// The rest of the grant, with `extra` beyond it. Nothing may begin if either number is 0.
    pub fn left(&self, extra: Credit) -> Credit {
        let left = |granted: u64, extra: u64, used: u64| {
            granted.saturating_add(extra).saturating_sub(used)
        };
        Credit {
            bytes: left(self.granted.bytes, extra.bytes, self.used.bytes),
            datagrams: left(self.granted.datagrams, extra.datagrams, self.used.datagrams),
        }
    }

    /// Counts a datagram of `bytes`.
    pub fn spend(&mut self, bytes: usize) {
        self.used.bytes += bytes as u64;
        self.used.datagrams += 1;
    }

    /// Takes a new grant; false if it is smaller than the last, which stays then.
    #[must_use]
    pub fn grant(&mut self, granted: Credit) -> bool {
        if granted.bytes < self.granted.bytes || granted.datagrams < self.granted.datagrams {
            return false;
        }
        self.granted = granted;
        true
    }

    /// The totals sent so far.
    pub fn used(&self) -> Credit {
        self.used
    }
}

/// The receiver's end of a window: the grant, and the totals received and consumed.
#[derive(Debug, Clone, Copy)]
pub struct Granting {
    window: Credit,
    granted: Credit,
    received: Credit,
    consumed: Credit,
}

impl Granting {
    /// A window of this size, at least one byte and datagram, of which all is granted at first.
    pub fn new(window: Credit) -> Self {
        let window = Credit { bytes: window.bytes.max(1), datagrams: window.datagrams.max(1) };
        let none = Credit::default();
        Self { window, granted: window, received: none, consumed: none }
    }

    /// The window's size.
    pub fn window(&self) -> Credit {
        self.window
    }

    /// Counts a received datagram; false if its sender had no credit to begin it, even with `extra`
    /// beyond the grant.
    #[must_use]
    pub fn receive(&mut self, bytes: usize, extra: Credit) -> bool {
        let allowed = self.received.bytes < self.granted.bytes.saturating_add(extra.bytes)
            && self.received.datagrams < self.granted.datagrams.saturating_add(extra.datagrams);
        self.received.bytes += bytes as u64;
        self.received.datagrams += 1;
        allowed
    }

    /// Counts more bytes of the datagram counted last.
    pub fn receive_more(&mut self, bytes: usize) {
        self.received.bytes += bytes as u64;
    }

    /// Bytes and datagrams received but not consumed.
    pub fn outstanding(&self) -> Credit {
        Credit {
            bytes: self.received.bytes - self.consumed.bytes,
            datagrams: self.received.datagrams - self.consumed.datagrams,
        }
    }

    /// Counts a datagram as consumed. Gives the new grant when that is to be sent: once half a window
    /// has come free. A sender that has used up its grant gets a new one in any case, because when all
    /// of it is consumed at least a whole window is free.
    #[must_use]
    pub fn consume(&mut self, bytes: usize) -> Option<Credit> {
        self.consumed.bytes += bytes as u64;
        self.consumed.datagrams += 1;
        // The window may be u64::MAX.
        let due = Credit {
            bytes: self.consumed.bytes.saturating_add(self.window.bytes),
            datagrams: self.consumed.datagrams.saturating_add(self.window.datagrams),
        };
        let is_worth_sending = due.bytes - self.granted.bytes >= self.window.bytes.div_ceil(2)
            || due.datagrams - self.granted.datagrams >= self.window.datagrams.div_ceil(2);
        is_worth_sending.then(|| {
            self.granted = due;
            due
        })
    }
}

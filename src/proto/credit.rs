//! Flow control: one window, seen from its two ends.

use crate::wire::Credit;

/// The sender's end: what was granted, and what of it is used.
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

    /// Whether another datagram may begin.
    pub fn may_send(&self) -> bool {
        self.may_overdraw(Credit::default())
    }

    /// Whether another datagram may begin, `extra` beyond the grant.
    pub fn may_overdraw(&self, extra: Credit) -> bool {
        let left = self.left(extra);
        left.bytes > 0 && left.datagrams > 0
    }

    /// What is left of the grant and `extra` beyond it; zero bytes or datagrams are nothing.
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

    /// Takes a new grant; false if it is smaller than the last.
    #[must_use]
    pub fn grant(&mut self, granted: Credit) -> bool {
        if granted.bytes < self.granted.bytes || granted.datagrams < self.granted.datagrams {
            return false;
        }
        self.granted = granted;
        true
    }

    /// What was sent so far.
    pub fn used(&self) -> Credit {
        self.used
    }
}

/// The receiver's end: what it granted, received and consumed.
#[derive(Debug, Clone, Copy)]
pub struct Granting {
    window: Credit,
    granted: Credit,
    received: Credit,
    consumed: Credit,
}

impl Granting {
    /// A window of this size, granted whole to begin with.
    pub fn new(window: Credit) -> Self {
        let window = Credit { bytes: window.bytes.max(1), datagrams: window.datagrams.max(1) };
        let none = Credit::default();
        Self { window, granted: window, received: none, consumed: none }
    }

    /// The window's size.
    pub fn window(&self) -> Credit {
        self.window
    }

    /// Counts a datagram that came; false if its sender had no credit to begin it, even with
    /// `extra` beyond the grant.
    #[must_use]
    pub fn receive(&mut self, bytes: usize, extra: Credit) -> bool {
        let allowed = self.received.bytes < self.granted.bytes.saturating_add(extra.bytes)
            && self.received.datagrams < self.granted.datagrams.saturating_add(extra.datagrams);
        self.received.bytes += bytes as u64;
        self.received.datagrams += 1;
        allowed
    }

    /// Counts further bytes of the datagram counted last.
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

    /// Counts a datagram as consumed. Gives the new grant when it is worth telling, which is
    /// once half a window has come free; a sender that has used up its grant is then always told,
    /// because at least a whole window is free by the time all of it is consumed.
    #[must_use]
    pub fn consume(&mut self, bytes: usize) -> Option<Credit> {
        self.consumed.bytes += bytes as u64;
        self.consumed.datagrams += 1;
        // A window may be as good as unbounded.
        let due = Credit {
            bytes: self.consumed.bytes.saturating_add(self.window.bytes),
            datagrams: self.consumed.datagrams.saturating_add(self.window.datagrams),
        };
        let worth_telling = due.bytes - self.granted.bytes >= self.window.bytes.div_ceil(2)
            || due.datagrams - self.granted.datagrams >= self.window.datagrams.div_ceil(2);
        worth_telling.then(|| {
            self.granted = due;
            due
        })
    }
}

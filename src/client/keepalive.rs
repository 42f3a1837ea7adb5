//! Detection of a far end that is silent.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Pings a far end that was silent for an interval, and gives it another one to answer.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    tick: Pin<Box<Sleep>>,
    /// Whether bytes were read, and written, since the last tick.
    has_read: bool,
    has_written: bool,
    /// Whether a ping was sent at the last tick.
    is_probing: bool,
}

impl Keepalive {
    pub(super) fn new(interval: Duration) -> Self {
        let tick = Box::pin(sleep(interval));
        Self { interval, tick, has_read: false, has_written: false, is_probing: false }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Records that bytes were read.
    pub(super) fn on_read(&mut self) {
        self.has_read = true;
    }

    /// Records that bytes were written.
    pub(super) fn on_written(&mut self) {
        self.has_written = true;
    }

    /// Ready once the far end counts as lost. To be polled after reading; `probe` sends a ping.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut probe: impl FnMut()) -> Poll<()> {
        while self.tick.as_mut().poll(cx).is_ready() {
            if self.is_probing && !self.has_read {
                return Poll::Ready(());
            }
            // The far end counts on frames from this side too.
            self.is_probing = !(self.has_read && self.has_written);
            if self.is_probing {
                probe();
            }
            (self.has_read, self.has_written) = (false, false);
            self.tick.as_mut().reset(Instant::now() + self.interval);
        }
        Poll::Pending
    }
}

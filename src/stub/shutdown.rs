//! The end of serving, from outside.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::wake_fd::WakeFd;

/// Once triggered, ends every [`serve`](super::serve), `serve_stream` and
/// [`Listener::run`](super::Listener::run) that holds this `Shutdown`. Clones share one trigger;
/// dropping them triggers nothing.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<WakeFd>);

impl Shutdown {
    /// A `Shutdown` that is not triggered.
    ///
    /// # Errors
    /// EMFILE or ENFILE: a `Shutdown` takes a descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(WakeFd::new()?)))
    }

    /// Ends serving, now and in every later call.
    pub fn trigger(&self) {
        self.0.set();
    }
}

/// Readable once triggered.
impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

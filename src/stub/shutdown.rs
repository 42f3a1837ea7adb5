//! The end of serving, from outside.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::wake_fd::WakeFd;

/// Ends every [`serve`](super::serve) and [`Listener::run`](super::Listener::run) that was given it,
/// once triggered. A clone is the same one; dropping it triggers nothing.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<WakeFd>);

impl Shutdown {
    /// One that is not triggered.
    ///
    /// # Errors
    /// EMFILE or ENFILE: it takes a descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(WakeFd::new()?)))
    }

    /// Ends serving, also where that begins later.
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

//! Asking a stub to end, from another thread.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

/// Ends every [`serve`](super::serve) that was given it, once triggered. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<EventFd>);

impl Shutdown {
    /// One that has not been triggered.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        EventFd::from_value_and_flags(0, flags).map(|event| Self(Arc::new(event)))
    }

    /// Ends them all, those started later included.
    pub fn trigger(&self) {
        // Fails only where the counter is full, and then it has been triggered.
        let _ = self.0.write(1);
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

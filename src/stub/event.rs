//! Events that wake an I/O thread, and the one that asks it to end.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
    unistd::{read, write},
};

use crate::kernel::descriptors;

/// An eventfd(2), at a high number as everything the stub has open.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

impl Event {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        descriptors::raise(event.into()).map(Self)
    }

    pub(super) fn set(&self) {
        // Fails only where its counter is full, and then it is set.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // Fails only where it is not set.
        let _ = read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends every [`serve`](super::serve) that was given it, once triggered. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Event>);

impl Shutdown {
    /// One that has not been triggered.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Event::new()?)))
    }

    /// Ends them all, those started later included.
    pub fn trigger(&self) {
        self.0.set();
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

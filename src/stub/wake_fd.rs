//! A descriptor that wakes its poller: eventfd(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
    unistd::{read, write},
};

use crate::kernel::descriptors;

/// An eventfd at a high number, readable while it is set.
#[derive(Debug)]
pub(super) struct WakeFd(OwnedFd);

impl WakeFd {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self(descriptors::raise(event.into())))
    }

    pub(super) fn set(&self) {
        // Fails only where the counter is full, and then it is set.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // Fails only where it is not set.
        let _ = read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! Descriptors in non-blocking mode.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

/// A descriptor that is non-blocking until this is dropped.
///
/// The mode belongs to the open file description, which a shell or an sshd may share; so the mode
/// it had is put back.
#[derive(Debug)]
pub(super) struct NonBlocking {
    fd: OwnedFd,
    mode_before: OFlag,
}

impl NonBlocking {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let mode_before = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(mode_before | OFlag::O_NONBLOCK))?;
        Ok(Self { fd, mode_before })
    }
}

impl AsFd for NonBlocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for NonBlocking {
    fn drop(&mut self) {
        let _ = fcntl(&self.fd, FcntlArg::F_SETFL(self.mode_before));
    }
}

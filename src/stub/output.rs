//! Writing the stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{errno::Errno, unistd::write};

use super::input::NonBlocking;

/// Bytes of buffer that are kept when it is empty.
const KEPT: usize = 512 << 10;

/// What was encoded and not yet written.
#[derive(Debug)]
pub(super) struct Output {
    fd: NonBlocking,
    /// Frames are appended here; those before `written` are gone.
    pub(super) buffer: Vec<u8>,
    written: usize,
    /// Whether the stream took less than was offered.
    pub(super) blocked: bool,
}

impl Output {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { fd: NonBlocking::new(fd)?, buffer: Vec::new(), written: 0, blocked: false })
    }

    /// Bytes waiting to be written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Writes as much as the stream takes. EPIPE and its like are errors.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        self.blocked = false;
        while self.written < self.buffer.len() {
            let rest = self.buffer.get(self.written..).unwrap_or_default();
            match write(&self.fd, rest) {
                Ok(n) => self.written += n,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.blocked = true;
                    break;
                }
                Err(errno) => return Err(errno),
            }
        }
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
        } else if self.written > self.buffer.len() / 2 {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

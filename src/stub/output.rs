//! Writing the stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::socket::{getsockopt, setsockopt, sockopt},
    unistd::write,
};

use super::input::NonBlocking;

/// Bytes of buffer that are kept when it is empty: as far as it grows where the client reads more
/// slowly than the kernel tells, but not what a client left unread that goes on asking.
const KEPT: usize = 1 << 20;

/// Bytes that the stream itself should take before its reader has to run: as many as a pipe may
/// have without privileges (`/proc/sys/fs/pipe-max-size`). With a pipe's 64 KiB, two datagrams of a
/// dump, each side waits for the other again and again.
const ROOM: usize = 1 << 20;

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
        widen(&fd);
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

/// Makes room in a pipe or a socket, as far as it is allowed. Memory is only taken by what is
/// written and not read.
fn widen(fd: &OwnedFd) {
    if fcntl(fd, FcntlArg::F_SETPIPE_SZ(ROOM as i32)).is_ok() {
        return;
    }
    if getsockopt(fd, sockopt::SndBuf).is_ok_and(|size| size < ROOM) {
        // The kernel doubles what it is asked for.
        let half = ROOM / 2;
        let forced = setsockopt(fd, sockopt::SndBufForce, &half);
        let _ = forced.or_else(|_| setsockopt(fd, sockopt::SndBuf, &half));
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

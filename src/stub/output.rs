//! The stream to the client: frames are encoded into a buffer, from which it is written.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, setsockopt, sockopt},
    unistd::write,
};

use super::{
    budget::{Account, Held, Resource},
    buffers::QUIET,
    config::Config,
    exit::Exit,
    nonblocking::NonBlocking,
    poller::{Poller, Source},
};
use crate::proto::Violation;

/// Bytes of capacity that an empty buffer keeps: as many as it needs where the client reads more
/// slowly than the kernel writes, but not as many as the answers of a client that never reads.
const KEPT: usize = 512 << 10;

/// Bytes that the stream itself should take before its reader has to run: as many as a pipe may
/// have without privileges (`/proc/sys/fs/pipe-max-size`). With a pipe's 64 KiB, two datagrams of a
/// dump, each side waits for the other again and again.
const ROOM: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Output {
    fd: NonBlocking,
    /// Frames are appended here; bytes before `written` are written already.
    pub(super) buffer: Vec<u8>,
    written: usize,
    /// Whether the stream took less than it was given.
    blocked: bool,
    /// Whether the poller watches it for writability.
    watched: bool,
    high_water: usize,
    limit: usize,
    /// That it is wide.
    wide: Option<Held>,
}

impl Output {
    pub(super) fn new(fd: OwnedFd, config: &Config) -> Result<Self, Errno> {
        Ok(Self {
            fd: NonBlocking::new(fd)?,
            buffer: Vec::new(),
            written: 0,
            blocked: false,
            watched: false,
            high_water: config.output_high_water,
            limit: config.output_limit,
            wide: None,
        })
    }

    /// Enlarges the stream's buffer in the kernel, unless too many have a large one.
    pub(super) fn widen(&mut self, account: &Account) {
        self.wide = account.hold(Resource::WideStreams, 1).ok();
        if self.wide.is_some() {
            widen(&self.fd);
        }
    }

    /// Bytes waiting to be written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Whether kernel sockets may be read: the client reads fast enough.
    pub(super) fn has_room(&self) -> bool {
        self.len() <= self.high_water
    }

    /// Writes as much as the stream takes.
    ///
    /// # Errors
    /// The exit of a client that has gone, or that leaves more unread than the limit.
    pub(super) fn flush(&mut self) -> Result<(), Exit> {
        match self.write() {
            Ok(()) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Exit::ClientGone),
            Err(errno) => return Err(Exit::io("writing", errno)),
        }
        if self.len() > self.limit {
            let (what, limit) = ("bytes of answers left unread", self.limit as u64);
            return Err(Violation::TooMany { what, limit }.into());
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Errno> {
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

    /// Has the poller watch for writability as long as there is more to write.
    pub(super) fn watch(&mut self, poller: &Poller) -> Result<(), Errno> {
        if self.blocked == self.watched {
            return Ok(());
        }
        self.watched = self.blocked;
        match self.blocked {
            true => poller.watch_writable(&*self, Source::Output),
            false => poller.unwatch(&*self),
        }
    }

    /// Whether a quiet connection keeps more memory than it is worth.
    pub(super) fn is_swollen(&self) -> bool {
        self.buffer.capacity() > QUIET
    }

    /// Gives back the memory of an empty buffer.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    /// Writes as much as the stream takes, whether the client is there or not.
    pub(super) fn flush_last(&mut self) {
        let _ = self.write();
    }

    /// Gives the client some time to read why it is cut off.
    pub(super) fn linger(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.write().is_ok() && self.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
            if left.is_zero() || !matches!(poll(&mut fds, timeout), Ok(1)) {
                return;
            }
        }
    }
}

/// Enlarges the buffer of a pipe or a socket, as far as the process may. Only bytes that are written
/// and not read take memory.
fn widen(fd: impl AsFd) {
    let fd = fd.as_fd();
    if fcntl(fd, FcntlArg::F_SETPIPE_SZ(ROOM as i32)).is_ok() {
        return;
    }
    if getsockopt(&fd, sockopt::SndBuf).is_ok_and(|size| size < ROOM) {
        // The kernel doubles the number it is given.
        let half = ROOM / 2;
        let forced = setsockopt(&fd, sockopt::SndBufForce, &half);
        let _ = forced.or_else(|_| setsockopt(&fd, sockopt::SndBuf, &half));
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

//! Readiness of streams, kernel sockets and events: epoll(7).

use std::os::fd::AsFd;

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use crate::{kernel::descriptors, wire::SocketId};

/// A descriptor that may be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Input,
    Output,
    Completions,
    Shutdown,
    Socket(SocketId),
}

impl Source {
    /// A socket's token has bit 32 set; below that are the others.
    fn token(self) -> u64 {
        match self {
            Source::Input => 0,
            Source::Output => 1,
            Source::Completions => 2,
            Source::Shutdown => 3,
            Source::Socket(id) => 1 << 32 | u64::from(id.0),
        }
    }

    fn of_token(token: u64) -> Self {
        match token {
            0 => Source::Input,
            1 => Source::Output,
            2 => Source::Completions,
            3 => Source::Shutdown,
            socket => Source::Socket(SocketId(socket as u32)),
        }
    }
}

/// An epoll instance, at a high descriptor number.
#[derive(Debug)]
pub(super) struct Poller(Epoll);

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self(Epoll(descriptors::raise(epoll.0))))
    }

    /// # Errors
    /// EPERM for a descriptor that cannot be polled, such as a file's.
    pub(super) fn watch_readable(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.token()))
    }

    pub(super) fn watch_writable(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLOUT, source.token()))
    }

    pub(super) fn unwatch(&self, fd: impl AsFd) -> Result<(), Errno> {
        self.0.delete(fd)
    }

    /// Waits until something is ready or `timeout` has passed.
    pub(super) fn wait(&self, ready: &mut Ready, timeout: EpollTimeout) -> Result<(), Errno> {
        if ready.count == ready.events.len() {
            // More may have been ready than had room.
            ready.events.resize((ready.count * 2).clamp(64, 4096), EpollEvent::empty());
        }
        ready.count = match self.0.wait(&mut ready.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        Ok(())
    }
}

/// The sources that the last wait found ready, in memory that is reused.
#[derive(Debug, Default)]
pub(super) struct Ready {
    events: Vec<EpollEvent>,
    count: usize,
}

impl Ready {
    /// The source at an index, and whether it has failed or its other end is closed.
    pub(super) fn get(&self, at: usize) -> Option<(Source, bool)> {
        let event = self.events.get(..self.count)?.get(at)?;
        let hangup = event.events().intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        Some((Source::of_token(event.data()), hangup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_tell_sources_apart() {
        let sockets = [0, 1, 3, u32::MAX].map(|id| Source::Socket(SocketId(id)));
        let others = [Source::Input, Source::Output, Source::Completions, Source::Shutdown];
        for source in sockets.into_iter().chain(others) {
            assert_eq!(Source::of_token(source.token()), source);
        }
    }
}

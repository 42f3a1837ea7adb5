//! Readiness of streams, kernel sockets and events: epoll(7).

use std::{os::fd::AsFd, sync::Mutex, thread, time::Instant};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use super::pace::{GAP, Pace};
use crate::{kernel::descriptors, wire::SocketId};

/// Of all pollers of a process one looks at a time: the others leave their CPUs alone.
static LOOKING: Mutex<()> = Mutex::new(());

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
        ready.count = match timeout {
            EpollTimeout::ZERO => self.look(ready, timeout)?,
            _ => self.sleep(ready, timeout)?,
        };
        Ok(())
    }

    /// Waits, at first without sleeping where the client's pace makes that quicker.
    fn sleep(&self, ready: &mut Ready, timeout: EpollTimeout) -> Result<usize, Errno> {
        let began = Instant::now();
        let found = if ready.pace.looks() { self.look_on(ready, began)? } else { None };
        let looked = found.map(|_| began.elapsed());
        let count = match found {
            Some(count) if count > 0 => count,
            _ => self.look(ready, timeout)?,
        };
        ready.pace.waited(began.elapsed(), looked, ready.has_input(count));
        Ok(count)
    }

    /// Looks until something is ready, or the gap is too long; `None` while another poller does.
    fn look_on(&self, ready: &mut Ready, began: Instant) -> Result<Option<usize>, Errno> {
        let Ok(_looking) = LOOKING.try_lock() else { return Ok(None) };
        let mut count = 0;
        while count == 0 && began.elapsed() < GAP {
            // The client may be waiting for this CPU.
            thread::yield_now();
            count = self.look(ready, EpollTimeout::ZERO)?;
        }
        Ok(Some(count))
    }

    fn look(&self, ready: &mut Ready, timeout: EpollTimeout) -> Result<usize, Errno> {
        match self.0.wait(&mut ready.events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            other => other,
        }
    }
}

/// The sources that the last wait found ready, in memory that is reused.
#[derive(Debug, Default)]
pub(super) struct Ready {
    events: Vec<EpollEvent>,
    count: usize,
    pace: Pace,
}

impl Ready {
    fn has_input(&self, count: usize) -> bool {
        let input = Source::Input.token();
        self.events.iter().take(count).any(|event| event.data() == input)
    }

    /// The source at an index, and whether it has failed or its other end is closed.
    pub(super) fn get(&self, at: usize) -> Option<(Source, bool)> {
        let event = self.events.get(..self.count)?.get(at)?;
        let hangup = event.events().intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        Some((Source::of_token(event.data()), hangup))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_look_finds_what_a_sleep_would() {
        let poller = Poller::new().unwrap();
        let (input, mut feed) = std::io::pipe().unwrap();
        let (socket, mut datagram) = std::io::pipe().unwrap();
        let source = Source::Socket(SocketId(1));
        poller.watch_readable(&input, Source::Input).unwrap();
        poller.watch_readable(&socket, source).unwrap();
        let soon = || EpollTimeout::try_from(10).unwrap();
        let looks = || {
            let mut ready = Ready { pace: Pace::looking(), ..Ready::default() };
            ready.events.resize(8, EpollEvent::empty());
            ready
        };
        for is_other_looking in [false, true] {
            let looking = is_other_looking.then(|| LOOKING.lock().unwrap());
            let mut ready = looks();
            poller.wait(&mut ready, soon()).unwrap();
            assert!(ready.get(0).is_none());
            assert!(!ready.pace.looks());
            feed.write_all(b"x").unwrap();
            let mut ready = looks();
            poller.wait(&mut ready, soon()).unwrap();
            assert_eq!(ready.get(0), Some((Source::Input, false)));
            (&input).read_exact(&mut [0]).unwrap();
            // Events are no requests: nobody waits for the next.
            datagram.write_all(b"x").unwrap();
            let mut ready = looks();
            poller.wait(&mut ready, soon()).unwrap();
            assert_eq!(ready.get(0), Some((source, false)));
            assert!(!ready.pace.looks());
            (&socket).read_exact(&mut [0]).unwrap();
            drop(looking);
        }
        // One looks at a time.
        let looking = LOOKING.lock().unwrap();
        assert_eq!(poller.look_on(&mut looks(), Instant::now()).unwrap(), None);
        drop(looking);
        feed.write_all(b"x").unwrap();
        let look = || poller.look_on(&mut looks(), Instant::now()).unwrap();
        // Stubs of other tests look, too.
        while look() != Some(1) {
            thread::yield_now();
        }
    }

    #[test]
    fn tokens_tell_sources_apart() {
        let sockets = [0, 1, 3, u32::MAX].map(|id| Source::Socket(SocketId(id)));
        let others = [Source::Input, Source::Output, Source::Completions, Source::Shutdown];
        for source in sockets.into_iter().chain(others) {
            assert_eq!(Source::of_token(source.token()), source);
        }
    }
}

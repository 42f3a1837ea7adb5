//! Waiting for the stream, for the kernel and for other threads, and for how long.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{EpollEvent, EpollFlags, EpollTimeout},
};

use super::{Engine, INPUT, OUTPUT, SHUTDOWN, Stage, WAKE, io_exit};
use crate::{stub::Exit, wire::SocketId};

impl Engine {
    /// Looks what there is to do, and waits for it if `may_block`.
    pub(super) fn wait(&mut self, may_block: bool) -> Result<(), Exit> {
        self.burst = 0;
        if !self.has_room() {
            return self.wait_for_stream(may_block);
        }
        self.watch_streams()?;
        let at_once = !may_block
            || self.always_readable && !self.is_paused()
            || self.sockets.has_ready()
            || !self.follow_up.is_empty()
            || !self.arrived.is_empty();
        let left = self.time_left()?;
        let timeout = match left {
            _ if at_once => EpollTimeout::ZERO,
            // A whole millisecond at least, or it would be waited for in a circle.
            Some(left) => {
                EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(io_exit("waiting", errno)),
        };
        for at in 0..count {
            let Some(event) = self.events.get(at) else { break };
            match event.data() {
                INPUT => self.readable = true,
                OUTPUT => self.output_hangup(event.events())?,
                WAKE => self.completions.take_into(&mut self.arrived),
                SHUTDOWN => return Err(Exit::Shutdown),
                token => self.sockets.readable(SocketId(token as u32), &self.epoll),
            }
        }
        if count == self.events.len() {
            // More is ready than one wait tells; a larger one sees all of it.
            self.events.resize((count * 2).min(4096), EpollEvent::empty());
        }
        Ok(())
    }

    /// Waits while the client does not read: then the kernel sockets are left alone, but frames
    /// are still taken in.
    fn wait_for_stream(&mut self, may_block: bool) -> Result<(), Exit> {
        let may_block = may_block && self.follow_up.is_empty();
        let timeout = match self.time_left()? {
            _ if !may_block => PollTimeout::ZERO,
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let readable = PollFlags::POLLIN;
        let paused = self.is_paused();
        // One that is paused is left out whole: its end would be told again and again.
        let input = if paused { self.shutdown.as_fd() } else { self.input.as_fd() };
        let mut fds = [
            PollFd::new(input, readable),
            PollFd::new(self.output.as_fd(), PollFlags::POLLOUT),
            PollFd::new(self.completions.as_fd(), readable),
            PollFd::new(self.shutdown.as_fd(), readable),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io_exit("waiting", errno)),
        }
        let [input, _, woken, shutdown] = fds.map(|fd| fd.any().unwrap_or(true));
        if shutdown {
            return Err(Exit::Shutdown);
        }
        self.readable |= input && !paused;
        if woken {
            self.completions.take_into(&mut self.arrived);
        }
        Ok(())
    }

    /// The time that the client has left to say something; none where it has all the time.
    fn time_left(&mut self) -> Result<Option<Duration>, Exit> {
        let deadline = match self.stage {
            Stage::Hello { deadline, .. } => deadline,
            Stage::Frames { silence: None, .. } => return Ok(None),
            Stage::Frames { silence: Some(silence), .. } => {
                if self.is_paused() {
                    // What it says now is not heard.
                    self.heard = Instant::now();
                }
                self.heard + silence
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        if matches!(self.stage, Stage::Frames { .. }) {
            // This side may just have had no time to listen.
            let mut input = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
            return match poll(&mut input, PollTimeout::ZERO) {
                Ok(0) => Err(Exit::ClientSilent),
                _ => Ok(Some(Duration::ZERO)),
            };
        }
        let text = match self.input.noise().as_str() {
            "" => "the client said nothing in time".to_owned(),
            noise => format!("the client did not say hello in time; it said: {noise:?}"),
        };
        Err(Exit::Handshake(text))
    }

    /// Asks for word of the input unless it is paused, and of the output as long as there is more
    /// for it.
    fn watch_streams(&mut self) -> Result<(), Exit> {
        let mut result = Ok(());
        if self.output.blocked != self.output_watched {
            self.output_watched = self.output.blocked;
            result = if self.output.blocked {
                self.epoll.add(&self.output, EpollEvent::new(EpollFlags::EPOLLOUT, OUTPUT))
            } else {
                self.epoll.delete(&self.output)
            };
        }
        let wanted = !self.is_paused() && !self.always_readable;
        if wanted != self.input_watched {
            self.input_watched = wanted;
            result = result.and(if wanted {
                self.epoll.add(&self.input, EpollEvent::new(EpollFlags::EPOLLIN, INPUT))
            } else {
                self.epoll.delete(&self.input)
            });
        }
        result.map_err(|errno| io_exit("watching the stream", errno))
    }

    fn output_hangup(&self, flags: EpollFlags) -> Result<(), Exit> {
        let gone = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if gone { Err(Exit::ClientGone) } else { Ok(()) }
    }
}

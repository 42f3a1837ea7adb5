//! The event loop of one connection.

use std::{mem::take, os::fd::AsFd, sync::Arc, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::EpollTimeout,
};

use super::{
    buffers::{ExchangeResults, IoBuffers},
    completions::Completions,
    config::Config,
    connection::Connection,
    exchange::Exchange,
    exit::Exit,
    memory::{Memory, RETRY},
    output::Output,
    place::Place,
    poller::{Poller, Ready, Source},
    reader::FrameReader,
    shutdown::Shutdown,
    streams::Streams,
    syscall::{Syscall, SyscallResult},
};
use crate::{
    kernel::{give_memory_back, only_look},
    limits::stub::{INPUT, LINGER},
    wire::{Failure, Flags, Message, SocketId},
};

/// Calls after which the stream and the kernel are looked at again, however many frames are left of
/// those that were read.
const BURST: u32 = 64;

/// How long a connection is quiet until the memory of its last burst is given back.
const IDLE: Duration = Duration::from_secs(1);

/// What a client is told that was silent for too long.
const SILENT: &str = "nothing came from this side for longer than its hello had promised";

/// The next thing to do for the thread that runs the engine.
pub(super) enum Next {
    /// Make this call with the engine unlocked, and give its result to [`Engine::returned`].
    Syscall(Syscall),
    /// Serving has ended; every socket is closed.
    Exit(Exit),
}

/// One connection, with its stream.
pub(super) struct Engine {
    // Made non-blocking after the reader and dropped before it, so that the mode comes back even if
    // both are one and the same socket or terminal.
    output: Output,
    reader: FrameReader,
    connection: Connection,
    poller: Arc<Poller>,
    ready: Ready,
    completions: Arc<Completions>,
    shutdown: Shutdown,
    memory: Memory,
    /// Calls since the last look at the stream and the kernel.
    burst: u32,
    /// Whether the last call was a receive turn.
    received: bool,
}

impl Engine {
    pub(super) fn new(
        streams: Streams,
        config: Config,
        place: Place,
        shutdown: Shutdown,
        completions: Arc<Completions>,
    ) -> Result<Self, Errno> {
        let Streams { mut output, mut reader } = streams;
        output.widen(&place.account);
        let poller = Arc::new(Poller::new()?);
        reader.watch(true, &poller)?;
        poller.watch_readable(&*completions, Source::Completions)?;
        poller.watch_readable(&shutdown, Source::Shutdown)?;
        let memory = Memory::new(&place.account);
        let (theirs, done) = (Arc::clone(&poller), Arc::clone(&completions));
        let mut connection = Connection::new(config, place, theirs, done);
        if let Some(terms) = reader.agreed() {
            connection.agree(terms);
        }
        Ok(Self {
            output,
            reader,
            connection,
            poller,
            ready: Ready::default(),
            completions,
            shutdown,
            memory,
            burst: 0,
            received: false,
        })
    }

    /// Takes from the calling thread, and those that it starts, what this connection must not do. To be
    /// called by each thread before it runs the engine.
    ///
    /// # Errors
    /// An exit: without that nothing may be served.
    pub(super) fn confine_thread(&self) -> Result<(), Exit> {
        match self.connection.is_read_only() {
            true => only_look().map_err(|failure| Exit::Io(failure.text)),
            false => Ok(()),
        }
    }

    /// Has the stream and the kernel looked at before anything else, for a thread that has taken the
    /// engine over.
    pub(super) fn look_first(&mut self) {
        self.burst = BURST;
    }

    /// Runs until there is a call to make, or serving ends. May be called by any thread.
    pub(super) fn next(&mut self, buffers: &mut IoBuffers) -> Next {
        match self.run(buffers) {
            Ok(syscall) => {
                self.burst += match &syscall {
                    Syscall::Exchange(exchange) => exchange.sends.max(1),
                    _ => 1,
                };
                Next::Syscall(syscall)
            }
            Err(exit) => {
                self.end(&exit);
                Next::Exit(exit)
            }
        }
    }

    /// Ends before any call is made, and tells the client why.
    pub(super) fn give_up(&mut self, text: &str) {
        self.end(&Exit::Violation(text.to_owned()));
    }

    /// Tells the client why the connection ends, where that is not its own doing, and closes
    /// everything.
    fn end(&mut self, exit: &Exit) {
        let reason = match exit {
            Exit::Violation(text) => Some((Errno::EPROTO, text.clone())),
            Exit::Shutdown => Some((Errno::EPROTO, "the stub was asked to shut down".to_owned())),
            // A client that was stopped, or behind a cut link, may be back.
            Exit::ClientSilent => Some((Errno::ETIMEDOUT, SILENT.to_owned())),
            Exit::Io(text) => Some((Errno::EIO, format!("the stub failed: {text}"))),
            // The refusal of the client's hello, behind the stub's own.
            Exit::Handshake(_) => Some((Errno::EPROTO, exit.to_string())),
            Exit::ClientGone | Exit::ClientFault(_) => None,
        };
        let lingers = reason.is_some();
        if let Some((errno, text)) = reason {
            let fault = Message::Fault(Failure { errno: errno as i32, text });
            fault.encode(SocketId::CONNECTION, Flags::NONE, &mut self.output.buffer);
        }
        // Before the sockets, whose closing may have to wait for the kernel.
        self.output.flush_last();
        self.connection.clear();
        if lingers {
            self.output.linger(LINGER);
        }
    }

    fn run(&mut self, buffers: &mut IoBuffers) -> Result<Syscall, Exit> {
        loop {
            if let Some(syscall) = self.connection.next_follow_up() {
                return Ok(syscall);
            }
            if let Some(exit) = self.connection.take_broken() {
                return Err(exit);
            }
            self.connection.settle(&mut self.output);
            if self.burst >= BURST {
                // A receive turn alternates with a burst of all other calls.
                let received = take(&mut self.received);
                self.output.flush()?;
                self.wait_up_to(Some(Duration::ZERO))?;
                if !received && let Some(syscall) = self.next_receive() {
                    return Ok(syscall);
                }
            }
            if let Some(syscall) = self.connection.next_queued(&self.output, buffers) {
                return Ok(syscall);
            }
            if let Some(syscall) = self.take_frames(buffers)? {
                return Ok(syscall);
            }
            if self.takes_more()? && self.reader.fill()? {
                continue;
            }
            if let Some(syscall) = self.next_receive() {
                return Ok(syscall);
            }
            self.output.flush()?;
            let swollen = buffers.is_swollen() || self.output.is_swollen();
            let found = self.wait_up_to(swollen.then_some(IDLE))?;
            if swollen && !found {
                buffers.release();
                self.output.release();
                give_memory_back();
            }
        }
    }

    /// Whether more frames may be taken in: the kernel and the client keep up, and there is memory.
    ///
    /// # Errors
    /// The exit of a client for which there was no memory for a long time.
    fn takes_more(&mut self) -> Result<bool, Exit> {
        // The buffer that each connection has is not counted.
        let input = self.reader.memory().saturating_sub(INPUT);
        let buffers = (input + self.output.len()) as u64;
        Ok(self.memory.count(self.connection.memory() + buffers)? && !self.connection.is_paused())
    }

    /// Whether frames are left in the stream until something has changed.
    fn is_paused(&self) -> bool {
        self.connection.is_paused() || self.memory.is_short()
    }

    /// The next receive turn, if the output has room for its datagrams.
    fn next_receive(&mut self) -> Option<Syscall> {
        if !self.output.has_room() {
            return None;
        }
        let syscall = self.connection.next_receive(&mut self.output);
        if syscall.is_some() {
            // Before the next receive turn, the poller finds other sockets that are readable.
            self.burst = BURST;
            self.received = true;
        }
        syscall
    }

    /// Takes in the frames that are in the input buffer, up to one that asks for a call.
    fn take_frames(&mut self, buffers: &mut IoBuffers) -> Result<Option<Syscall>, Exit> {
        if !self.reader.is_greeted() {
            match self.reader.greet()? {
                Some(terms) => {
                    self.connection.agree(terms);
                    self.confine_thread()?;
                }
                None => return Ok(None),
            }
        }
        loop {
            // The limit on unread answers holds within the frames of one read, too.
            if !self.output.has_room() {
                self.output.flush()?;
            }
            if !self.takes_more()? {
                return Ok(None);
            }
            let Some((header, payload)) = self.reader.next_frame()? else { return Ok(None) };
            let (connection, output) = (&mut self.connection, &mut self.output);
            let syscall = connection.on_frame(header, payload, output, buffers)?;
            if let Some(mut syscall) = syscall {
                if let Syscall::Exchange(exchange) = &mut syscall
                    && let Err(exit) = self.gather(exchange, buffers)
                {
                    // The sends that came before the violation are made first.
                    self.connection.set_broken(exit);
                }
                return Ok(Some(syscall));
            }
        }
    }

    /// Adds to an exchange the sends that follow its first one in the input and may be gathered with
    /// it: one system call makes all of them.
    fn gather(&mut self, exchange: &mut Exchange, buffers: &mut IoBuffers) -> Result<(), Exit> {
        while exchange.takes_more() {
            let next = self.reader.next_gathered(exchange.id)?;
            let Some((header, payload)) = next else { break };
            if !self.connection.gather(exchange, header, payload, &mut self.output, buffers)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes in the result of a call.
    pub(super) fn returned(&mut self, result: SyscallResult, results: &ExchangeResults) {
        self.connection.returned(result, results, &mut self.output);
    }

    /// Takes in the sources that are ready, and waits for one, up to a time where one is given. Gives
    /// whether there was one.
    fn wait_up_to(&mut self, at_most: Option<Duration>) -> Result<bool, Exit> {
        self.burst = 0;
        let may_block = at_most != Some(Duration::ZERO);
        if !self.output.has_room() {
            return self.wait_for_room(may_block).map(|()| true);
        }
        let paused = self.is_paused();
        let watched = self.output.watch(&self.poller);
        watched
            .and(self.reader.watch(!paused, &self.poller))
            .map_err(|errno| Exit::io("watching the stream", errno))?;
        let time_left = self.reader.time_left(paused)?;
        let at_once =
            !may_block || self.connection.has_work() || self.reader.is_unpollable() && !paused;
        let retry = self.memory.is_short().then_some(RETRY);
        let timeout = match time_left.into_iter().chain(at_most).chain(retry).min() {
            _ if at_once => EpollTimeout::ZERO,
            // A whole millisecond at least: a shorter time would be 0, and the loop busy.
            Some(left) => {
                EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        };
        let waited = self.poller.wait(&mut self.ready, timeout);
        waited.map_err(|errno| Exit::io("waiting", errno))?;
        let mut at = 0;
        while let Some((source, hangup)) = self.ready.get(at) {
            at += 1;
            match source {
                Source::Input => self.reader.set_readable(),
                Source::Output if hangup => return Err(Exit::ClientGone),
                Source::Output => {}
                Source::Completions => self.connection.fetch_completions(),
                Source::Shutdown => return Err(Exit::Shutdown),
                Source::Socket(id) => self.connection.readable(id),
            }
        }
        Ok(at > 0)
    }

    /// Waits while the client does not read: frames are still taken in then, but the kernel sockets
    /// are left alone.
    fn wait_for_room(&mut self, may_block: bool) -> Result<(), Exit> {
        let paused = self.is_paused();
        let retry = self.memory.is_short().then_some(RETRY);
        let timeout = match self.reader.time_left(paused)?.into_iter().chain(retry).min() {
            _ if !may_block || self.connection.has_follow_up() => PollTimeout::ZERO,
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let readable = PollFlags::POLLIN;
        // A paused input is left out whole: its end would be reported again and again.
        let input = if paused { self.shutdown.as_fd() } else { self.reader.as_fd() };
        let mut fds = [
            PollFd::new(input, readable),
            PollFd::new(self.output.as_fd(), PollFlags::POLLOUT),
            PollFd::new(self.completions.as_fd(), readable),
            PollFd::new(self.shutdown.as_fd(), readable),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Exit::io("waiting", errno)),
        }
        let [input, _, woken, shutdown] = fds.map(|fd| fd.any().unwrap_or(true));
        if shutdown {
            return Err(Exit::Shutdown);
        }
        if input && !paused {
            self.reader.set_readable();
        }
        if woken {
            self.connection.fetch_completions();
        }
        Ok(())
    }
}

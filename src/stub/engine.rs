//! The event loop of one connection.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};

use super::{
    Config, Exit, FAREWELL, Shutdown,
    input::{Input, ReadOutcome},
    output::Output,
    sockets::Sockets,
    syscall::{Batch, Done, Job, Scratch, SocketRequest},
    workers::{Completion, Completions, Workers},
};
use crate::{
    kernel::{KernelSocket, descriptors, failure, host_info},
    proto::{OpenOutcome, StubState, Violation},
    wire::{Failure, Flags, Hello, MARKER, Message, SocketId, hello::Role},
};

mod frames;
mod waiting;

const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const WAKE: u64 = 2;
const SHUTDOWN: u64 = 3;

/// Jobs after which the stream and the kernel are looked at again, however much is left of what
/// was read before.
const BURST: u32 = 64;

/// What the thread that runs the engine has to do next.
pub(super) enum Next {
    /// Do this job with the engine unlocked, and hand the result to [`Engine::done`].
    Job(Job),
    /// Serving has ended; every socket is closed.
    Exit(Exit),
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the client's hello; whether its marker has come.
    Hello { marker: bool, deadline: Instant },
    Frames {
        max_frame: u32,
        /// How long the client may be silent.
        silence: Option<Duration>,
    },
}

/// One connection.
pub(super) struct Engine {
    // Before the input: dropped in this order, both get the mode back that they had, even where
    // they are one and the same socket or terminal.
    output: Output,
    input: Input,
    config: Config,
    stage: Stage,
    hello: Hello,
    state: StubState,
    sockets: Sockets,
    handles: HashMap<u32, OwnedFd>,
    epoll: Epoll,
    completions: Arc<Completions>,
    workers: Workers,
    shutdown: Shutdown,
    /// Whether the output is registered for writability.
    output_watched: bool,
    /// Whether the input is registered: not while too much of what was read is unfinished.
    input_watched: bool,
    /// When the client was last heard, or was not listened to.
    heard: Instant,
    /// Jobs since the last look at the stream and the kernel.
    burst: u32,
    /// Whether the last job was a turn of receiving.
    turned: bool,
    /// Jobs that came of finishing others.
    follow_up: VecDeque<Job>,
    /// What was finished on other threads and is still to be taken in.
    arrived: VecDeque<Completion>,
    /// What ends it all, found where nothing can be returned.
    broken: Option<Exit>,
    /// Where a descriptor cannot be polled (a file, /dev/null), it counts as always readable.
    always_readable: bool,
    readable: bool,
    events: Vec<EpollEvent>,
}

impl Engine {
    pub(super) fn new(
        input: OwnedFd,
        output: OwnedFd,
        config: Config,
        shutdown: Shutdown,
        completions: Arc<Completions>,
    ) -> Result<Self, Errno> {
        let (input, output) = (Input::new(input)?, Output::new(output)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let epoll = Epoll(descriptors::raise(epoll.0)?);
        let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        let always_readable = match epoll.add(&input, readable(INPUT)) {
            Err(Errno::EPERM) => true,
            other => other.map(|()| false)?,
        };
        epoll.add(&*completions, readable(WAKE))?;
        epoll.add(&shutdown, readable(SHUTDOWN))?;
        let hello = Hello::new(Role::Stub, config.limits, Some(host_info()));
        let state = StubState::new(config.limits, config.send_window, config.max_queued);
        let deadline = Instant::now() + config.hello_timeout;
        let mut engine = Self {
            stage: Stage::Hello { marker: false, deadline },
            hello,
            state,
            sockets: Sockets::new(config.limits.max_frame),
            handles: HashMap::new(),
            input,
            output,
            epoll,
            workers: Workers::new(Arc::clone(&completions)),
            completions,
            shutdown,
            output_watched: false,
            input_watched: !always_readable,
            heard: Instant::now(),
            burst: 0,
            turned: false,
            follow_up: VecDeque::new(),
            arrived: VecDeque::new(),
            broken: None,
            always_readable,
            readable: false,
            events: vec![EpollEvent::empty(); 64],
            config,
        };
        engine.output.buffer.extend_from_slice(&MARKER);
        engine.hello.encode(&mut engine.output.buffer);
        Ok(engine)
    }

    /// Has the stream and the kernel looked at before anything else, as by a thread that has taken
    /// the engine over.
    pub(super) fn look_first(&mut self) {
        self.burst = BURST;
    }

    /// Runs until there is a job to do, or the end. May be called by any thread.
    pub(super) fn next(&mut self, scratch: &mut Scratch) -> Next {
        match self.run(scratch) {
            Ok(job) => {
                self.burst +=
                    if let Job::Exchange(exchange) = &job { exchange.sends.max(1) } else { 1 };
                Next::Job(job)
            }
            Err(exit) => {
                let told = match &exit {
                    Exit::Violation(text) => Some(text.clone()),
                    Exit::Shutdown => Some("the stub was asked to shut down".to_owned()),
                    _ => None,
                };
                if let Some(text) = &told {
                    let fault = Failure { errno: Errno::EPROTO as i32, text: text.clone() };
                    let out = &mut self.output.buffer;
                    Message::Fault(fault).encode(SocketId::CONNECTION, Flags::NONE, out);
                }
                // Before the sockets, whose closing may have to wait for the kernel.
                let _ = self.output.flush();
                self.sockets.clear();
                self.follow_up.clear();
                self.arrived.clear();
                self.handles.clear();
                if told.is_some() {
                    self.farewell();
                }
                Next::Exit(exit)
            }
        }
    }

    fn run(&mut self, scratch: &mut Scratch) -> Result<Job, Exit> {
        loop {
            if let Some(job) = self.follow_up.pop_front() {
                return Ok(job);
            }
            if let Some(exit) = self.broken.take() {
                return Err(exit);
            }
            self.settle();
            if self.burst >= BURST {
                // A turn of receiving and a burst of everything else come one after the other.
                let turned = std::mem::take(&mut self.turned);
                self.flush()?;
                self.wait(false)?;
                if !turned && let Some(job) = self.turn() {
                    return Ok(job);
                }
            }
            let room = self.has_room();
            if let Some(job) = self.sockets.next_send(room, &self.state, scratch) {
                return Ok(job);
            }
            if let Some(job) = self.take_frames(scratch)? {
                return Ok(job);
            }
            if !self.is_paused() && (std::mem::take(&mut self.readable) || self.always_readable) {
                match self.input.fill().map_err(|errno| io_exit("reading", errno))? {
                    ReadOutcome::Progress => {
                        self.heard = Instant::now();
                        continue;
                    }
                    ReadOutcome::Blocked => {}
                    ReadOutcome::End => return Err(self.end_of_input()),
                }
            }
            if let Some(job) = self.turn() {
                return Ok(job);
            }
            self.flush()?;
            self.wait(true)?;
        }
    }

    /// The next socket's turn of receiving, if there is room for what it gives.
    fn turn(&mut self) -> Option<Job> {
        if !self.has_room() {
            return None;
        }
        let job = self.sockets.next_turn(&self.state, &mut self.output.buffer);
        if job.is_some() {
            // Before the next turn it is seen who else has become readable, and has something.
            self.burst = BURST;
            self.turned = true;
        }
        job
    }

    /// Whether no more frames are taken in, because the kernel has enough to do. It goes on by
    /// itself: what is counted are whole sends, each of which is being made or comes next.
    fn is_paused(&self) -> bool {
        self.state.queued() > self.config.max_queued
    }

    fn watch(&mut self, id: SocketId) {
        if let Err(errno) = self.sockets.watch(id, &self.state, &self.epoll) {
            self.broken = Some(io_exit("watching a socket", errno));
        }
    }

    fn opened(
        &mut self,
        id: SocketId,
        result: Result<(KernelSocket, crate::wire::Opened), Failure>,
    ) {
        let (socket, result) = match result {
            Ok((socket, opened)) => (Some(socket), Ok(opened)),
            Err(failure) => (None, Err(failure)),
        };
        match (self.state.opened(id, result, &mut self.output.buffer), socket) {
            (OpenOutcome::Keep, Some(socket)) => {
                self.sockets.insert(id, socket);
                self.watch(id);
            }
            (OpenOutcome::Keep, None) => {}
            (OpenOutcome::Close, Some(socket)) => {
                self.follow_up.push_back(Job::Close(id, Arc::new(socket)));
            }
            (OpenOutcome::Close, None) => {
                self.state.closed(id, 0, &mut self.output.buffer);
            }
        }
    }

    /// Takes in what a job came to.
    pub(super) fn done(&mut self, done: Done, batch: &Batch) {
        let out = &mut self.output.buffer;
        let (id, follow_up) = match done {
            Done::Exchange(exchange, drained) => {
                let id = exchange.id;
                let state = &mut self.state;
                (id, self.sockets.exchanged(exchange, drained, batch, state, out))
            }
            Done::Request(SocketRequest { id, socket, request, .. }, result) => {
                drop(socket);
                let result = result.as_ref().map(Vec::as_slice);
                self.state.reply(id, request, result, out);
                (id, self.sockets.requested(id))
            }
            Done::Open(id, result) => return self.opened(id, result),
            Done::Close(id, dropped) => {
                self.state.closed(id, dropped, out);
                return;
            }
        };
        self.follow_up.extend(follow_up);
        self.watch(id);
    }

    /// Whether kernel sockets may be read: whether the client takes what was read before.
    fn has_room(&self) -> bool {
        self.output.len() <= self.config.output_high_water
    }

    fn flush(&mut self) -> Result<(), Exit> {
        match self.output.flush() {
            Ok(()) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Exit::ClientGone),
            Err(errno) => return Err(io_exit("writing", errno)),
        }
        if self.output.len() > self.config.output_limit {
            let limit = self.config.output_limit as u64;
            return Err(violation(Violation::TooMany {
                what: "bytes of answers left unread",
                limit,
            }));
        }
        Ok(())
    }

    /// Takes in what was finished on other threads. What was received there waits for room in the
    /// output: many slow jobs may end at the same time, and none of them is the client's fault.
    fn settle(&mut self) {
        while let Some(next) = self.arrived.front() {
            let brings = matches!(next, Completion::Done(_, batch) if !batch.items.is_empty());
            if brings && !self.has_room() {
                return;
            }
            match self.arrived.pop_front() {
                Some(Completion::Done(done, batch)) => {
                    self.done(done, &batch);
                    self.completions.give_back(batch);
                }
                Some(Completion::Opened(id, result)) => {
                    self.workers.finished();
                    self.opened(id, result);
                }
                Some(Completion::Netns { request, result }) => {
                    self.workers.finished();
                    self.netns_done(request, result);
                }
                None => return,
            }
        }
    }

    fn netns_done(&mut self, request: u32, result: Result<(Vec<u8>, Option<OwnedFd>), Failure>) {
        let limit = self.config.limits.max_sockets as usize;
        let result = match result {
            Ok((_, Some(_))) if self.handles.len() >= limit => {
                Err(failure(Errno::EMFILE, format_args!("more than {limit} namespaces kept open")))
            }
            Ok((value, handle)) => {
                if let Some(fd) = handle {
                    self.handles.insert(u32::try_from(fd.as_raw_fd()).unwrap_or_default(), fd);
                }
                Ok(value)
            }
            Err(failure) => Err(failure),
        };
        let result = result.as_ref().map(Vec::as_slice);
        self.state.reply(SocketId::CONNECTION, request, result, &mut self.output.buffer);
    }

    fn end_of_input(&self) -> Exit {
        match self.stage {
            Stage::Hello { .. } if !self.input.noise().is_empty() => Exit::Handshake(format!(
                "the stream ended without the protocol's marker; what came was: {:?}",
                self.input.noise()
            )),
            Stage::Frames { .. } if self.input.is_midframe() => {
                Exit::Io("the stream ended in the middle of a frame".to_owned())
            }
            _ => Exit::ClientGone,
        }
    }

    /// Gives the client time to read why it is cut off, if it cares to.
    fn farewell(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        while self.output.flush().is_ok() && self.output.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLOUT)];
            if left.is_zero() || !matches!(poll(&mut fds, timeout), Ok(1)) {
                return;
            }
        }
    }
}

fn io_exit(about: &str, errno: Errno) -> Exit {
    Exit::Io(format!("{about}: {}", errno.desc()))
}

fn violation(violation: Violation) -> Exit {
    Exit::Violation(violation.to_string())
}

//! The event loop of one connection.

use std::{
    collections::HashMap,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use super::{
    Config, Exit, FAREWELL, Shutdown,
    input::{Input, ReadOutcome},
    output::Output,
    sockets::{SendJob, Sockets},
    work::{Completion, Completions, Task, Workers, is_quick},
};
use crate::{
    kernel::{KernelSocket, descriptors, host_info, netns::failure},
    proto::{OpenOutcome, StubAction, StubState, Violation},
    wire::{
        Failure, Flags, Hello, MARKER, Message, Netns, NetnsRequest, Open, SocketId,
        hello::{PeerLimits, Role},
    },
};

const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const WAKE: u64 = 2;
const SHUTDOWN: u64 = 3;

/// What the thread that runs the engine has to do next.
pub(super) enum Next {
    /// Make this send, its bytes being in the scratch buffer, with the engine unlocked, and hand
    /// the result to [`Engine::sent`].
    Send(SendJob),
    /// Serving has ended; every socket is closed.
    Exit(Exit),
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the client's hello; whether its marker has come.
    Hello {
        marker: bool,
        deadline: Instant,
    },
    Frames {
        max_frame: u32,
    },
}

/// One connection.
pub(super) struct Engine {
    config: Config,
    stage: Stage,
    hello: Hello,
    state: StubState,
    sockets: Sockets,
    handles: HashMap<u32, OwnedFd>,
    input: Input,
    output: Output,
    epoll: Epoll,
    completions: Arc<Completions>,
    workers: Workers,
    shutdown: Shutdown,
    /// Whether the output is registered for writability.
    output_watched: bool,
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
            sockets: Sockets::new(),
            handles: HashMap::new(),
            input,
            output,
            epoll,
            workers: Workers::new(Arc::clone(&completions)),
            completions,
            shutdown,
            output_watched: false,
            always_readable,
            readable: false,
            events: vec![EpollEvent::empty(); 64],
            config,
        };
        engine.output.buffer.extend_from_slice(&MARKER);
        engine.hello.encode(&mut engine.output.buffer);
        Ok(engine)
    }

    /// Runs until there is a send to make, or the end. May be called by any thread.
    pub(super) fn next(&mut self, scratch: &mut Vec<u8>) -> Next {
        match self.run(scratch) {
            Ok(job) => Next::Send(job),
            Err(exit) => {
                if let Exit::Violation(text) = &exit {
                    self.farewell(text.clone());
                }
                self.sockets.clear();
                self.handles.clear();
                let _ = self.output.flush();
                Next::Exit(exit)
            }
        }
    }

    fn run(&mut self, scratch: &mut Vec<u8>) -> Result<SendJob, Exit> {
        loop {
            if let Some(job) = self.sockets.next_send(scratch) {
                return Ok(job);
            }
            if let Some(job) = self.take_frames(scratch)? {
                return Ok(job);
            }
            if std::mem::take(&mut self.readable) || self.always_readable {
                match self.input.fill().map_err(|errno| io_exit("reading", errno))? {
                    ReadOutcome::Progress => continue,
                    ReadOutcome::Blocked => {}
                    ReadOutcome::End => return Err(self.end_of_input()),
                }
            }
            self.flush()?;
            self.wait()?;
        }
    }

    /// Takes in the frames that are in the input buffer; stops at a send that is to be made.
    fn take_frames(&mut self, scratch: &mut Vec<u8>) -> Result<Option<SendJob>, Exit> {
        let max_frame = match &mut self.stage {
            Stage::Frames { max_frame } => *max_frame,
            Stage::Hello { marker, .. } => {
                let handshake = |error: String| Exit::Handshake(error);
                let hello = self.input.hello(marker).map_err(|e| handshake(e.to_string()))?;
                let Some(hello) = hello else { return Ok(None) };
                let agreed = self.hello.agree(&hello).map_err(|e| handshake(e.to_string()))?;
                let limits = PeerLimits { max_frame: agreed.1, ..self.config.limits };
                self.state =
                    StubState::new(limits, self.config.send_window, self.config.max_queued);
                self.stage = Stage::Frames { max_frame: agreed.1 };
                agreed.1
            }
        };
        loop {
            // A client that asks and does not read is held against its limit here, so that it
            // cannot fill the buffer with one read's worth of small requests either.
            if !self.has_room() {
                self.flush()?;
            }
            let frame = self.input.frame(max_frame).map_err(Violation::from).map_err(violation)?;
            let Some((header, payload)) = frame else { return Ok(None) };
            let out = &mut self.output.buffer;
            let action = self.state.on_frame(header, payload, out).map_err(violation)?;
            let task = match action {
                StubAction::None => continue,
                StubAction::Send { socket, serial, confirm, destination, data } => {
                    match self.sockets.send(socket, serial, confirm, destination, &data, scratch) {
                        Some(job) => return Ok(Some(job)),
                        None => continue,
                    }
                }
                StubAction::OptionSet { socket, request, level, name, value } => {
                    let result = match self.sockets.socket(socket) {
                        Some(kernel) => kernel.set_option(level, name, value),
                        None => Err(Errno::EBADF),
                    };
                    let about = format_args!("setting option {name} of level {level}").to_string();
                    self.reply(socket, request, result.map(|()| Vec::new()), &about);
                    continue;
                }
                StubAction::OptionGet { socket, request, level, name, capacity } => {
                    let result = match self.sockets.socket(socket) {
                        // Netlink's longest option is the list of memberships: a bit a group.
                        Some(kernel) => kernel.option(level, name, capacity.min(64 << 10) as usize),
                        None => Err(Errno::EBADF),
                    };
                    let about = format_args!("reading option {name} of level {level}").to_string();
                    self.reply(socket, request, result, &about);
                    continue;
                }
                StubAction::Membership { socket, request, group, join } => {
                    let result = match self.sockets.socket(socket) {
                        Some(kernel) if join => kernel.join(group),
                        Some(kernel) => kernel.leave(group),
                        None => Err(Errno::EBADF),
                    };
                    let verb = if join { "joining" } else { "leaving" };
                    let about = format!("{verb} multicast group {group}");
                    self.reply(socket, request, result.map(|()| Vec::new()), &about);
                    continue;
                }
                StubAction::Credit(id) => {
                    self.watch(id)?;
                    continue;
                }
                StubAction::Close(id) => {
                    self.close(id);
                    continue;
                }
                StubAction::Fault(failure) => return Err(Exit::ClientFault(failure.text)),
                StubAction::Open(id, open) if is_quick(&open) => {
                    let result = KernelSocket::open(&open, None);
                    self.opened(id, result)?;
                    continue;
                }
                StubAction::Open(id, open) => match self.resolve(&open) {
                    Ok(handle) => Task::Open(id, open, handle),
                    Err(failure) => {
                        self.opened(id, Err(failure))?;
                        continue;
                    }
                },
                StubAction::Netns { request, operation: NetnsRequest::Close(fd) } => {
                    let result = self.handles.remove(&fd).map(|_| Vec::new()).ok_or(Errno::EBADF);
                    let about = format!("closing the namespace opened as descriptor {fd}");
                    self.reply(SocketId::CONNECTION, request, result, &about);
                    continue;
                }
                StubAction::Netns { request, operation } => Task::Netns(request, operation),
            };
            self.workers.start(task);
        }
    }

    /// A descriptor of its own for a namespace that this connection has open.
    fn resolve(&self, open: &Open) -> Result<Option<OwnedFd>, Failure> {
        let Netns::Handle(fd) = open.netns else { return Ok(None) };
        let copy = self.handles.get(&fd).ok_or(Errno::EBADF).and_then(|handle| {
            let copy = handle.try_clone();
            copy.map_err(|error| error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw))
        });
        copy.map(Some).map_err(|errno| failure(errno, &open.netns))
    }

    fn reply(
        &mut self,
        socket: SocketId,
        request: u32,
        result: Result<Vec<u8>, Errno>,
        about: &str,
    ) {
        let result = result.map_err(|errno| failure(errno, about));
        let result = result.as_ref().map(Vec::as_slice);
        self.state.reply(socket, request, result, &mut self.output.buffer);
    }

    fn watch(&mut self, id: SocketId) -> Result<(), Exit> {
        let result = self.sockets.watch(id, &self.state, &self.epoll);
        result.map_err(|errno| io_exit("watching a socket", errno))
    }

    fn opened(
        &mut self,
        id: SocketId,
        result: Result<(KernelSocket, crate::wire::Opened), Failure>,
    ) -> Result<(), Exit> {
        let (socket, result) = match result {
            Ok((socket, opened)) => (Some(socket), Ok(opened)),
            Err(failure) => (None, Err(failure)),
        };
        match (self.state.opened(id, result, &mut self.output.buffer), socket) {
            (OpenOutcome::Keep, Some(socket)) => {
                self.sockets.insert(id, socket);
                self.watch(id)
            }
            (OpenOutcome::Keep, None) => Ok(()),
            (OpenOutcome::Close, _) => {
                self.state.closed(id, 0, &mut self.output.buffer);
                Ok(())
            }
        }
    }

    fn close(&mut self, id: SocketId) {
        let there = self.sockets.socket(id).is_some();
        // One still being opened is closed by `opened`, one in a send by `sent`.
        if there && self.sockets.close(id, &mut self.state, &self.epoll) {
            let dropped = self.sockets.remove(id);
            self.state.closed(id, dropped, &mut self.output.buffer);
        }
    }

    /// Takes in how a send ended.
    pub(super) fn sent(&mut self, job: &SendJob, result: Result<(), Errno>, nanoseconds: u64) {
        let room = self.has_room();
        let (state, out) = (&mut self.state, &mut self.output.buffer);
        if self.sockets.sent(job, result, nanoseconds, room, state, out) {
            let dropped = self.sockets.remove(job.id);
            self.state.closed(job.id, dropped, &mut self.output.buffer);
        } else {
            // Failing to watch would be a broken epoll, which `wait` will tell.
            let _ = self.sockets.watch(job.id, &self.state, &self.epoll);
        }
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

    /// Waits for something to do, and does what is not the input's.
    fn wait(&mut self) -> Result<(), Exit> {
        if !self.has_room() {
            return self.wait_for_stream();
        }
        let owing = self.settle()?;
        self.watch_output()?;
        let timeout = self.timeout()?;
        let timeout = if owing || self.always_readable { EpollTimeout::ZERO } else { timeout };
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
                WAKE => self.complete()?,
                SHUTDOWN => return Err(Exit::Shutdown),
                token => {
                    let id = SocketId(token as u32);
                    self.sockets.turn(id, &mut self.state, &mut self.output.buffer);
                    self.watch(id)?;
                    if !self.has_room() {
                        self.flush()?;
                        if !self.has_room() {
                            break;
                        }
                    }
                }
            }
        }
        if count == self.events.len() {
            // More sockets are ready than one wait tells; a larger one takes them in turn.
            self.events.resize((count * 2).min(1024), EpollEvent::empty());
        }
        Ok(())
    }

    /// Brings the sockets that owe an answer to a confirmed send closer to it; true if some still
    /// do. They are not left to epoll, which is silent about one whose queue has become empty.
    fn settle(&mut self) -> Result<bool, Exit> {
        for id in self.sockets.owing() {
            self.sockets.turn(id, &mut self.state, &mut self.output.buffer);
            self.watch(id)?;
        }
        if self.sockets.is_owing() || self.output.len() > 0 && !self.output.blocked {
            self.flush()?;
        }
        Ok(self.sockets.is_owing())
    }

    /// Waits while the client does not read: then the kernel sockets are left alone, but frames
    /// are still taken in.
    fn wait_for_stream(&mut self) -> Result<(), Exit> {
        let readable = PollFlags::POLLIN;
        let mut fds = [
            PollFd::new(self.input.as_fd(), readable),
            PollFd::new(self.output.as_fd(), PollFlags::POLLOUT),
            PollFd::new(self.completions.as_fd(), readable),
            PollFd::new(self.shutdown.as_fd(), readable),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io_exit("waiting", errno)),
        }
        let [input, _, woken, shutdown] = fds.map(|fd| fd.any().unwrap_or(true));
        if shutdown {
            return Err(Exit::Shutdown);
        }
        self.readable = input;
        if woken { self.complete() } else { Ok(()) }
    }

    fn timeout(&self) -> Result<EpollTimeout, Exit> {
        let Stage::Hello { deadline, .. } = &self.stage else { return Ok(EpollTimeout::NONE) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Exit::Handshake("the client said nothing in time".to_owned()));
        }
        Ok(EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX))
    }

    /// Asks for word when the output takes more, as long as there is more for it.
    fn watch_output(&mut self) -> Result<(), Exit> {
        if self.output.blocked == self.output_watched {
            return Ok(());
        }
        self.output_watched = self.output.blocked;
        let result = if self.output.blocked {
            self.epoll.add(&self.output, EpollEvent::new(EpollFlags::EPOLLOUT, OUTPUT))
        } else {
            self.epoll.delete(&self.output)
        };
        result.map_err(|errno| io_exit("watching the output", errno))
    }

    fn output_hangup(&self, flags: EpollFlags) -> Result<(), Exit> {
        let gone = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if gone { Err(Exit::ClientGone) } else { Ok(()) }
    }

    fn complete(&mut self) -> Result<(), Exit> {
        for completion in self.completions.take() {
            match completion {
                Completion::Sent(job, result, nanoseconds) => self.sent(&job, result, nanoseconds),
                Completion::Opened(id, result) => {
                    self.workers.finished();
                    self.opened(id, result)?;
                }
                Completion::Netns { request, result } => {
                    self.workers.finished();
                    self.netns_done(request, result);
                }
            }
        }
        Ok(())
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

    /// Tells the client why it is cut off, if it cares to read.
    fn farewell(&mut self, text: String) {
        let fault = Message::Fault(Failure { errno: Errno::EPROTO as i32, text });
        fault.encode(SocketId::CONNECTION, Flags::NONE, &mut self.output.buffer);
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

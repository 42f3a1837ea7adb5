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
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use super::{
    Config, Exit, FAREWELL, Shutdown,
    input::{Input, ReadOutcome},
    job::{Batch, Done, Exchange, Job, Operation, Scratch, SendPart, SocketRequest},
    output::Output,
    sockets::Sockets,
    work::{Completion, Completions, Task, Workers, is_quick},
};
use crate::{
    kernel::{KernelSocket, descriptors, host_info, netns::failure},
    proto::{OpenOutcome, StubAction, StubState, Violation},
    wire::{
        Failure, Flags, FrameType, Hello, MARKER, Message, Netns, NetnsRequest, SocketId,
        hello::{PeerLimits, Role},
    },
};

const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const WAKE: u64 = 2;
const SHUTDOWN: u64 = 3;

/// Jobs after which the stream and the kernel are looked at again, however much is left of what
/// was read before.
const BURST: u32 = 64;

/// Bytes of an option's value that may be asked for. Netlink's longest is a bit for each group.
const OPTION_CAPACITY: u32 = 16 << 10;

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

    /// Takes in the frames that are in the input buffer; stops at a job that is to be done.
    fn take_frames(&mut self, scratch: &mut Scratch) -> Result<Option<Job>, Exit> {
        let max_frame = match &mut self.stage {
            Stage::Frames { max_frame, .. } => *max_frame,
            Stage::Hello { marker, .. } => {
                let handshake = |error: String| Exit::Handshake(error);
                let hello = self.input.hello(marker).map_err(|e| handshake(e.to_string()))?;
                let Some(hello) = hello else { return Ok(None) };
                let agreed = self.hello.agree(&hello).map_err(|e| handshake(e.to_string()))?;
                let limits = PeerLimits { max_frame: agreed.1, ..self.config.limits };
                self.state =
                    StubState::new(limits, self.config.send_window, self.config.max_queued);
                self.sockets = Sockets::new(agreed.1);
                self.stage = Stage::Frames { max_frame: agreed.1, silence: hello.silence };
                agreed.1
            }
        };
        loop {
            // A client that asks and does not read is held against its limit here, so that it
            // cannot fill the buffer with one read's worth of small requests either.
            if !self.has_room() {
                self.flush()?;
            }
            if self.is_paused() {
                return Ok(None);
            }
            let frame = self.input.frame(max_frame).map_err(Violation::from).map_err(violation)?;
            let Some((header, payload)) = frame else { return Ok(None) };
            let out = &mut self.output.buffer;
            let action = self.state.on_frame(header, payload, out).map_err(violation)?;
            let (task, job) = match action {
                StubAction::None => (None, None),
                StubAction::Send { socket, serial, confirm, destination, data } => {
                    let part = SendPart { serial, confirm, destination, length: data.len() };
                    let room = self.output.len() <= self.config.output_high_water;
                    let (sockets, state) = (&mut self.sockets, &self.state);
                    let mut job = sockets.send(socket, part, &data, room, state, scratch);
                    if let Some(Job::Exchange(exchange)) = &mut job
                        && let Err(exit) = self.gather(exchange, max_frame, scratch)
                    {
                        // What came before it is sent first.
                        self.broken = Some(exit);
                    }
                    (None, job)
                }
                StubAction::OptionSet { socket, request, level, name, value } => {
                    let operation = Operation::Set { level, name, value: value.to_vec() };
                    (None, self.sockets.request(socket, request, operation))
                }
                StubAction::OptionGet { socket, request, level, name, capacity } => {
                    let capacity = capacity.min(OPTION_CAPACITY) as usize;
                    let operation = Operation::Get { level, name, capacity };
                    (None, self.sockets.request(socket, request, operation))
                }
                StubAction::Membership { socket, request, group, join } => {
                    let operation =
                        if join { Operation::Join(group) } else { Operation::Leave(group) };
                    (None, self.sockets.request(socket, request, operation))
                }
                StubAction::Credit(id) => {
                    self.watch(id);
                    (None, None)
                }
                // One that is still being opened is closed by `opened`.
                StubAction::Close(id) => {
                    let (state, out) = (&mut self.state, &mut self.output.buffer);
                    (None, self.sockets.close(id, state, &self.epoll, out))
                }
                StubAction::Fault(failure) => return Err(Exit::ClientFault(failure.text)),
                StubAction::Open(id, open) if is_quick(&open) => {
                    (None, Some(Job::Open(id, Box::new(open))))
                }
                StubAction::Open(id, open) => match self.resolve(&open.netns) {
                    Ok(handle) => (Some(Task::Open(id, open, handle)), None),
                    Err(failure) => {
                        self.opened(id, Err(failure));
                        (None, None)
                    }
                },
                StubAction::Netns { request, operation } => (self.netns(request, operation), None),
            };
            if let Some(task) = task {
                self.workers.start(task);
            }
            if job.is_some() {
                return Ok(job);
            }
        }
    }

    /// Has an exchange with a plain send also make those of its kind that came right behind it on
    /// the same socket: that is one system call for all of them.
    fn gather(
        &mut self,
        exchange: &mut Exchange,
        max_frame: u32,
        scratch: &mut Scratch,
    ) -> Result<(), Exit> {
        let id = exchange.id;
        while exchange.takes_more() {
            let next = self.input.next_header(max_frame);
            if !next.is_some_and(|next| (next.socket, next.frame_type) == (id, FrameType::Send)) {
                break;
            }
            let frame = self.input.frame(max_frame).map_err(Violation::from).map_err(violation)?;
            let Some((header, payload)) = frame else { break };
            let out = &mut self.output.buffer;
            let action = self.state.on_frame(header, payload, out).map_err(violation)?;
            let StubAction::Send { socket, serial, confirm, destination, data } = action else {
                // A piece of one.
                continue;
            };
            let part = SendPart { serial, confirm, destination, length: data.len() };
            if part.plain_kind(&data) != exchange.kind {
                // It waits for this one.
                self.sockets.send(socket, part, &data, false, &self.state, scratch);
                break;
            }
            Sockets::send_too(exchange, part, &data, &self.state, scratch);
        }
        Ok(())
    }

    /// A request on namespaces: answered, or made a task for a worker.
    fn netns(&mut self, request: u32, operation: NetnsRequest) -> Option<Task> {
        let result = match operation {
            NetnsRequest::Close(fd) => match self.handles.remove(&fd) {
                Some(_) => Ok(()),
                None => Err(failure(Errno::EBADF, Netns::Handle(fd))),
            },
            NetnsRequest::Open(ref netns, _) => match self.resolve(netns) {
                Ok(handle) => return Some(Task::Netns(request, operation, handle)),
                Err(failure) => Err(failure),
            },
            operation => return Some(Task::Netns(request, operation, None)),
        };
        let result = result.as_ref().map(|()| &[][..]);
        self.state.reply(SocketId::CONNECTION, request, result, &mut self.output.buffer);
        None
    }

    /// A descriptor of its own for a namespace that this connection has open.
    fn resolve(&self, netns: &Netns) -> Result<Option<OwnedFd>, Failure> {
        let Netns::Handle(fd) = netns else { return Ok(None) };
        let copy = self.handles.get(fd).ok_or(Errno::EBADF).and_then(|handle| {
            let copy = handle.try_clone();
            copy.map_err(|error| error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw))
        });
        copy.map(Some).map_err(|errno| failure(errno, netns))
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

    /// Looks what there is to do, and waits for it if `may_block`.
    fn wait(&mut self, may_block: bool) -> Result<(), Exit> {
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

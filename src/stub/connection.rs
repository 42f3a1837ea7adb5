//! A connection without its stream: the client's frames become system calls for the I/O thread or
//! tasks for workers, and the results of these become frames in the output.

use std::{collections::VecDeque, sync::Arc};

use super::{
    audit::Audit,
    budget::{Account, Held, Resource},
    buffers::{ExchangeResults, IoBuffers, SendHeader},
    completions::{Completion, Completions, NetnsDone},
    config::Config,
    exchange::Exchange,
    exit::Exit,
    handles::NetnsHandles,
    open_socket::OpenSocket,
    option_request::Operation,
    output::Output,
    place::Place,
    poller::Poller,
    reader::Terms,
    sockets::SocketTable,
    syscall::{Syscall, SyscallResult},
    task::{Task, is_quick},
    workers::Workers,
};
use crate::{
    proto::{OpenOutcome, StubAction, StubState},
    wire::{
        DRAINED, FILE, Failure, Header, MAX_OPTION, NetnsRequest, OWN_LEVEL, Open, Opened,
        SocketId, SocketOption, hello::PeerLimits,
    },
};

pub(super) struct Connection {
    config: Config,
    account: Account,
    audit: Audit,
    state: StubState,
    sockets: SocketTable,
    handles: NetnsHandles,
    workers: Workers,
    poller: Arc<Poller>,
    completions: Arc<Completions>,
    /// Completions that are still to be taken in.
    arrived: VecDeque<Completion>,
    /// Bytes of the memory of those.
    arrived_bytes: u64,
    /// Calls that follow from the results of others.
    follow_up: VecDeque<Syscall>,
    /// An exit, found where none can be returned.
    broken: Option<Exit>,
    /// Those of the stream and the poller.
    _descriptors: Held,
}

impl Connection {
    pub(super) fn new(
        config: Config,
        place: Place,
        poller: Arc<Poller>,
        completions: Arc<Completions>,
    ) -> Self {
        let limits = config.limits;
        let Place { account, pool, audit, descriptors } = place;
        Self {
            state: new_state(&config, limits.max_frame),
            sockets: SocketTable::new(limits.max_frame, Arc::clone(&poller)),
            handles: NetnsHandles::new(limits.max_sockets, account.clone()),
            workers: Workers::new(
                config.access.clone(),
                pool,
                account.clone(),
                Arc::clone(&completions),
            ),
            poller,
            completions,
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            follow_up: VecDeque::new(),
            broken: None,
            account,
            audit,
            _descriptors: descriptors,
            config,
        }
    }

    /// Takes in what the hellos agree on. To be called before any frame comes.
    pub(super) fn agree(&mut self, terms: Terms) {
        let max_frame = terms.max_frame;
        if terms.read_only {
            self.workers.set_read_only();
        }
        self.state = new_state(&self.config, max_frame);
        self.sockets = SocketTable::new(max_frame, Arc::clone(&self.poller));
    }

    /// Whether the connection is to change nothing.
    pub(super) fn is_read_only(&self) -> bool {
        self.workers.access().read_only
    }

    /// Has the connection end with this exit, once the calls begun before have been made.
    pub(super) fn set_broken(&mut self, exit: Exit) {
        self.broken = Some(exit);
    }

    /// The exit of a connection that is broken.
    pub(super) fn take_broken(&mut self) -> Option<Exit> {
        self.broken.take()
    }

    /// Bytes of what waits: for the kernel, for the rest of it, and to be taken in.
    pub(super) fn memory(&self) -> u64 {
        self.state.waiting() + self.state.incomplete() + self.arrived_bytes
    }

    /// Whether no more frames are read, because too much waits. That passes without them: each send,
    /// open and request is being made or is next, and what other threads have received waits for the
    /// client to read alone.
    pub(super) fn is_paused(&self) -> bool {
        self.state.waiting() + self.arrived_bytes > self.config.max_queued
    }

    /// Whether something is to be done that nothing need be waited for.
    pub(super) fn has_work(&self) -> bool {
        self.sockets.has_ready() || !self.follow_up.is_empty() || !self.arrived.is_empty()
    }

    /// Whether a call is to be made that does not depend on room in the output.
    pub(super) fn has_follow_up(&self) -> bool {
        !self.follow_up.is_empty()
    }

    /// The next call that follows from the results of others.
    pub(super) fn next_follow_up(&mut self) -> Option<Syscall> {
        self.follow_up.pop_front()
    }

    /// The next send or request that was queued on its socket.
    pub(super) fn next_queued(
        &mut self,
        output: &Output,
        buffers: &mut IoBuffers,
    ) -> Option<Syscall> {
        self.sockets.next_queued(output.has_room(), &self.state, buffers)
    }

    /// The next receive turn.
    pub(super) fn next_receive(&mut self, output: &mut Output) -> Option<Syscall> {
        self.sockets.next_receive(&mut self.state, &mut output.buffer)
    }

    /// Takes in that a socket is readable.
    pub(super) fn readable(&mut self, id: SocketId) {
        self.sockets.readable(id);
    }

    /// Closes everything, but for the sockets that calls on other threads hold.
    pub(super) fn clear(&mut self) {
        self.workers.clear();
        self.sockets.clear();
        self.follow_up.clear();
        self.arrived.clear();
        self.arrived_bytes = 0;
        self.handles.clear();
    }

    fn watch(&mut self, id: SocketId) {
        if let Err(errno) = self.sockets.watch(id, &self.state) {
            self.set_broken(Exit::io("watching a socket", errno));
        }
    }

    /// Takes in a frame; gives the call that it asks for, if that is to be made now.
    ///
    /// # Errors
    /// [`Exit::Violation`] and [`Exit::ClientFault`].
    pub(super) fn on_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        output: &mut Output,
        buffers: &mut IoBuffers,
    ) -> Result<Option<Syscall>, Exit> {
        let action = self.state.on_frame(header, payload, &mut output.buffer)?;
        Ok(match action {
            StubAction::None => None,
            StubAction::Send { socket, serial, confirm, gather, destination, data } => {
                let length = data.len();
                let send = SendHeader { serial, confirm, gather, destination, length };
                let room = output.has_room();
                self.sockets.send(socket, send, &data, room, &self.state, buffers)
            }
            StubAction::OptionSet { socket, request, level, name, value } => {
                let operation = Operation::Set { level, name, value: value.to_vec() };
                self.sockets.request(socket, request, operation)
            }
            StubAction::OptionGet { socket, request, level, name, capacity } => {
                let capacity = MAX_OPTION.min(capacity as usize);
                let operation = match (level, name) {
                    (OWN_LEVEL, DRAINED) => Operation::Drained,
                    _ => Operation::Get { level, name, capacity },
                };
                self.sockets.request(socket, request, operation)
            }
            StubAction::Membership { socket, request, group, join } => {
                let operation = if join { Operation::Join(group) } else { Operation::Leave(group) };
                self.sockets.request(socket, request, operation)
            }
            StubAction::Credit(id) => {
                self.watch(id);
                None
            }
            // One that is still being opened is closed by `opened`.
            StubAction::Close(id) => self.sockets.close(id, &mut self.state, &mut output.buffer),
            StubAction::Open(id, open) => self.open(id, open, output),
            StubAction::Netns { request, operation } => {
                self.netns(request, operation, output);
                None
            }
            StubAction::Fault(failure) => return Err(Exit::ClientFault(failure.text)),
        })
    }

    /// Takes in a frame with a send that the client permits to gather. Adds the send to an exchange
    /// that has not begun; or, where it must not be gathered after all, queues it and gives false.
    ///
    /// # Errors
    /// [`Exit::Violation`].
    pub(super) fn gather(
        &mut self,
        exchange: &mut Exchange,
        header: Header,
        payload: &[u8],
        output: &mut Output,
        buffers: &mut IoBuffers,
    ) -> Result<bool, Exit> {
        let action = self.state.on_frame(header, payload, &mut output.buffer)?;
        let StubAction::Send { socket, serial, confirm, gather, destination, data } = action else {
            return Ok(false);
        };
        let send = SendHeader { serial, confirm, gather, destination, length: data.len() };
        if gather {
            SocketTable::gather(exchange, send, &data, &self.state, buffers);
        } else {
            self.sockets.send(socket, send, &data, false, &self.state, buffers);
        }
        Ok(gather)
    }

    fn open(&mut self, id: SocketId, open: Open, output: &mut Output) -> Option<Syscall> {
        self.audit.opening(id, &open);
        if let Err(failure) = self.workers.access().check_open(&open) {
            self.opened(id, Err(failure), output);
            return None;
        }
        let is_file = |option: &SocketOption| (option.level, option.name) == (OWN_LEVEL, FILE);
        let descriptors = if open.options.iter().any(is_file) { 2 } else { 1 };
        let descriptor = match self.account.hold(Resource::Descriptors, descriptors) {
            Ok(descriptor) => descriptor,
            Err(refused) => {
                self.opened(id, Err(refused.failure("opening a socket")), output);
                return None;
            }
        };
        // The owner of the namespace is to be found out first, for a client that changes nothing.
        if is_quick(&open) && !self.is_read_only() {
            return Some(Syscall::Open(id, Box::new(open), descriptor));
        }
        match self.handles.resolve(&open.netns) {
            Ok(handle) => self.workers.start(Task::Open(id, open, handle, descriptor)),
            Err(failure) => self.opened(id, Err(failure), output),
        }
        None
    }

    /// Answers a request on namespaces, or starts a task for it.
    fn netns(&mut self, request: u32, operation: NetnsRequest, output: &mut Output) {
        self.audit.requested(request, &operation);
        if let Err(failure) = self.workers.access().check_request(&operation) {
            return self.reply(request, &Err(failure), output);
        }
        let handle = match &operation {
            NetnsRequest::Close(number) => {
                let result = self.handles.close(*number).map(|()| Vec::new());
                return self.reply(request, &result, output);
            }
            NetnsRequest::Open(netns, _) => self.handles.resolve(netns),
            _ => Ok(None),
        };
        match handle {
            Ok(handle) => self.workers.start(Task::Netns(request, operation, handle)),
            Err(failure) => self.reply(request, &Err(failure), output),
        }
    }

    fn reply(&mut self, request: u32, result: &Result<Vec<u8>, Failure>, output: &mut Output) {
        self.audit.replied(request, result.as_ref().err());
        let result = result.as_ref().map(Vec::as_slice);
        self.state.reply(SocketId::CONNECTION, request, result, &mut output.buffer);
    }

    fn opened(
        &mut self,
        id: SocketId,
        result: Result<(OpenSocket, Opened), Failure>,
        output: &mut Output,
    ) {
        self.audit.opened(id, result.as_ref().map(|(_, opened)| opened));
        let (socket, result) = match result {
            Ok((socket, opened)) => (Some(socket), Ok(opened)),
            Err(failure) => (None, Err(failure)),
        };
        match (self.state.opened(id, result, &mut output.buffer), socket) {
            (OpenOutcome::Keep, Some(socket)) => {
                self.sockets.insert(id, socket);
                if let Some(StubAction::Send { serial, confirm, destination, data, .. }) =
                    self.state.take_early(id)
                {
                    let length = data.len();
                    let send = SendHeader { serial, confirm, gather: false, destination, length };
                    self.sockets.queue_first(id, send, data.into_owned());
                }
                self.watch(id);
            }
            (OpenOutcome::Keep, None) => {}
            (OpenOutcome::Close, Some(socket)) => {
                self.follow_up.push_back(Syscall::Close(id, Arc::new(socket)));
            }
            (OpenOutcome::Close, None) => {
                self.state.closed(id, 0, &mut output.buffer);
            }
        }
    }

    /// Takes in the result of a call; `results` are those of its sends and receives.
    pub(super) fn returned(
        &mut self,
        result: SyscallResult,
        results: &ExchangeResults,
        output: &mut Output,
    ) {
        let out = &mut output.buffer;
        let (id, follow_up) = match result {
            SyscallResult::Exchange(exchange, drained) => {
                let (id, state) = (exchange.id, &mut self.state);
                (id, self.sockets.exchanged(exchange, drained, results, state, out))
            }
            SyscallResult::Option(request, result) => {
                let (id, number) = (request.id, request.number);
                let is_drained = matches!(request.operation, Operation::Drained);
                // Whoever closes the socket is to be the last that holds it.
                drop(request);
                match &result {
                    Ok(queued) if is_drained => {
                        let queued =
                            queued.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
                        self.sockets.drained(id, number, queued, &mut self.state, out);
                    }
                    result => {
                        let result = result.as_ref().map(Vec::as_slice);
                        self.state.reply(id, number, result, out);
                    }
                }
                (id, self.sockets.requested(id))
            }
            SyscallResult::Open(id, result) => return self.opened(id, result, output),
            SyscallResult::Close(id, dropped) => return self.state.closed(id, dropped, out),
        };
        self.follow_up.extend(follow_up);
        self.watch(id);
    }

    /// Fetches the completions of other threads, which [`settle`](Self::settle) takes in.
    pub(super) fn fetch_completions(&mut self) {
        let before = self.arrived.len();
        self.completions.take_into(&mut self.arrived);
        self.arrived_bytes += self.arrived.iter().skip(before).map(Completion::memory).sum::<u64>();
    }

    /// Takes in the completions of other threads. Datagrams received there wait for room in the output:
    /// many slow calls may end at the same time, which is not the client's fault.
    pub(super) fn settle(&mut self, output: &mut Output) {
        while let Some(next) = self.arrived.front() {
            let grows =
                matches!(next, Completion::Syscall(_, results) if !results.items.is_empty());
            if grows && !output.has_room() {
                return;
            }
            self.arrived_bytes -= next.memory();
            match self.arrived.pop_front() {
                Some(Completion::Syscall(result, results)) => {
                    self.returned(result, &results, output);
                    self.completions.give_back(results);
                }
                Some(Completion::Opened { id, result, created }) => {
                    self.workers.finished();
                    self.opened(id, result, output);
                    if let Some(created) = created {
                        created.keep();
                    }
                }
                Some(Completion::Netns { request, result }) => {
                    self.workers.finished();
                    let result = result.and_then(|done| self.keep(done));
                    self.reply(request, &result, output);
                }
                None => return,
            }
        }
    }

    fn keep(&mut self, done: NetnsDone) -> Result<Vec<u8>, Failure> {
        let NetnsDone { value, handle, created } = done;
        handle.map_or(Ok(()), |handle| self.handles.keep(handle))?;
        if let Some(created) = created {
            created.keep();
        }
        Ok(value)
    }
}

/// The protocol's state for this limit on frames. A client's incomplete sends may have as many bytes,
/// whatever the configuration says.
fn new_state(config: &Config, max_frame: u32) -> StubState {
    let limits = PeerLimits { max_frame, ..config.limits };
    StubState::new(limits, config.send_window, config.max_queued.max(max_frame.into()))
}

//! What the client asks for: its frames become jobs for this thread, or tasks for a worker.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::{Engine, Stage, violation};
use crate::{
    kernel::failure,
    proto::{StubAction, StubState, Violation},
    stub::{
        Exit,
        sockets::Sockets,
        syscall::{Exchange, Job, Operation, Scratch, SendPart},
        workers::{Task, is_quick},
    },
    wire::{Failure, Flags, FrameType, Header, Netns, NetnsRequest, SocketId, hello::PeerLimits},
};

/// Bytes of an option's value that may be asked for. Netlink's longest is a bit for each group.
const OPTION_CAPACITY: u32 = 16 << 10;

impl Engine {
    /// Takes in the frames that are in the input buffer; stops at a job that is to be done.
    pub(super) fn take_frames(&mut self, scratch: &mut Scratch) -> Result<Option<Job>, Exit> {
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
                StubAction::Send { socket, serial, confirm, gather, destination, data } => {
                    let length = data.len();
                    let part = SendPart { serial, confirm, gather, destination, length };
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

    /// Has an exchange with a send also make those that came right behind it on the same socket and
    /// may be gathered with it: one system call for all of them.
    fn gather(
        &mut self,
        exchange: &mut Exchange,
        max_frame: u32,
        scratch: &mut Scratch,
    ) -> Result<(), Exit> {
        let id = exchange.id;
        while exchange.takes_more() {
            let next = self.input.next_header(max_frame);
            let follows = |next: Header| {
                (next.socket, next.frame_type) == (id, FrameType::Send)
                    && next.flags.contains(Flags::GATHER)
                    && !next.flags.contains(Flags::MORE)
            };
            if !next.is_some_and(follows) {
                break;
            }
            let frame = self.input.frame(max_frame).map_err(Violation::from).map_err(violation)?;
            let Some((header, payload)) = frame else { break };
            let out = &mut self.output.buffer;
            let action = self.state.on_frame(header, payload, out).map_err(violation)?;
            let StubAction::Send { socket, serial, confirm, gather, destination, data } = action
            else {
                break;
            };
            let part = SendPart { serial, confirm, gather, destination, length: data.len() };
            if !gather {
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
}

//! A stub's state with a make-believe engine and kernel around it.

use std::collections::{BTreeMap, VecDeque};

use super::frames::{cut, from_stub};
use crate::{
    errno::{EAGAIN, ECANCELED, ENOENT},
    limits::stub::QUEUED_EACH,
    proto::{OpenOutcome, StubAction, StubState, Violation, cost},
    wire::{
        Counters, Credit, DatagramInfo, Failure, Flags, FrameType, Header, Message, Opened,
        SocketId, hello::PeerLimits,
    },
};

/// A send that the kernel has not taken yet.
#[derive(Debug, PartialEq)]
struct PendingSend {
    serial: u32,
    confirm: bool,
    data: Vec<u8>,
}

/// A kernel socket, or one that is being created.
#[derive(Debug, Default)]
struct Kernel {
    open: bool,
    failed: bool,
    closing: bool,
    /// The send that has come before the socket was open.
    early: Option<PendingSend>,
    /// The first is being made.
    sends: VecDeque<PendingSend>,
    /// Confirmed sends that were made and not answered.
    confirming: VecDeque<(u32, i32)>,
    /// Datagrams to be read.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of a send of which pieces are missing.
    partial: usize,
    /// What the open takes of the bytes that wait, until it is made.
    opening: u64,
    drops: u64,
    /// The drops that the client was told of.
    told: u64,
    counters: Counters,
}

impl Kernel {
    /// Queues a datagram, or drops it.
    fn receive(&mut self, datagram: &[u8], room: usize) {
        match self.queue.len() < room {
            true => self.queue.push_back(datagram.to_vec()),
            false => self.drops += 1,
        }
    }
}

/// A step of the stub's engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StubStep {
    Opened(SocketId),
    OpenFailed(SocketId),
    SendDone(SocketId),
    SendFailed(SocketId),
    Forward(SocketId),
    Answer(SocketId),
    Drop(SocketId),
    /// The drops since the last time are told.
    Tell(SocketId),
    Closed(SocketId),
    Reply(usize),
}

/// A [`StubState`] with an engine that works as the real one, step by step.
pub(crate) struct StubEnd {
    pub(crate) state: StubState,
    pub(crate) out: Vec<u8>,
    /// Datagrams with which the kernel answers each send.
    pub(crate) echo: usize,
    /// Whether opening and sending may fail.
    pub(crate) failures: bool,
    /// Whether the kernel may drop datagrams.
    pub(crate) drops: bool,
    /// Datagrams that a kernel socket holds: those beyond are dropped.
    pub(crate) room: usize,
    /// Datagrams are forwarded in frames of this many bytes.
    pub(crate) piece: usize,
    kernels: BTreeMap<SocketId, Kernel>,
    /// Those in flight, with what each takes of the bytes that wait.
    requests: Vec<(u32, u64)>,
    /// The counters of each closed socket, in the order of closing.
    pub(crate) closed: Vec<(SocketId, Counters)>,
    /// Socket, serial and bytes of the sends that came whole; a [`World`](super::World) takes them.
    pub(crate) taken_in: Vec<(SocketId, u32, Vec<u8>)>,
    limits: PeerLimits,
    max_partial: u64,
}

impl StubEnd {
    pub(crate) fn new(limits: PeerLimits, send_window: Credit, max_partial: u64) -> Self {
        Self {
            state: StubState::new(limits, send_window, max_partial),
            out: Vec::new(),
            echo: 1,
            failures: true,
            drops: true,
            room: usize::MAX,
            piece: 8,
            kernels: BTreeMap::new(),
            requests: Vec::new(),
            closed: Vec::new(),
            taken_in: Vec::new(),
            limits,
            max_partial,
        }
    }

    pub(crate) fn take_out(&mut self) -> Vec<Vec<u8>> {
        cut(&mut self.out)
    }

    /// Everything besides the state itself, to tell situations apart.
    #[cfg(test)]
    pub(crate) fn describe(&self) -> String {
        format!("{:?} {:?}", self.kernels, self.requests)
    }

    /// Has a datagram arrive at a socket that no send asked for.
    pub(crate) fn arrive(&mut self, id: SocketId, datagram: &[u8]) {
        if let Some(kernel) = self.kernels.get_mut(&id) {
            kernel.receive(datagram, self.room);
        }
    }

    /// Whether there is a kernel socket, which is not closing.
    pub(crate) fn is_receiving(&self, id: SocketId) -> bool {
        self.kernels.get(&id).is_some_and(|kernel| kernel.open && !kernel.closing)
    }

    /// The datagram that is read next.
    pub(crate) fn first_of_queue(&self, id: SocketId) -> Option<&[u8]> {
        self.kernels.get(&id)?.queue.front().map(Vec::as_slice)
    }

    /// The datagrams that the kernel has dropped.
    pub(crate) fn drops_of(&self, id: SocketId) -> u64 {
        self.kernels.get(&id).map_or(0, |kernel| kernel.drops)
    }

    /// Takes in a frame as the engine does.
    pub(crate) fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.socket;
        let action = self.state.on_frame(header, payload, &mut self.out)?;
        match action {
            StubAction::Open(id, _) => {
                let opening = cost(FrameType::Open, payload.len());
                let kernel = Kernel { opening, ..Kernel::default() };
                assert!(self.kernels.insert(id, kernel).is_none(), "{id} is there");
            }
            StubAction::Close(id) => {
                let kernel = self.kernels.get_mut(&id).unwrap();
                (kernel.closing, kernel.partial, kernel.early) = (true, 0, None);
                // Queued sends are cancelled; the one being made is waited for.
                for send in kernel.sends.drain(1.min(kernel.sends.len())..) {
                    let length = send.data.len();
                    self.state.sent(id, length, send.confirm, ECANCELED, &mut Vec::new());
                }
            }
            StubAction::Send { socket, serial, confirm, data, .. } => {
                let kernel = self.kernels.get_mut(&socket).unwrap();
                kernel.partial = 0;
                let data = data.into_owned();
                self.taken_in.push((socket, serial, data.clone()));
                kernel.sends.push_back(PendingSend { serial, confirm, data });
            }
            StubAction::OptionGet { socket, request, .. }
            | StubAction::OptionSet { socket, request, .. }
            | StubAction::Membership { socket, request, .. } => {
                let is_set = header.frame_type == FrameType::OptionSet;
                let length = if is_set { payload.len() } else { 0 };
                self.requests.push((request, cost(header.frame_type, length)));
                self.state.reply(socket, request, Ok(&[1]), &mut self.out);
                self.answered(request);
            }
            StubAction::Netns { request, .. } => {
                self.requests.push((request, cost(FrameType::Netns, payload.len())));
            }
            StubAction::None => match header.frame_type {
                FrameType::Send => {
                    let kernel = self.kernels.get_mut(&id).unwrap();
                    match Message::decode(FrameType::Send, payload) {
                        Ok(Message::Send { serial, data, .. }) if !kernel.open => {
                            let confirm = header.flags.contains(Flags::CONFIRM);
                            let data = data.to_vec();
                            if !kernel.failed {
                                kernel.early = Some(PendingSend { serial, confirm, data });
                            }
                        }
                        _ => kernel.partial += payload.len() - 12,
                    }
                }
                // It was refused: the state itself has answered.
                FrameType::Open => {
                    let kernel = Kernel { failed: true, ..Kernel::default() };
                    assert!(self.kernels.insert(id, kernel).is_none(), "{id} is there");
                }
                // The open had failed: likewise.
                FrameType::Close => {
                    let kernel = self.kernels.remove(&id).unwrap();
                    assert!(kernel.failed);
                    self.closed.push((id, Counters::default()));
                }
                _ => {}
            },
            StubAction::Credit(_) | StubAction::Fault(_) => {}
        }
        self.check();
        Ok(())
    }

    /// Every step that is possible now.
    pub(crate) fn steps(&self) -> Vec<StubStep> {
        let mut steps = Vec::new();
        for (&id, kernel) in &self.kernels {
            if kernel.failed {
                continue;
            }
            if !kernel.open {
                steps.push(StubStep::Opened(id));
                if self.failures {
                    steps.push(StubStep::OpenFailed(id));
                }
                continue;
            }
            if !kernel.sends.is_empty() {
                steps.push(StubStep::SendDone(id));
                if self.failures {
                    steps.push(StubStep::SendFailed(id));
                }
            }
            if kernel.closing {
                if kernel.sends.is_empty() {
                    steps.push(StubStep::Closed(id));
                }
                continue;
            }
            let confirming = !kernel.confirming.is_empty();
            let forward = self.state.may_forward(id, confirming) && !kernel.queue.is_empty();
            if forward {
                steps.push(StubStep::Forward(id));
            }
            if confirming && !forward {
                steps.push(StubStep::Answer(id));
            }
            if self.drops && kernel.drops < 2 {
                steps.push(StubStep::Drop(id));
            }
            if kernel.drops > kernel.told {
                steps.push(StubStep::Tell(id));
            }
        }
        steps.extend((0..self.requests.len()).map(StubStep::Reply));
        steps
    }

    /// Makes one of the [`steps`](Self::steps).
    pub(crate) fn step(&mut self, step: StubStep) {
        let Self { state, out, kernels, .. } = self;
        let failure = || Failure { errno: ENOENT, text: "none".to_owned() };
        match step {
            StubStep::Opened(id) | StubStep::OpenFailed(id) => {
                let fails = matches!(step, StubStep::OpenFailed(_));
                let result = if fails { Err(failure()) } else { Ok(Opened::default()) };
                let kernel = kernels.get_mut(&id).unwrap();
                kernel.opening = 0;
                match state.opened(id, result, out) {
                    OpenOutcome::Keep => {
                        assert!(!kernel.closing);
                        (kernel.open, kernel.failed) = (!fails, fails);
                        let kept = kernel.early.take().filter(|_| !fails);
                        let early = match state.take_early(id) {
                            Some(StubAction::Send { serial, confirm, data, .. }) => {
                                let data = data.into_owned();
                                self.taken_in.push((id, serial, data.clone()));
                                Some(PendingSend { serial, confirm, data })
                            }
                            _ => None,
                        };
                        assert_eq!(early, kept);
                        kernel.sends.extend(early);
                    }
                    OpenOutcome::Close => {
                        assert!(kernel.closing, "only the client closes");
                        self.close(id);
                    }
                }
            }
            StubStep::SendDone(id) | StubStep::SendFailed(id) => {
                let errno = if matches!(step, StubStep::SendFailed(_)) { EAGAIN } else { 0 };
                let kernel = kernels.get_mut(&id).unwrap();
                let send = kernel.sends.pop_front().unwrap();
                state.sent(id, send.data.len(), send.confirm, errno, out);
                if errno == 0 {
                    kernel.counters.sent_datagrams += 1;
                    kernel.counters.sent_bytes += send.data.len() as u64;
                    for _ in 0..self.echo {
                        kernel.receive(&send.data, self.room);
                    }
                }
                if send.confirm {
                    kernel.confirming.push_back((send.serial, errno));
                } else if errno != 0 {
                    state.answer_failed(id, send.serial, errno, 1, out);
                }
            }
            StubStep::Forward(id) => {
                let kernel = kernels.get_mut(&id).unwrap();
                let datagram = kernel.queue.pop_front().unwrap();
                let info = DatagramInfo::default();
                let mut rest = datagram.as_slice();
                while let Some((data, tail)) = rest.split_at_checked(self.piece)
                    && !tail.is_empty()
                {
                    Message::Datagram { info, data }.encode(id, Flags::MORE, out);
                    rest = tail;
                }
                Message::Datagram { info, data: rest }.encode(id, Flags::NONE, out);
                state.forwarded(id, datagram.len());
                kernel.counters.received_datagrams += 1;
                kernel.counters.received_bytes += datagram.len() as u64;
            }
            StubStep::Answer(id) => {
                let (serial, errno) = kernels.get_mut(&id).unwrap().confirming.pop_front().unwrap();
                state.answer_confirmed(id, serial, errno, 1, out);
            }
            StubStep::Drop(id) => {
                let kernel = kernels.get_mut(&id).unwrap();
                kernel.drops += 1;
                kernel.told = kernel.drops;
                state.lost(id, kernel.drops, out);
            }
            StubStep::Tell(id) => {
                let kernel = kernels.get_mut(&id).unwrap();
                kernel.told = kernel.drops;
                state.lost(id, kernel.drops, out);
            }
            StubStep::Closed(id) => self.close(id),
            StubStep::Reply(i) => {
                let (request, _) = self.requests[i];
                let failure = failure();
                let result =
                    if request.is_multiple_of(2) { Ok([7].as_slice()) } else { Err(&failure) };
                self.state.reply(SocketId::CONNECTION, request, result, &mut self.out);
                self.answered(request);
            }
        }
        self.check();
    }

    /// Forgets a request. A hostile client gives one number to several: the oldest counts as answered.
    fn answered(&mut self, request: u32) {
        let at = self.requests.iter().position(|(number, _)| *number == request).unwrap();
        self.requests.swap_remove(at);
    }

    fn close(&mut self, id: SocketId) {
        let kernel = self.kernels.remove(&id).unwrap();
        self.state.closed(id, kernel.drops, &mut self.out);
        let counters = Counters { dropped: kernel.drops, ..kernel.counters };
        self.closed.push((id, counters));
    }

    /// Checks the invariants.
    fn check(&self) {
        let waiting = |kernel: &Kernel| {
            let sends = kernel.sends.iter().map(|send| cost(FrameType::Send, send.data.len()));
            let unanswered = if kernel.closing { 0 } else { kernel.confirming.len() as u64 };
            let early = kernel.early.iter().map(|send| cost(FrameType::Send, send.data.len()));
            sends.chain(early).sum::<u64>() + unanswered * QUEUED_EACH + kernel.opening
        };
        let requests: u64 = self.requests.iter().map(|(_, cost)| cost).sum();
        let waiting = self.kernels.values().map(waiting).sum::<u64>() + requests;
        assert_eq!(self.state.waiting(), waiting, "what waits is miscounted");
        let partial = self.kernels.values().map(|kernel| kernel.partial).sum::<usize>() as u64;
        assert_eq!(self.state.incomplete(), partial, "bytes half come are miscounted");
        assert!(partial <= self.max_partial);
        assert_eq!(self.state.socket_count(), self.kernels.len());
        assert!(self.kernels.len() <= self.limits.max_sockets as usize);
        assert!(self.requests.len() <= self.limits.max_requests as usize);
    }

    /// Closes every socket, after which nothing may be left.
    pub(crate) fn finish(&mut self) {
        for id in self.kernels.keys().copied().collect::<Vec<_>>() {
            if !self.kernels[&id].closing {
                let header = Header {
                    length: 12,
                    frame_type: FrameType::Close,
                    flags: Flags::NONE,
                    socket: id,
                };
                self.frame(header, &[]).unwrap();
            }
        }
        while let Some(step) = self.steps().first() {
            self.step(*step);
        }
        let left = (self.state.socket_count(), self.state.waiting(), self.state.incomplete());
        assert_eq!(left, (0, 0, 0));
        self.take_out().iter().for_each(|frame| from_stub(frame));
    }
}

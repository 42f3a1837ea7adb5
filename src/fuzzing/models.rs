//! Each end with what stands around it: a stub with a make-believe kernel, a client with a user.

use std::{
    collections::{BTreeMap, VecDeque},
    mem::take,
};

use crate::{
    proto::{
        ClientEvent, ClientState, Data, OpenOutcome, SendError, SendMode, StubAction, StubState,
        Violation,
    },
    wire::{
        Counters, Credit, DatagramInfo, Decoded, Destination, Failure, Flags, FrameType, Header,
        Message, Open, Opened, SocketId, hello::PeerLimits,
    },
};

/// Header and payload of one whole frame; it must be one.
pub(crate) fn parse(frame: &[u8]) -> (Header, &[u8]) {
    match Header::decode(frame, u32::MAX) {
        Ok(Decoded::Known(header)) => {
            assert_eq!(header.stream_len(), frame.len(), "not one whole frame");
            (header, &frame[12..12 + header.payload_len()])
        }
        other => panic!("not a frame: {other:?}"),
    }
}

/// Cuts a buffer into frames; it must hold whole ones.
fn cut(out: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let out = take(out);
    let mut rest = out.as_slice();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) else {
            panic!("not whole frames: {rest:?}")
        };
        let (frame, tail) = rest.split_at(header.stream_len());
        frames.push(frame.to_vec());
        rest = tail;
    }
    frames
}

/// Checks a frame that a stub has made: that it decodes, and is one that a stub makes.
pub(crate) fn from_stub(frame: &[u8]) {
    let (header, payload) = parse(frame);
    let message = Message::decode(header.frame_type, payload).unwrap();
    assert!(
        !matches!(
            header.frame_type,
            FrameType::Open
                | FrameType::Close
                | FrameType::Send
                | FrameType::OptionGet
                | FrameType::OptionSet
                | FrameType::Join
                | FrameType::Leave
                | FrameType::Netns
        ),
        "{message:?}"
    );
}

/// Likewise for a client.
pub(crate) fn from_client(frame: &[u8]) {
    let (header, payload) = parse(frame);
    let message = Message::decode(header.frame_type, payload).unwrap();
    assert!(
        !matches!(
            header.frame_type,
            FrameType::Opened
                | FrameType::OpenFailed
                | FrameType::Closed
                | FrameType::Sent
                | FrameType::Datagram
                | FrameType::Lost
                | FrameType::ReceiveError
                | FrameType::Reply
        ),
        "{message:?}"
    );
}

/// A send that the kernel has not taken yet.
#[derive(Debug)]
struct Job {
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
    /// The first is being made.
    sends: VecDeque<Job>,
    /// Confirmed sends that were made and not answered.
    confirming: VecDeque<(u32, i32)>,
    /// Datagrams to be read.
    queue: VecDeque<Vec<u8>>,
    /// Bytes of a send of which pieces are missing.
    partial: usize,
    drops: u64,
    counters: Counters,
}

/// What the stub's engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StubStep {
    Opened(SocketId),
    OpenFailed(SocketId),
    SendDone(SocketId),
    SendFailed(SocketId),
    Forward(SocketId),
    Answer(SocketId),
    Drop(SocketId),
    Closed(SocketId),
    Reply(usize),
}

/// A [`StubState`] with an engine that does what the real one does, in steps.
pub(crate) struct StubEnd {
    pub(crate) state: StubState,
    pub(crate) out: Vec<u8>,
    /// Datagrams with which the kernel answers each one it gets.
    pub(crate) echo: usize,
    /// Whether opening and sending may fail.
    pub(crate) failures: bool,
    /// Whether the kernel may drop something.
    pub(crate) drops: bool,
    /// Datagrams are forwarded in frames of this many bytes.
    pub(crate) piece: usize,
    kernels: BTreeMap<SocketId, Kernel>,
    requests: Vec<u32>,
    /// What was counted of each socket that is closed, last one first.
    pub(crate) closed: Vec<(SocketId, Counters)>,
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
            piece: 8,
            kernels: BTreeMap::new(),
            requests: Vec::new(),
            closed: Vec::new(),
            limits,
            max_partial,
        }
    }

    pub(crate) fn take_out(&mut self) -> Vec<Vec<u8>> {
        cut(&mut self.out)
    }

    /// What there is besides the state itself, to tell situations apart.
    #[cfg(test)]
    pub(crate) fn describe(&self) -> String {
        format!("{:?} {:?}", self.kernels, self.requests)
    }

    /// Lets something arrive at a socket, without anyone having asked.
    #[cfg(test)]
    pub(crate) fn arrive(&mut self, id: SocketId, datagram: &[u8]) {
        self.kernels.get_mut(&id).unwrap().queue.push_back(datagram.to_vec());
    }

    /// Takes in a frame as the engine does.
    pub(crate) fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.socket;
        let action = self.state.on_frame(header, payload, &mut self.out)?;
        match action {
            StubAction::Open(id, _) => {
                assert!(self.kernels.insert(id, Kernel::default()).is_none(), "{id} is there");
            }
            StubAction::Close(id) => {
                let kernel = self.kernels.get_mut(&id).unwrap();
                (kernel.closing, kernel.partial) = (true, 0);
                // What waits is cancelled, what is being made is waited for.
                for job in kernel.sends.drain(1.min(kernel.sends.len())..) {
                    self.state.sent(id, job.data.len(), 125, &mut Vec::new());
                }
            }
            StubAction::Send { socket, serial, confirm, data, .. } => {
                let kernel = self.kernels.get_mut(&socket).unwrap();
                kernel.partial = 0;
                kernel.sends.push_back(Job { serial, confirm, data: data.into_owned() });
            }
            StubAction::OptionGet { socket, request, .. }
            | StubAction::OptionSet { socket, request, .. }
            | StubAction::Membership { socket, request, .. } => {
                self.state.reply(socket, request, Ok(&[1]), &mut self.out);
            }
            StubAction::Netns { request, .. } => self.requests.push(request),
            StubAction::None => match header.frame_type {
                FrameType::Send => {
                    self.kernels.get_mut(&id).unwrap().partial += payload.len() - 12;
                }
                // One whose open failed: the state has answered by itself.
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

    /// What could be done now.
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
        }
        steps.extend((0..self.requests.len()).map(StubStep::Reply));
        steps
    }

    /// Does one of the [`steps`](Self::steps).
    pub(crate) fn step(&mut self, step: StubStep) {
        let Self { state, out, kernels, .. } = self;
        let failure = || Failure { errno: 2, text: "none".to_owned() };
        match step {
            StubStep::Opened(id) | StubStep::OpenFailed(id) => {
                let fails = matches!(step, StubStep::OpenFailed(_));
                let result = if fails { Err(failure()) } else { Ok(Opened::default()) };
                let kernel = kernels.get_mut(&id).unwrap();
                match state.opened(id, result, out) {
                    OpenOutcome::Keep => {
                        assert!(!kernel.closing);
                        (kernel.open, kernel.failed) = (!fails, fails);
                    }
                    OpenOutcome::Close => {
                        assert!(kernel.closing, "only the client closes");
                        self.close(id);
                    }
                }
            }
            StubStep::SendDone(id) | StubStep::SendFailed(id) => {
                let errno = if matches!(step, StubStep::SendFailed(_)) { 11 } else { 0 };
                let kernel = kernels.get_mut(&id).unwrap();
                let job = kernel.sends.pop_front().unwrap();
                state.sent(id, job.data.len(), errno, out);
                if errno == 0 {
                    kernel.counters.sent_datagrams += 1;
                    kernel.counters.sent_bytes += job.data.len() as u64;
                    for _ in 0..self.echo {
                        kernel.queue.push_back(job.data.clone());
                    }
                }
                if job.confirm {
                    kernel.confirming.push_back((job.serial, errno));
                } else if errno != 0 {
                    state.answer_send(id, job.serial, errno, 1, out);
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
                state.answer_send(id, serial, errno, 1, out);
            }
            StubStep::Drop(id) => {
                let kernel = kernels.get_mut(&id).unwrap();
                kernel.drops += 1;
                state.lost(id, kernel.drops, out);
            }
            StubStep::Closed(id) => self.close(id),
            StubStep::Reply(i) => {
                let request = self.requests.remove(i);
                let failure = failure();
                let result =
                    if request.is_multiple_of(2) { Ok([7].as_slice()) } else { Err(&failure) };
                self.state.reply(SocketId::CONNECTION, request, result, &mut self.out);
            }
        }
        self.check();
    }

    fn close(&mut self, id: SocketId) {
        let kernel = self.kernels.remove(&id).unwrap();
        self.state.closed(id, kernel.drops, &mut self.out);
        let counters = Counters { dropped: kernel.drops, ..kernel.counters };
        self.closed.push((id, counters));
    }

    /// What has to hold at any time.
    fn check(&self) {
        let held = |kernel: &Kernel| kernel.sends.iter().map(|job| job.data.len()).sum::<usize>();
        let held = self.kernels.values().map(held).sum::<usize>() as u64;
        assert_eq!(self.state.queued(), held, "bytes queued are miscounted");
        let partial = self.kernels.values().map(|kernel| kernel.partial).sum::<usize>() as u64;
        assert_eq!(self.state.half_come(), partial, "bytes half come are miscounted");
        assert!(partial <= self.max_partial);
        assert_eq!(self.state.socket_count(), self.kernels.len());
        assert!(self.kernels.len() <= self.limits.max_sockets as usize);
        assert!(self.requests.len() <= self.limits.max_requests as usize);
    }

    /// Plays the connection out: closes whatever is left, after which nothing may be left.
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
        let left = (self.state.socket_count(), self.state.queued(), self.state.half_come());
        assert_eq!(left, (0, 0, 0));
        self.take_out().iter().for_each(|frame| from_stub(frame));
    }
}

/// What the user of a client knows of a socket.
#[derive(Debug, Default)]
pub(crate) struct Told {
    window: Credit,
    pub(crate) opened: u32,
    pub(crate) failed: u32,
    pub(crate) closing: bool,
    pub(crate) closed: Option<Counters>,
    /// Datagrams that came over the wire, dropped ones included.
    arrived: Credit,
    pub(crate) unread: VecDeque<Vec<u8>>,
    consumed: Credit,
    pub(crate) sent: Credit,
    /// Serial, errno, whether it was a confirmed one.
    pub(crate) answers: Vec<(u32, i32, bool)>,
    pub(crate) dropped: u64,
    unconfirmed: usize,
}

/// A [`ClientState`] with its user's view, which is checked to make sense.
pub(crate) struct ClientEnd {
    pub(crate) state: ClientState,
    pub(crate) out: Vec<u8>,
    pub(crate) told: BTreeMap<SocketId, Told>,
    /// Requests made and not answered.
    requests: Vec<u32>,
    pub(crate) replies: Vec<u32>,
}

impl ClientEnd {
    pub(crate) fn new(limits: PeerLimits) -> Self {
        Self {
            state: ClientState::new(limits, limits.max_frame),
            out: Vec::new(),
            told: BTreeMap::new(),
            requests: Vec::new(),
            replies: Vec::new(),
        }
    }

    pub(crate) fn take_out(&mut self) -> Vec<Vec<u8>> {
        cut(&mut self.out)
    }

    /// What there is besides the state itself, to tell situations apart.
    #[cfg(test)]
    pub(crate) fn describe(&self) -> String {
        format!("{:?} {:?}", self.told, self.requests)
    }

    /// Sockets that the user has not closed.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.told.iter().filter(|(_, told)| !told.closing).map(|(id, _)| *id).collect()
    }

    pub(crate) fn open(&mut self, open: Open) -> Option<SocketId> {
        let credit = open.credit;
        let window = Credit { bytes: credit.bytes.max(1), datagrams: credit.datagrams.max(1) };
        let id = self.state.open(open, &mut self.out).ok()?;
        let before = self.told.insert(id, Told { window, ..Told::default() });
        assert!(before.is_none(), "{id} is used twice");
        Some(id)
    }

    pub(crate) fn close(&mut self, id: SocketId) -> bool {
        let closes = self.state.close(id, &mut self.out);
        if let Some(told) = self.told.get_mut(&id) {
            assert_eq!(closes, !told.closing);
            told.closing = true;
        }
        closes
    }

    pub(crate) fn send(
        &mut self,
        id: SocketId,
        destination: Destination,
        confirm: bool,
        data: &[u8],
    ) -> Result<u32, SendError> {
        // What is alike in length is of one kind.
        let gathered = SendMode::Gathered((data.len() % 3) as u16);
        let mode = if confirm { SendMode::Confirmed } else { gathered };
        let serial = self.state.send(id, destination, mode, data, &mut self.out)?;
        let told = self.told.get_mut(&id).unwrap();
        assert!(told.opened == 1 && !told.closing);
        told.sent.bytes += data.len() as u64;
        told.sent.datagrams += 1;
        told.unconfirmed += usize::from(confirm);
        Ok(serial)
    }

    pub(crate) fn request<'m>(
        &mut self,
        id: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
    ) -> Option<u32> {
        let request = self.state.request(id, message, &mut self.out).ok()?;
        assert!(!self.requests.contains(&request), "request {request} is under way");
        self.requests.push(request);
        Some(request)
    }

    /// Whether a large send waits for its turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.told.keys().any(|id| self.state.waiting_bytes_of(*id).is_some())
    }

    /// Writes one piece of what waits; false if nothing does.
    pub(crate) fn turn(&mut self) -> bool {
        let turn = self.has_turn();
        assert_eq!(self.state.take_turn(&mut self.out).is_some(), turn);
        let of_each = self.told.keys().filter_map(|id| self.state.waiting_bytes_of(*id));
        assert_eq!(self.state.waiting_bytes(), of_each.sum::<usize>());
        turn
    }

    /// Consumes the oldest datagram.
    pub(crate) fn receive(&mut self, id: SocketId) -> Option<Vec<u8>> {
        let told = self.told.get_mut(&id)?;
        let datagram = told.unread.pop_front()?;
        told.consumed.bytes += datagram.len() as u64;
        told.consumed.datagrams += 1;
        self.state.consumed(id, datagram.len(), &mut self.out);
        Some(datagram)
    }

    /// Takes in a frame, and holds what it means against what was told before.
    pub(crate) fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.socket;
        let event = self.state.on_frame(header, payload, &mut self.out)?;
        if let (FrameType::Datagram, Some(told)) = (header.frame_type, self.told.get_mut(&id)) {
            told.arrived.bytes += payload.len() as u64 - 12;
            told.arrived.datagrams += u64::from(!header.flags.contains(Flags::MORE));
        }
        match event {
            ClientEvent::Opened(id, _) => {
                let told = self.told.get_mut(&id).unwrap();
                assert!(told.opened == 0 && told.failed == 0 && !told.closing, "{id}: {told:?}");
                told.opened = 1;
            }
            ClientEvent::OpenFailed(id, failure) => {
                let told = self.told.get_mut(&id).unwrap();
                assert!(told.opened == 0 && told.failed == 0 && !told.closing, "{id}: {told:?}");
                assert_ne!(failure.errno, 0);
                (told.failed, told.closing) = (1, true);
            }
            ClientEvent::Closed(id, counters) => {
                let told = self.told.get_mut(&id).unwrap();
                assert!(told.closing && told.closed.is_none(), "{id}: {told:?}");
                told.closed = Some(counters);
            }
            ClientEvent::Datagram(id, _, data) => {
                let told = self.open_one(id);
                told.unread.push_back(match data {
                    Data::Whole(bytes) => bytes.to_vec(),
                    Data::Assembled(bytes) => bytes.to_vec(),
                });
                // A window, and once more as much during a confirmed send.
                assert!(told.unread.len() as u64 <= told.window.datagrams.saturating_mul(2));
            }
            ClientEvent::Lost { socket, total, .. } => {
                self.open_one(socket).dropped = total;
            }
            ClientEvent::ReceiveError { socket, .. } | ClientEvent::SendCredit(socket) => {
                self.open_one(socket);
            }
            ClientEvent::Sent { socket, serial, errno, confirmed, .. } => {
                let told = self.open_one(socket);
                if confirmed {
                    told.unconfirmed = told.unconfirmed.checked_sub(1).unwrap();
                }
                told.answers.push((serial, errno, confirmed));
            }
            ClientEvent::Reply { request, .. } => {
                let at = self.requests.iter().position(|asked| *asked == request).unwrap();
                self.requests.remove(at);
                self.replies.push(request);
            }
            ClientEvent::None | ClientEvent::Pong(_) | ClientEvent::Fault(_) => {}
        }
        Ok(())
    }

    /// A socket's events come while it is open, as far as its user knows.
    fn open_one(&mut self, id: SocketId) -> &mut Told {
        let told = self.told.get_mut(&id).unwrap();
        assert!(told.opened == 1 && !told.closing, "{id}: {told:?}");
        told
    }

    /// Checks a connection on which everything is closed and delivered, against what the stub
    /// has counted.
    pub(crate) fn finish(&self, closed: &[(SocketId, Counters)]) {
        assert_eq!(self.state.socket_count(), 0);
        assert!(self.requests.is_empty(), "unanswered: {:?}", self.requests);
        assert_eq!(self.told.len(), closed.len(), "as many sockets closed as opened");
        for (id, told) in &self.told {
            let counters = told.closed.unwrap_or_else(|| panic!("{id} was never closed"));
            let of_stub = closed.iter().find(|(closed, _)| closed == id).unwrap();
            assert_eq!(counters, of_stub.1, "{id}");
            assert_eq!(counters.received_datagrams, told.arrived.datagrams, "{id}");
            assert_eq!(counters.received_bytes, told.arrived.bytes, "{id}");
            assert!(counters.sent_datagrams <= told.sent.datagrams, "{id}");
        }
    }
}

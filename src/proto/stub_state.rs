//! The protocol's state on the stub's side.

use std::{borrow::Cow, collections::HashMap, mem::take};

use bytes::BufMut;

use super::{
    cost::cost,
    credit::{Granted, Granting},
    stub_action::{OpenOutcome, StubAction},
    stub_socket::{Early, EarlySend, Phase, StubSocket},
    violation::Violation,
};
use crate::{
    errno::EMSGSIZE,
    limits::stub::QUEUED_EACH,
    wire::{
        Counters, Credit, Destination, Failure, Flags, FrameType, HEADER_LEN, Header, MAX_GATHERED,
        MAX_OPTION, MAX_REQUEST, Message, Opened, SocketId, WireError, hello::PeerLimits,
    },
};

/// The state of one connection on the stub's side.
#[derive(Debug)]
pub struct StubState {
    sockets: HashMap<SocketId, StubSocket>,
    limits: PeerLimits,
    send_window: Credit,
    max_partial: u64,
    /// Bytes of incomplete sends.
    partial: u64,
    /// Bytes of memory that what waits is counted for: see [`waiting`](Self::waiting).
    waiting: u64,
    /// The requests in flight, by number, each with what it takes of `waiting`.
    requests: Vec<(u32, u64)>,
}

impl StubState {
    /// The state behind the hellos. `send_window` is each socket's credit for sends; `max_partial`
    /// bounds the bytes of incomplete sends over all sockets. (The engine bounds what else waits:
    /// see [`waiting`](Self::waiting).)
    pub fn new(limits: PeerLimits, send_window: Credit, max_partial: u64) -> Self {
        let (sockets, requests) = (HashMap::new(), Vec::new());
        Self { sockets, limits, send_window, max_partial, partial: 0, waiting: 0, requests }
    }

    /// Takes in a frame. Answers that need no action are appended to `out`.
    ///
    /// # Errors
    /// A [`Violation`]: the connection has to end, with the violation as its fault.
    pub fn on_frame<'a, B: BufMut + AsMut<[u8]>>(
        &mut self,
        header: Header,
        payload: &'a [u8],
        out: &mut B,
    ) -> Result<StubAction<'a>, Violation> {
        let (id, frame) = (header.socket, header.frame_type);
        if header.length > MAX_REQUEST && frame.is_request() {
            self.refuse_long(header, payload, out)?;
            return Ok(StubAction::None);
        }
        Ok(match Message::decode(frame, payload)? {
            Message::Fault(failure) => StubAction::Fault(failure),
            Message::Ping(token) => {
                Message::Pong(token).encode(SocketId::CONNECTION, Flags::NONE, out);
                StubAction::None
            }
            Message::Pong(_) => StubAction::None,
            Message::Open(open) => {
                self.open(id, open.credit, cost(frame, payload.len()))?;
                match open.options.iter().map(|option| option.value.len()).max() {
                    Some(length) if length > MAX_OPTION => {
                        self.opened(id, Err(Failure::long_option(length)), out);
                        StubAction::None
                    }
                    _ => StubAction::Open(id, open),
                }
            }
            Message::Close => self.close(id, out)?,
            Message::Send { serial, destination, data } => {
                let confirm = header.flags.contains(Flags::CONFIRM);
                let limit = self.limits.max_early_send as usize;
                if let Some(socket) = self.sockets.get_mut(&id)
                    && socket.awaits_early(limit, header.flags, data.len())
                {
                    let early = EarlySend { serial, confirm, destination, data: data.to_vec() };
                    match socket.keep_early(early) {
                        Some(cost) => self.waiting += cost,
                        None => return Err(Violation::CreditOverflow { frame, socket: id }),
                    }
                    return Ok(StubAction::None);
                }
                let Some(data) = self.assemble(id, header.flags, data)? else {
                    return Ok(StubAction::None);
                };
                let gather = header.flags.contains(Flags::GATHER)
                    && !confirm
                    && matches!(data, Cow::Borrowed(_))
                    && destination == Destination::default()
                    && data.len() <= MAX_GATHERED;
                StubAction::Send { socket: id, serial, confirm, gather, destination, data }
            }
            Message::Credit(credit) => {
                if !self.open_socket(id, frame)?.datagrams.grant(credit) {
                    return Err(Violation::CreditShrunk(id));
                }
                StubAction::Credit(id)
            }
            Message::OptionGet { request, level, name, capacity } => {
                self.request(id, request, frame, 0)?;
                StubAction::OptionGet { socket: id, request, level, name, capacity }
            }
            Message::OptionSet { request, level, name, value } => {
                self.request(id, request, frame, payload.len())?;
                if value.len() > MAX_OPTION {
                    self.reply(id, request, Err(&Failure::long_option(value.len())), out);
                    return Ok(StubAction::None);
                }
                StubAction::OptionSet { socket: id, request, level, name, value }
            }
            Message::Join { request, group } => {
                self.request(id, request, frame, 0)?;
                StubAction::Membership { socket: id, request, group, join: true }
            }
            Message::Leave { request, group } => {
                self.request(id, request, frame, 0)?;
                StubAction::Membership { socket: id, request, group, join: false }
            }
            Message::Netns { request, operation } => {
                self.request(SocketId::CONNECTION, request, frame, payload.len())?;
                StubAction::Netns { request, operation }
            }
            Message::Opened(_)
            | Message::OpenFailed(_)
            | Message::Closed(_)
            | Message::Sent { .. }
            | Message::Datagram { .. }
            | Message::Time(_)
            | Message::Lost { .. }
            | Message::ReceiveError { .. }
            | Message::Reply { .. } => return Err(Violation::WrongDirection(frame)),
        })
    }

    /// Answers a request that is longer than any may be, without decoding it.
    fn refuse_long<B: BufMut + AsMut<[u8]>>(
        &mut self,
        header: Header,
        payload: &[u8],
        out: &mut B,
    ) -> Result<(), Violation> {
        let (id, frame) = (header.socket, header.frame_type);
        let length = header.length;
        let text = format!("a request of {length} bytes: {MAX_REQUEST} are allowed");
        let failure = Failure { errno: EMSGSIZE, text };
        if frame == FrameType::Open {
            self.open(id, Credit::default(), 0)?;
            self.opened(id, Err(failure), out);
            return Ok(());
        }
        let number = payload.first_chunk().map_or(0, |number| u32::from_le_bytes(*number));
        let socket = if frame == FrameType::Netns { SocketId::CONNECTION } else { id };
        self.request(socket, number, frame, 0)?;
        self.reply(socket, number, Err(&failure), out);
        Ok(())
    }

    fn open(&mut self, id: SocketId, credit: Credit, cost: u64) -> Result<(), Violation> {
        let frame = FrameType::Open;
        if id == SocketId::CONNECTION {
            return Err(Violation::WrongState { frame, socket: id, state: "the connection" });
        }
        if let Some(socket) = self.sockets.get(&id) {
            return Err(Violation::WrongState { frame, socket: id, state: socket.phase.name() });
        }
        if self.sockets.len() >= self.limits.max_sockets as usize {
            let limit = self.limits.max_sockets.into();
            return Err(Violation::TooMany { what: "sockets", limit });
        }
        self.sockets.insert(
            id,
            StubSocket {
                phase: Phase::Opening,
                datagrams: Granted::new(credit),
                overdraft: credit,
                sends: Granting::new(self.send_window),
                partial: Vec::new(),
                opening: cost,
                early: Early::default(),
                unanswered: 0,
                counters: Counters::default(),
            },
        );
        self.waiting += cost;
        Ok(())
    }

    fn close<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        out: &mut B,
    ) -> Result<StubAction<'static>, Violation> {
        let frame = FrameType::Close;
        match self.sockets.get_mut(&id) {
            Some(socket) if socket.phase == Phase::Closing => {
                Err(Violation::WrongState { frame, socket: id, state: "closing" })
            }
            Some(socket) if socket.phase == Phase::Failed => {
                self.closed(id, 0, out);
                Ok(StubAction::None)
            }
            Some(socket) => {
                socket.phase = Phase::Closing;
                self.partial -= socket.partial.len() as u64;
                socket.partial = Vec::new();
                self.waiting -= take(&mut socket.unanswered) * QUEUED_EACH;
                self.waiting -= socket.drop_early();
                Ok(StubAction::Close(id))
            }
            None => Err(Violation::WrongState { frame, socket: id, state: "not open" }),
        }
    }

    fn open_socket(
        &mut self,
        id: SocketId,
        frame: FrameType,
    ) -> Result<&mut StubSocket, Violation> {
        match self.sockets.get_mut(&id) {
            Some(socket) if socket.phase == Phase::Open => Ok(socket),
            other => {
                let state = other.map_or("not open", |socket| socket.phase.name());
                Err(Violation::WrongState { frame, socket: id, state })
            }
        }
    }

    fn request(
        &mut self,
        socket: SocketId,
        number: u32,
        frame: FrameType,
        payload: usize,
    ) -> Result<(), Violation> {
        if frame != FrameType::Netns {
            self.open_socket(socket, frame)?;
        }
        if self.requests.len() >= self.limits.max_requests as usize {
            let limit = self.limits.max_requests.into();
            return Err(Violation::TooMany { what: "requests in flight", limit });
        }
        let cost = cost(frame, payload);
        self.requests.push((number, cost));
        self.waiting += cost;
        Ok(())
    }

    /// The send that has come before the answer to the open, to be made now that the socket is open.
    pub fn take_early(&mut self, id: SocketId) -> Option<StubAction<'static>> {
        let socket = self.sockets.get_mut(&id).filter(|socket| socket.phase == Phase::Open)?;
        let EarlySend { serial, confirm, destination, data } = socket.take_early()?;
        let data = Cow::Owned(data);
        Some(StubAction::Send { socket: id, serial, confirm, gather: false, destination, data })
    }

    /// Puts the pieces of a send together; `None` while it is incomplete.
    fn assemble<'a>(
        &mut self,
        id: SocketId,
        flags: Flags,
        data: &'a [u8],
    ) -> Result<Option<Cow<'a, [u8]>>, Violation> {
        let frame = FrameType::Send;
        let (partial, max_partial) = (self.partial, self.max_partial);
        let max_frame = self.limits.max_frame;
        let socket = self.open_socket(id, frame)?;
        let more = flags.contains(Flags::MORE);
        let first = socket.partial.is_empty();
        let whole = socket.partial.len() + data.len();
        if whole > max_frame as usize {
            let length = u32::try_from(whole).unwrap_or(u32::MAX);
            return Err(WireError::TooLong { length, limit: max_frame }.into());
        }
        if more && partial + data.len() as u64 > max_partial {
            return Err(Violation::TooMany {
                what: "bytes of incomplete sends",
                limit: max_partial,
            });
        }
        if more && data.is_empty() {
            // Behind an empty piece the next one would count as the first again, without end.
            return Err(WireError::ShortPayload.into());
        }
        // The first piece needs the credit.
        if first && !socket.sends.receive(0, Credit::default()) {
            return Err(Violation::CreditOverflow { frame, socket: id });
        }
        socket.sends.receive_more(data.len());
        let data = if first && !more {
            Cow::Borrowed(data)
        } else {
            socket.partial.extend_from_slice(data);
            if more {
                self.partial += data.len() as u64;
                return Ok(None);
            }
            let whole = take(&mut socket.partial);
            self.partial -= (whole.len() - data.len()) as u64;
            Cow::Owned(whole)
        };
        self.waiting += cost(frame, data.len());
        Ok(Some(data))
    }

    /// Reports the result of creating a socket; the answer is appended to `out`, with the credit for
    /// sends filled in.
    pub fn opened<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        result: Result<Opened, Failure>,
        out: &mut B,
    ) -> OpenOutcome {
        let Some(socket) = self.sockets.get_mut(&id) else { return OpenOutcome::Close };
        self.waiting -= take(&mut socket.opening);
        match (socket.phase, result) {
            (Phase::Opening, Ok(mut opened)) => {
                socket.phase = Phase::Open;
                opened.credit = socket.sends.window();
                Message::Opened(opened).encode(id, Flags::NONE, out);
                OpenOutcome::Keep
            }
            (Phase::Opening, Err(failure)) => {
                socket.phase = Phase::Failed;
                self.waiting -= socket.drop_early();
                Message::OpenFailed(failure).encode(id, Flags::NONE, out);
                OpenOutcome::Keep
            }
            _ => OpenOutcome::Close,
        }
    }

    /// Whether a datagram of this socket may be forwarded. `confirming` says that a confirmed send
    /// waits for its answer, which permits more.
    pub fn may_forward(&self, id: SocketId, confirming: bool) -> bool {
        let left = self.credit_left(id, confirming);
        left.bytes > 0 && left.datagrams > 0
    }

    /// The credit that is left for datagrams, with `confirming` the overdraft included; zeros for a
    /// socket that is not open.
    pub fn credit_left(&self, id: SocketId, confirming: bool) -> Credit {
        match self.sockets.get(&id) {
            Some(socket) if socket.phase == Phase::Open => {
                let extra = if confirming { socket.overdraft } else { Credit::default() };
                socket.datagrams.left(extra)
            }
            _ => Credit::default(),
        }
    }

    /// Counts a datagram as forwarded.
    pub fn forwarded(&mut self, id: SocketId, bytes: usize) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.datagrams.spend(bytes);
            socket.counters.received_datagrams += 1;
            socket.counters.received_bytes += bytes as u64;
        }
    }

    /// Reports that the kernel has taken, or refused, a send of `bytes`, whose credit is given back
    /// at once. [`answer_failed`](Self::answer_failed) and, with `confirm`,
    /// [`answer_confirmed`](Self::answer_confirmed) answer it.
    pub fn sent<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        bytes: usize,
        confirm: bool,
        errno: i32,
        out: &mut B,
    ) {
        self.waiting -= cost(FrameType::Send, bytes);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if confirm && socket.phase == Phase::Open {
            socket.unanswered += 1;
            self.waiting += QUEUED_EACH;
        }
        if errno == 0 {
            socket.counters.sent_datagrams += 1;
            socket.counters.sent_bytes += bytes as u64;
        }
        let grant = socket.sends.consume(bytes);
        if let (Some(credit), Phase::Open) = (grant, socket.phase) {
            Message::Credit(credit).encode(id, Flags::NONE, out);
        }
    }

    /// Appends the answer to a confirmed send, if the socket is open.
    pub fn answer_confirmed<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        serial: u32,
        errno: i32,
        nanoseconds: u64,
        out: &mut B,
    ) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && let Some(left) = socket.unanswered.checked_sub(1)
        {
            socket.unanswered = left;
            self.waiting -= QUEUED_EACH;
        }
        self.answer_failed(id, serial, errno, nanoseconds, out);
    }

    /// Appends the answer to another send, which has failed, if the socket is open.
    pub fn answer_failed<B: BufMut + AsMut<[u8]>>(
        &self,
        id: SocketId,
        serial: u32,
        errno: i32,
        nanoseconds: u64,
        out: &mut B,
    ) {
        if self.is_open(id) {
            Message::Sent { serial, errno, nanoseconds }.encode(id, Flags::NONE, out);
        }
    }

    /// Whether the socket is open and not closing.
    pub fn is_open(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.phase == Phase::Open)
    }

    /// Reports that the kernel dropped datagrams at this place; `total` is the kernel's counter.
    pub fn lost<B: BufMut + AsMut<[u8]>>(&mut self, id: SocketId, total: u64, out: &mut B) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let dropped = total.saturating_sub(socket.counters.dropped);
        socket.counters.dropped = total;
        if socket.phase == Phase::Open {
            Message::Lost { dropped, total }.encode(id, Flags::NONE, out);
        }
    }

    /// Appends the answer to a request on a socket or on the connection.
    pub fn reply<B: BufMut + AsMut<[u8]>>(
        &mut self,
        socket: SocketId,
        request: u32,
        result: Result<&[u8], &Failure>,
        out: &mut B,
    ) {
        if let Some(at) = self.requests.iter().position(|(number, _)| *number == request) {
            self.waiting -= self.requests.swap_remove(at).1;
        }
        // Header, request and errno.
        let (overhead, limit) = (HEADER_LEN + 8, self.limits.max_frame as usize);
        let too_long = |length| {
            format!(
                "the answer has {length} bytes, and a frame of this connection {limit} at most: \
                 connect with a larger limit on frames"
            )
        };
        let (errno, value) = match result {
            Ok(value) if value.len() + overhead > limit => {
                (EMSGSIZE, Cow::from(too_long(value.len()).into_bytes()))
            }
            Ok(value) => (0, Cow::from(value)),
            Err(failure) => (failure.errno, Cow::from(failure.text.as_bytes())),
        };
        Message::Reply { request, errno, value: &value }.encode(socket, Flags::NONE, out);
    }

    /// Reports that the kernel socket is closed; `dropped` is the kernel's counter.
    pub fn closed<B: BufMut + AsMut<[u8]>>(&mut self, id: SocketId, dropped: u64, out: &mut B) {
        if let Some(mut socket) = self.sockets.remove(&id) {
            self.partial -= socket.partial.len() as u64;
            self.waiting -= socket.unanswered * QUEUED_EACH + socket.opening + socket.drop_early();
            socket.counters.dropped = socket.counters.dropped.max(dropped);
            Message::Closed(socket.counters).encode(id, Flags::NONE, out);
        }
    }

    /// Number of sockets whose closed frame has not been appended.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Bytes of incomplete sends.
    pub fn incomplete(&self) -> u64 {
        self.partial
    }

    /// Bytes of memory that what waits is counted for: whole sends that the kernel has not taken, and
    /// confirmed ones that are not answered; opens and requests, until their answer is appended. An
    /// engine that takes in no more frames while this is large bounds its memory, and blocks nothing
    /// for good: no frame of the client is needed to make this smaller.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }
}

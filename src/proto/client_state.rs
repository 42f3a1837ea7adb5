//! The protocol's state on the client's side.

use std::collections::{HashMap, HashSet};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    client_event::{ClientEvent, Data},
    client_socket::{ClientSocket, Phase},
    credit::{Granted, Granting},
    refusal::{Refusal, SendError},
    send_mode::SendMode,
    send_queue::{QueuedSend, SendQueue},
    violation::Violation,
};
use crate::limits::client::INCOMPLETE_DATAGRAMS;
use crate::wire::{
    Credit, DATAGRAM_PREFIX, Destination, Failure, Flags, FrameType, HEADER_LEN, Header,
    MAX_GATHERED, MAX_REQUEST, Message, Open, SocketId, WireError, hello::PeerLimits,
};

/// The state of one connection on the client's side.
#[derive(Debug)]
pub struct ClientState {
    sockets: HashMap<SocketId, ClientSocket>,
    requests: HashSet<u32>,
    /// Pings without a pong.
    pings: u64,
    /// Bytes of the datagrams that are incomplete ([`Flags::MORE`]).
    partial: usize,
    next_socket: u32,
    next_request: u32,
    limits: PeerLimits,
    max_frame: u32,
    /// Bytes of a datagram in one frame, at most.
    piece: usize,
    queued: SendQueue,
}

/// Bytes of a larger datagram in one frame, so that frames of other sockets come between: such a
/// frame fits into one read of either side.
const PIECE: usize = 60 * 1024;

impl ClientState {
    /// The state behind the hellos, with the stub's limits and the agreed limit on frames.
    pub fn new(limits: PeerLimits, max_frame: u32) -> Self {
        let piece = PIECE.min(max_frame as usize - PREFIX);
        Self {
            sockets: HashMap::new(),
            requests: HashSet::new(),
            pings: 0,
            partial: 0,
            next_socket: 1,
            next_request: 1,
            limits,
            max_frame,
            piece,
            queued: SendQueue::new(max_frame as usize),
        }
    }

    /// Has datagrams cut into smaller pieces, for tests with small ones.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn set_piece(&mut self, piece: usize) {
        self.piece = piece;
    }

    /// Has datagrams of fewer bytes together take turns, for the same tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn set_in_turn(&mut self, limit: usize) {
        self.queued.set_limit(limit);
    }

    /// Opens a socket: appends the frame to `out`.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] and [`Refusal::TooLong`].
    pub fn open<B: BufMut + AsMut<[u8]>>(
        &mut self,
        mut open: Open,
        out: &mut B,
    ) -> Result<SocketId, Refusal> {
        if self.sockets.len() >= self.limits.max_sockets as usize {
            return Err(Refusal::TooMany);
        }
        // Ids wrap after 2^32 sockets; the id of one that lives that long is skipped.
        while self.next_socket == 0 || self.sockets.contains_key(&SocketId(self.next_socket)) {
            self.next_socket = self.next_socket.wrapping_add(1);
        }
        let id = SocketId(self.next_socket);
        let datagrams = Granting::new(open.credit);
        // A window of nothing counts as one: with no credit the stub would send nothing, and so
        // never be granted more.
        open.credit = datagrams.window();
        let frame = self.frame(id, &Message::Open(open))?;
        self.next_socket = self.next_socket.wrapping_add(1);
        self.sockets.insert(
            id,
            ClientSocket {
                phase: Phase::Opening,
                sends: Granted::default(),
                datagrams,
                confirming: HashSet::new(),
                may_fail: 0,
                partial: BytesMut::new(),
                next_serial: 1,
                last_kind: None,
            },
        );
        out.put_slice(&frame);
        Ok(id)
    }

    /// Encodes a message of a length that the caller chose. A frame beyond the limit would end the
    /// connection with all its sockets, so it must not be appended to any output.
    fn frame(&self, id: SocketId, message: &Message<'_>) -> Result<Vec<u8>, Refusal> {
        let mut frame = Vec::new();
        message.encode(id, Flags::NONE, &mut frame);
        let limit = if message.frame_type().is_request() { MAX_REQUEST } else { self.max_frame };
        match Header::decode(&frame, limit.min(self.max_frame)) {
            Err(WireError::TooLong { length, limit }) => Err(Refusal::TooLong { length, limit }),
            _ => Ok(frame),
        }
    }

    /// Closes a socket in any state; false if it is closed or closing already. Its queued sends are
    /// discarded.
    pub fn close<B: BufMut + AsMut<[u8]>>(&mut self, id: SocketId, out: &mut B) -> bool {
        match self.sockets.get_mut(&id) {
            Some(socket) if socket.phase != Phase::Closing => {
                socket.phase = Phase::Closing;
                self.partial -= std::mem::take(&mut socket.partial).len();
                self.queued.discard(id);
                Message::Close.encode(id, Flags::NONE, out);
                true
            }
            _ => false,
        }
    }

    /// Whether a datagram of this length may be sent now.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn may_send(&self, id: SocketId, length: usize) -> Result<(), SendError> {
        let limit = self.max_datagram();
        match self.sockets.get(&id) {
            _ if length > limit => Err(SendError::TooLarge(limit)),
            Some(socket) if socket.phase == Phase::Open => {
                if socket.sends.may_send() {
                    Ok(())
                } else {
                    Err(SendError::NoCredit)
                }
            }
            // One send may come before the answer to the open, where the stub says so.
            Some(socket)
                if socket.phase == Phase::Opening
                    && length <= self.limits.max_early_send as usize
                    && self.limits.max_early_send > 0
                    && length <= self.piece
                    && socket.sends.used().datagrams == 0 =>
            {
                Ok(())
            }
            _ => Err(SendError::NotOpen),
        }
    }

    /// The largest datagram that can be sent, in bytes.
    pub fn max_datagram(&self) -> usize {
        self.max_frame as usize - PREFIX
    }

    /// Sends a datagram and gives the send's serial. A datagram of up to 60 KiB is appended at once; a
    /// larger one, and any behind it on the same socket, is queued for its [turn](Self::take_turn).
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        destination: Destination,
        mode: SendMode,
        datagram: &[u8],
        out: &mut B,
    ) -> Result<u32, SendError> {
        self.may_send(id, datagram.len())?;
        let socket = self.sockets.get_mut(&id).ok_or(SendError::NotOpen)?;
        let serial = socket.next_serial;
        socket.next_serial = socket.next_serial.wrapping_add(1);
        socket.sends.spend(datagram.len());
        let fits = destination == Destination::default() && datagram.len() <= MAX_GATHERED;
        let kind = match mode {
            SendMode::Gathered(kind) if fits => Some(kind),
            _ => None,
        };
        let flags = match std::mem::replace(&mut socket.last_kind, kind) {
            _ if mode == SendMode::Confirmed => Flags::CONFIRM,
            last if kind.is_some() && kind == last => Flags::GATHER,
            _ => Flags::NONE,
        };
        match mode {
            SendMode::Confirmed => {
                socket.confirming.insert(serial);
            }
            SendMode::Pipelined | SendMode::Gathered(_) => socket.may_fail += 1,
        }
        if self.would_wait(id, datagram.len()) {
            let rest = Bytes::copy_from_slice(datagram);
            self.queued.push(id, QueuedSend { serial, destination, flags, rest });
        } else {
            Message::Send { serial, destination, data: datagram }.encode(id, flags, out);
        }
        Ok(serial)
    }

    /// Appends one frame of the queued sends, of each socket in turn. Gives the socket and how many
    /// bytes of a datagram the frame has; `None` if nothing is queued.
    ///
    /// To be called when there is room for the frame: frames appended before overtake it.
    pub fn take_turn<B: BufMut + AsMut<[u8]>>(&mut self, out: &mut B) -> Option<(SocketId, usize)> {
        self.queued.write_next(self.piece, out)
    }

    /// Bytes of datagrams that are queued for their turn.
    pub fn waiting_bytes(&self) -> usize {
        self.queued.bytes()
    }

    /// Likewise those of one socket; `None` if it has none queued.
    pub fn waiting_bytes_of(&self, id: SocketId) -> Option<usize> {
        self.queued.bytes_of(id)
    }

    /// Whether a datagram of this length would be queued for its turn.
    pub fn would_wait(&self, id: SocketId, length: usize) -> bool {
        length > self.piece || self.queued.bytes_of(id).is_some()
    }

    /// Numbers a request and appends its frame, made by `message`.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub fn request<'m, B: BufMut + AsMut<[u8]>>(
        &mut self,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
        out: &mut B,
    ) -> Result<u32, Refusal> {
        if socket != SocketId::CONNECTION && !self.is_open(socket) {
            return Err(Refusal::NotOpen);
        }
        if !self.may_request() {
            return Err(Refusal::TooMany);
        }
        while self.requests.contains(&self.next_request) {
            self.next_request = self.next_request.wrapping_add(1);
        }
        let request = self.next_request;
        let frame = self.frame(socket, &message(request))?;
        self.next_request = self.next_request.wrapping_add(1);
        self.requests.insert(request);
        out.put_slice(&frame);
        Ok(request)
    }

    /// Whether another request may be made before one is answered.
    pub fn may_request(&self) -> bool {
        self.requests.len() < self.limits.max_requests as usize
    }

    /// Appends a ping.
    pub fn ping<B: BufMut + AsMut<[u8]>>(&mut self, token: u64, out: &mut B) {
        self.pings += 1;
        Message::Ping(token).encode(SocketId::CONNECTION, Flags::NONE, out);
    }

    /// Counts a received datagram as consumed by the caller; appends credit when it is due, and gives
    /// whether it was.
    pub fn consumed<B: BufMut + AsMut<[u8]>>(
        &mut self,
        id: SocketId,
        bytes: usize,
        out: &mut B,
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(&id) else { return false };
        match socket.datagrams.consume(bytes) {
            Some(credit) if socket.phase == Phase::Open => {
                Message::Credit(credit).encode(id, Flags::NONE, out);
                true
            }
            _ => false,
        }
    }

    /// Whether the socket is open and not closing.
    pub fn is_open(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.phase == Phase::Open)
    }

    /// Number of sockets whose closed frame has not come.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Takes in a frame. Answers are appended to `out`.
    ///
    /// # Errors
    /// A [`Violation`]: the connection has to end.
    pub fn on_frame<'a, B: BufMut + AsMut<[u8]>>(
        &mut self,
        header: Header,
        payload: &'a [u8],
        out: &mut B,
    ) -> Result<ClientEvent<'a>, Violation> {
        let (id, frame) = (header.socket, header.frame_type);
        Ok(match Message::decode(frame, payload)? {
            Message::Fault(failure) => ClientEvent::Fault(failure),
            Message::Ping(token) => {
                Message::Pong(token).encode(SocketId::CONNECTION, Flags::NONE, out);
                ClientEvent::None
            }
            Message::Pong(token) => {
                self.pings = self.pings.checked_sub(1).ok_or(Violation::Unasked(token))?;
                ClientEvent::Pong(token)
            }
            Message::Opened(opened) => {
                let socket = self.socket(id, frame)?;
                match socket.phase {
                    Phase::Opening => {
                        socket.phase = Phase::Open;
                        socket.sends.begin(opened.credit);
                        ClientEvent::Opened(id, opened)
                    }
                    Phase::Closing => ClientEvent::None,
                    Phase::Open => return Err(wrong_state(frame, id, "already open")),
                }
            }
            Message::OpenFailed(failure) => match self.socket(id, frame)?.phase {
                Phase::Opening => {
                    self.close(id, out);
                    ClientEvent::OpenFailed(id, failure)
                }
                Phase::Closing => ClientEvent::None,
                Phase::Open => return Err(wrong_state(frame, id, "already open")),
            },
            Message::Closed(counters) => {
                let socket = self.socket(id, frame)?;
                if socket.phase != Phase::Closing {
                    return Err(wrong_state(frame, id, "not closing"));
                }
                self.sockets.remove(&id);
                ClientEvent::Closed(id, counters)
            }
            Message::Datagram { info, data } => {
                match self.datagram(id, header.flags.contains(Flags::MORE), data)? {
                    Some(data) => ClientEvent::Datagram(id, info, data),
                    None => ClientEvent::None,
                }
            }
            Message::Time(nanoseconds) => match self.delivering(id, frame)? {
                Some(_) => ClientEvent::Time(id, nanoseconds),
                None => ClientEvent::None,
            },
            Message::Lost { dropped, total } => match self.delivering(id, frame)? {
                Some(_) => ClientEvent::Lost { socket: id, dropped, total },
                None => ClientEvent::None,
            },
            Message::ReceiveError { errno, length } => match self.delivering(id, frame)? {
                Some(_) => ClientEvent::ReceiveError { socket: id, errno, length },
                None => ClientEvent::None,
            },
            Message::Sent { serial, errno, nanoseconds } => match self.delivering(id, frame)? {
                Some(socket) => {
                    let confirmed = socket.confirming.remove(&serial);
                    if !confirmed {
                        if errno == 0 || socket.may_fail == 0 {
                            return Err(Violation::Unasked(serial.into()));
                        }
                        socket.may_fail -= 1;
                    }
                    ClientEvent::Sent { socket: id, serial, errno, nanoseconds, confirmed }
                }
                None => ClientEvent::None,
            },
            Message::Credit(credit) => match self.delivering(id, frame)? {
                Some(socket) => {
                    if !socket.sends.grant(credit) {
                        return Err(Violation::CreditShrunk(id));
                    }
                    ClientEvent::SendCredit(id)
                }
                None => ClientEvent::None,
            },
            Message::Reply { request, errno, value } => {
                if !self.requests.remove(&request) {
                    return Err(Violation::Unasked(request.into()));
                }
                let result = match errno {
                    0 => Ok(value),
                    _ => Err(Failure::of_peer(errno, value)),
                };
                ClientEvent::Reply { request, result }
            }
            Message::Open(_)
            | Message::Close
            | Message::Send { .. }
            | Message::OptionGet { .. }
            | Message::OptionSet { .. }
            | Message::Join { .. }
            | Message::Leave { .. }
            | Message::Netns { .. } => return Err(Violation::WrongDirection(frame)),
        })
    }

    fn socket(&mut self, id: SocketId, frame: FrameType) -> Result<&mut ClientSocket, Violation> {
        self.sockets.get_mut(&id).ok_or_else(|| wrong_state(frame, id, "not open"))
    }

    /// The socket if it is open, `None` if it is closing and the frame is to be dropped.
    fn delivering(
        &mut self,
        id: SocketId,
        frame: FrameType,
    ) -> Result<Option<&mut ClientSocket>, Violation> {
        let socket = self.socket(id, frame)?;
        match socket.phase {
            Phase::Open => Ok(Some(socket)),
            Phase::Closing => Ok(None),
            Phase::Opening => Err(wrong_state(frame, id, "opening")),
        }
    }

    fn datagram<'a>(
        &mut self,
        id: SocketId,
        more: bool,
        data: &'a [u8],
    ) -> Result<Option<Data<'a>>, Violation> {
        let (frame, limit) = (FrameType::Datagram, self.max_frame);
        let (partial, max_partial) = (self.partial, INCOMPLETE_DATAGRAMS * limit as usize);
        let Some(socket) = self.delivering(id, frame)? else { return Ok(None) };
        let first = socket.partial.is_empty();
        let whole = socket.partial.len() + data.len();
        if whole > limit as usize {
            let length = u32::try_from(whole).unwrap_or(u32::MAX);
            return Err(WireError::TooLong { length, limit }.into());
        }
        if more && data.is_empty() {
            return Err(WireError::ShortPayload.into());
        }
        if more && partial + data.len() > max_partial {
            let (what, limit) = ("bytes of incomplete datagrams", max_partial as u64);
            return Err(Violation::TooMany { what, limit });
        }
        let confirming = !socket.confirming.is_empty();
        let extra = if confirming { socket.datagrams.window() } else { Credit::default() };
        if first && !socket.datagrams.receive(0, extra) {
            return Err(Violation::CreditOverflow { frame, socket: id });
        }
        socket.datagrams.receive_more(data.len());
        if first && !more {
            return Ok(Some(Data::Whole(data)));
        }
        socket.partial.extend_from_slice(data);
        if more {
            self.partial += data.len();
            return Ok(None);
        }
        // A view into this buffer would keep all of its capacity: the next datagram gets its own.
        let datagram = std::mem::take(&mut socket.partial).freeze();
        self.partial -= datagram.len() - data.len();
        Ok(Some(Data::Assembled(datagram)))
    }
}

/// Bytes of a send frame besides the datagram.
const PREFIX: usize = HEADER_LEN + DATAGRAM_PREFIX;

fn wrong_state(frame: FrameType, socket: SocketId, state: &'static str) -> Violation {
    Violation::WrongState { frame, socket, state }
}

/// A request on namespaces as a message.
#[cfg(feature = "client")]
pub(crate) fn netns_message(
    operation: crate::wire::NetnsRequest,
) -> impl FnOnce(u32) -> Message<'static> {
    move |request| Message::Netns { request, operation }
}

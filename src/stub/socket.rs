//! One kernel socket of a connection: calls under way, sends and requests in their order, answers
//! that are due, and datagrams on their way into the output.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use nix::errno::Errno;

use super::{
    buffers::{ExchangeResults, SendHeader, SendResult, StreamItem},
    exchange::{Drained, Exchange, Pace},
    open_socket::OpenSocket,
    option_request::{Operation, OptionRequest},
    overrun::Overrun,
    syscall::Syscall,
};
use crate::{
    proto::StubState,
    wire::{Credit, DATAGRAM_PREFIX, DatagramInfo, Flags, HEADER_LEN, Message, SocketId},
};

/// Bytes and datagrams of one socket's receive turn.
pub(super) const QUANTUM: Credit = Credit { bytes: 32 << 10, datagrams: 64 };

/// The receive after a send: of its answer, which is queued already.
const ONE_ANSWER: Credit = Credit { bytes: u64::MAX, datagrams: 1 };

/// A datagram is cut into frames of at most this many bytes of it, and fewer where the limit on
/// frames is lower.
const PIECE: usize = 60 << 10;

/// Bytes of a datagram's frame besides the datagram.
const OVERHEAD: usize = HEADER_LEN + DATAGRAM_PREFIX;

/// A send or a request that waits for the one before it: they take effect in order.
#[derive(Debug)]
pub(super) enum Queued {
    Send(SendHeader, Vec<u8>),
    Request(u32, Operation),
}

/// What waits for the datagrams that were queued when it was made.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// A confirmed send, of this serial.
    Send(u32, SendResult),
    /// A request for [`DRAINED`](crate::wire::DRAINED), of this number.
    Drained(u32),
}

/// An answer that waits for datagrams.
#[derive(Debug, Clone, Copy)]
struct PendingAck {
    waiting: Waiting,
    /// Bytes still to be read before the answer. The kernel counts more for a datagram than its
    /// length, so when as many bytes have been read, all that was queued has.
    unread_before_ack: u64,
    /// Whether bytes received now count: not those of a receive that began before this send and
    /// runs on another thread.
    counting: bool,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) kernel: Arc<OpenSocket>,
    /// Whether the poller watches it.
    pub(super) watched: bool,
    /// Whether it is queued to be read.
    pub(super) ready: bool,
    pub(super) receiving: bool,
    /// Whether a send or a request is being made.
    pub(super) sending: bool,
    /// Calls under way, those of `receiving` and `sending` included.
    pub(super) calls: usize,
    pub(super) closing: bool,
    /// Sends and requests that wait for the one before.
    pub(super) queue: VecDeque<Queued>,
    overrun: Overrun,
    pace: Pace,
    pending_acks: VecDeque<PendingAck>,
}

impl Socket {
    pub(super) fn new(kernel: OpenSocket) -> Self {
        Self {
            kernel: Arc::new(kernel),
            watched: false,
            ready: false,
            receiving: false,
            sending: false,
            calls: 0,
            closing: false,
            queue: VecDeque::new(),
            overrun: Overrun::default(),
            pace: Pace::UNKNOWN,
            pending_acks: VecDeque::new(),
        }
    }

    /// Whether a send or request has to wait for another one.
    pub(super) fn must_queue(&self) -> bool {
        self.sending || !self.queue.is_empty()
    }

    /// Whether answers wait for datagrams.
    pub(super) fn has_pending_acks(&self) -> bool {
        !self.pending_acks.is_empty()
    }

    /// Whether confirmed sends are among them, for which more credit counts.
    pub(super) fn has_confirming(&self) -> bool {
        self.pending_acks.iter().any(|pending| matches!(pending.waiting, Waiting::Send(..)))
    }

    /// Bytes and datagrams that may be received now, `most` at most; zeros for nothing.
    fn allowance(&self, id: SocketId, state: &StubState, most: Credit) -> Credit {
        let left = state.credit_left(id, self.has_confirming());
        if self.receiving || left.bytes == 0 || left.datagrams == 0 {
            return Credit::default();
        }
        Credit { bytes: left.bytes.min(most.bytes), datagrams: left.datagrams.min(most.datagrams) }
    }

    /// Begins a receive turn; `None` if nothing may be received.
    pub(super) fn begin_receive(&mut self, id: SocketId, state: &StubState) -> Option<Syscall> {
        let allowance = self.allowance(id, state, QUANTUM);
        let may = allowance != Credit::default();
        may.then(|| Syscall::Exchange(self.exchange(id, 0, Pace::UNKNOWN, allowance)))
    }

    /// Begins a send, and with `room` in the output the receiving of its answer.
    pub(super) fn begin_send(
        &mut self,
        id: SocketId,
        send: SendHeader,
        room: bool,
        state: &StubState,
    ) -> Syscall {
        self.sending = true;
        let most = if send.confirm { QUANTUM } else { ONE_ANSWER };
        let allowance = if room { self.allowance(id, state, most) } else { Credit::default() };
        // A send that is not of the kind of those before may be slower than they were.
        let pace = if send.gather { self.pace } else { Pace::UNKNOWN };
        Syscall::Exchange(self.exchange(id, 1, pace, allowance))
    }

    fn exchange(&mut self, id: SocketId, sends: u32, pace: Pace, allowance: Credit) -> Exchange {
        self.calls += 1;
        self.receiving |= allowance != Credit::default();
        let socket = Arc::clone(&self.kernel);
        Exchange { id, socket, sends, pace, allowance, overrun: self.overrun }
    }

    /// Begins a request on options or groups.
    pub(super) fn begin_request(
        &mut self,
        id: SocketId,
        number: u32,
        operation: Operation,
    ) -> Syscall {
        self.sending = true;
        self.calls += 1;
        let socket = Arc::clone(&self.kernel);
        Syscall::Option(OptionRequest { id, socket, number, operation })
    }

    /// Takes in that an exchange is over; gives whether it was to receive.
    pub(super) fn end_exchange(&mut self, exchange: &Exchange) -> bool {
        self.calls -= 1;
        let receives = exchange.allowance != Credit::default();
        if receives {
            self.receiving = false;
            self.overrun = exchange.overrun;
        }
        if exchange.sends > 0 {
            self.sending = false;
            self.pace = exchange.pace;
        }
        receives
    }

    /// Puts the results of an exchange into the output, `received` being whether it was to receive.
    pub(super) fn deliver(
        &mut self,
        id: SocketId,
        results: &ExchangeResults,
        received: Option<Drained>,
        max_frame: usize,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) {
        for &(SendHeader { serial, confirm, .. }, result) in &results.sends {
            if confirm {
                let counting = received.is_some() || !self.receiving;
                let unread_before_ack = result.unread_before_ack;
                let waiting = Waiting::Send(serial, result);
                self.pending_acks.push_back(PendingAck { waiting, unread_before_ack, counting });
            }
        }
        let is_datagram = |item: &StreamItem| matches!(item, StreamItem::Datagram { .. });
        if self.kernel.is_timed() && results.items.iter().any(is_datagram) {
            Message::Time(nanoseconds_since_1970()).encode(id, Flags::SKIPPABLE, out);
        }
        for item in &results.items {
            match *item {
                StreamItem::SendFailed(serial, SendResult { errno, nanoseconds, .. }) => {
                    state.answer_failed(id, serial, errno, nanoseconds, out);
                }
                StreamItem::Datagram { info, start, length } if length + OVERHEAD <= max_frame => {
                    let datagram = results.data.get(start..start + length).unwrap_or_default();
                    encode_datagram(id, info, datagram, max_frame, out);
                    state.forwarded(id, length);
                    for pending in self.pending_acks.iter_mut().filter(|ack| ack.counting) {
                        let unread = &mut pending.unread_before_ack;
                        *unread = unread.saturating_sub(length as u64);
                    }
                }
                StreamItem::Datagram { length, .. } | StreamItem::TooLarge(length) => {
                    let (errno, length) = (Errno::EMSGSIZE as i32, length as u64);
                    Message::ReceiveError { errno, length }.encode(id, Flags::NONE, out);
                }
                StreamItem::ReceiveFailed(errno) => {
                    let errno = errno as i32;
                    Message::ReceiveError { errno, length: 0 }.encode(id, Flags::NONE, out);
                }
                StreamItem::Dropped(total) => state.lost(id, total, out),
            }
        }
        // Without a receive, it is not known whether the queue is empty.
        self.answer(id, received.unwrap_or(Drained::More), state, out);
        if received.is_some() {
            self.pending_acks.iter_mut().for_each(|pending| pending.counting = true);
        }
    }

    /// Takes in that the client wants to know when these bytes, which are queued, are in the output.
    pub(super) fn begin_drained(&mut self, request: u32, queued: u64) {
        let (waiting, counting) = (Waiting::Drained(request), !self.receiving);
        let unread_before_ack = queued;
        self.pending_acks.push_back(PendingAck { waiting, unread_before_ack, counting });
    }

    /// The requests that wait for datagrams, of a socket that is closing.
    pub(super) fn abandoned(&mut self) -> impl Iterator<Item = u32> {
        self.pending_acks.drain(..).filter_map(|pending| match pending.waiting {
            Waiting::Drained(request) => Some(request),
            Waiting::Send(..) => None,
        })
    }

    /// Answers the confirmed sends of which everything queued before them is in the output. If the
    /// client has left so much unread that its credit is used up, the answer does not wait for it.
    pub(super) fn answer(
        &mut self,
        id: SocketId,
        drained: Drained,
        state: &mut StubState,
        out: &mut Vec<u8>,
    ) {
        while let Some(first) = self.pending_acks.front() {
            let is_unread = first.unread_before_ack > 0;
            match first.waiting {
                Waiting::Send(serial, SendResult { errno, nanoseconds, .. }) => {
                    let waits = is_unread && (drained == Drained::More || !first.counting);
                    if waits && (self.receiving || state.may_forward(id, true)) {
                        return;
                    }
                    state.answer_confirmed(id, serial, errno, nanoseconds, out);
                }
                Waiting::Drained(request) => {
                    if !first.counting || is_unread && drained == Drained::More {
                        return;
                    }
                    state.reply(id, request, Ok(&[]), out);
                }
            }
            self.pending_acks.pop_front();
        }
    }
}

/// The time now, for [`Message::Time`]; it lasts until the year 2554.
fn nanoseconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn encode_datagram(
    id: SocketId,
    info: DatagramInfo,
    datagram: &[u8],
    max_frame: usize,
    out: &mut Vec<u8>,
) {
    let mut pieces = datagram.chunks(PIECE.min(max_frame - OVERHEAD)).peekable();
    loop {
        let data = pieces.next().unwrap_or_default();
        let more = pieces.peek().is_some();
        let flags = if more { Flags::MORE } else { Flags::NONE };
        Message::Datagram { info, data }.encode(id, flags, out);
        if !more {
            return;
        }
    }
}

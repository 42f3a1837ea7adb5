//! The requests of one socket and their answers so far, without I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    ops::RangeInclusive,
    task::{Context, Waker},
};

use super::{error::RequestError, outgoing::Outgoing, raw_message::RawMessage};
use crate::{
    client::{
        answer_end::{End, Place, Progress},
        deferred::keep,
        delivery::Datagram,
    },
    errno::EBUSY,
    nlmsg::{Message, kind, messages},
};

/// Bytes of memory for what is left unread of an answer, from which on reading waits unless another
/// answer needs it.
const HELD: usize = 256 << 10;

/// An item of an answer.
pub(super) type Item = Result<RawMessage, RequestError>;

/// The bounds of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Requests sent and not answered.
    pub(super) in_flight: usize,
    /// Bytes of memory for what is left unread of an answer.
    pub(super) unread: usize,
    /// Whether interrupted dumps end as if they were whole.
    pub(super) tolerates_interrupted: bool,
}

/// The requests of a socket, by their sequence number, or by the first of several.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    /// The socket's port id.
    portid: u32,
    /// The far host's architecture, as `uname -m` names it: it may number errors otherwise.
    architecture: String,
    requests: BTreeMap<u32, Request>,
    next_sequence: u32,
    /// Requests that were not sent, in order.
    unsent: VecDeque<u32>,
    /// Dumps among them that have come to the front while another dump ran.
    dumps: VecDeque<u32>,
    /// The dump that the kernel runs; its request may have been forgotten.
    dump: Option<Dump>,
    /// Dumps that the kernel may still run: their end may be among datagrams that were lost.
    doubtful: Vec<u32>,
    /// Whether the kernel has said EBUSY because it runs one of those.
    is_busy: bool,
    in_flight: usize,
    /// Those of them with as much unread as [`HELD`].
    held: usize,
    ended: Option<RequestError>,
}

#[derive(Debug, Clone, Copy)]
struct Dump {
    sequence: u32,
    serial: u32,
}

#[derive(Debug)]
struct Request {
    stage: Stage,
    count: u32,
    last: u32,
    progress: Progress,
    is_dump: bool,
    is_batch: bool,
    unread: usize,
    items: VecDeque<Item>,
    /// The message that ended the answer.
    end: Option<RawMessage>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Stage {
    Unsent(Vec<u8>),
    /// Sent with this serial. The bytes are kept where the request may have to be sent again.
    Sent(u32, Option<Vec<u8>>),
    Answered,
}

/// The items of an answer that have come.
#[derive(Debug)]
pub(super) enum Taken {
    /// None: the task is woken by the next.
    Pending,
    /// All so far.
    Some,
    /// All that ever come, and the message that ended the answer.
    Last(Option<RawMessage>),
}

impl Table {
    pub(super) fn new(portid: u32, architecture: &str, limits: Limits) -> Self {
        Self {
            limits,
            portid,
            architecture: architecture.to_owned(),
            requests: BTreeMap::new(),
            next_sequence: 1,
            unsent: VecDeque::new(),
            dumps: VecDeque::new(),
            dump: None,
            doubtful: Vec::new(),
            is_busy: false,
            in_flight: 0,
            held: 0,
            ended: None,
        }
    }

    pub(super) fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Adds a request, to be sent when [`next_unsent`](Self::next_unsent) gives it. Gives its
    /// sequence number.
    pub(super) fn add(&mut self, mut outgoing: Outgoing) -> Result<u32, RequestError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let first = self.free_sequence(outgoing.count);
        outgoing.number(first);
        let Outgoing { bytes, count, last, progress, is_dump, is_batch } = outgoing;
        let request = Request {
            stage: Stage::Unsent(bytes),
            count,
            last,
            progress,
            is_dump,
            is_batch,
            unread: 0,
            items: VecDeque::new(),
            end: None,
            waker: None,
        };
        self.requests.insert(first, request);
        self.unsent.push_back(first);
        Ok(first)
    }

    /// The first of `count` sequence numbers in a row that no request has, and no dump that was
    /// dropped and still runs.
    fn free_sequence(&mut self, count: u32) -> u32 {
        loop {
            let first = self.next_sequence;
            let Some(last) = first.checked_add(count.saturating_sub(1)) else {
                self.next_sequence = 1;
                continue;
            };
            let taken = self.requests.range(..=last).next_back();
            let taken = taken.map(|(first, request)| request.range(*first));
            let dumps = self.dump.map(|dump| dump.sequence);
            let dumps = dumps.into_iter().chain(self.doubtful.iter().copied());
            let taken = taken.into_iter().chain(dumps.map(|dump| dump..=dump));
            let end = taken.filter(|range| *range.end() >= first && *range.start() <= last);
            match end.map(|range| *range.end()).max() {
                Some(end) => self.next_sequence = end.checked_add(1).unwrap_or(1),
                None => {
                    self.next_sequence = last.checked_add(1).unwrap_or(1);
                    return first;
                }
            }
        }
    }

    /// The next request to be sent, and its datagram; `None` if there is none, or none may be sent.
    pub(super) fn next_unsent(&mut self) -> Option<(u32, &[u8])> {
        if self.in_flight >= self.limits.in_flight {
            return None;
        }
        let sequence = loop {
            if self.dump.is_none()
                && !self.is_busy
                && let Some(dump) = self.dumps.front().copied()
            {
                break dump;
            }
            let first = *self.unsent.front()?;
            let is_dump = self.requests.get(&first).is_some_and(|request| request.is_dump);
            match is_dump {
                true => self.dumps.push_back(first),
                false => break first,
            }
            self.unsent.pop_front();
        };
        match &self.requests.get(&sequence)?.stage {
            Stage::Unsent(datagram) => Some((sequence, datagram)),
            _ => None,
        }
    }

    /// Notes that the request that [`next_unsent`](Self::next_unsent) gave was sent.
    pub(super) fn on_sent(&mut self, sequence: u32, serial: u32) {
        self.remove_unsent(sequence);
        let Some(request) = self.requests.get_mut(&sequence) else { return };
        let Stage::Unsent(datagram) = mem::replace(&mut request.stage, Stage::Sent(serial, None))
        else {
            return;
        };
        self.in_flight += 1;
        if request.is_dump {
            self.dump = Some(Dump { sequence, serial });
            if !self.doubtful.is_empty() {
                request.stage = Stage::Sent(serial, Some(datagram));
            }
        }
    }

    /// Fails the request that [`next_unsent`](Self::next_unsent) gave.
    pub(super) fn on_unsendable(
        &mut self,
        sequence: u32,
        error: RequestError,
        wakers: &mut Vec<Waker>,
    ) {
        self.remove_unsent(sequence);
        self.finish(sequence, Some(error), wakers);
    }

    fn remove_unsent(&mut self, sequence: u32) {
        for queue in [&mut self.dumps, &mut self.unsent] {
            if let Some(at) = queue.iter().position(|other| *other == sequence) {
                queue.remove(at);
            }
        }
    }

    /// Takes in a datagram. A multicast one is no answer, but its messages may have the sequence
    /// number of one: that of the request that another socket has made.
    pub(super) fn on_datagram(&mut self, datagram: &Datagram, wakers: &mut Vec<Waker>) {
        if datagram.info.portid != 0 {
            return;
        }
        for message in messages(&datagram.data) {
            if datagram.info.group == 0 || message.header.portid == self.portid {
                self.on_message(&datagram.data, &message, wakers);
            }
        }
    }

    fn on_message(
        &mut self,
        datagram: &bytes::Bytes,
        message: &Message<'_>,
        wakers: &mut Vec<Waker>,
    ) {
        let sequence = message.header.sequence;
        self.observe_dumps(message);
        let Some((&first, request)) = self.requests.range_mut(..=sequence).next_back() else {
            return;
        };
        if !request.range(first).contains(&sequence) || !matches!(request.stage, Stage::Sent(..)) {
            return;
        }
        let index = sequence - first;
        let raw = || RawMessage::of(datagram, message);
        let (item, is_end) = if index == request.last {
            match request.progress.next(message) {
                Place::Part if message.header.kind == kind::NOOP => return,
                Place::Part => (Some(Ok(raw())), false),
                Place::Last => (Some(Ok(raw())), true),
                Place::End(End::Refused(outcome)) => {
                    let outcome = outcome.numbered_as_here(&self.architecture);
                    let place = (index, request.count);
                    if outcome.errno == EBUSY && self.send_again(first) {
                        return;
                    }
                    (Some(Err(RequestError::refused(outcome, raw(), place))), true)
                }
                Place::End(End::Interrupted) if !self.limits.tolerates_interrupted => {
                    request.end = Some(raw());
                    (Some(Err(RequestError::interrupted())), true)
                }
                Place::End(End::Interrupted | End::Success) => {
                    request.end = Some(raw());
                    (None, true)
                }
            }
        } else {
            match message.outcome() {
                Some(outcome) if outcome.errno != 0 => {
                    let outcome = outcome.numbered_as_here(&self.architecture);
                    let is_end = request.is_batch && index == 0;
                    let place = (index, request.count);
                    (Some(Err(RequestError::refused(outcome, raw(), place))), is_end)
                }
                Some(_) => return,
                None => (Some(Ok(raw())), false),
            }
        };
        if let Some(item) = item {
            self.push(first, item, wakers);
        }
        if is_end {
            self.finish(first, None, wakers);
        }
    }

    /// Notes from a message which dumps the kernel runs. Parts of a dump show that no dump before
    /// it runs.
    fn observe_dumps(&mut self, message: &Message<'_>) {
        let sequence = message.header.sequence;
        let is_running = self.dump.is_some_and(|dump| dump.sequence == sequence);
        if is_running && message.header.kind != kind::ERROR {
            self.doubtful.clear();
        }
        if matches!(message.header.kind, kind::ERROR | kind::DONE) {
            self.dump.take_if(|dump| dump.sequence == sequence);
            let before = self.doubtful.len();
            self.doubtful.retain(|dump| *dump != sequence);
            self.is_busy &= self.doubtful.len() == before;
        }
    }

    /// Has a dump to which the kernel said EBUSY sent again, once a doubtful dump has ended; false
    /// if there is none.
    fn send_again(&mut self, sequence: u32) -> bool {
        let Some(request) = self.requests.get_mut(&sequence) else { return false };
        let Stage::Sent(_, datagram) = &mut request.stage else { return false };
        let Some(datagram) = datagram.take_if(|_| !self.doubtful.is_empty()) else { return false };
        request.stage = Stage::Unsent(datagram);
        self.in_flight -= 1;
        self.dumps.push_front(sequence);
        self.is_busy = true;
        true
    }

    fn push(&mut self, sequence: u32, item: Item, wakers: &mut Vec<Waker>) {
        let Some(request) = self.requests.get_mut(&sequence) else { return };
        let was_held = request.is_held();
        let message = item.as_ref().map_or_else(RequestError::message, Some);
        // Of small messages the items take more memory than the bytes.
        let bytes = message.map_or(0, |message| message.bytes().len());
        request.unread += bytes + mem::size_of::<Item>();
        request.items.push_back(item);
        wakers.extend(request.waker.take());
        self.held += usize::from(request.is_held() && !was_held);
        if request.unread > self.limits.unread {
            request.items.clear();
            self.finish(sequence, Some(RequestError::unread()), wakers);
        }
    }

    /// Ends an answer, with an error or without. A dump that the kernel still runs goes on.
    fn finish(&mut self, sequence: u32, error: Option<RequestError>, wakers: &mut Vec<Waker>) {
        let Some(request) = self.requests.get_mut(&sequence) else { return };
        if let Stage::Answered = request.stage {
            return;
        }
        self.held -= usize::from(request.is_held());
        self.in_flight -= usize::from(matches!(request.stage, Stage::Sent(..)));
        request.stage = Stage::Answered;
        request.items.extend(error.map(Err));
        wakers.extend(request.waker.take());
    }

    /// Fails the request of a send that failed at the far end.
    pub(super) fn on_send_failed(
        &mut self,
        serial: u32,
        error: RequestError,
        wakers: &mut Vec<Waker>,
    ) {
        let is_it =
            |request: &Request| matches!(request.stage, Stage::Sent(sent, _) if sent == serial);
        self.dump.take_if(|dump| dump.serial == serial);
        let found = self.requests.iter().find(|(_, request)| is_it(request));
        let Some((&sequence, _)) = found else { return };
        self.finish(sequence, Some(error), wakers);
    }

    /// Fails every request in flight: parts of any answer may be among the datagrams that were
    /// lost. So may the end of a dump.
    pub(super) fn on_lost(&mut self, error: &RequestError, wakers: &mut Vec<Waker>) {
        self.doubtful.extend(self.dump.take().map(|dump| dump.sequence));
        self.finish_all(|request| matches!(request.stage, Stage::Sent(..)), error, wakers);
    }

    /// Fails every request, those to come included.
    pub(super) fn on_end(&mut self, error: RequestError, wakers: &mut Vec<Waker>) {
        self.finish_all(|_| true, &error, wakers);
        self.unsent.clear();
        self.dumps.clear();
        self.ended = Some(error);
    }

    fn finish_all(
        &mut self,
        which: impl Fn(&Request) -> bool,
        error: &RequestError,
        wakers: &mut Vec<Waker>,
    ) {
        let found = self.requests.iter().filter(|(_, request)| which(request));
        let found: Vec<_> = found.map(|(sequence, _)| *sequence).collect();
        for sequence in found {
            self.finish(sequence, Some(error.clone()), wakers);
        }
    }

    /// Whether datagrams are to be received: an answer in flight has room for them, or none is in
    /// flight.
    pub(super) fn is_reading(&self) -> bool {
        self.ended.is_none() && (self.in_flight == 0 || self.held < self.in_flight)
    }

    /// Moves the items of an answer into `items`, which is empty, or has the next one wake the task.
    /// Gives a waker to be dropped by the caller: that may run any code.
    pub(super) fn take(
        &mut self,
        sequence: u32,
        items: &mut VecDeque<Item>,
        cx: &Context<'_>,
    ) -> (Taken, Option<Waker>) {
        let Some(request) = self.requests.get_mut(&sequence) else {
            return (Taken::Last(None), None);
        };
        if let Stage::Answered = request.stage {
            mem::swap(items, &mut request.items);
            let end = request.end.take();
            let waker = self.requests.remove(&sequence).and_then(|request| request.waker);
            return (Taken::Last(end), waker);
        }
        if request.items.is_empty() {
            return (Taken::Pending, keep(&mut request.waker, cx));
        }
        self.held -= usize::from(request.is_held());
        request.unread = 0;
        mem::swap(items, &mut request.items);
        (Taken::Some, None)
    }

    /// Forgets a request, whose answer was dropped. It is not sent if it was not, and a dump that
    /// the kernel runs goes on. Gives wakers to be dropped by the caller.
    pub(super) fn forget(&mut self, sequence: u32) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let request = self.requests.get(&sequence);
        if request.is_some_and(|request| matches!(request.stage, Stage::Unsent(_))) {
            self.remove_unsent(sequence);
        }
        self.finish(sequence, None, &mut wakers);
        self.requests.remove(&sequence);
        wakers
    }
}

impl Request {
    /// The sequence numbers of its messages, the first of which is `first`.
    fn range(&self, first: u32) -> RangeInclusive<u32> {
        first..=first.saturating_add(self.count.saturating_sub(1))
    }

    fn is_held(&self) -> bool {
        self.unread >= HELD
    }
}

#[cfg(test)]
mod tests;

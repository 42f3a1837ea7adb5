//! What a frame does to the state: whom it wakes, and what it delivers.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Datagram, Delivery, Inner, Wake,
    requests::Request,
    sending::{Confirmed, SentResult},
};
use crate::{
    Error, ErrorKind, errno,
    proto::{ClientEvent, Data, Violation},
    wire::{Failure, Frame, SocketId},
};

/// Why a frame ends the connection.
#[derive(Debug)]
pub(in crate::client) enum FrameError {
    /// The stub broke the protocol, and is to be told.
    Violation(Violation),
    /// The stub says why it ends the connection.
    Fault(Failure),
}

/// Bytes below which what a frame carries is copied out of the read buffer. Something small that
/// is kept would keep all of that buffer, a thousand times its size; copying it takes no longer
/// than sharing.
const COPIED: usize = 4096;

fn share(frame: &Frame, part: &[u8]) -> Bytes {
    if part.len() < COPIED { Bytes::copy_from_slice(part) } else { frame.share(part) }
}

/// Turns the far kernel's errno into this host's number for the same error.
fn number_as_here(event: &mut ClientEvent<'_>, architecture: &str) {
    let errno = match event {
        ClientEvent::ReceiveError { errno, .. } | ClientEvent::Sent { errno, .. } => errno,
        ClientEvent::OpenFailed(_, failure)
        | ClientEvent::Reply { result: Err(failure), .. }
        | ClientEvent::Fault(failure) => &mut failure.errno,
        _ => return,
    };
    *errno = errno::translate(*errno, architecture);
}

impl Inner {
    /// Takes in a frame.
    pub(in crate::client) fn on_frame(
        &mut self,
        frame: &Frame,
        wakes: &mut Vec<Wake>,
    ) -> Result<(), FrameError> {
        let Self { state, outbox, .. } = self;
        let event = state.on_frame(frame.header, &frame.payload, outbox);
        let mut event = event.map_err(FrameError::Violation)?;
        number_as_here(&mut event, &self.architecture);
        match event {
            ClientEvent::None => {}
            ClientEvent::Fault(failure) => return Err(FrameError::Fault(failure)),
            ClientEvent::Opened(id, opened) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.opened = Some(Ok(opened));
                    slot.wake_state(wakes);
                    slot.wake_senders(wakes);
                }
            }
            ClientEvent::OpenFailed(id, failure) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.opened = Some(Err(Error::failure(ErrorKind::Open, failure)));
                    slot.wake_all(wakes);
                }
            }
            ClientEvent::Closed(id, counters) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.closed = Some(counters);
                    slot.wake_state(wakes);
                }
            }
            ClientEvent::Datagram(id, info, data) => {
                let data = match data {
                    Data::Whole(part) => share(frame, part),
                    Data::Assembled(bytes) => bytes,
                };
                self.deliver(id, Delivery::Datagram(Datagram { data, info }), wakes);
            }
            ClientEvent::Lost { socket, dropped, total } => {
                self.deliver(socket, Delivery::Lost { dropped, total }, wakes);
            }
            ClientEvent::ReceiveError { socket, errno, length } => {
                self.deliver(socket, Delivery::ReceiveError { errno, length }, wakes);
            }
            ClientEvent::Sent { socket, serial, errno, confirmed: false, .. } => {
                if let Some(slot) = self.slots.get_mut(&socket) {
                    slot.failures = (slot.failures.0 + 1, errno);
                }
                self.deliver(socket, Delivery::SendFailed { serial, errno }, wakes);
            }
            ClientEvent::Sent { socket, serial, errno, nanoseconds, confirmed: true } => {
                let slot = self.slots.get_mut(&socket);
                if let Some(waiting) = slot.and_then(|slot| slot.confirmed.get_mut(&serial)) {
                    let done = Confirmed::Done(SentResult { errno, nanoseconds });
                    if let Confirmed::Waiting(waker) = std::mem::replace(waiting, done) {
                        wakes.extend(waker.map(Wake::Task));
                    }
                }
            }
            ClientEvent::SendCredit(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.wake_senders(wakes);
                }
            }
            ClientEvent::Reply { request, result } => {
                let result = result.map(|value| share(frame, value));
                match self.requests.remove(&request) {
                    Some(Request::Waiting(waker)) => {
                        self.requests.insert(request, Request::Done(result));
                        wakes.extend(waker.map(Wake::Task));
                    }
                    Some(Request::Abandoned { opens_netns: true }) => {
                        if let Ok(value) = result {
                            self.close_netns_of(&value);
                        }
                    }
                    _ => {}
                }
                // There is room for one more request now.
                if !self.close_next_netns() {
                    wakes.push(Wake::RequestRoom);
                }
            }
            ClientEvent::Pong(token) => {
                let waker = self.pings.remove(&token).flatten();
                wakes.extend(waker.map(Wake::Task));
            }
        }
        Ok(())
    }

    fn deliver(&mut self, id: SocketId, delivery: Delivery, wakes: &mut Vec<Wake>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.queue.push_back(delivery);
            wakes.extend(slot.receiver.take().map(Wake::Task));
            match wakes.last_mut() {
                Some(Wake::Receivers(signals, count)) if Arc::ptr_eq(signals, &slot.signals) => {
                    *count += 1;
                }
                _ => wakes.push(Wake::Receivers(Arc::clone(&slot.signals), 1)),
            }
        }
    }
}

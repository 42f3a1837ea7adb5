//! What a frame does to the state: whom it wakes, and what it delivers.

use std::task::Waker;

use super::{Datagram, Delivery, Inner, OUTBOX_HIGH_WATER, Request, SentResult};
use crate::{
    Error, ErrorKind,
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

impl Inner {
    /// Takes in a frame.
    pub(in crate::client) fn on_frame(
        &mut self,
        frame: &Frame,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), FrameError> {
        let Self { state, outbox, .. } = self;
        let event = state.on_frame(frame.header, &frame.payload, outbox);
        match event.map_err(FrameError::Violation)? {
            ClientEvent::None => {}
            ClientEvent::Fault(failure) => return Err(FrameError::Fault(failure)),
            ClientEvent::Opened(id, opened) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.opened = Some(Ok(opened));
                    slot.others.drain_into(wakers);
                    slot.senders.drain_into(wakers);
                }
            }
            ClientEvent::OpenFailed(id, failure) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.opened = Some(Err(Error::failure(ErrorKind::Open, failure)));
                    slot.others.drain_into(wakers);
                    slot.senders.drain_into(wakers);
                    slot.receivers.drain_into(wakers);
                }
            }
            ClientEvent::Closed(id, counters) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.closed = Some(counters);
                    slot.others.drain_into(wakers);
                }
            }
            ClientEvent::Datagram(id, info, data) => {
                let data = match data {
                    Data::Whole(part) => frame.share(part),
                    Data::Assembled(bytes) => bytes,
                };
                self.deliver(id, Delivery::Datagram(Datagram { data, info }), wakers);
            }
            ClientEvent::Lost { socket, dropped, total } => {
                self.deliver(socket, Delivery::Lost { dropped, total }, wakers);
            }
            ClientEvent::ReceiveError { socket, errno, length } => {
                self.deliver(socket, Delivery::ReceiveError { errno, length }, wakers);
            }
            ClientEvent::Sent { socket, serial, errno, confirmed: false, .. } => {
                self.deliver(socket, Delivery::SendFailed { serial, errno }, wakers);
            }
            ClientEvent::Sent { socket, serial, errno, nanoseconds, confirmed: true } => {
                if let Some(slot) = self.slots.get_mut(&socket) {
                    if let Some(result) = slot.confirmed.get_mut(&serial) {
                        *result = Some(SentResult { errno, nanoseconds });
                    }
                    slot.others.drain_into(wakers);
                }
            }
            ClientEvent::SendCredit(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.senders.drain_into(wakers);
                }
            }
            ClientEvent::Reply { request, result } => {
                let result = result.map(|value| frame.share(value));
                self.request_room.drain_into(wakers);
                match self.requests.remove(&request) {
                    Some(Request::Waiting(waker)) => {
                        self.requests.insert(request, Request::Done(result));
                        wakers.extend(waker);
                    }
                    Some(Request::Abandoned { opens_netns: true }) => {
                        if let Ok(value) = result {
                            self.close_netns_of(&value);
                        }
                    }
                    _ => {}
                }
            }
            ClientEvent::Pong(token) => wakers.extend(self.pings.remove(&token).flatten()),
        }
        Ok(())
    }

    fn deliver(&mut self, id: SocketId, delivery: Delivery, wakers: &mut Vec<Waker>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.queue.push_back(delivery);
            slot.receivers.drain_into(wakers);
        }
    }

    /// Wakes the senders, after the outbox has been emptied.
    pub(in crate::client) fn outbox_taken(&mut self, was: usize, wakers: &mut Vec<Waker>) {
        if was >= OUTBOX_HIGH_WATER {
            for slot in self.slots.values_mut() {
                slot.senders.drain_into(wakers);
            }
        }
    }
}

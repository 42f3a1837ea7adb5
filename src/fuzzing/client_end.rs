//! A client's state with its user around it.

use std::collections::{BTreeMap, VecDeque};

use super::frames::cut;
use crate::{
    proto::{ClientEvent, ClientState, Data, SendError, SendMode, Violation},
    wire::{
        Counters, Credit, Destination, Flags, FrameType, Header, Message, Open, SocketId,
        hello::PeerLimits,
    },
};

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

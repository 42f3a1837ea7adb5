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

/// A socket as the client's user knows it.
#[derive(Debug, Default)]
pub(crate) struct UserView {
    pub(crate) window: Credit,
    pub(crate) opened: u32,
    pub(crate) failed: u32,
    pub(crate) closing: bool,
    pub(crate) closed: Option<Counters>,
    /// Datagrams received by the client, those of a closing socket included.
    arrived: Credit,
    pub(crate) unread: VecDeque<Vec<u8>>,
    pub(crate) consumed: Credit,
    pub(crate) sent: Credit,
    /// Serial, errno, and whether the send was a confirmed one.
    pub(crate) answers: Vec<(u32, i32, bool)>,
    pub(crate) dropped: u64,
    unconfirmed: usize,
}

/// A [`ClientState`] with its user, who checks that its events are consistent.
pub(crate) struct ClientEnd {
    pub(crate) state: ClientState,
    pub(crate) out: Vec<u8>,
    pub(crate) views: BTreeMap<SocketId, UserView>,
    /// Requests in flight.
    requests: Vec<u32>,
    pub(crate) replies: Vec<u32>,
    /// The datagrams of all sockets, as they came; a [`World`](super::World) takes them.
    pub(crate) delivered: Vec<(SocketId, Vec<u8>)>,
}

impl ClientEnd {
    pub(crate) fn new(limits: PeerLimits) -> Self {
        Self {
            state: ClientState::new(limits, limits.max_frame),
            out: Vec::new(),
            views: BTreeMap::new(),
            requests: Vec::new(),
            replies: Vec::new(),
            delivered: Vec::new(),
        }
    }

    pub(crate) fn take_out(&mut self) -> Vec<Vec<u8>> {
        cut(&mut self.out)
    }

    /// Everything besides the state itself, to tell situations apart.
    #[cfg(test)]
    pub(crate) fn describe(&self) -> String {
        format!("{:?} {:?}", self.views, self.requests)
    }

    /// Sockets that the user has not closed.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.views.iter().filter(|(_, view)| !view.closing).map(|(id, _)| *id).collect()
    }

    pub(crate) fn open(&mut self, open: Open) -> Option<SocketId> {
        let credit = open.credit;
        let window = Credit { bytes: credit.bytes.max(1), datagrams: credit.datagrams.max(1) };
        let id = self.state.open(open, &mut self.out).ok()?;
        let before = self.views.insert(id, UserView { window, ..UserView::default() });
        assert!(before.is_none(), "{id} is used twice");
        Some(id)
    }

    pub(crate) fn close(&mut self, id: SocketId) -> bool {
        let closes = self.state.close(id, &mut self.out);
        if let Some(view) = self.views.get_mut(&id) {
            assert_eq!(closes, !view.closing);
            view.closing = true;
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
        // Three kinds, by the length.
        let gathered = SendMode::Gathered((data.len() % 3) as u16);
        let mode = if confirm { SendMode::Confirmed } else { gathered };
        let serial = self.state.send(id, destination, mode, data, &mut self.out)?;
        let view = self.views.get_mut(&id).unwrap();
        // One may be sent before the answer to the open.
        let is_early = view.opened == 0 && view.failed == 0 && view.sent.datagrams == 0;
        assert!((view.opened == 1 || is_early) && !view.closing);
        view.sent.bytes += data.len() as u64;
        view.sent.datagrams += 1;
        view.unconfirmed += usize::from(confirm);
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

    /// Whether a request is unanswered.
    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether a send is queued for its turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.views.keys().any(|id| self.state.waiting_bytes_of(*id).is_some())
    }

    /// Writes one frame of the queued sends; false if there are none.
    pub(crate) fn turn(&mut self) -> bool {
        let turn = self.has_turn();
        assert_eq!(self.state.take_turn(&mut self.out).is_some(), turn);
        let of_each = self.views.keys().filter_map(|id| self.state.waiting_bytes_of(*id));
        assert_eq!(self.state.waiting_bytes(), of_each.sum::<usize>());
        turn
    }

    /// Consumes the oldest datagram.
    pub(crate) fn receive(&mut self, id: SocketId) -> Option<Vec<u8>> {
        let view = self.views.get_mut(&id)?;
        let datagram = view.unread.pop_front()?;
        view.consumed.bytes += datagram.len() as u64;
        view.consumed.datagrams += 1;
        self.state.consumed(id, datagram.len(), &mut self.out);
        Some(datagram)
    }

    /// Takes in a frame, and checks its event against those before.
    pub(crate) fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.socket;
        let event = self.state.on_frame(header, payload, &mut self.out)?;
        if let (FrameType::Datagram, Some(view)) = (header.frame_type, self.views.get_mut(&id)) {
            view.arrived.bytes += payload.len() as u64 - 12;
            view.arrived.datagrams += u64::from(!header.flags.contains(Flags::MORE));
        }
        match event {
            ClientEvent::Opened(id, _) => {
                let view = self.views.get_mut(&id).unwrap();
                assert!(view.opened == 0 && view.failed == 0 && !view.closing, "{id}: {view:?}");
                view.opened = 1;
            }
            ClientEvent::OpenFailed(id, failure) => {
                let view = self.views.get_mut(&id).unwrap();
                assert!(view.opened == 0 && view.failed == 0 && !view.closing, "{id}: {view:?}");
                assert_ne!(failure.errno, 0);
                (view.failed, view.closing) = (1, true);
            }
            ClientEvent::Closed(id, counters) => {
                let view = self.views.get_mut(&id).unwrap();
                assert!(view.closing && view.closed.is_none(), "{id}: {view:?}");
                view.closed = Some(counters);
            }
            ClientEvent::Datagram(id, _, data) => {
                let data = match data {
                    Data::Whole(bytes) => bytes.to_vec(),
                    Data::Assembled(bytes) => bytes.to_vec(),
                };
                self.delivered.push((id, data.clone()));
                let view = self.open_one(id);
                view.unread.push_back(data);
                // A window, and the overdraft of a confirmed send.
                assert!(view.unread.len() as u64 <= view.window.datagrams.saturating_mul(2));
            }
            ClientEvent::Lost { socket, total, .. } => {
                self.open_one(socket).dropped = total;
            }
            ClientEvent::ReceiveError { socket, .. }
            | ClientEvent::Time(socket, _)
            | ClientEvent::SendCredit(socket) => {
                self.open_one(socket);
            }
            ClientEvent::Sent { socket, serial, errno, confirmed, .. } => {
                let view = self.open_one(socket);
                if confirmed {
                    view.unconfirmed = view.unconfirmed.checked_sub(1).unwrap();
                }
                view.answers.push((serial, errno, confirmed));
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

    /// The socket of an event that comes on open sockets alone.
    fn open_one(&mut self, id: SocketId) -> &mut UserView {
        let view = self.views.get_mut(&id).unwrap();
        assert!(view.opened == 1 && !view.closing, "{id}: {view:?}");
        view
    }

    /// Checks a connection on which everything is closed and delivered against the stub's counters.
    pub(crate) fn finish(&self, closed: &[(SocketId, Counters)]) {
        assert_eq!(self.state.socket_count(), 0);
        assert!(self.requests.is_empty(), "unanswered: {:?}", self.requests);
        assert_eq!(self.views.len(), closed.len(), "as many sockets closed as opened");
        for (id, view) in &self.views {
            let counters = view.closed.unwrap_or_else(|| panic!("{id} was never closed"));
            let of_stub = closed.iter().find(|(closed, _)| closed == id).unwrap();
            assert_eq!(counters, of_stub.1, "{id}");
            assert_eq!(counters.received_datagrams, view.arrived.datagrams, "{id}");
            assert_eq!(counters.received_bytes, view.arrived.bytes, "{id}");
            assert!(counters.sent_datagrams <= view.sent.datagrams, "{id}");
        }
    }
}

//! Both ends and the two directions of the stream between them: no runtime, no clock, and every
//! order of events to choose from.

use std::collections::VecDeque;

use super::{
    client_end::ClientEnd,
    frames::{from_client, from_stub, parse},
    stub_end::{StubEnd, StubStep},
};
use crate::{
    proto::Violation,
    wire::{Credit, SocketId, hello::PeerLimits},
};

/// An event that needs no user, or a read by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// The oldest frame towards the stub arrives.
    ToStub,
    /// The oldest frame towards the client arrives.
    ToClient,
    /// A step of the engine.
    Stub(StubStep),
    /// The user reads a datagram.
    Receive(SocketId),
    /// The client writes a piece of a large send.
    Turn,
}

/// Two honest ends.
pub(crate) struct Pair {
    pub(crate) client: ClientEnd,
    pub(crate) stub: StubEnd,
    pub(crate) to_stub: VecDeque<Vec<u8>>,
    pub(crate) to_client: VecDeque<Vec<u8>>,
}

impl Pair {
    pub(crate) fn new(limits: PeerLimits, send_window: Credit, max_partial: u64) -> Self {
        let mut stub = StubEnd::new(limits, send_window, max_partial);
        (stub.failures, stub.drops) = (false, false);
        Self {
            client: ClientEnd::new(limits),
            stub,
            to_stub: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// Moves the frames that the ends have written into the stream.
    pub(crate) fn pump(&mut self) {
        for frame in self.client.take_out() {
            from_client(&frame);
            self.to_stub.push_back(frame);
        }
        for frame in self.stub.take_out() {
            from_stub(&frame);
            self.to_client.push_back(frame);
        }
    }

    /// Every move that is possible now.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if !self.to_stub.is_empty() {
            moves.push(Move::ToStub);
        }
        if !self.to_client.is_empty() {
            moves.push(Move::ToClient);
        }
        moves.extend(self.stub.steps().into_iter().map(Move::Stub));
        let readable = self.client.views.iter().filter(|(_, view)| !view.unread.is_empty());
        moves.extend(readable.map(|(id, _)| Move::Receive(*id)));
        if self.client.has_turn() {
            moves.push(Move::Turn);
        }
        moves
    }

    /// Makes one of the [`moves`](Self::moves).
    pub(crate) fn make(&mut self, next: Move) -> Result<(), Violation> {
        match next {
            Move::ToStub => {
                let frame = self.to_stub.pop_front().unwrap();
                let (header, payload) = parse(&frame);
                self.stub.frame(header, payload)?;
            }
            Move::ToClient => {
                let frame = self.to_client.pop_front().unwrap();
                let (header, payload) = parse(&frame);
                self.client.frame(header, payload)?;
            }
            Move::Stub(step) => self.stub.step(step),
            Move::Receive(id) => {
                self.client.receive(id);
            }
            Move::Turn => {
                self.client.turn();
            }
        }
        self.pump();
        Ok(())
    }

    /// Makes the first possible move, again and again, until there is none.
    pub(crate) fn settle(&mut self) {
        self.pump();
        // A drop is possible without end.
        let next = |pair: &Self| {
            let mut moves = pair.moves().into_iter();
            moves.find(|next| !matches!(next, Move::Stub(StubStep::Drop(_))))
        };
        while let Some(next) = next(self) {
            self.make(next).unwrap_or_else(|violation| panic!("{next:?}: {violation}"));
        }
    }

    /// Closes every socket, makes every move, and checks that both ends agree.
    pub(crate) fn finish(&mut self) {
        for id in self.client.ids() {
            self.client.close(id);
        }
        self.settle();
        self.check_end();
    }

    /// Checks that nothing is left, and that both ends have counted the same.
    pub(crate) fn check_end(&self) {
        self.client.finish(&self.stub.closed);
        assert_eq!((self.stub.state.socket_count(), self.stub.state.waiting()), (0, 0));
    }

    /// A number that two pairs share only if the same moves lead to the same ends from now on: each
    /// state follows from the events of each socket, in that socket's order.
    #[cfg(test)]
    pub(crate) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.client.describe().hash(&mut hasher);
        self.stub.describe().hash(&mut hasher);
        self.to_stub.hash(&mut hasher);
        self.to_client.hash(&mut hasher);
        hasher.finish()
    }
}

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

/// Something that happens without the user's doing, but for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// The oldest frame under way reaches the stub.
    ToStub,
    /// Likewise the client.
    ToClient,
    /// The engine does something.
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

    /// Puts what the ends have written under way.
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

    /// All that could happen next.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if !self.to_stub.is_empty() {
            moves.push(Move::ToStub);
        }
        if !self.to_client.is_empty() {
            moves.push(Move::ToClient);
        }
        moves.extend(self.stub.steps().into_iter().map(Move::Stub));
        let readable = self.client.told.iter().filter(|(_, told)| !told.unread.is_empty());
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

    /// Makes moves, the first of those there are, until there are none.
    pub(crate) fn settle(&mut self) {
        self.pump();
        // A drop can always happen once more, and is nothing to wait for.
        let next = |pair: &Self| {
            let mut moves = pair.moves().into_iter();
            moves.find(|next| !matches!(next, Move::Stub(StubStep::Drop(_))))
        };
        while let Some(next) = next(self) {
            self.make(next).unwrap_or_else(|violation| panic!("{next:?}: {violation}"));
        }
    }

    /// Closes whatever is open, lets everything happen, and checks that both ends agree.
    pub(crate) fn finish(&mut self) {
        for id in self.client.ids() {
            self.client.close(id);
        }
        self.settle();
        self.check_end();
    }

    /// Checks that nothing is left, and that what was counted is the same on both ends.
    pub(crate) fn check_end(&self) {
        self.client.finish(&self.stub.closed);
        assert_eq!((self.stub.state.socket_count(), self.stub.state.queued()), (0, 0));
    }

    /// A number that is the same for two pairs only if the same can happen to them from now on:
    /// each state follows from what its end has seen of each socket, in that socket's order.
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

//! Pings that wait for their pong.

use std::{
    collections::HashMap,
    task::{Context, Poll, Waker},
};

use super::{
    deferred::{Deferred, keep},
    wire_state::WireState,
};
use crate::Error;

/// The pings of a connection, by their token.
#[derive(Debug, Default)]
pub(super) struct Pings {
    waiting: HashMap<u64, Option<Waker>>,
    last: u64,
}

impl Pings {
    /// Sends a ping whose pong nobody awaits: any frame answers the driver's question.
    pub(super) fn probe(&mut self, wire: &mut WireState) {
        self.last += 1;
        wire.ping(self.last);
    }

    /// Sends a ping and gives its token.
    pub(super) fn begin(&mut self, wire: &mut WireState) -> u64 {
        self.probe(wire);
        self.waiting.insert(self.last, None);
        self.last
    }

    /// Ready once the pong has come; `ended` is the connection's end.
    pub(super) fn poll(
        &mut self,
        token: u64,
        ended: Option<&Error>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        match (self.waiting.get_mut(&token), ended) {
            (None, _) => Poll::Ready(Ok(())),
            (Some(_), Some(error)) => Poll::Ready(Err(error.clone())),
            (Some(waker), None) => {
                keep(waker, cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn on_pong(&mut self, token: u64, deferred: &mut Deferred) {
        deferred.wake(self.waiting.remove(&token).flatten());
    }

    /// Forgets a ping, whose task has stopped waiting.
    pub(super) fn forget(&mut self, token: u64) {
        self.waiting.remove(&token);
    }

    /// Wakes every task that waits for a pong: the connection ended.
    pub(super) fn wake_all(&mut self, deferred: &mut Deferred) {
        self.waiting.values_mut().for_each(|waker| deferred.wake(waker.take()));
    }
}

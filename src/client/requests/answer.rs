//! The answer to a request.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::{FusedStream, Stream};

use super::{
    error::RequestError,
    raw_message::RawMessage,
    router::Router,
    table::{Item, Taken},
};

/// The answer to a request: a stream of its messages, without the acknowledgement or the
/// `NLMSG_DONE` at its end.
///
/// An error is the last item, but for a datagram of several requests: there each error is that of
/// the request at its [index](RequestError::index). The messages count only if the stream ends
/// without an error.
///
/// Dropping the answer cancels a request that was not yet sent. The kernel carries out a request that
/// was sent, and its answer is discarded as it comes.
#[must_use = "dropping the answer cancels a request that was not yet sent"]
pub struct Answer {
    state: State,
    items: VecDeque<Item>,
}

#[derive(Debug)]
enum State {
    /// Items of the request with this sequence number may come.
    Coming(Arc<Router>, u32),
    /// All items have come; with the message that ended the answer.
    Complete(Option<RawMessage>),
}

impl Answer {
    /// The answer to the request with this sequence number.
    pub(super) fn new(router: Arc<Router>, sequence: u32) -> Self {
        Self { state: State::Coming(router, sequence), items: VecDeque::new() }
    }

    /// The answer to a request that was refused here.
    pub(super) fn failed(error: RequestError) -> Self {
        Self { state: State::Complete(None), items: [Err(error)].into() }
    }

    /// The next message; `None` after the last. Cancel-safe: a dropped future loses no message.
    ///
    /// # Errors
    /// A [`RequestError`] of the kinds of [`RequestErrorKind`](super::RequestErrorKind).
    pub async fn next(&mut self) -> Option<Item> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The acknowledgement or the `NLMSG_DONE` that ended the answer, once the stream has ended;
    /// `None` for an answer without. An acknowledgement may have attributes of an
    /// [extended ack](crate::nlmsg::Message::extended_ack), such as a warning or a cookie.
    pub fn end(&self) -> Option<&RawMessage> {
        match &self.state {
            State::Complete(end) if self.items.is_empty() => end.as_ref(),
            State::Complete(_) | State::Coming(..) => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        if let Some(item) = self.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        let State::Coming(router, sequence) = &self.state else { return Poll::Ready(None) };
        // A long answer must not keep its task from yielding.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        match router.take(*sequence, &mut self.items, cx) {
            Taken::Pending => return Poll::Pending,
            Taken::Some => {}
            Taken::Last(end) => self.state = State::Complete(end),
        }
        budget.made_progress();
        Poll::Ready(self.items.pop_front())
    }
}

impl Stream for Answer {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.get_mut().poll(cx)
    }
}

impl FusedStream for Answer {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Complete(_)) && self.items.is_empty()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let State::Coming(router, sequence) = &self.state {
            router.forget(*sequence);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_complete = matches!(self.state, State::Complete(_));
        f.debug_struct("Answer").field("is_complete", &is_complete).finish_non_exhaustive()
    }
}

//! Numbered requests of the stub (options, groups, namespaces) and their replies.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{
    deferred::{Deferred, keep},
    wire_state::WireState,
};
use crate::{
    Error, ErrorKind,
    proto::netns_message,
    wire::{Failure, Message, NetnsOpened, NetnsRequest, SocketId},
};

#[derive(Debug)]
enum Request {
    Waiting(Option<Waker>),
    Done(Result<Bytes, Failure>),
    /// The caller has dropped it; a namespace that it opens is closed again.
    Abandoned {
        opens_netns: bool,
    },
}

/// A request without a value.
#[derive(Debug)]
pub(super) enum ReplyError {
    /// The stub refused it.
    Refused(Failure),
    /// It was not made, or the connection ended before its reply.
    Unanswered(Error),
}

impl ReplyError {
    /// The error; of `kind` where the stub refused.
    pub(super) fn into_error(self, kind: ErrorKind) -> Error {
        match self {
            ReplyError::Refused(failure) => Error::failure(kind, failure),
            ReplyError::Unanswered(error) => error,
        }
    }
}

/// The requests of a connection that have no reply yet, or whose reply was not taken.
#[derive(Debug)]
pub(super) struct Replies {
    requests: HashMap<u32, Request>,
    /// A permit for each request that may still be made.
    permits: Arc<Semaphore>,
    /// Namespaces to be closed at the far end, once a request may be made.
    unclosed: Vec<u32>,
}

impl Replies {
    /// For a stub that takes as many requests at a time.
    pub(super) fn new(max_requests: u32) -> Self {
        let permits = usize::try_from(max_requests).unwrap_or(usize::MAX);
        let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { requests: HashMap::new(), permits, unclosed: Vec::new() }
    }

    /// A permit for each request that may still be made. Its reply adds it again.
    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Makes a request, for which there has to be a permit.
    pub(super) fn request<'m>(
        &mut self,
        wire: &mut WireState,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
    ) -> Result<u32, Error> {
        let number = wire.request(socket, message)?;
        self.requests.insert(number, Request::Waiting(None));
        Ok(number)
    }

    /// The reply to a request; `ended` is the connection's end.
    pub(super) fn poll(
        &mut self,
        number: u32,
        ended: Option<&Error>,
        cx: &Context<'_>,
    ) -> Poll<Result<Bytes, ReplyError>> {
        match (self.requests.get_mut(&number), ended) {
            (Some(Request::Waiting(_)), Some(error)) => {
                Poll::Ready(Err(ReplyError::Unanswered(error.clone())))
            }
            (Some(Request::Waiting(waker)), None) => {
                keep(waker, cx);
                Poll::Pending
            }
            _ => match self.requests.remove(&number) {
                Some(Request::Done(result)) => Poll::Ready(result.map_err(ReplyError::Refused)),
                _ => Poll::Ready(Err(ReplyError::Unanswered(Error::closed()))),
            },
        }
    }

    /// Takes in a reply, which lets another request be made.
    pub(super) fn on_reply(
        &mut self,
        wire: &mut WireState,
        number: u32,
        result: Result<Bytes, Failure>,
        deferred: &mut Deferred,
    ) {
        match self.requests.remove(&number) {
            Some(Request::Waiting(waker)) => {
                self.requests.insert(number, Request::Done(result));
                deferred.wake(waker);
            }
            Some(Request::Abandoned { opens_netns: true }) => {
                if let Ok(value) = result {
                    self.close_netns_of(wire, &value);
                }
            }
            Some(Request::Abandoned { opens_netns: false } | Request::Done(_)) | None => {}
        }
        // The permit is used here where a namespace is to be closed.
        if !self.close_next_netns(wire) {
            deferred.add_permit(&self.permits);
        }
    }

    /// Forgets a request, whose caller has dropped it.
    pub(super) fn abandon(&mut self, wire: &mut WireState, number: u32, opens_netns: bool) {
        match self.requests.remove(&number) {
            Some(Request::Done(Ok(value))) if opens_netns => self.close_netns_of(wire, &value),
            Some(Request::Waiting(_)) => {
                self.requests.insert(number, Request::Abandoned { opens_netns });
            }
            _ => {}
        }
    }

    fn close_netns_of(&mut self, wire: &mut WireState, value: &[u8]) {
        if let Ok(opened) = NetnsOpened::decode(value) {
            self.close_netns(wire, opened.fd);
        }
    }

    /// Has the stub close a namespace as soon as a request may be made, without waiting for the
    /// reply.
    pub(super) fn close_netns(&mut self, wire: &mut WireState, fd: u32) {
        self.unclosed.push(fd);
        let permits = Arc::clone(&self.permits);
        if let Ok(permit) = permits.try_acquire()
            && self.close_next_netns(wire)
        {
            permit.forget();
        }
    }

    /// Makes the request to close one of those namespaces; false if there is none.
    fn close_next_netns(&mut self, wire: &mut WireState) -> bool {
        let Some(fd) = self.unclosed.pop() else { return false };
        let message = netns_message(NetnsRequest::Close(fd));
        let number = wire.request(SocketId::CONNECTION, message);
        if let Ok(number) = number {
            self.requests.insert(number, Request::Abandoned { opens_netns: false });
        }
        number.is_ok()
    }

    /// Wakes every task that waits for a reply or a permit: the connection ended.
    pub(super) fn wake_all(&mut self, deferred: &mut Deferred) {
        for request in self.requests.values_mut() {
            if let Request::Waiting(waker) = request {
                deferred.wake(waker.take());
            }
        }
        deferred.close_permits(&self.permits);
    }
}

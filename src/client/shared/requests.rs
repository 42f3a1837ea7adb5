//! What is asked of the far end: numbered requests and pings.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{Handle, Inner, keep, too_long};
use crate::{
    Error, ErrorKind,
    proto::Refusal,
    wire::{Failure, Message, NetnsOpened, NetnsRequest, SocketId},
};

#[derive(Debug)]
pub(super) enum Request {
    Waiting(Option<Waker>),
    Done(Result<Bytes, Failure>),
    /// The caller has gone; if it opens a namespace, that has to be closed again.
    Abandoned {
        opens_netns: bool,
    },
}

impl Inner {
    /// Makes a request, for which there has to be room.
    pub(super) fn request<'m>(
        &mut self,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
    ) -> Result<u32, Error> {
        match self.state.request(socket, message, &mut self.outbox) {
            Ok(number) => {
                self.requests.insert(number, Request::Waiting(None));
                Ok(number)
            }
            Err(Refusal::TooLong { length, limit }) => Err(too_long(length, limit)),
            Err(_) => Err(Error::closed()),
        }
    }

    pub(in crate::client) fn poll_reply(
        &mut self,
        number: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<Bytes, RequestError>> {
        match self.requests.get_mut(&number) {
            Some(Request::Waiting(waker)) => {
                if let Some(error) = &self.ended {
                    return Poll::Ready(Err(RequestError::Ended(error.clone())));
                }
                keep(waker, cx);
                Poll::Pending
            }
            _ => match self.requests.remove(&number) {
                Some(Request::Done(result)) => Poll::Ready(result.map_err(RequestError::Failed)),
                _ => Poll::Ready(Err(RequestError::Ended(Error::closed()))),
            },
        }
    }

    pub(in crate::client) fn abandon_request(&mut self, number: u32, opens_netns: bool) {
        match self.requests.remove(&number) {
            Some(Request::Done(Ok(value))) if opens_netns => self.close_netns_of(&value),
            Some(Request::Waiting(_)) => {
                self.requests.insert(number, Request::Abandoned { opens_netns });
            }
            _ => {}
        }
    }

    pub(super) fn close_netns_of(&mut self, value: &[u8]) {
        if let Ok(opened) = NetnsOpened::decode(value) {
            self.close_netns(opened.fd);
        }
    }

    /// Has the stub close a namespace, as soon as there is room for a request, without waiting
    /// for the answer.
    pub(in crate::client) fn close_netns(&mut self, fd: u32) {
        self.unclosed.push(fd);
        let requests = Arc::clone(&self.request_room);
        if let Ok(room) = requests.try_acquire()
            && self.close_next_netns()
        {
            room.forget();
        }
    }

    /// Makes the request to close one of those namespaces; false if there is none.
    pub(super) fn close_next_netns(&mut self) -> bool {
        let Some(fd) = self.unclosed.pop() else { return false };
        let message = crate::proto::netns_message(NetnsRequest::Close(fd));
        let number = self.state.request(SocketId::CONNECTION, message, &mut self.outbox);
        if let Ok(number) = number {
            self.requests.insert(number, Request::Abandoned { opens_netns: false });
        }
        number.is_ok()
    }

    // ---- pings

    /// A ping for whose answer nobody waits but the driver, whom any answer serves.
    pub(in crate::client) fn ask_whether_alive(&mut self) {
        if self.ended.is_none() {
            self.next_ping += 1;
            self.state.ping(self.next_ping, &mut self.outbox);
        }
    }

    pub(in crate::client) fn begin_ping(&mut self) -> Result<u64, Error> {
        self.next_ping += 1;
        self.pings.insert(self.next_ping, None);
        self.state.ping(self.next_ping, &mut self.outbox);
        Ok(self.next_ping)
    }
}

/// Why a request has no value.
#[derive(Debug)]
pub(in crate::client) enum RequestError {
    /// The far end says so.
    Failed(Failure),
    /// The connection ended first.
    Ended(Error),
}

impl RequestError {
    pub(in crate::client) fn into_error(self, kind: ErrorKind) -> Error {
        match self {
            RequestError::Failed(failure) => Error::failure(kind, failure),
            RequestError::Ended(error) => error,
        }
    }
}

/// A ping under way; forgotten when dropped.
pub(in crate::client) struct PingGuard<'a> {
    pub(in crate::client) handle: &'a Handle,
    pub(in crate::client) token: u64,
}

impl PingGuard<'_> {
    pub(in crate::client) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handle.run(|inner, _| match inner.pings.get_mut(&self.token) {
            None => Poll::Ready(Ok(())),
            Some(waker) => {
                if let Some(error) = &inner.ended {
                    return Poll::Ready(Err(error.clone()));
                }
                keep(waker, cx);
                Poll::Pending
            }
        })
    }
}

impl Drop for PingGuard<'_> {
    fn drop(&mut self) {
        self.handle.run(|inner, _| inner.pings.remove(&self.token));
    }
}

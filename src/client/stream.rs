//! [`RemoteSocket`] as a stream and a sink.

#![forbid(unsafe_code)]

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::{Event, RemoteSocket};
use crate::{Error, ErrorKind, wire::Destination};

impl Stream for RemoteSocket {
    type Item = Result<Event, Error>;

    /// As [`RemoteSocket::recv`]; ends after the error that tells of the connection's end.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_exhausted() {
            return Poll::Ready(None);
        }
        let item = ready!(this.poll_recv(cx));
        if let Err(error) = &item
            && matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Open | ErrorKind::Closed)
        {
            this.set_exhausted();
        }
        Poll::Ready(Some(item))
    }
}

impl Sink<Bytes> for RemoteSocket {
    type Error = Error;

    /// Waits for credit.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, datagram: Bytes) -> Result<(), Error> {
        let cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_send(&cx, &datagram, Destination::default(), false) {
            Poll::Ready(sent) => sent.map(drop),
            Poll::Pending => Err(Error::invalid("start_send without poll_ready")),
        }
    }

    /// Always ready: what was sent is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    /// Always ready: netlink has no half-close, and dropping the socket closes it.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

//! [`RemoteSocket`] as a stream and a sink.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::{delivery::Event, socket::RemoteSocket};
use crate::{Error, ErrorKind};

impl Stream for RemoteSocket {
    type Item = Result<Event, Error>;

    /// As [`RemoteSocket::poll_recv`]. The stream ends after the error of the connection's end.
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

    /// Waits for credit and for room, as [`RemoteSocket::send`] does, with the same errors. Only
    /// the task that polled last is woken.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_ready(cx)
    }

    /// [`ErrorKind::Invalid`] without a [`poll_ready`](Sink::poll_ready) before it, where there is
    /// no credit.
    fn start_send(self: Pin<&mut Self>, datagram: Bytes) -> Result<(), Error> {
        // Other sockets may have filled the shared room since, but ready is ready.
        (*self).start_send(&datagram)
    }

    /// Always ready: the driver writes by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    /// Always ready: netlink has no half-close, and dropping the socket closes it.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

//! Moves datagrams between a socket and the requests on it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Wake, Waker},
};

use super::{
    error::RequestError,
    outgoing::Outgoing,
    table::{Item, Limits, Table, Taken},
};
use crate::{
    client::{
        delivery::{Delivery, receive_failed, send_failed},
        socket::RemoteSocket,
    },
    sync::lock,
    wire::Destination,
};

/// A socket and the requests on it.
///
/// No task of its own moves the datagrams: the socket's waker does, in the driver's task, so that
/// answers arrive whichever of them is polled. The lock of the state is held while the
/// connection's is taken, never the other way round; tasks are woken without either.
pub(super) struct Router {
    socket: RemoteSocket,
    state: Mutex<State>,
    /// Wakes [`Pump`].
    waker: Waker,
}

struct State {
    table: Table,
    /// Whether the socket's next delivery wakes [`Pump`].
    is_armed: bool,
}

/// The socket's waker.
struct Pump(Weak<Router>);

impl Wake for Pump {
    fn wake(self: Arc<Self>) {
        if let Some(router) = self.0.upgrade() {
            lock(&router.state).is_armed = false;
            router.pump();
        }
    }
}

impl Router {
    pub(super) fn new(socket: RemoteSocket, limits: Limits) -> Arc<Self> {
        let table = Table::new(socket.portid(), socket.architecture(), limits);
        Arc::new_cyclic(|router| Self {
            socket,
            state: Mutex::new(State { table, is_armed: false }),
            waker: Waker::from(Arc::new(Pump(Weak::clone(router)))),
        })
    }

    pub(super) fn socket(&self) -> &RemoteSocket {
        &self.socket
    }

    pub(super) fn set_limits(&self, set: impl FnOnce(&mut Limits)) {
        set(lock(&self.state).table.limits());
    }

    /// Sends a request as soon as that may be, and gives its sequence number.
    pub(super) fn send(&self, outgoing: Outgoing) -> Result<u32, RequestError> {
        let sequence = lock(&self.state).table.add(outgoing)?;
        self.pump();
        Ok(sequence)
    }

    /// As [`Table::take`].
    pub(super) fn take(
        &self,
        sequence: u32,
        items: &mut VecDeque<Item>,
        cx: &Context<'_>,
    ) -> Taken {
        let (taken, replaced, has_resumed) = {
            let State { table, .. } = &mut *lock(&self.state);
            let was_reading = table.is_reading();
            let (taken, replaced) = table.take(sequence, items, cx);
            (taken, replaced, table.is_reading() && !was_reading)
        };
        drop(replaced);
        if has_resumed {
            self.pump();
        }
        taken
    }

    /// As [`Table::forget`].
    pub(super) fn forget(&self, sequence: u32) {
        let wakers = lock(&self.state).table.forget(sequence);
        drop(wakers);
        self.pump();
    }

    /// Sends the requests that may be sent, and takes in the deliveries that have come unless the
    /// next one calls this anyway.
    fn pump(&self) {
        let mut wakers = Vec::new();
        {
            let State { table, is_armed } = &mut *lock(&self.state);
            self.send_unsent(table, &mut wakers);
            while !*is_armed && table.is_reading() {
                let Poll::Ready(delivery) = self.socket.poll_delivery(&self.context()) else {
                    *is_armed = true;
                    break;
                };
                match delivery {
                    Ok(Delivery::Datagram(datagram)) => table.on_datagram(&datagram, &mut wakers),
                    Ok(Delivery::Lost { .. }) => table.on_lost(&RequestError::lost(), &mut wakers),
                    Ok(Delivery::ReceiveError { errno, length }) => {
                        let error = RequestError::socket(receive_failed(errno, length));
                        table.on_lost(&error, &mut wakers);
                    }
                    Ok(Delivery::SendFailed { serial, errno }) => {
                        let error = RequestError::socket(send_failed(errno));
                        table.on_send_failed(serial, error, &mut wakers);
                    }
                    Err(error) => table.on_end(RequestError::socket(error), &mut wakers),
                }
                self.send_unsent(table, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn send_unsent(&self, table: &mut Table, wakers: &mut Vec<Waker>) {
        while let Some((sequence, datagram)) = table.next_unsent() {
            match self.socket.poll_send(&self.context(), datagram, Destination::default()) {
                Poll::Ready(Ok(serial)) => table.on_sent(sequence, serial),
                Poll::Ready(Err(error)) => {
                    table.on_unsendable(sequence, RequestError::socket(error), wakers);
                }
                Poll::Pending => break,
            }
        }
    }

    fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("socket", &self.socket).finish_non_exhaustive()
    }
}

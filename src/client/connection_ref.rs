//! One connection, as its driver and its users share it.

use std::{
    future::poll_fn,
    ops::Deref,
    sync::{Arc, Mutex},
    task::Waker,
};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::{
    connection_state::ConnectionState,
    deferred::{Deferred, until},
    handshake::Greeted,
    replies::ReplyError,
};
use crate::{
    Error,
    sync::lock,
    wire::{Message, SocketId, hello::HostInfo},
};

/// The shared cell: the connection's state under its lock, and the facts of its stub.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Mutex<ConnectionState>,
    /// A permit for each request that may still be made; closed at the end.
    permits: Arc<Semaphore>,
    /// Notified at the connection's end, and at the driver's.
    end: Arc<Notify>,
    host: HostInfo,
    software: String,
    version: u16,
}

impl Connection {
    pub(super) fn new(greeted: &Greeted) -> Self {
        let hello = &greeted.hello;
        let end = Arc::new(Notify::new());
        let mut state = ConnectionState::new(greeted, Arc::clone(&end));
        let permits = Arc::clone(state.replies().0.permits());
        Self {
            state: Mutex::new(state),
            permits,
            end,
            host: hello.host.clone().unwrap_or_default(),
            software: hello.software.clone(),
            version: greeted.version,
        }
    }

    pub(super) fn host(&self) -> &HostInfo {
        &self.host
    }

    pub(super) fn software(&self) -> &str {
        &self.software
    }

    pub(super) fn version(&self) -> u16 {
        self.version
    }

    /// Whether the far host has another byte order than this one.
    pub(super) fn is_foreign(&self) -> bool {
        self.host.big_endian != cfg!(target_endian = "big")
    }

    /// Runs `work` on the state, then the actions it deferred, and wakes the driver if there is
    /// more for it to write.
    pub(super) fn run<T>(&self, work: impl FnOnce(&mut ConnectionState, &mut Deferred) -> T) -> T {
        self.run_with(&mut Deferred::default(), work)
    }

    /// As [`run`](Self::run), with the memory of `deferred`, which is empty before and after.
    pub(super) fn run_with<T>(
        &self,
        deferred: &mut Deferred,
        work: impl FnOnce(&mut ConnectionState, &mut Deferred) -> T,
    ) -> T {
        // The driver's waker is kept apart: the only one that sending and receiving trigger, so
        // that they allocate nothing.
        let driver;
        let result = {
            let mut state = lock(&self.state);
            let before = state.backlog();
            let result = work(&mut state, deferred);
            driver = state.driver_to_wake(before);
            result
        };
        deferred.run();
        driver.into_iter().for_each(Waker::wake);
        result
    }
}

/// A counted reference to a connection: with the last one the connection ends.
#[derive(Debug)]
pub(crate) struct ConnectionRef(Arc<Connection>);

impl ConnectionRef {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        connection.run(|state, _| state.add_ref());
        Self(connection)
    }

    /// As [`Connection::run`], on a connection that has not ended.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut ConnectionState, &mut Deferred) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.run(|state, deferred| match state.ended() {
            Some(error) => Err(error.clone()),
            None => work(state, deferred),
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is_over(&self) -> bool {
        self.run(|state, _| state.ended().is_some())
    }

    /// Has the driver end the connection.
    pub(super) fn finish(&self) {
        self.run(|state, _| state.finish());
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&self) -> Error {
        until(&self.end, || self.run(|state, _| state.ended().cloned())).await
    }

    /// Waits until the driver has closed the stream as well.
    pub(super) async fn driver_gone(&self) {
        until(&self.end, || self.run(|state, _| state.is_driver_gone().then_some(()))).await;
    }

    /// Makes a numbered request of the stub as soon as one may be made, and waits for its reply.
    /// A dropped future forgets the request; with `opens_netns`, a namespace that its reply opens
    /// is closed again.
    pub(super) async fn request<'m>(
        &self,
        socket: SocketId,
        message: impl FnOnce(u32) -> Message<'m>,
        opens_netns: bool,
    ) -> Result<Bytes, ReplyError> {
        // An error of the permits is the end of the connection, which `with` gives.
        let permit = self.permits.acquire().await;
        let number = self.with(|state, _| {
            let (replies, wire, _) = state.replies();
            replies.request(wire, socket, message)
        });
        let number = number.map_err(ReplyError::Unanswered)?;
        // The reply adds the permit again.
        permit.into_iter().for_each(SemaphorePermit::forget);
        let guard = RequestGuard { connection: self, number, opens_netns };
        let reply = poll_fn(|cx| {
            self.run(|state, _| {
                let (replies, _, ended) = state.replies();
                replies.poll(number, ended, cx)
            })
        })
        .await;
        if reply.is_ok() {
            // The reply is the caller's now, and so is the namespace.
            std::mem::forget(guard);
        }
        reply
    }

    /// Sends a ping and waits for its pong. A dropped future forgets the ping.
    pub(super) async fn ping(&self) -> Result<(), Error> {
        let token = self.with(|state, _| {
            let (pings, wire, _) = state.pings();
            Ok(pings.begin(wire))
        })?;
        let _guard = PingGuard { connection: self, token };
        poll_fn(|cx| {
            self.run(|state, _| {
                let (pings, _, ended) = state.pings();
                pings.poll(token, ended, cx)
            })
        })
        .await
    }
}

impl Clone for ConnectionRef {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for ConnectionRef {
    fn drop(&mut self) {
        self.run(|state, _| state.drop_ref());
    }
}

impl Deref for ConnectionRef {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

/// Forgets a request when dropped.
struct RequestGuard<'a> {
    connection: &'a ConnectionRef,
    number: u32,
    opens_netns: bool,
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.connection.run(|state, _| {
            let (replies, wire, _) = state.replies();
            replies.abandon(wire, self.number, self.opens_netns);
        });
    }
}

/// Forgets a ping when dropped.
struct PingGuard<'a> {
    connection: &'a ConnectionRef,
    token: u64,
}

impl Drop for PingGuard<'_> {
    fn drop(&mut self) {
        self.connection.run(|state, _| state.pings().0.forget(self.token));
    }
}

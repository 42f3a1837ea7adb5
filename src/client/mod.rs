//! The near end: sockets that live in another place.
//!
//! A [`Client`] is one connection to one stub; it and everything opened through it may be used
//! from any task. All of them share one driver task, which the connection spawns and which ends
//! when the last of them is dropped.

mod builder;
mod driver;
mod gathering;
mod handshake;
#[cfg(feature = "rust-netlink")]
mod netlink_socket;
mod netns;
mod shared;
mod socket;
mod stream;

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub use crate::wire::{
    ContainerEngine, Counters, Credit, DatagramInfo, Destination, Netns, NetnsEntry, NetnsMode,
    SocketOption,
    hello::{HostInfo, NetnsId, PeerLimits},
};
pub use builder::{SocketBuilder, options};
#[cfg(feature = "rust-netlink")]
pub use netlink_socket::NetlinkSocket;
pub use netns::{NetnsHandle, RemoteNetns};
pub use socket::{Datagram, Event, RemoteSocket, SentReport};

#[cfg(feature = "rust-netlink")]
pub(crate) use shared::Delivery;

use crate::{
    Error, ErrorKind,
    transport::ExitReport,
    wire::{Hello, MarkerScanner, hello::Role},
};
use shared::{Handle, Shared};

/// How to connect.
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long the far end may take to say hello: 30 seconds.
    pub timeout: Duration,
    /// What this side announces.
    pub limits: PeerLimits,
    /// Whom to ask about the end of the far end.
    pub exit_report: Option<ExitReport>,
    /// How long the far end may be silent before it is asked whether it is there, and how long
    /// its answer may take before the connection counts as lost. The stub is told, and ends by
    /// itself when it hears nothing for four times as long. At least 10 milliseconds. By default
    /// nobody asks: a stream within one host tells its end itself.
    pub keepalive: Option<Duration>,
}

/// Intervals of [`ConnectOptions::keepalive`] for which a stub hears nothing before it ends.
const PATIENCE: u32 = 4;

impl Default for ConnectOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        Self { timeout, limits: PeerLimits::default(), exit_report: None, keepalive: None }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("timeout", &self.timeout)
            .field("limits", &self.limits)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}

/// A connection to a stub. Cheap to clone; clones are the same connection.
///
/// The connection ends when the last client, socket and namespace handle is dropped, by
/// [`close`](Self::close), when the far end does, or with the runtime in which it was made.
#[derive(Clone)]
pub struct Client {
    handle: Handle,
}

impl Client {
    /// Connects over a byte stream at whose other end a stub serves, or is about to.
    ///
    /// Spawns a task on the current tokio runtime. Not cancel-safe: a dropped future drops `io`.
    ///
    /// # Errors
    /// [`ErrorKind::Handshake`] if something else answers, and [`ErrorKind::Timeout`] if nothing
    /// that is a hello comes in time; either shows what was said instead, such as a prompt for a
    /// password. [`ErrorKind::Disconnected`].
    pub async fn connect<S>(io: S) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::connect_with(io, ConnectOptions::default()).await
    }

    /// [`connect`](Self::connect) with options.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn connect_with<S>(mut io: S, options: ConnectOptions) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ConnectOptions { timeout: limit, limits, exit_report, keepalive } = options;
        let keepalive = keepalive.map(|interval| interval.max(Duration::from_millis(10)));
        // What the far end says instead of a hello outlives the time it has for one.
        let mut scanner = MarkerScanner::new();
        let mut mine = Hello::new(Role::Client, limits, None);
        mine.silence = keepalive.map(|interval| interval.saturating_mul(PATIENCE));
        let greeted = timeout(limit, handshake::run(&mut io, &mine, &mut scanner)).await;
        let greeted = greeted.unwrap_or_else(|_| {
            let text = format!("the far end did not say hello within {limit:?}");
            Err(handshake::failed(ErrorKind::Timeout, &text, &scanner))
        });
        let greeted = match greeted {
            Ok(greeted) => greeted,
            Err(error) => {
                // At the end of its input a far end ends, unless it has already.
                drop(io);
                // The far end's own end is the better explanation, if it has one.
                let said = driver::ask(exit_report).await;
                return Err(said.map_or_else(|| error.clone(), |said| error.context(said)));
            }
        };
        let shared = Arc::new(Shared::new(&greeted));
        let handle = Handle::new(Arc::clone(&shared));
        tokio::spawn(driver::Driver::new(io, greeted, shared, exit_report, keepalive).run());
        Ok(Self { handle })
    }

    /// What the stub told of its host.
    pub fn host(&self) -> &HostInfo {
        &self.handle.host
    }

    /// What the stub told of its own software, such as `netlink-remote 0.1.0`.
    pub fn far_software(&self) -> &str {
        &self.handle.software
    }

    /// The protocol version agreed on.
    pub fn protocol_version(&self) -> u16 {
        self.handle.version
    }

    /// A socket of a netlink protocol (`NETLINK_ROUTE` is 0), to be configured and opened.
    pub fn socket(&self, protocol: u32) -> SocketBuilder {
        SocketBuilder::new(self.handle.clone(), protocol)
    }

    /// The namespaces at the far end.
    pub fn netns(&self) -> RemoteNetns {
        RemoteNetns::new(self.handle.clone())
    }

    /// The round trip to the stub and back. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        let began = Instant::now();
        let token = self.handle.with(|inner, _| inner.begin_ping())?;
        let mut waiting = shared::PingGuard { handle: &self.handle, token };
        poll_fn(|cx| waiting.poll(cx)).await?;
        Ok(began.elapsed())
    }

    /// Ends the connection: everything opened through it is closed at the far end, and whoever
    /// still waits is woken with an error. Returns when the stream is closed and what the
    /// transport started has ended. Cancel-safe; the end goes on without the future.
    pub async fn close(self) {
        self.handle.finish();
        self.handle.driver_gone().await;
    }

    /// Waits for the end of the connection and tells why it came. Cancel-safe.
    pub async fn closed(&self) -> Error {
        self.handle.ended().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.handle.host.host_name).finish_non_exhaustive()
    }
}

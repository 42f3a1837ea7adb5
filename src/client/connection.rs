//! One connection to one stub.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    builder::SocketBuilder,
    connection_ref::{Connection, ConnectionRef},
    driver, handshake,
    netns::RemoteNetns,
};
use crate::{
    Error, ErrorKind, Protocol,
    limits::client::HELLO_TIMEOUT,
    transport::ExitReport,
    wire::{
        Hello, MarkerScanner,
        hello::{HostInfo, PeerLimits, Role},
    },
};

/// Options of a connection over a byte stream; see [`Client::handshake_with`].
#[non_exhaustive]
pub struct ClientOptions {
    /// Time limit for the far end's hello: 30 seconds.
    pub timeout: Duration,
    /// Limits that this side announces to the stub.
    pub limits: PeerLimits,
    /// The report on the far end's exit, such as that of a child that was killed. The text becomes
    /// part of the connection's error.
    pub exit_report: Option<ExitReport>,
    /// The keepalive interval: after this silence of the far end this side sends a ping; if nothing
    /// comes within one more interval, the connection is lost (ETIMEDOUT). A stub ends after four
    /// intervals of silence. Less than 10 milliseconds counts as 10. `None`, the default: no pings,
    /// because a stream within one host reports its end itself.
    pub keepalive: Option<Duration>,
    /// Has the stub refuse this client every change: false. The stub gives up its capabilities for
    /// changes before it acts on a request, so that the far kernel itself gives EPERM; see
    /// [`Access::read_only`](crate::stub::Access::read_only). A stub that cannot do that ends with an
    /// error of [`ErrorKind::Handshake`].
    pub read_only: bool,
}

/// Intervals of [`ClientOptions::keepalive`] without a byte from this side before a stub ends.
const SILENT_INTERVALS: u32 = 4;

impl Default for ClientOptions {
    fn default() -> Self {
        let timeout = HELLO_TIMEOUT;
        Self {
            timeout,
            limits: PeerLimits::default(),
            exit_report: None,
            keepalive: None,
            read_only: false,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("timeout", &self.timeout)
            .field("limits", &self.limits)
            .field("keepalive", &self.keepalive)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// A connection to a stub. Cheap to clone; clones are the same connection.
///
/// The connection ends when the last client, socket and namespace handle is dropped, by
/// [`close`](Self::close), when the far end ends, and with the runtime of its task.
#[derive(Clone)]
pub struct Client {
    connection: ConnectionRef,
}

impl Client {
    /// Exchanges hellos with a stub over a byte stream: a socket, a pipe, a TLS session. A stub must
    /// serve the other end; its hello must come within 30 seconds. To reach a *target*, use
    /// [`connect`](crate::connect()).
    ///
    /// Spawns a task on the current tokio runtime, which owns the stream. Not cancel-safe: a
    /// dropped future drops the stream.
    ///
    /// # Errors
    /// [`ErrorKind::Handshake`] if the other end does not speak the protocol, ends, or has no version
    /// in common, and [`ErrorKind::Timeout`] if no hello comes in time; both repeat the text received
    /// instead, such as a prompt for a password.
    pub async fn handshake<S>(io: S) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::handshake_with(io, ClientOptions::default()).await
    }

    /// [`handshake`](Self::handshake) with options.
    ///
    /// # Errors
    /// As for [`handshake`](Self::handshake).
    pub async fn handshake_with<S>(mut io: S, options: ClientOptions) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ClientOptions { timeout: limit, limits, exit_report, keepalive, read_only } = options;
        let keepalive = keepalive.map(|interval| interval.max(Duration::from_millis(10)));
        // Outlives the time-out, whose error shows what came instead of a hello.
        let mut scanner = MarkerScanner::new();
        let mut mine = Hello::new(Role::Client, limits, None);
        mine.silence = keepalive.map(|interval| interval.saturating_mul(SILENT_INTERVALS));
        mine.read_only = read_only;
        let greeted = timeout(limit, handshake::run(&mut io, &mine, &mut scanner)).await;
        let greeted = greeted.unwrap_or_else(|_| {
            let text = format!("the far end did not say hello within {limit:?}");
            Err(handshake::failed(ErrorKind::Timeout, &text, &scanner))
        });
        let greeted = match greeted {
            Ok(greeted) => greeted,
            Err(error) => {
                // The end of its input ends the far end, whose exit then explains the error.
                drop(io);
                let said = driver::ask(exit_report).await;
                return Err(match said {
                    Some(said) => error.context(said),
                    None => error,
                });
            }
        };
        let shared = Arc::new(Connection::new(&greeted));
        let connection = ConnectionRef::new(Arc::clone(&shared));
        tokio::spawn(driver::Driver::new(io, greeted, shared, exit_report, keepalive).run());
        Ok(Self { connection })
    }

    /// The far host, as its stub describes it.
    pub fn host(&self) -> &HostInfo {
        self.connection.host()
    }

    /// Name and version of the stub's software, such as `netlink-remote 0.1.0`.
    pub fn far_software(&self) -> &str {
        self.connection.software()
    }

    /// The version of the wire protocol that both sides speak.
    pub fn protocol_version(&self) -> u16 {
        self.connection.version()
    }

    /// Begins to open a socket of a netlink protocol, such as
    /// [`Protocol::ROUTE`](crate::Protocol::ROUTE).
    pub fn socket(&self, protocol: impl Into<Protocol>) -> SocketBuilder {
        SocketBuilder::new(self.connection.clone(), protocol.into())
    }

    /// Operations on the far host's network namespaces.
    pub fn netns(&self) -> RemoteNetns {
        RemoteNetns::new(self.connection.clone())
    }

    /// Measures the round trip to the stub and back. Cancel-safe.
    ///
    /// Waits without a time limit, since a slow stream delays the answer; [`tokio::time::timeout`]
    /// adds one.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        let began = Instant::now();
        self.connection.ping().await?;
        Ok(began.elapsed())
    }

    /// Ends the connection: the far end closes every socket and namespace of it, and every
    /// waiting task gets an error. Returns once the stream is closed; waits up to 2 seconds each for
    /// the last frames to be written and for the exit report. Cancel-safe: the connection ends even
    /// if the future is dropped.
    pub async fn close(self) {
        self.connection.finish();
        self.connection.driver_gone().await;
    }

    /// Whether both are the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        self.connection.is_same(&other.connection)
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// Waits for the end of the connection, and gives its cause. Cancel-safe.
    pub async fn closed(&self) -> Error {
        self.connection.ended().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.host().host_name).finish_non_exhaustive()
    }
}

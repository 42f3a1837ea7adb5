//! One ssh connection.

use std::{
    fmt, io,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{
    auth, channel, handshake,
    host::SshHost,
    keepalive,
    opening::{ChannelKind, OpenPermit},
    shared_session::SharedSession,
    socket::{SshSocket, StreamSocket},
    tcp, tunnel,
};
use crate::{Error, ErrorKind, Origin, Step, connect_context::ConnectContext, transport::Running};

/// An ssh connection, which carries many commands. Clones are the same connection.
///
/// It closes when the last clone, and the last command and tunnel on it, is dropped.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<SharedSession>,
}

/// A reference to a session that does not keep it open.
#[derive(Clone)]
pub(crate) struct WeakSession {
    shared: Weak<SharedSession>,
}

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        Some(Session { shared: self.shared.upgrade()? })
    }
}

/// A connected host, before the ssh handshake.
pub(crate) struct ReachedHost {
    host: Arc<SshHost>,
    socket: SshSocket,
    tunnel: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("hop", &self.shared.hop()).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to a host by TCP, or through a session whose permit is given. Errors name the hop
    /// and the step. Dropping the future ends what it had started.
    pub(crate) async fn reach(
        host: &SshHost,
        via: Option<(&Session, OpenPermit)>,
        context: &ConnectContext,
    ) -> Result<ReachedHost, Error> {
        let host = Arc::new(host.clone());
        let limit = host.connect_timeout.unwrap_or(context.limit());
        let span = host_span(&host);
        let reached = match via {
            None => {
                let reach = tcp::connect(&host, limit).instrument(span);
                // The addresses share `limit` and name the one that did not answer; the slack lets
                // their error come first.
                let slack = Duration::from_secs(1);
                let reached = context.step_within(Step::Connect, limit + slack, reach).await;
                reached.map(|stream| (StreamSocket::Tcp(stream), None))
            }
            Some((gateway, permit)) => {
                let reach = gateway.tunnel(&host, permit).instrument(span);
                let reached = context.step_within(Step::Connect, limit, reach).await;
                reached.map(|(stream, tunnel)| (StreamSocket::Unix(stream), Some(tunnel)))
            }
        };
        let (socket, tunnel) = reached.map_err(|error| error.context(&host.hop))?;
        Ok(ReachedHost { host, socket: SshSocket::new(socket), tunnel })
    }

    /// Opens a tunnel to another host, and a socket joined to it.
    async fn tunnel(
        &self,
        host: &SshHost,
        permit: OpenPermit,
    ) -> Result<(tokio::net::UnixStream, oneshot::Sender<()>), Error> {
        let kind = ChannelKind::Direct { host: host.host_name.clone(), port: host.port };
        let id = SharedSession::open(Arc::downgrade(&self.shared), kind, Some(permit)).await?;
        tracing::debug!(gateway = self.shared.hop(), channel = id, "tunnel opened");
        let stream = channel::stream(Arc::clone(&self.shared), id);
        tunnel::socket_of(stream).map_err(no_socket)
    }

    /// Starts a command, given to the user's shell. Cancel-safe: dropping the future closes its
    /// channel. Has no time limit of its own; that is the caller's step.
    pub(crate) async fn run(
        &self,
        command: &str,
        permit: Option<OpenPermit>,
    ) -> Result<Running, Error> {
        if command.contains('\0') {
            return Err(Error::invalid("a command cannot contain a zero byte"));
        }
        let kind = ChannelKind::Command(command.to_owned());
        let opened = SharedSession::open(Arc::downgrade(&self.shared), kind, permit).await;
        let hop = self.shared.hop();
        match opened {
            Ok(id) => {
                tracing::debug!(hop, channel = id, "command started");
                Ok(channel::running(Arc::clone(&self.shared), id))
            }
            Err(error) => {
                tracing::debug!(hop, %error, "command not started");
                Err(error)
            }
        }
    }

    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession { shared: Arc::downgrade(&self.shared) }
    }

    /// Whether the server has refused a further command on this session.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Whether the session is not known to be over.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.is_open()
    }
}

impl ReachedHost {
    /// Verifies the host by its key, then authenticates the user. Errors name the hop and the step.
    /// Dropping the future ends what it had started.
    pub(crate) async fn log_in(self, context: &ConnectContext) -> Result<Session, Error> {
        let host = Arc::clone(&self.host);
        let session = self.log_in_steps(context).instrument(host_span(&host)).await;
        session.map_err(|error| error.context(&host.hop))
    }

    async fn log_in_steps(self, context: &ConnectContext) -> Result<Session, Error> {
        let Self { host, socket, tunnel } = self;
        let handshake = handshake::handshake(&host, &socket, context);
        let session = context.step(Step::HostKey, handshake).await?;
        let authentication = auth::authenticate(&host, session, &socket, context);
        let session = context.step(Step::Authentication, authentication).await?;
        let shared = SharedSession::new(host.hop.as_str().into(), session, socket, tunnel);
        if let Some(interval) = host.alive_interval.filter(|interval| !interval.is_zero()) {
            keepalive::start(&shared, interval, host.alive_count);
        }
        Ok(Session { shared })
    }
}

/// The span of the steps up to a session.
fn host_span(host: &SshHost) -> tracing::Span {
    tracing::debug_span!("ssh", hop = host.hop)
}

fn no_socket(error: io::Error) -> Error {
    Error::new(ErrorKind::Connect, "creating a socket pair")
        .with_source(error)
        .with_origin(Origin::Library)
}

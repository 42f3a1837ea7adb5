//! One ssh connection.

use std::{
    fmt, io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    sync::oneshot,
    task::JoinHandle,
};
use tracing::Instrument as _;

use super::{
    auth, channel,
    handshake::{self, Heard},
    host::SshHost,
    keepalive,
    opening::{ChannelKind, OpenPermit},
    shared_session::SharedSession,
    socket::{SshSocket, StreamSocket},
    tcp, tunnel,
};
use crate::{
    Error, ErrorKind, Origin, Step,
    connect_context::ConnectContext,
    text::one_line,
    transport::{Running, process},
};

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

/// Tells whether a server had no room for a connection: sshd says so before its greeting, by its
/// `MaxStartups`.
pub(crate) struct BusySignal(Heard);

impl BusySignal {
    pub(crate) fn is_busy(&self) -> bool {
        handshake::is_busy(&self.0)
    }
}

/// A connected host, before the ssh handshake.
pub(crate) struct ReachedHost {
    host: Arc<SshHost>,
    socket: SshSocket,
    tunnel: Option<oneshot::Sender<()>>,
    heard: Heard,
    /// Gives the last line on stderr of a `ProxyCommand`.
    proxy: Option<JoinHandle<String>>,
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
        let context = &context.at(&host.hop);
        let limit = host.connect_timeout.unwrap_or(context.limit());
        let span = host_span(&host);
        let mut proxy = None;
        let reached = match via {
            None if let Some(command) = &host.proxy_command => {
                let reach = async { by_command(command) }.instrument(span);
                let reached = context.step_within(Step::Connect, limit, reach).await;
                reached.map(|(stream, tunnel, said)| {
                    proxy = Some(said);
                    (StreamSocket::Unix(stream), Some(tunnel))
                })
            }
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
        let heard = Heard::default();
        Ok(ReachedHost { host, socket: SshSocket::new(socket), tunnel, heard, proxy })
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
        tunnel::socket_of(stream, ()).map_err(no_socket)
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

/// A socket to a `ProxyCommand`, which ends with it, and the last line on the command's stderr.
type ProxySocket = (tokio::net::UnixStream, oneshot::Sender<()>, JoinHandle<String>);

fn by_command(command: &str) -> Result<ProxySocket, Error> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut started = tokio::process::Command::new(shell.unwrap_or_else(|| "/bin/sh".into()));
    started.arg("-c").arg(format!("exec {command}"));
    let Running { stdio, stderr, end, .. } = process::spawn(started)?;
    tracing::debug!(command, "ProxyCommand started");
    let said = tokio::spawn(last_line(stderr));
    let (socket, tunnel) = tunnel::socket_of(stdio, end).map_err(no_socket)?;
    Ok((socket, tunnel, said))
}

/// The last line that a `ProxyCommand` says; all of them go to the log.
async fn last_line(stderr: impl AsyncRead + Send) -> String {
    /// A command that says something for ever is not heard for ever.
    const MOST: u64 = 1 << 20;
    let mut lines = BufReader::new(Box::pin(stderr)).take(MOST).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        last = one_line(&line).chars().take(300).collect();
        tracing::debug!(line = last, "ProxyCommand says");
    }
    last
}

/// What an error says of the `ProxyCommand`, which has a moment to end and to say why.
async fn proxy_note(said: JoinHandle<String>) -> String {
    const MOMENT: Duration = Duration::from_millis(500);
    let said = tokio::time::timeout(MOMENT, said).await.ok().and_then(Result::ok);
    match said.filter(|said| !said.is_empty()) {
        Some(said) => format!("; its ProxyCommand says: {said}"),
        None => "; the way to it is its ProxyCommand".to_owned(),
    }
}

impl ReachedHost {
    /// Whether the server has hung up for want of room, as told by its words so far. To be asked
    /// after [`log_in`](Self::log_in) has failed.
    pub(crate) fn busy_signal(&self) -> BusySignal {
        BusySignal(Arc::clone(&self.heard))
    }

    /// Verifies the host by its key, then authenticates the user. Errors name the hop and the step.
    /// Dropping the future ends what it had started.
    pub(crate) async fn log_in(self, context: &ConnectContext) -> Result<Session, Error> {
        let host = Arc::clone(&self.host);
        let context = &context.at(&host.hop);
        let session = self.log_in_steps(context).instrument(host_span(&host)).await;
        session.map_err(|error| error.context(&host.hop))
    }

    async fn log_in_steps(self, context: &ConnectContext) -> Result<Session, Error> {
        let Self { host, socket, tunnel, heard, proxy } = self;
        let handshake = handshake::handshake(&host, &socket, &heard, context);
        let session = context.step(Step::HostKey, handshake).await;
        let session = session.map_err(|error| match error.kind() {
            ErrorKind::Timeout => error.with_note(&handshake::unfinished(&heard)),
            _ => error,
        });
        let session = match (session, proxy) {
            (Err(error), Some(said)) => return Err(error.with_note(&proxy_note(said).await)),
            (session, _) => session?,
        };
        let said = Arc::new(Mutex::new(String::new()));
        let authentication =
            auth::authenticate(&host, session, &socket, Arc::clone(&said), context);
        let session = context.step(Step::Authentication, authentication).await;
        let session = session.map_err(|error| match error.kind() {
            ErrorKind::Timeout => error.with_note(&auth::unfinished(&said)),
            _ => error,
        })?;
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

//! One ssh connection.

#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    auth, channel, handshake,
    host::SshHost,
    keepalive,
    opening::{Turn, Way},
    shared::Shared,
    tcp, tunnel,
    wire::{Socket, Wire},
};
use crate::{Error, ErrorKind, Origin, Step, connect_context::ConnectContext, transport::Running};

/// An ssh connection, which carries many commands. Clones are the same connection.
///
/// It is closed when the last clone is gone, and every command and every connection that goes
/// through it.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    hop: Arc<str>,
}

/// A session that is not held: it may be over.
#[derive(Clone)]
pub(crate) struct WeakSession {
    shared: Weak<Shared>,
    hop: Arc<str>,
}

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        let shared = self.shared.upgrade()?;
        Some(Session { shared, hop: Arc::clone(&self.hop) })
    }
}

/// A host that is reached, and with which no word has been exchanged.
pub(crate) struct Reached {
    host: Arc<SshHost>,
    wire: Wire,
    carrier: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("hop", &self.hop).finish_non_exhaustive()
    }
}

impl Session {
    /// Reaches a host, directly or through another one, where it is this opening's turn. Errors
    /// name the hop and the step. What a dropped future had started ends.
    pub(crate) async fn reach(
        host: &SshHost,
        via: Option<(&Session, Turn)>,
        context: &ConnectContext,
    ) -> Result<Reached, Error> {
        let host = Arc::new(host.clone());
        let limit = host.connect_timeout.unwrap_or(context.limit());
        let reached = match via {
            None => {
                // The addresses share out the time themselves, and say which one did not answer.
                let reach = async { Ok(Wire::new(Socket::Tcp(tcp::connect(&host, limit).await?))) };
                let slack = Duration::from_secs(1);
                let reached = context.step_within(Step::Connect, limit + slack, reach).await;
                reached.map(|wire| (wire, None))
            }
            Some((gateway, turn)) => {
                let reach = async {
                    let way = Way::Direct { host: host.host_name.clone(), port: host.port };
                    let gateway_shared = Arc::downgrade(&gateway.shared);
                    let id = Shared::open(gateway_shared, way, Some(turn)).await?;
                    let stream = channel::stream(Arc::clone(&gateway.shared), id);
                    let joined = tunnel::socket_of(stream);
                    let (socket, carrier) = joined.map_err(|error| no_socket(&error))?;
                    Ok((Wire::new(Socket::Unix(socket)), Some(carrier)))
                };
                context.step_within(Step::Connect, limit, reach).await
            }
        };
        let (wire, carrier) = reached.map_err(|error| error.context(&host.hop))?;
        Ok(Reached { host, wire, carrier })
    }

    /// Starts a command, given to the user's shell. Cancel-safe: what a dropped future had started
    /// ends. It takes as long as the server does; the caller's step sets it a limit.
    pub(crate) async fn run(&self, command: &str, turn: Option<Turn>) -> Result<Running, Error> {
        if command.contains('\0') {
            return Err(Error::invalid("a command cannot contain a zero byte"));
        }
        let way = Way::Command(command.to_owned());
        let id = Shared::open(Arc::downgrade(&self.shared), way, turn).await?;
        Ok(channel::running(Arc::clone(&self.shared), id))
    }

    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession { shared: Arc::downgrade(&self.shared), hop: Arc::clone(&self.hop) }
    }

    /// Whether the server has refused to run one more command on it.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Whether it is not known to be over.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.is_open()
    }
}

impl Reached {
    /// Makes sure that it is the right host, and proves who the user is. Errors name the hop and
    /// the step. What a dropped future had started ends.
    pub(crate) async fn log_in(self, context: &ConnectContext) -> Result<Session, Error> {
        let host = Arc::clone(&self.host);
        self.log_in_steps(context).await.map_err(|error| error.context(&host.hop))
    }

    async fn log_in_steps(self, context: &ConnectContext) -> Result<Session, Error> {
        let Self { host, wire, carrier } = self;
        let shaking = handshake::handshake(&host, &wire, context);
        let session = context.step(Step::HostKey, shaking).await?;
        let proving = auth::authenticate(&host, session, &wire, context);
        let session = context.step(Step::Authentication, proving).await?;
        let shared = Shared::new(session, wire, carrier);
        if let Some(interval) = host.alive_interval.filter(|interval| !interval.is_zero()) {
            keepalive::start(&shared, interval, host.alive_count);
        }
        Ok(Session { shared, hop: host.hop.as_str().into() })
    }
}

fn no_socket(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Connect, error.to_string())
        .with_origin(Origin::Library)
        .with_errno(error.raw_os_error())
}

//! One ssh connection.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    auth, channel, handshake,
    host::SshHost,
    keepalive,
    opening::Way,
    shared::Shared,
    tcp, tunnel,
    wire::{Socket, Wire},
};
use crate::{Error, ErrorKind, Origin, Step, ask::Guide, transport::Running};

/// An ssh connection, which carries many commands. Clones are the same connection.
///
/// It is closed when the last clone is gone, and every command and every connection that goes
/// through it.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    hop: Arc<str>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("hop", &self.hop).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, directly or through another host, makes sure that it is the right host, and
    /// proves who the user is. Errors name the hop and the step. What a dropped future had
    /// started ends.
    pub(crate) async fn connect(
        host: &SshHost,
        via: Option<&Session>,
        guide: &Guide,
    ) -> Result<Session, Error> {
        let host = Arc::new(host.clone());
        let connected = Self::connect_steps(&host, via, guide).await;
        connected.map_err(|error| error.context(&host.hop))
    }

    async fn connect_steps(
        host: &Arc<SshHost>,
        via: Option<&Session>,
        guide: &Guide,
    ) -> Result<Session, Error> {
        let limit = host.connect_timeout.unwrap_or(guide.limit());
        let (wire, carrier) = match via {
            None => {
                // The addresses share out the time themselves, and say which one did not answer.
                let reach = async { Ok(Wire::new(Socket::Tcp(tcp::connect(host, limit).await?))) };
                let slack = Duration::from_secs(1);
                (guide.step_within(Step::Connect, limit + slack, reach).await?, None)
            }
            Some(gateway) => {
                let reach = async {
                    let way = Way::Direct { host: host.host_name.clone(), port: host.port };
                    let id = Shared::open(Arc::downgrade(&gateway.shared), way).await?;
                    let stream = channel::stream(Arc::clone(&gateway.shared), id);
                    let joined = tunnel::socket_of(stream);
                    let (socket, carrier) = joined.map_err(|error| no_socket(&error))?;
                    Ok((Wire::new(Socket::Unix(socket)), Some(carrier)))
                };
                guide.step_within(Step::Connect, limit, reach).await?
            }
        };
        let shaking = handshake::handshake(host, &wire, guide);
        let session = guide.step(Step::HostKey, shaking).await?;
        let proving = auth::authenticate(host, session, &wire, guide);
        let session = guide.step(Step::Authentication, proving).await?;
        let shared = Shared::new(session, wire, carrier);
        if let Some(interval) = host.alive_interval.filter(|interval| !interval.is_zero()) {
            keepalive::start(&shared, interval, host.alive_count);
        }
        Ok(Session { shared, hop: host.hop.as_str().into() })
    }

    /// Starts a command, given to the user's shell. Cancel-safe: what a dropped future had started
    /// ends. It takes as long as the server does; the caller's step sets it a limit.
    pub(crate) async fn exec(&self, command: &str) -> Result<Running, Error> {
        if command.contains('\0') {
            return Err(Error::invalid("a command cannot contain a zero byte"));
        }
        let way = Way::Command(command.to_owned());
        let id = Shared::open(Arc::downgrade(&self.shared), way).await?;
        Ok(channel::running(Arc::clone(&self.shared), id))
    }

    /// Whether the other is the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
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

fn no_socket(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Connect, Origin::Library, error.raw_os_error(), error.to_string())
}

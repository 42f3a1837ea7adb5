//! The ssh connections that ways have in common.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use super::Hop;
use crate::{
    Error, ErrorKind, Step,
    ask::Guide,
    transport::{
        Running,
        ssh::{ConfigSource, Session, config, host::SshHost},
    },
};

/// How deep `ProxyJump` may lead: a host whose jump host has a jump host, and so on.
const MAX_JUMPS: usize = 8;

/// One attempt at a connection, for everyone who needs it at that time; its failure is theirs too.
type Attempt = Arc<OnceCell<Result<Session, Error>>>;

pub(super) struct Sessions {
    source: ConfigSource,
    /// By the way there.
    attempts: Mutex<HashMap<Vec<SshHost>, Attempt>>,
}

impl Sessions {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        let source = match file {
            None => ConfigSource::Default,
            Some(file) if file.as_os_str() == "none" => ConfigSource::None,
            Some(file) => ConfigSource::File(file),
        };
        Self { source, attempts: Mutex::default() }
    }

    /// Starts a command on the last of these hosts.
    pub(super) async fn exec(
        &self,
        hops: &[Hop],
        command: &str,
        guide: &Guide,
    ) -> Result<Running, Error> {
        let way = self.way(hops)?;
        let mut is_again = false;
        loop {
            let (session, is_shared) = self.session(&way, guide).await?;
            let running = guide.step(Step::Bootstrap, session.exec(command)).await;
            let error = match running {
                Err(error) if is_shared => error,
                result => return result,
            };
            // A server allows so many commands on a connection (MaxSessions); another connection
            // has as much room again. One that is gone, or does not answer, is replaced once.
            let is_lost = error.kind() == ErrorKind::Timeout || !session.is_open();
            if !session.is_full() && (is_again || !is_lost) {
                return Err(error);
            }
            is_again = true;
            self.forget(&names(&way), &session);
        }
    }

    /// All hosts on the way, with those that `ProxyJump` adds.
    fn way(&self, hops: &[Hop]) -> Result<Vec<SshHost>, Error> {
        let mut way = Vec::new();
        for hop in hops {
            let Hop::Ssh(to) = hop else { continue };
            let host = config::resolve(
                &hop.to_string(),
                to.user.as_deref(),
                &to.host,
                to.port,
                &self.source,
            )?;
            // A chain that is written out is what the user wants.
            if way.is_empty() {
                self.jumps(&host, &mut way, 0)?;
            }
            way.push(host);
        }
        Ok(way)
    }

    fn jumps(&self, host: &SshHost, way: &mut Vec<SshHost>, depth: usize) -> Result<(), Error> {
        if depth == MAX_JUMPS && !host.jumps.is_empty() {
            let text = format!(
                "{}: more than {MAX_JUMPS} hosts jump over each other (ProxyJump)",
                host.hop
            );
            return Err(Error::invalid(text));
        }
        for (index, jump) in host.jumps.iter().enumerate() {
            let (user, name, port) = config::parse_destination(jump)?;
            let hop = format!("ssh://{jump}");
            let jump = config::resolve(&hop, user.as_deref(), &name, port, &self.source)?;
            // As with ssh -J: the second and later ones are reached through the one before.
            if index == 0 {
                self.jumps(&jump, way, depth + 1)?;
            }
            way.push(jump);
        }
        Ok(())
    }

    /// A connection to the last host, and whether it was made for another than this caller.
    async fn session(&self, way: &[SshHost], guide: &Guide) -> Result<(Session, bool), Error> {
        let mut via: Option<Session> = None;
        let mut is_shared = true;
        for (index, host) in way.iter().enumerate() {
            let name = names(way.get(..=index).unwrap_or_default());
            loop {
                let attempt = Arc::clone(self.lock().entry(name.clone()).or_default());
                is_shared = true;
                let connecting = || {
                    is_shared = false;
                    Session::connect(host, via.as_ref(), guide)
                };
                let connected = attempt.get_or_init(connecting).await.clone();
                let is_good = connected.as_ref().is_ok_and(Session::is_open);
                if !is_good {
                    self.lock().retain(|_, other| !Arc::ptr_eq(other, &attempt));
                }
                match connected {
                    // One that has ended since it was made; a new one is made only once.
                    Ok(_) if !is_good && is_shared => {}
                    Ok(session) => {
                        via = Some(session);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let session = via.ok_or_else(|| Error::invalid("no host to connect to"))?;
        Ok((session, is_shared))
    }

    fn forget(&self, name: &[SshHost], session: &Session) {
        let is_it = |attempt: &Attempt| {
            attempt.get().is_some_and(|made| made.as_ref().is_ok_and(|made| made.is_same(session)))
        };
        self.lock().retain(|other, attempt| other != name || !is_it(attempt));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<SshHost>, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes one connection as good as another: all that decides whom it is made to, as whom and
/// how it is checked, under whichever name.
fn names(way: &[SshHost]) -> Vec<SshHost> {
    let name = |host: &SshHost| SshHost {
        hop: String::new(),
        connect_timeout: None,
        jumps: Vec::new(),
        ..host.clone()
    };
    way.iter().map(name).collect()
}

//! The ssh connections that targets share.

use std::{
    collections::HashMap,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    hop::Hop,
    pool::{Lease, Pool, Wait},
};
use crate::{
    Error, ErrorKind, Origin, Step, blocking,
    connect_context::ConnectContext,
    sync::lock,
    transport::{
        Running,
        ssh::{ConfigSource, ReachedHost, Session, config, host::SshHost},
    },
};

/// The depth of `ProxyJump`: a host whose jump host has a jump host, and so on.
const MAX_JUMPS: usize = 8;

/// The pauses before a busy server is tried again. Many clients that began together come apart by
/// the server's own random choice of whom it refuses.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The ssh connections of one connector.
pub(super) struct Sessions {
    source: ConfigSource,
    /// The pool of a host by its route; see [`pool_key`].
    pools: Mutex<HashMap<Vec<SshHost>, Arc<Pool>>>,
}

impl Sessions {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        let source = match file {
            None => ConfigSource::Default,
            Some(file) if file.as_os_str() == "none" => ConfigSource::None,
            Some(file) => ConfigSource::File(file),
        };
        Self { source, pools: Mutex::default() }
    }

    /// Starts a command on the host of the last hop.
    pub(super) async fn exec(
        &self,
        hops: &[Hop],
        command: &str,
        context: &ConnectContext,
    ) -> Result<Running, Error> {
        let (hops, source) = (hops.to_vec(), self.source.clone());
        // It reads files, and may start the commands of a `Match exec`.
        let route = blocking::run(move || Routes { source }.route(&hops)).await;
        let route = route.map_err(|error| {
            let error = Error::new(ErrorKind::Connect, "reading ssh's files").with_source(error);
            error.with_origin(Origin::Library)
        })??;
        let wait = Wait { step: Step::Bootstrap, limit: context.limit(), hop: None };
        let mut is_again = false;
        loop {
            let lease = self.lease(&route, context, wait).await?;
            let Lease { session, permit, member, is_shared } = lease;
            let running = context.step(Step::Bootstrap, session.run(command, Some(permit))).await;
            let Err(error) = running else { return running };
            // A server limits the commands of one connection (MaxSessions): another connection has
            // room again. One that is closed, or does not answer, is replaced once.
            let is_lost = error.kind() == ErrorKind::Timeout || !session.is_open();
            debug!(%error, is_lost, is_full = session.is_full(), "ssh starts no command");
            if is_lost || session.is_full() {
                member.retire();
            }
            if !is_shared || !session.is_full() && (is_again || !is_lost) {
                return Err(error);
            }
            is_again = true;
        }
    }

    /// Leases a connection to the last host of a route.
    fn lease<'a>(
        &'a self,
        route: &'a [SshHost],
        context: &'a ConnectContext,
        wait: Wait<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Lease, Error>> + Send + 'a>> {
        let pool = {
            let mut pools = lock(&self.pools);
            Arc::clone(pools.entry(pool_key(route)).or_default())
        };
        Box::pin(async move { pool.lease(wait, || self.connect(route, context)).await })
    }

    /// Makes a connection to the last host of a route, and returns whether that took questions.
    async fn connect(
        &self,
        route: &[SshHost],
        context: &ConnectContext,
    ) -> Result<(Session, bool), Error> {
        let Some((host, before)) = route.split_last() else {
            return Err(Error::invalid("no host to connect to"));
        };
        let there = through(before, context);
        let limit = host.connect_timeout.unwrap_or(context.limit());
        let deadline = Instant::now() + limit;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let reached = match before {
                [] => Session::reach(host, None, context).await?,
                before => self.tunnel(host, before, (context, &there)).await?,
            };
            let asked = context.questions_asked();
            let busy = reached.busy_signal();
            match reached.log_in(&there).await {
                Ok(session) => return Ok((session, context.questions_asked() != asked)),
                Err(error) if !busy.is_busy() || Instant::now() + pause > deadline => {
                    return Err(error);
                }
                Err(error) => debug!(%error, ?pause, "trying again"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reaches a host through those before it; the second context is for the host, the first for
    /// those.
    async fn tunnel(
        &self,
        host: &SshHost,
        before: &[SshHost],
        (context, there): (&ConnectContext, &ConnectContext),
    ) -> Result<ReachedHost, Error> {
        let limit = host.connect_timeout.unwrap_or(context.limit());
        let wait = Wait { step: Step::Connect, limit, hop: Some(&host.hop) };
        let mut is_again = false;
        loop {
            let lease = self.lease(before, context, wait).await?;
            let Lease { session, permit, member, is_shared } = lease;
            let reached = Session::reach(host, Some((&session, permit)), there).await;
            let Err(error) = reached else { return reached };
            // Either the gateway does not answer, or it opens no other channel for a long time.
            if error.kind() == ErrorKind::Timeout {
                member.retire();
                return Err(error);
            }
            // A connection that was closed unnoticed is replaced once.
            if session.is_open() || !is_shared || is_again {
                return Err(error);
            }
            is_again = true;
        }
    }
}

/// The routes by one configuration.
struct Routes {
    source: ConfigSource,
}

impl Routes {
    /// The hosts of the hops, outermost first, and those that `ProxyJump` puts before them.
    fn route(&self, hops: &[Hop]) -> Result<Vec<SshHost>, Error> {
        let mut route = Vec::new();
        for hop in hops {
            let Hop::Ssh(to) = hop else { continue };
            let host = config::resolve(
                &hop.to_string(),
                to.user.as_deref(),
                &to.host,
                to.port,
                &self.source,
            )?;
            // Hops of the target take the place of ProxyJump.
            if route.is_empty() {
                self.jumps(&host, &mut route, 0)?;
            }
            route.push(host);
        }
        Ok(route)
    }

    /// Adds the jump hosts of a host.
    fn jumps(&self, host: &SshHost, route: &mut Vec<SshHost>, depth: usize) -> Result<(), Error> {
        if depth == MAX_JUMPS && !host.jumps.is_empty() {
            let text = format!(
                "{}: more than {MAX_JUMPS} jump hosts, each of the one before (ProxyJump)",
                host.hop
            );
            return Err(Error::invalid(text));
        }
        for (index, jump) in host.jumps.iter().enumerate() {
            let (user, name, port) = config::parse_destination(jump)?;
            let hop = format!("ssh://{jump}");
            let jump = config::resolve(&hop, user.as_deref(), &name, port, &self.source)?;
            // As with ssh -J, the second and later ones are reached through the one before.
            if index == 0 {
                self.jumps(&jump, route, depth + 1)?;
            }
            route.push(jump);
        }
        Ok(())
    }
}

/// The context for a host that is reached through these.
fn through(hosts: &[SshHost], context: &ConnectContext) -> ConnectContext {
    hosts.iter().fold(context.clone(), |context, host| context.through(&host.hop))
}

/// The parts of a route by which a connection can serve another target: address, user, keys and host
/// key checks of each host, whatever its name in the target.
fn pool_key(route: &[SshHost]) -> Vec<SshHost> {
    let key = |host: &SshHost| SshHost {
        hop: String::new(),
        key_folder: None,
        connect_timeout: None,
        jumps: Vec::new(),
        ..host.clone()
    };
    route.iter().map(key).collect()
}

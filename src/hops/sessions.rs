//! The ssh connections that ways have in common.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Hop,
    pool::{Lease, Pool, Wait},
};
use crate::{
    Error, ErrorKind, Step,
    connect_context::ConnectContext,
    transport::{
        Running,
        ssh::{ConfigSource, ReachedHost, Session, config, host::SshHost},
    },
};

/// How deep `ProxyJump` may lead: a host whose jump host has a jump host, and so on.
const MAX_JUMPS: usize = 8;

pub(super) struct Sessions {
    source: ConfigSource,
    /// By the way there.
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

    /// Starts a command on the last of these hosts.
    pub(super) async fn exec(
        &self,
        hops: &[Hop],
        command: &str,
        context: &ConnectContext,
    ) -> Result<Running, Error> {
        let way = self.way(hops)?;
        let wait = Wait { step: Step::Bootstrap, limit: context.limit(), hop: None };
        let mut is_again = false;
        loop {
            let lease = self.lease(&way, context, wait).await?;
            let Lease { session, permit, place, is_shared } = lease;
            let running = context.step(Step::Bootstrap, session.run(command, Some(permit))).await;
            let Err(error) = running else { return running };
            // A server allows so many commands on a connection (MaxSessions); another connection
            // has as much room again. One that is gone, or does not answer, is replaced once.
            let is_lost = error.kind() == ErrorKind::Timeout || !session.is_open();
            if is_lost || session.is_full() {
                place.forget();
            }
            if !is_shared || !session.is_full() && (is_again || !is_lost) {
                return Err(error);
            }
            is_again = true;
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

    /// A connection to the last host, to open one thing there.
    fn lease<'a>(
        &'a self,
        way: &'a [SshHost],
        context: &'a ConnectContext,
        wait: Wait<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Lease, Error>> + Send + 'a>> {
        let pool = {
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(pools.entry(names(way)).or_default())
        };
        Box::pin(async move { pool.lease(wait, || self.connect(way, context)).await })
    }

    /// A new connection to the last host, and whether anything was asked for it.
    async fn connect(
        &self,
        way: &[SshHost],
        context: &ConnectContext,
    ) -> Result<(Session, bool), Error> {
        let Some((host, before)) = way.split_last() else {
            return Err(Error::invalid("no host to connect to"));
        };
        let there = behind(before, context);
        let reached = match before {
            [] => Session::reach(host, None, context).await?,
            before => self.tunnel(host, before, (context, &there)).await?,
        };
        let asked = context.asked();
        let session = reached.log_in(&there).await?;
        Ok((session, context.asked() != asked))
    }

    /// Reaches a host through those before it. One context is for these, the other for the host.
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
            let Lease { session, permit, place, is_shared } = lease;
            let reached = Session::reach(host, Some((&session, permit)), there).await;
            let Err(error) = reached else { return reached };
            // It may be the gateway that does not answer, and if it is not, then nothing else can
            // be opened there for a long time.
            if error.kind() == ErrorKind::Timeout {
                place.forget();
                return Err(error);
            }
            // One that had ended, and nobody had noticed.
            if session.is_open() || !is_shared || is_again {
                return Err(error);
            }
            is_again = true;
        }
    }
}

/// The context for what is behind these hosts.
fn behind(hosts: &[SshHost], context: &ConnectContext) -> ConnectContext {
    hosts.iter().fold(context.clone(), |context, host| context.behind(&host.hop))
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

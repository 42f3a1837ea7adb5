//! Going there.

#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::process::Command;

use super::{
    Hop, Target, TargetOptions,
    argv::{Means, Plan, plan},
};
use crate::{
    Error, ErrorKind, Step,
    bootstrap::{
        bootstrap::{Approach, approach},
        clean::clean,
        script::{Boot, clean_argv, nonce},
        stubs::{StubOptions, Stubs},
    },
    client::{Client, ClientOptions},
    connect_context::ConnectContext,
    transport::{Running, process, unix},
};
#[cfg(feature = "ssh")]
use {super::sessions::Sessions, crate::bootstrap::quote::quote};

/// Connects to targets. Cheap to clone; clones are the same connector.
///
/// What the ways to several targets have in common is gone once: while a connector lives, so does
/// each ssh connection it made, and it carries all stubs on that host and all tunnels through it.
/// A connection outlives its connector.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    options: TargetOptions,
    /// Looked for when they are first needed.
    stubs: OnceLock<Result<Stubs, Error>>,
    #[cfg(feature = "ssh")]
    sessions: Sessions,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector without connections.
    pub fn new(options: TargetOptions) -> Self {
        #[cfg(feature = "ssh")]
        let sessions = Sessions::new(options.ssh_config.clone());
        Self {
            shared: Arc::new(Shared {
                options,
                stubs: OnceLock::new(),
                #[cfg(feature = "ssh")]
                sessions,
            }),
        }
    }

    /// Connects to the stub that `target` leads to, bringing one along where there is none.
    ///
    /// Not cancel-safe, but what a dropped future had started ends.
    ///
    /// # Errors
    /// Names the target, the [`Step`] and, in words, the remedy. Each step has
    /// [`TargetOptions::timeout`].
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) where a hop cannot be reached or
    /// started, is not the one it should be, or refuses; otherwise as [`Client::handshake`].
    pub async fn connect(&self, target: &Target) -> Result<Client, Error> {
        // The future of a chain is large; callers hold many of them.
        let connected = Box::pin(self.go(target)).await;
        connected.map_err(|error| named(target, error))
    }

    /// Removes what [`connect`](Self::connect) may have left at the far end: stubs in cache
    /// folders. Gives the paths of what there was.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect), and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid)
    /// for a target that stubs are not sent to.
    pub async fn clean(&self, target: &Target) -> Result<Vec<String>, Error> {
        let cleaned = Box::pin(self.clean_up(target)).await;
        cleaned.map_err(|error| named(target, error))
    }

    /// Starts a command where a stub would be started. For benchmarks, which compare a stub's
    /// stream with what the same way carries of anything else.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect), up to where the command runs.
    #[doc(hidden)]
    pub async fn run(&self, target: &Target, argv: Vec<OsString>) -> Result<Running, Error> {
        let options = &self.shared.options;
        let context = ConnectContext::new(options.prompter.clone(), options.timeout);
        let started = Box::pin(self.start(target, argv, &context)).await;
        started.map(|(running, _)| running).map_err(|error| named(target, error))
    }

    async fn go(&self, target: &Target) -> Result<Client, Error> {
        let options = &self.shared.options;
        let context = ConnectContext::new(options.prompter.clone(), options.timeout);
        let mut connect = ClientOptions {
            timeout: options.timeout,
            keepalive: options.keepalive,
            ..Default::default()
        };
        if let [Hop::Unix(path)] = target.hops() {
            let stream = context.step(Step::Connect, unix::dial(path)).await?;
            let connected = Client::handshake_with(stream, connect).await;
            return connected.map_err(|error| error.prefix_step(Step::Hello));
        }
        let (inner, boot) = match target.hops() {
            [.., Hop::Stub(path)] => (vec![OsString::from(path)], None),
            hops if hops.iter().all(Hop::keeps_files) => (options.local_stub(), None),
            _ => {
                let stubs = self.shared.stubs.get_or_init(|| find_stubs(options)).clone()?;
                let boot = Boot::new(&stubs).await?;
                (boot.argv().into_iter().map(OsString::from).collect(), Some(boot))
            }
        };
        let (running, plan) = self.start(target, inner, &context).await?;
        let what = Approach {
            boot: boot.as_ref(),
            prompts: plan.prompts,
            lines: plan.line.into_iter().collect(),
            ready: plan.ready,
            target: target.to_string(),
        };
        let (stream, exit_report) = approach(running, what, &context).await?;
        connect.exit_report = Some(exit_report);
        Client::handshake_with(stream, connect)
            .await
            .map_err(|error| error.prefix_step(Step::Hello))
    }

    async fn clean_up(&self, target: &Target) -> Result<Vec<String>, Error> {
        let is_sent = !target.hops().iter().all(Hop::keeps_files)
            && !matches!(target.hops(), [Hop::Unix(_)] | [.., Hop::Stub(_)]);
        if !is_sent {
            return Err(Error::invalid("no stub is ever sent there"));
        }
        let context =
            ConnectContext::new(self.shared.options.prompter.clone(), self.shared.options.timeout);
        let argv = clean_argv().into_iter().map(OsString::from).collect();
        let (running, plan) = self.start(target, argv, &context).await?;
        let what = Approach {
            boot: None,
            prompts: plan.prompts,
            lines: plan.line.into_iter().collect(),
            ready: plan.ready,
            target: target.to_string(),
        };
        let cleaned = clean(running, what, &context).await?;
        if let [kept, ..] = cleaned.kept.as_slice() {
            let text =
                format!("{kept} cannot be removed; the account there may not write to its folder");
            return Err(Error::new(ErrorKind::Request, text));
        }
        Ok(cleaned.removed)
    }

    /// Starts a command at the end of a target's hops.
    async fn start(
        &self,
        target: &Target,
        inner: Vec<OsString>,
        context: &ConnectContext,
    ) -> Result<(Running, Plan), Error> {
        let options = &self.shared.options;
        let is_ssh = |hop: &&Hop| matches!(hop, Hop::Ssh(_));
        let hops = target.hops();
        let hops = hops.strip_prefix(&[Hop::Local]).unwrap_or(hops);
        let (ssh, rest) = hops.split_at(hops.iter().take_while(is_ssh).count());
        let means = Means {
            has_secrets: context.has_secrets(),
            nonce,
            ssh_config: options.ssh_config.as_deref(),
            before: ssh,
        };
        let mut plan = plan(rest, inner, &means)?;
        let argv = std::mem::take(&mut plan.argv);
        let running = match ssh {
            [] => {
                let mut words = argv.into_iter();
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words);
                let spawned = process::run(command);
                let spawned = spawned.map_err(|error| match hops {
                    [] => error.with_note(" (or set NLR_STUB to a stub's path)"),
                    _ => error,
                });
                spawned.map_err(|error| error.prefix_step(Step::Connect))?
            }
            #[cfg(feature = "ssh")]
            ssh => self.shared.sessions.exec(ssh, &quote(&argv)?, context).await?,
            #[cfg(not(feature = "ssh"))]
            _ => {
                let text = "this build has no ssh of its own (the feature `ssh`); write openssh://";
                return Err(Error::invalid(text));
            }
        };
        Ok((running, plan))
    }
}

fn find_stubs(options: &TargetOptions) -> Result<Stubs, Error> {
    let own = options.stub.as_deref().and_then(|words| {
        let (program, words) = words.split_first()?;
        let words =
            words.iter().map(|word| word.to_str().map(str::to_owned)).collect::<Option<_>>();
        Some((program.into(), words?))
    });
    Stubs::find(&StubOptions { files: options.stubs.clone(), own })
}

/// The error of a target, whose name may be in front already where it is a single hop.
fn named(target: &Target, error: Error) -> Error {
    // "local", and "ssh://host,sudo": a message puts its own colon behind.
    let name = target.to_string();
    let name = name.trim_end_matches(':');
    match error.to_string().strip_prefix(name) {
        Some(rest) if rest.starts_with(": ") => error,
        _ => error.context(name),
    }
}

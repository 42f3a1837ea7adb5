//! Connecting to targets.

use std::{
    ffi::OsString,
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio::process::Command;
use tracing::{Instrument, debug, debug_span};

#[cfg(feature = "ssh")]
use super::{argv::quote, sessions::Sessions};
use super::{
    argv::{CommandLine, Parameters, wrap},
    hop::Hop,
    options::TargetOptions,
    questions::Questions,
    target::Target,
};
use crate::{
    Error, ErrorKind, Step,
    bootstrap::{BootScript, Preamble, Search, StubSet, clean, clean_argv, nonce, start_stub},
    client::{Client, ClientOptions},
    connect_context::ConnectContext,
    transport::{Running, process, unix},
};

/// Connects to targets. Cheap to clone; clones are the same connector.
///
/// A connector keeps its `ssh://` connections open, and targets share them: each carries all stubs on
/// its host and all tunnels through it. Each `openssh://` target starts an `ssh` of its own
/// (ControlMaster in ssh's configuration shares their connections). A [`Client`] outlives its
/// connector.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    options: TargetOptions,
    /// The stubs to send, searched for when one is first needed.
    stubs: OnceLock<Result<StubSet, Error>>,
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

    /// Connects to the stub at the end of `target`, and sends a stub there if there is none.
    ///
    /// Not cancel-safe: a dropped future ends the processes and ssh channels that it started; ssh
    /// connections stay in the connector.
    ///
    /// # Errors
    /// Each error names the target and, if a hop failed, the [`Step`]; most add a remedy.
    /// [`ErrorKind::Timeout`] if a step takes longer than [`TargetOptions::timeout`];
    /// [`ErrorKind::Connect`] if a hop cannot be reached or started, refuses, or has a host key that
    /// is not accepted; otherwise as [`Client::handshake`].
    pub async fn connect(&self, target: &Target) -> Result<Client, Error> {
        let span = debug_span!("connect", to = %target);
        // A large future, of which callers may hold many.
        let connected = Box::pin(self.connect_stub(target).instrument(span)).await;
        connected.map_err(|error| named(target, error))
    }

    /// Removes the stubs in the cache folders of the host and user at the end of `target`, and
    /// returns the paths removed. Running stubs continue.
    ///
    /// Not cancel-safe: a dropped future may have removed some stubs.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect). [`ErrorKind::Request`] if a stub's file cannot be removed;
    /// [`ErrorKind::Invalid`] for a target that uses a local, installed or listening stub.
    pub async fn clean(&self, target: &Target) -> Result<Vec<String>, Error> {
        let span = debug_span!("clean", to = %target);
        let cleaned = Box::pin(self.remove_stubs(target).instrument(span)).await;
        cleaned.map_err(|error| named(target, error))
    }

    /// Starts any command where [`connect`](Self::connect) would start a stub, over the same hops
    /// and ssh connections. Benchmarks compare its stream with a stub's.
    ///
    /// A hop that asks for a password, and an `exec:` hop, need a dialog that this method does not
    /// hold: their commands do not start.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect), up to the start of the command.
    #[cfg(feature = "unstable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "unstable")))]
    pub async fn spawn(&self, target: &Target, argv: Vec<OsString>) -> Result<Running, Error> {
        let context = self.context();
        let questions = Questions::default();
        let started = Box::pin(self.start(target, argv, &questions, &context)).await;
        started.map(|(running, _)| running).map_err(|error| named(target, error))
    }

    fn context(&self) -> ConnectContext {
        let options = &self.shared.options;
        ConnectContext::new(options.prompter.clone(), options.timeout)
    }

    async fn connect_stub(&self, target: &Target) -> Result<Client, Error> {
        let options = &self.shared.options;
        let context = self.context();
        let mut connect = ClientOptions {
            timeout: options.timeout,
            keepalive: options.keepalive,
            read_only: options.read_only,
            ..Default::default()
        };
        if let [Hop::Unix(path)] = target.hops() {
            debug!(path = %path.display(), "connecting to a unix socket");
            let stream = context.step(Step::Connect, unix::dial(path)).await?;
            let connected = Client::handshake_with(stream, connect).await;
            return connected.map_err(|error| error.prefix_step(Step::Hello));
        }
        let (inner, script) = match target.hops() {
            [.., Hop::Stub(path)] => (vec![OsString::from(path)], None),
            hops if hops.iter().all(Hop::keeps_files)
                && is_executable(hops, &options.local_stub()) =>
            {
                (options.local_stub(), None)
            }
            _ => {
                let script = BootScript::new(&self.stubs()?).await?;
                (script.argv().into_iter().map(OsString::from).collect(), Some(script))
            }
        };
        let questions = Questions::of(target, &context).await?;
        let (running, line) = self.start(target, inner, &questions, &context).await?;
        let preamble = preamble(target, line, script.as_ref());
        let starting = start_stub(running, preamble, &context);
        let (stream, exit_report) = questions.during(&context, starting).await?;
        connect.exit_report = Some(exit_report);
        let connected = Client::handshake_with(stream, connect).await;
        connected.map_err(|error| error.prefix_step(Step::Hello))
    }

    async fn remove_stubs(&self, target: &Target) -> Result<Vec<String>, Error> {
        let hops = target.hops();
        let is_here = hops.iter().all(Hop::keeps_files)
            && is_executable(hops, &self.shared.options.local_stub());
        let is_sent = !is_here && !matches!(target.hops(), [Hop::Unix(_)] | [.., Hop::Stub(_)]);
        if !is_sent {
            let text = "this target uses a local, installed or listening stub; there is nothing to \
                        remove";
            return Err(Error::invalid(text));
        }
        let context = self.context();
        let argv = clean_argv().into_iter().map(OsString::from).collect();
        let questions = Questions::of(target, &context).await?;
        let (running, line) = self.start(target, argv, &questions, &context).await?;
        let cleaning = clean(running, preamble(target, line, None), &context);
        let cleaned = questions.during(&context, cleaning).await?;
        if let [kept, ..] = cleaned.kept.as_slice() {
            let text = format!("{kept} cannot be removed: its user may not write to its folder");
            return Err(Error::new(ErrorKind::Request, text));
        }
        Ok(cleaned.removed)
    }

    /// The stubs to send.
    fn stubs(&self) -> Result<StubSet, Error> {
        let options = &self.shared.options;
        let search = || Search::new(options.stubs.clone(), options.own_stubs()).run();
        self.shared.stubs.get_or_init(search).clone()
    }

    /// Starts a command at the end of a target's hops, and returns the rest of its command line.
    async fn start(
        &self,
        target: &Target,
        inner: Vec<OsString>,
        questions: &Questions,
        context: &ConnectContext,
    ) -> Result<(Running, CommandLine), Error> {
        let hops = target.far_hops();
        let is_ssh = |hop: &&Hop| matches!(hop, Hop::Ssh(_));
        let (ssh, rest) = hops.split_at(hops.iter().take_while(is_ssh).count());
        let parameters = Parameters {
            has_secrets: context.has_secrets(),
            ssh_asks: questions.are_answered(),
            nonce,
            ssh_config: self.shared.options.ssh_config.as_deref(),
            before: ssh,
        };
        let mut line = wrap(rest, inner, &parameters)?;
        let argv = std::mem::take(&mut line.argv);
        let running = match ssh {
            [] => spawn(argv, hops.is_empty(), questions)?,
            #[cfg(feature = "ssh")]
            ssh => {
                debug!(argv = %Abbreviated(&argv), "starting a command by ssh");
                self.shared.sessions.exec(ssh, &quote(&argv)?, context).await?
            }
            #[cfg(not(feature = "ssh"))]
            _ => {
                let text = "this build has no ssh of its own (the feature `ssh`); write openssh://";
                return Err(Error::invalid(text));
            }
        };
        Ok((running, line))
    }
}

/// Whether the user that local hops lead to can be expected to run a program of this host: a home
/// folder may be closed to others.
fn is_executable(hops: &[Hop], argv: &[OsString]) -> bool {
    /// Execution by others: of a folder, the passage.
    const OTHERS: u32 = 0o001;
    let user = hops.iter().rev().find_map(|hop| match hop {
        Hop::Sudo(user) | Hop::Doas(user) | Hop::Su(user) => Some(user.as_deref()),
        _ => None,
    });
    if matches!(user, None | Some(None | Some("root"))) {
        return true;
    }
    let Some(program) = argv.first().map(Path::new).filter(|path| path.is_absolute()) else {
        return true;
    };
    let is_open = |path: &Path| {
        fs::metadata(path).map_or(true, |about| about.permissions().mode() & OTHERS != 0)
    };
    program.ancestors().all(is_open)
}

/// Starts a process on this host; `is_stub` if it is a stub and no program that leads to one.
fn spawn(argv: Vec<OsString>, is_stub: bool, questions: &Questions) -> Result<Running, Error> {
    debug!(argv = %Abbreviated(&argv), "starting a process");
    let mut words = argv.into_iter();
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words);
    questions.attach(&mut command);
    process::spawn(command).map_err(|error| {
        let remedy = " (NLR_STUB or TargetOptions::stub names a stub's path, and \
                      netlink_remote::stub::serve_if_asked() makes a program its own stub)";
        let error = if is_stub { error.with_note(remedy) } else { error };
        error.prefix_step(Step::Connect)
    })
}

/// The words of a command line for the log. Long ones, such as the script, are left out.
struct Abbreviated<'a>(&'a [OsString]);

impl fmt::Display for Abbreviated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        for (index, word) in self.0.iter().enumerate() {
            let gap = if index > 0 { " " } else { "" };
            match word.len() {
                ..=LONGEST => write!(f, "{gap}{}", word.display())?,
                length => write!(f, "{gap}<{length} bytes>")?,
            }
        }
        Ok(())
    }
}

fn preamble<'a>(
    target: &Target,
    line: CommandLine,
    script: Option<&'a BootScript>,
) -> Preamble<'a> {
    Preamble {
        script,
        prompts: line.prompts,
        lines: line.typed.into_iter().collect(),
        shell_ready: line.shell_ready,
        target: target.to_string(),
    }
}

/// An error with the target's name before it, unless it begins with that name, as the error of a
/// single hop does.
fn named(target: &Target, error: Error) -> Error {
    // "local" and "ssh://host,sudo": the colon of the message follows.
    let name = target.to_string();
    let name = name.trim_end_matches(':');
    match error.to_string().strip_prefix(name) {
        Some(rest) if rest.starts_with(": ") => error,
        _ => error.context(name),
    }
}

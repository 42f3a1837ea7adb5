//! Options for connecting to targets.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

#[cfg(feature = "stub")]
use crate::stub;
use crate::{
    bootstrap::{OwnStub, StubSource},
    prompter::Prompter,
};

/// Options for connecting to a target. All have a default.
///
/// ```
/// use std::time::Duration;
/// use netlink_remote::TargetOptions;
///
/// let options = TargetOptions::default()
///     .with_stubs(["/srv/stubs"])
///     .with_timeout(Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TargetOptions {
    /// The program of the stub on this host, and its arguments, for targets whose hops stay on this
    /// host (`local:`, `sudo:`, `doas:`, `su:`). By default the first of: the program that the
    /// environment variable `NLR_STUB` names; the running program, after
    /// [`stub::serve_if_asked`](crate::stub::serve_if_asked); `nlr-stub` in the running program's
    /// folder; `nlr-stub` in `PATH`.
    pub stub: Option<Vec<OsString>>,
    /// The stubs to send to other hosts, in the order of preference. After them come the folder that
    /// the environment variable `NLR_STUBS` names, the running program's folder, and
    /// `netlink-remote` in the data folders of the user and of the system (`~/.local/share`,
    /// `/usr/local/share`, `/usr/share`, `/usr/lib`). Files there are named
    /// `nlr-stub-<target triple>`, such as `nlr-stub-x86_64-unknown-linux-musl`. The last resort for
    /// hosts of this architecture is the program of [`stub`](Self::stub), and then the running
    /// program after [`stub::serve_if_asked`](crate::stub::serve_if_asked).
    pub stubs: Vec<StubSource>,
    /// The time limit of each step: 30 seconds from its last progress, and 20 times as long in all.
    /// Time in which a question waits for its answer does not count. To reach an
    /// `ssh://` host ([`Step::Connect`](crate::Step::Connect)), `ConnectTimeout` in ssh's
    /// configuration replaces the limit.
    pub timeout: Duration,
    /// The callbacks for secrets, host keys and progress: none.
    pub prompter: Prompter,
    /// ssh's configuration file in place of the user's and the system's, as `ssh -F`; the name
    /// `none` is for no file at all.
    pub ssh_config: Option<PathBuf>,
    /// The keepalive interval, 15 seconds: after this silence of the far end this side sends a ping;
    /// if nothing comes within one more interval, the connection is lost. A stub ends after four
    /// intervals of silence. Less than 10 milliseconds counts as 10. `None`: no pings.
    pub keepalive: Option<Duration>,
    /// Has the stub refuse every change: false; see
    /// [`ClientOptions::read_only`](crate::client::ClientOptions::read_only).
    pub read_only: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            stub: None,
            stubs: Vec::new(),
            timeout: Duration::from_secs(30),
            prompter: Prompter::none(),
            ssh_config: None,
            keepalive: Some(Duration::from_secs(15)),
            read_only: false,
        }
    }
}

impl TargetOptions {
    /// Sets [`stub`](Self::stub).
    #[must_use]
    pub fn with_stub(mut self, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.stub = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// Adds to [`stubs`](Self::stubs): paths, or stubs in memory.
    #[must_use]
    pub fn with_stubs(mut self, stubs: impl IntoIterator<Item = impl Into<StubSource>>) -> Self {
        self.stubs.extend(stubs.into_iter().map(Into::into));
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`prompter`](Self::prompter).
    #[must_use]
    pub fn with_prompter(mut self, prompter: Prompter) -> Self {
        self.prompter = prompter;
        self
    }

    /// Sets [`ssh_config`](Self::ssh_config).
    #[must_use]
    pub fn with_ssh_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh_config = Some(file.into());
        self
    }

    /// Sets [`keepalive`](Self::keepalive).
    #[must_use]
    pub fn with_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.keepalive = silence.into();
        self
    }

    /// Sets [`read_only`](Self::read_only).
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The command line of the stub on this host.
    pub(super) fn local_stub(&self) -> Vec<OsString> {
        if let Some(argv) = self.stub.as_ref().filter(|argv| !argv.is_empty()) {
            return argv.clone();
        }
        if let Some(program) = std::env::var_os("NLR_STUB").filter(|program| !program.is_empty()) {
            return vec![program];
        }
        if let Some(own) = own_stub() {
            let arguments = own.arguments.into_iter().map(OsString::from);
            return std::iter::once(own.program.into_os_string()).chain(arguments).collect();
        }
        let beside = std::env::current_exe().ok().map(|path| path.with_file_name("nlr-stub"));
        let beside = beside.filter(|path| path.exists()).map(PathBuf::into_os_string);
        vec![beside.unwrap_or_else(|| "nlr-stub".into())]
    }

    /// The programs on this host that can be sent to hosts of its architecture.
    pub(super) fn own_stubs(&self) -> Vec<OwnStub> {
        let given = self.stub.as_deref().and_then(|argv| {
            let (program, arguments) = argv.split_first()?;
            let arguments = arguments.iter().map(|word| OsStr::to_str(word).map(str::to_owned));
            Some(OwnStub { program: program.into(), arguments: arguments.collect::<Option<_>>()? })
        });
        given.into_iter().chain(own_stub()).collect()
    }
}

/// The running program, after `stub::serve_if_asked`.
#[cfg(feature = "stub")]
fn own_stub() -> Option<OwnStub> {
    let stub::Own { program, argument } = stub::own()?;
    Some(OwnStub { program: program.clone(), arguments: vec![(*argument).to_owned()] })
}

/// No program can be its own stub without the feature `stub`.
#[cfg(not(feature = "stub"))]
fn own_stub() -> Option<OwnStub> {
    None
}

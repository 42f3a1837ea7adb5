//! How to go to a target.

#![forbid(unsafe_code)]

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::prompter::Prompter;

/// How to go there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TargetOptions {
    /// The program and arguments of the stub on this host, for targets that do not leave its
    /// files. By default the program that the environment variable `NLR_STUB` names, else
    /// `nlr-stub` beside the running program, else `nlr-stub` in `PATH`.
    pub stub: Option<Vec<OsString>>,
    /// Where to look first for the stubs to bring along: files called `nlr-stub-ARCHITECTURE`,
    /// such as `nlr-stub-x86_64-unknown-linux-musl`, or folders that hold such. By default the
    /// folder that the environment variable `NLR_STUBS` names, that of the running program, and
    /// data folders.
    pub stubs: Vec<PathBuf>,
    /// How long each step may take: 30 seconds. Time in which a question waits for its answer
    /// does not count, and while a stub is sent it is the time without any progress.
    pub timeout: Duration,
    /// Whom to ask for secrets and about host keys, and whom to tell of progress.
    pub prompter: Prompter,
    /// ssh's configuration file instead of the user's and the system's; a file called `none` for
    /// none at all. As `ssh -F`.
    pub ssh_config: Option<PathBuf>,
    /// How long a connection may be silent before its far end is asked whether it is there, and
    /// how long its answer may take before the connection counts as lost: 15 seconds. The stub
    /// ends by itself when it hears nothing for four times as long. `None` never asks.
    pub keepalive: Option<Duration>,
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
        }
    }
}

impl TargetOptions {
    /// The command line of the stub on this host.
    pub(super) fn local_stub(&self) -> Vec<OsString> {
        if let Some(stub) = self.stub.as_ref().filter(|words| !words.is_empty()) {
            return stub.clone();
        }
        let beside = || {
            let path = std::env::current_exe().ok()?.with_file_name("nlr-stub");
            path.exists().then(|| path.into_os_string())
        };
        let program = std::env::var_os("NLR_STUB").filter(|path| !path.is_empty()).or_else(beside);
        vec![program.unwrap_or_else(|| "nlr-stub".into())]
    }
}

//! The global options that say how to connect.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::args::{positive_seconds, seconds};

#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Program to start as a stub, instead of nlr itself
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "PATH", env = "NLR_STUB", hide_env_values = true)]
    pub(crate) stub: Option<OsString>,
    /// Stub to send to hosts, or a folder of files named `nlr-stub-<target triple>`. Searched before
    /// the folders of NLR_STUBS and of the installation; may be repeated
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) stubs: Vec<PathBuf>,
    /// Time limit for each step of connecting, from its last progress: a slow link may take longer.
    /// Time spent on a question does not count
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30")]
    #[arg(value_parser = positive_seconds, allow_hyphen_values = true)]
    pub(crate) connect_timeout: Duration,
    /// Keepalive interval: after this silence of the far end nlr sends a ping; if nothing comes
    /// within one more interval, the connection is lost. 0: no pings
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "SECONDS", default_value = "15")]
    #[arg(value_parser = seconds, allow_hyphen_values = true)]
    pub(crate) keepalive: Duration,
    /// Configuration file of ssh, instead of ~/.ssh/config and /etc/ssh/ssh_config; `none` for no
    /// file
    #[arg(help_heading = "Connection")]
    #[arg(long, short = 'F', global = true, value_name = "FILE")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Has the stub refuse every change: it gives up its capabilities first, and the far kernel itself
    /// then answers EPERM
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true)]
    pub(crate) read_only: bool,
    /// Asks no question: a password or a decision about a host key that is needed is an error
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true)]
    pub(crate) batch: bool,
    /// File descriptor with secrets, one a line. A line is for the last hop of TARGET that may ask;
    /// with the text of a hop and a tab before it, for that hop; with the path of a key and a tab,
    /// for that key: `sudo:<TAB>secret`, `~/.ssh/id_rsa<TAB>secret`. Lines of one hop answer its
    /// questions in order, up to the first refusal. `0` is stdin, `3` that of
    /// `3< <(pass show host)`. Unknown host keys are refused, as nobody is asked
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "FD", value_parser = descriptor, allow_hyphen_values = true, conflicts_with_all = ["batch", "askpass"])]
    pub(crate) password_fd: Option<u32>,
    /// Program that asks for passwords and passphrases as ssh-askpass does: the prompt is its
    /// argument, the answer its output; it declines by its exit code. NLR_ASKPASS_HOP,
    /// NLR_ASKPASS_KIND (password, passphrase, privilege, interactive) and NLR_ASKPASS_ATTEMPT in its
    /// environment say who asks, for what, and whether an answer was refused. Unknown host keys are refused, as nobody is asked
    #[arg(help_heading = "Connection")]
    #[arg(long, global = true, value_name = "PROGRAM", conflicts_with = "batch")]
    pub(crate) askpass: Option<OsString>,
}

fn descriptor(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected the number of a file descriptor, such as 0 or 3".to_owned())
}

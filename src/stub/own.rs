//! Programs that are stubs: `nlr-stub`, and every program that is its own stub.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::{self, ExitCode},
};
#[cfg(feature = "client")]
use std::{path::PathBuf, sync::OnceLock};

use super::{config::Config, serve::serve_stdio};

/// The argument that makes a program with [`serve_if_asked`] a stub.
pub const ARGUMENT: &str = "netlink-remote-stub";

/// The answer to `--version`, without which the far end's shell starts no program as a stub.
const VERSION: &str = concat!("nlr-stub ", env!("CARGO_PKG_VERSION"));

const HELP: &str = "\
Serves kernel netlink sockets to a netlink-remote client on stdin and stdout.

A client starts it, directly or through ssh, sudo or a container's tools. It writes errors to stderr,
and ends at the end of its input.

Usage: nlr-stub [--help | --version]

Exit codes: 0 the client has gone, 64 wrong usage, 74 the stream or a resource failed, 76 the client
did not speak the protocol.
";

/// Makes the running program its own stub. Call it first in `main`, before arguments are parsed and
/// threads are started.
///
/// ```no_run
/// // First in `main`:
/// netlink_remote::stub::serve_if_asked();
/// ```
///
/// In a process whose only argument is [`ARGUMENT`] it serves stdin and stdout, as
/// [`serve_stdio`] does, and exits with [`Exit::code`](super::Exit::code) in the end; with
/// `--version` after that argument, it prints the version of the stub and exits. In any other process
/// it returns at once, and from then on, with the feature `client`, this program is
///
/// * the stub of targets whose hops stay on this host (`local:`, `sudo:`, `doas:`, `su:`),
///   unless [`TargetOptions::stub`](crate::TargetOptions::stub) or the environment variable
///   `NLR_STUB` names another;
/// * the stub sent to hosts of this architecture for which no other stub was found. A program with
///   shared libraries runs on hosts that have them; a static program runs on all.
pub fn serve_if_asked() {
    serve_if_asked_as(ARGUMENT);
}

/// [`serve_if_asked`] with an argument of the program's choice, such as a subcommand.
///
/// The argument should consist of letters, digits, `-`, `_`, `.` and `/`: with other characters, which
/// a shell may interpret, the program is not sent to hosts.
pub fn serve_if_asked_as(argument: &'static str) {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == argument) {
        match (arguments.next(), arguments.next()) {
            (None, _) => process::exit(serve().into()),
            (Some(second), None) if second == "--version" => {
                say(&mut io::stdout(), VERSION);
                process::exit(0);
            }
            _ => {}
        }
    }
    #[cfg(feature = "client")]
    if let Ok(program) = std::env::current_exe() {
        let _ = OWN.set(Own { program, argument });
    }
}

/// The `main` of a program that is a stub alone, as `nlr-stub` is. Without arguments it serves stdin
/// and stdout; `--version` and `--help` print.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    match arguments.as_slice() {
        [] => ExitCode::from(serve()),
        ["--version" | "-V"] => {
            say(&mut io::stdout(), VERSION);
            ExitCode::SUCCESS
        }
        ["--help" | "-h"] => {
            say(&mut io::stdout(), HELP.trim_end());
            ExitCode::SUCCESS
        }
        _ => {
            say(&mut io::stderr(), &format!("nlr-stub: takes no arguments\n\n{}", HELP.trim_end()));
            ExitCode::from(64)
        }
    }
}

fn serve() -> u8 {
    let exit = serve_stdio(Config::default());
    if exit.code() != 0 {
        say(&mut io::stderr(), &format!("nlr-stub: {exit}"));
    }
    exit.code()
}

/// Prints a line; a reader that has gone is no reason to panic.
fn say(output: &mut dyn Write, line: &str) {
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// The running program, which is its own stub.
#[cfg(feature = "client")]
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) program: PathBuf,
    pub(crate) argument: &'static str,
}

#[cfg(feature = "client")]
static OWN: OnceLock<Own> = OnceLock::new();

/// The running program, if it is its own stub.
#[cfg(feature = "client")]
pub(crate) fn own() -> Option<&'static Own> {
    OWN.get()
}

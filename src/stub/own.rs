//! Programs that are stubs: `nlr-stub`, and every program that is its own stub.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Write},
    process::{self, ExitCode},
};
#[cfg(feature = "client")]
use std::{path::PathBuf, sync::OnceLock};

use super::{
    access::Access,
    activation::close_inherited,
    arguments::{self, HELP, Request},
    config::Config,
    confinement::Confinement,
    serve::serve_stdio,
};
use crate::{errno::words, kernel::descriptors};

/// The argument that makes a program with [`serve_if_asked`] a stub.
pub const ARGUMENT: &str = "netlink-remote-stub";

/// The answer to `--version`, without which the far end's shell starts no program as a stub.
const VERSION: &str = concat!("nlr-stub ", env!("CARGO_PKG_VERSION"));

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

/// The `main` of a program that is a stub alone, as `nlr-stub` is: serves stdin and stdout, confined
/// as its arguments say (`nlr-stub --help`). To be called first, as [`close_inherited`] is.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let served = match arguments::parse(&arguments) {
        Ok(Request::Serve(access, confinement)) => serve_confined(access, &confinement),
        Ok(Request::Version) => return printed(VERSION),
        Ok(Request::Help) => return printed(HELP.trim_end()),
        Err(text) => {
            say(&mut io::stderr(), &format!("nlr-stub: {text}; see nlr-stub --help"));
            return ExitCode::from(64);
        }
    };
    ExitCode::from(served)
}

fn printed(text: &str) -> ExitCode {
    say(&mut io::stdout(), text);
    ExitCode::SUCCESS
}

fn serve_confined(access: Access, confinement: &Confinement) -> u8 {
    close_inherited();
    // While it may be raised.
    let _ = descriptors::raise_limit();
    match confinement.apply(&access) {
        Ok(None) => {}
        Ok(Some(note)) => say(&mut io::stderr(), &format!("nlr-stub: {note}")),
        // An emulator of another architecture has threads of its own, and does not start over.
        Err(error) if error.kind() == ErrorKind::ResourceBusy && confinement.user.is_none() => {
            say(&mut io::stderr(), &format!("nlr-stub: {}: serving without", words(&error)));
        }
        Err(error) => {
            say(&mut io::stderr(), &format!("nlr-stub: {}", words(&error)));
            return 74;
        }
    }
    let mut config = Config::default();
    config.access = access;
    serve_with(config)
}

fn serve() -> u8 {
    serve_with(Config::default())
}

fn serve_with(config: Config) -> u8 {
    let exit = serve_stdio(config);
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

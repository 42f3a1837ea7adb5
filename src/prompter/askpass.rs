//! The helper by which the program `ssh` asks this process: SSH_ASKPASS of ssh(1), which is this
//! program again.
//!
//! ssh starts it with the question as its only argument. It hands the question to the process that
//! has started ssh, over a unix socket whose random name is in the environment, and prints the
//! answer. No secret is an argument, in the environment, or in a file.
//!
//! ssh takes a helper that fails for an empty answer, which it sends as a password. Where nobody
//! answers, the helper therefore ends the ssh that asks, before ssh goes on.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixStream},
            process::parent_id,
        },
    },
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use zeroize::Zeroizing;

/// The environment variable with the name of the socket, which is an abstract one (unix(7)).
pub(crate) const VARIABLE: &str = "NETLINK_REMOTE_ASKPASS";

/// The first byte of an answer. Without it there is none.
pub(crate) const GIVEN: u8 = b'+';

/// The most bytes of a question or an answer.
pub(crate) const LONGEST: u64 = 64 << 10;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Makes the running program the one by which an `openssh://` hop asks: [`on_secret`] and
/// [`on_host_key`] then answer the questions of the program `ssh`, too. Call it first in `main`,
/// before arguments are parsed and threads are started.
///
/// In a process that such an `ssh` has started as its SSH_ASKPASS, it hands over the question,
/// prints the answer, and exits. In any other process it returns at once. A program that does not
/// call it has its `openssh://` hops run with `BatchMode=yes`.
///
/// [`on_secret`]: crate::Prompter::on_secret
/// [`on_host_key`]: crate::Prompter::on_host_key
pub fn serve_askpass_if_asked() {
    if let Some((name, question)) = asked() {
        let code = match serve(&name, &question) {
            Ok(()) => 0,
            Err(_) => 1,
        };
        process::exit(code);
    }
    if let Ok(program) = std::env::current_exe() {
        let _ = PROGRAM.set(program);
    }
}

/// The running program, after [`serve_askpass_if_asked`].
pub(crate) fn program() -> Option<&'static Path> {
    PROGRAM.get().map(PathBuf::as_path)
}

/// The socket's name and the question, in a process that ssh has started as its SSH_ASKPASS. Other
/// programs below ssh, such as a ProxyCommand, have the variables as well.
fn asked() -> Option<(OsString, OsString)> {
    let name = std::env::var_os(VARIABLE)?;
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let question = arguments.next()?;
    let is_helper = std::env::var_os("SSH_ASKPASS")? == program && arguments.next().is_none();
    is_helper.then_some((name, question))
}

fn serve(name: &OsString, question: &OsString) -> io::Result<()> {
    let asker = parent_id();
    let hint = std::env::var_os("SSH_ASKPASS_PROMPT").unwrap_or_default();
    if hint == "none" {
        // Of a security key that waits for its user. No answer is read.
        let mut terminal = OpenOptions::new().write(true).open("/dev/tty")?;
        return writeln!(terminal, "{}", crate::text::one_line(&question.to_string_lossy()));
    }
    if hint == "confirm" {
        // A refusal, which ssh takes as such.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let _ = nix::sys::prctl::set_dumpable(false);
    let answer = ask(name, question).unwrap_or_default();
    match answer.split_first() {
        Some((&GIVEN, secret)) => {
            // Without the buffer of `Stdout`, which nobody wipes.
            let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            stdout.write_all(secret)?;
            stdout.write_all(b"\n")
        }
        _ => {
            end(asker);
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

fn ask(name: &OsString, question: &OsString) -> io::Result<Zeroizing<Vec<u8>>> {
    let address = SocketAddr::from_abstract_name(name.as_bytes())?;
    let mut stream = UnixStream::connect_addr(&address)?;
    stream.write_all(question.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // A vector that grows leaves copies in memory.
    let mut answer = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 32));
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Ends the ssh that asks. It waits for this helper, and so cannot have gone on.
fn end(asker: u32) {
    let is_ssh = fs::read_to_string(format!("/proc/{asker}/comm"))
        .is_ok_and(|name| name.trim_end().starts_with("ssh"));
    // An ssh that has ended by itself has left another parent.
    if is_ssh && parent_id() == asker {
        let _ = kill(Pid::from_raw(asker.cast_signed()), Signal::SIGTERM);
    }
}

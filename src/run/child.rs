//! The start of a program under the filter.

use std::{
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    process::Command,
    thread,
};

use nix::{
    fcntl::OFlag,
    sys::resource::{Resource, getrlimit},
    unistd::pipe2,
};
use tokio::process::Child;

use super::{filter, sys};
use crate::{Error, ErrorKind, errno::words};

/// Numbers of handles, at most; select(2) takes numbers below 1,024.
const HANDLES: u64 = 224;
const SELECTABLE: u64 = 1024;

/// The numbers that handles have in a program: the highest that it may have and select(2) takes.
pub(super) fn handle_numbers() -> Range<u32> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(SELECTABLE, |(soft, _)| soft);
    let end = limit.min(SELECTABLE);
    let start = end - HANDLES.min(end / 2);
    u32::try_from(start).unwrap_or_default()..u32::try_from(end).unwrap_or_default()
}

/// Starts a program under a filter; gives its process and the filter's listener.
pub(super) fn start(
    mut command: Command,
    handles: &Range<u32>,
    allow_local: bool,
) -> Result<(Child, OwnedFd), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |text: String| Error::new(ErrorKind::Program, text);
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(format!("a pipe: {errno}")));
    let ((told, tell), (go, let_go)) = (pipe()?, pipe()?);
    let filter = filter::program(handles, allow_local);
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        let architecture = std::env::consts::ARCH;
        return Err(failed(format!("programs cannot be run so on {architecture}")));
    }
    let others = [told.as_fd(), let_go.as_fd()];
    sys::begin_under(&mut command, filter, (tell.as_fd(), go.as_fd()), others);
    let mut command = tokio::process::Command::from(command);
    // The program waits, before it is executed, until its listener was taken; and the caller waits in
    // `spawn` until it is executed.
    let (child, listener) = thread::scope(|scope| {
        let taken = scope.spawn(move || take(told, let_go));
        let child = command.spawn();
        drop((tell, go));
        let taken = taken.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        (child, taken)
    });
    match (child, listener) {
        (Ok(child), Ok(listener)) => Ok((child, listener)),
        (Err(error), listener) => Err(match why(&program, &error, &listener) {
            Some(why) => failed(why),
            None => failed(program).with_source(error),
        }),
        (Ok(_), Err(error)) => {
            Err(failed(format!("{program} runs, but not under supervision: {}", words(&error))))
        }
    }
}

/// Takes the listener that the new process tells of.
fn take(told: OwnedFd, let_go: OwnedFd) -> io::Result<OwnedFd> {
    let mut word = [0; 8];
    File::from(told).read_exact(&mut word)?;
    let [a, b, c, d, e, f, g, h] = word;
    let (pid, number) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    let process = sys::open_process(pid)?;
    let listener = sys::copy_descriptor(process.as_fd(), number)?;
    File::from(let_go).write_all(&[1])?;
    Ok(listener)
}

/// Why a program could not be supervised, and what to do; `None` where it could not be executed.
fn why(program: &str, error: &io::Error, listener: &io::Result<OwnedFd>) -> Option<String> {
    const INSTEAD: &str = "programs written for netlink-remote, `nlr show` and `nlr monitor` work without it, and `ssh` runs the \
         far host's own programs";
    Some(match (error.raw_os_error(), listener) {
        (Some(libc::EBUSY), _) => {
            "this process is supervised so already: `nlr run` does not work inside `nlr run`"
                .to_owned()
        }
        (Some(libc::ECANCELED), Err(refused)) => format!(
            "{program} cannot be supervised: {} (pidfd_getfd, which a container's policy may forbid); {INSTEAD}",
            words(refused)
        ),
        (Some(libc::ENOSYS | libc::EINVAL | libc::EACCES | libc::EPERM), Err(_)) => format!(
            "{program} cannot be supervised: {}: the kernel or a container's policy forbids seccomp notification; {INSTEAD}",
            words(error)
        ),
        _ => return None,
    })
}

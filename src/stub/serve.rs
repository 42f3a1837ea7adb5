//! Serving one client.

use std::{
    io::{self, stdin, stdout},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::unistd::geteuid;

use super::{budget::Budget, config::Config, exit::Exit, shutdown::Shutdown, watchdog};
use crate::{errno::words, kernel::descriptors};

/// Serves one client until it disconnects, breaks the protocol, or `shutdown` is triggered.
///
/// `input` and `output` are the two directions of the stream: pipes, or a socket and its
/// duplicate. They are non-blocking during the call, and then as before. Blocks the calling thread,
/// which watches the connection; a second thread does the I/O.
pub fn serve(input: OwnedFd, output: OwnedFd, config: Config, shutdown: &Shutdown) -> Exit {
    let account = Budget::alone().account(geteuid().as_raw());
    watchdog::run(input, output, config, account, shutdown)
}

/// Serves one client on stdin and stdout, as a process of its own does.
///
/// Raises the soft RLIMIT_NOFILE to the hard limit.
pub fn serve_stdio(config: Config) -> Exit {
    // Too few descriptors are reported when they run out.
    let _ = descriptors::raise_limit();
    let copy = |fd: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        Ok(descriptors::raise(fd.try_clone_to_owned()?)?)
    };
    let setup = || Ok((copy(stdin().as_fd())?, copy(stdout().as_fd())?, Shutdown::new()?));
    match setup() {
        Ok((input, output, shutdown)) => serve(input, output, config, &shutdown),
        Err::<_, io::Error>(error) => Exit::Io(format!("stdin and stdout: {}", words(&error))),
    }
}

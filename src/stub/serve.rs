//! Serving one client.

use std::{
    io::{self, stdin, stdout},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::unistd::geteuid;

use super::{
    config::Config, exit::Exit, place::Place, shutdown::Shutdown, streams::Streams, watchdog,
};
use crate::{errno::words, kernel::descriptors};

/// Serves one client until it disconnects, breaks the protocol, or `shutdown` is triggered.
///
/// `input` and `output` are the two directions of the stream: pipes, or a socket and its
/// duplicate. They are non-blocking during the call, and then as before. Blocks the calling thread,
/// which watches the connection; a second thread does the I/O.
pub fn serve(input: OwnedFd, output: OwnedFd, config: Config, shutdown: &Shutdown) -> Exit {
    let place = match Place::alone(geteuid().as_raw()) {
        Ok(place) => place,
        Err(refused) => return Exit::Io(format!("starting: {refused}")),
    };
    match Streams::new(input, output, &config) {
        Ok(streams) => watchdog::run(streams, config, place, shutdown),
        Err(errno) => Exit::io("starting", errno),
    }
}

/// Serves one client on stdin and stdout, as a process of its own does.
///
/// Raises the soft RLIMIT_NOFILE to the hard limit.
pub fn serve_stdio(config: Config) -> Exit {
    // Too few descriptors are reported when they run out.
    let _ = raise_descriptor_limit();
    let copy = |fd: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        Ok(descriptors::raise(fd.try_clone_to_owned()?))
    };
    let setup = || Ok((copy(stdin().as_fd())?, copy(stdout().as_fd())?, Shutdown::new()?));
    match setup() {
        Ok((input, output, shutdown)) => serve(input, output, config, &shutdown),
        Err::<_, io::Error>(error) => Exit::Io(format!("stdin and stdout: {}", words(&error))),
    }
}

/// Lets the process open as many descriptors as its hard RLIMIT_NOFILE allows; gives that number.
///
/// [`serve_stdio`] and `nlr serve` do so. In a daemon it is the daemon's decision: programs that use
/// select(2) fail with numbers above 1023, and children inherit the limit.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<u64> {
    descriptors::raise_limit()?;
    Ok(descriptors::limit())
}

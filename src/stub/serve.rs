//! Serving one client.

use std::{
    io::{self, stdin, stdout},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::unistd::geteuid;

use super::{
    config::Config, exit::Exit, place::Place, shutdown::Shutdown, streams::Streams, watchdog,
};
use crate::{
    errno::words,
    kernel::{dedicate_heap, descriptors},
};

/// Serves one client until it disconnects, breaks the protocol, or `shutdown` is triggered.
///
/// `input` and `output` are the two directions of the stream: pipes, or a socket and its
/// duplicate. They are non-blocking during the call, and then as before. Blocks the calling thread,
/// which watches the connection; a second thread does the I/O. Between requests of a client that asks one
/// after the other within 120 us, the second thread looks for the next one instead of sleeping where it
/// has measured that to be quicker. It then takes the time of its CPU that nobody else there wants, which a
/// control group's share (cpu.max) pays for, too.
pub fn serve(input: OwnedFd, output: OwnedFd, config: Config, shutdown: &Shutdown) -> Exit {
    let place = match Place::alone(geteuid().as_raw(), &config) {
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
    let _ = dedicate_process();
    let copy = |fd: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        Ok(descriptors::raise(fd.try_clone_to_owned()?))
    };
    let setup = || Ok((copy(stdin().as_fd())?, copy(stdout().as_fd())?, Shutdown::new()?));
    match setup() {
        Ok((input, output, shutdown)) => serve(input, output, config, &shutdown),
        Err::<_, io::Error>(error) => Exit::Io(format!("stdin and stdout: {}", words(&error))),
    }
}

/// Prepares a process that is a stub or a server and little else: raises the soft RLIMIT_NOFILE to the
/// hard limit, and has glibc give freed memory back to the kernel (mallopt(3),
/// malloc_trim(3)).
///
/// [`serve_stdio`] and `nlr serve` do so. In a daemon it is the daemon's decision: programs that use
/// select(2) fail with descriptors above 1023, and children inherit the limit.
///
/// # Errors
/// As setrlimit(2); the rest is done all the same.
pub fn dedicate_process() -> io::Result<()> {
    dedicate_heap();
    Ok(descriptors::raise_limit()?)
}

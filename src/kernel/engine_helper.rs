//! A process that asks container engines, for a stub that can start no program any more.
//!
//! It is forked before the filter of system calls is installed, does nothing but answer one kind of
//! question, and checks the container's name again. It ends with the stub, whose socket it reads.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    },
    unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{
    cancel::Cancel,
    descriptors,
    engine::{self, Container},
    failure::{explained, failure, io_failure},
    sys,
};
use crate::wire::{ContainerEngine, Failure, Netns};

/// The socket to the helper.
static HELPER: OnceLock<OwnedFd> = OnceLock::new();

/// How long an answer may take: longer than the engine may.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a request looks whether it is given up.
const TICK: Duration = Duration::from_millis(5);

/// Bytes of a question: an engine, and a name.
const LONGEST: usize = 512;

/// Forks the helper; from then on [`ask`] asks it.
///
/// # Errors
/// EBUSY in a process with several threads; those of fork(2).
pub(crate) fn start() -> Result<(), Errno> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    match sys::fork_alone()? {
        ForkResult::Parent { .. } => {
            let _ = HELPER.set(descriptors::raise(ours));
            Ok(())
        }
        ForkResult::Child => {
            drop(ours);
            serve(&theirs);
            process::exit(0)
        }
    }
}

/// Asks the helper for a container's process; `None` where there is no helper.
pub(super) fn ask(
    engine: ContainerEngine,
    name: &str,
    cancel: &Cancel,
) -> Option<Result<Container, Failure>> {
    let helper = HELPER.get()?;
    Some(question(helper, engine, name, cancel))
}

fn question(
    helper: &OwnedFd,
    engine: ContainerEngine,
    name: &str,
    cancel: &Cancel,
) -> Result<Container, Failure> {
    let step = |error: io::Error| io_failure(&error, "asking the helper for container engines");
    let (mut answer, theirs) = UnixStream::pair().map_err(step)?;
    answer.set_read_timeout(Some(TICK)).map_err(step)?;
    let text = format!("{engine}:{name}");
    let rights = [ControlMessage::ScmRights(&[theirs.as_raw_fd()])];
    let words = [IoSlice::new(text.as_bytes())];
    sendmsg::<()>(helper.as_raw_fd(), &words, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(|errno| failure(errno, "asking the helper for container engines"))?;
    drop(theirs);
    let deadline = Instant::now() + PATIENCE;
    let (mut said, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match answer.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend(piece.iter().take(length)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                cancel.check()?;
                if Instant::now() >= deadline {
                    return Err(failure(
                        Errno::ETIMEDOUT,
                        "asking the helper for container engines",
                    ));
                }
            }
            Err(error) => return Err(step(error)),
        }
    }
    let gone = || explained(Errno::EIO, "the helper for container engines has ended");
    let (errno, text) = said.split_first_chunk().ok_or_else(gone)?;
    let text = String::from_utf8_lossy(text).into_owned();
    match i32::from_ne_bytes(*errno) {
        0 => engine::parse(&text).ok_or_else(gone),
        errno => Err(Failure { errno, text }),
    }
}

/// The helper, until the stub has gone.
fn serve(questions: &OwnedFd) {
    // What the stub's client and log read must end with the stub.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null).and(dup2_stdout(&null)).and(dup2_stderr(&null));
    }
    let mut text = [0; LONGEST];
    while let Ok(Some((length, answer))) = sys::receive_descriptor(questions.as_fd(), &mut text) {
        let question = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
        let answer = UnixStream::from(answer);
        // Without a thread the question's end is its answer.
        let _ = thread::Builder::new().spawn(move || respond(&question, &answer));
    }
}

/// Answers a question: an errno, or 0, and a text.
fn respond(question: &str, answer: &UnixStream) {
    let cancel = Cancel::default();
    let inspect = || {
        let netns = match question.split_once(':') {
            Some(("docker", name)) => Netns::docker(name),
            Some(("podman", name)) => Netns::podman(name),
            _ => return Err(failure(Errno::EINVAL, "asking for a container")),
        };
        let Netns::Container { engine, name } = &netns else {
            return Err(failure(Errno::EINVAL, "asking for a container"));
        };
        match netns.is_well_named() {
            true => engine::inspect(*engine, name, &netns, &cancel),
            false => Err(failure(Errno::EINVAL, &netns)),
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let (errno, text) = match inspect() {
                Ok(container) => (0, container.to_string()),
                Err(Failure { errno, text }) => (errno, text),
            };
            let said = [&errno.to_ne_bytes()[..], text.as_bytes()].concat();
            let mut answer = answer;
            let _ = answer.write_all(&said);
            let _ = answer.shutdown(Shutdown::Write);
        });
        // Nothing comes but the end: the request has its answer, or is given up.
        let mut end = answer;
        let _ = end.read(&mut [0]);
        cancel.cancel();
    });
}

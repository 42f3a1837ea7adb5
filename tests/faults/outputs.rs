//! Standard streams that are closed, or take nothing.

use std::{
    fs::File,
    io::{PipeReader, PipeWriter, pipe},
    os::{fd::AsRawFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};
use testing::{
    Ended, Running, finish,
    processes::{MARK, assert_none},
    programs, temporary,
    tool::{nlr, nlr_words},
    unique, wait, world,
};

use crate::cells::{Cell, Fault::*, Outcome::Swept, Party::*, Step::*, cell};

/// What the tests below cover.
pub(crate) const CELLS: &[Cell] = &[
    cell(Client, Idle, ClosedOutput, Swept),
    cell(Client, Idle, FullOutput, Swept),
    cell(Stub, Idle, ClosedOutput, Swept),
    cell(Stub, Idle, FullOutput, Swept),
    cell(Server, Idle, ClosedOutput, Swept),
    cell(Server, Idle, FullOutput, Swept),
];

/// Subcommands that print something and end.
const COMMANDS: &[&str] = &[
    "show link",
    "show link --json",
    "show route",
    "monitor --timeout 0.2",
    "netns list",
    "ping --count 2 --interval 0.01",
    "--version",
    "--help",
    "show --help",
    "completion bash",
];

/// Runs `nlr` by a shell with redirections.
fn redirected(words: &str, redirections: &str) -> Ended {
    world::require();
    let mark = unique("output");
    let mut command = Command::new("sh");
    let nlr = programs::nlr();
    command.args(["-c", &format!("exec {nlr} {words} {redirections}")]).env(MARK, &mark);
    command.env("RUST_BACKTRACE", "0").env_remove("NLR_STUB");
    let ended = Running::start(command).end();
    assert_none(&mark, &[]);
    ended
}

#[test]
fn a_full_stdout_is_an_error() {
    for words in COMMANDS {
        let ended = redirected(words, ">/dev/full");
        let text = "nlr: writing to standard output: No space left on device\n";
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, text), "{words}");
    }
}

#[test]
fn a_closed_stdout_is_an_error() {
    for words in COMMANDS {
        let ended = redirected(words, ">&-");
        let text = "nlr: writing to standard output: it is closed\n";
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, text), "{words}");
    }
}

/// Nobody learns of it, but the exit code is that of the work.
#[test]
fn a_full_or_closed_stderr_changes_nothing() {
    for redirection in ["2>/dev/full", "2>&-", "<&-", "<&- 2>&-"] {
        for words in COMMANDS {
            let ended = redirected(words, redirection);
            assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{words} {redirection}");
        }
        let ended = redirected("show link -n absent", redirection);
        assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""), "{redirection}");
        let ended = redirected("show nothing", redirection);
        assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{redirection}");
    }
}

/// The stub's own: its stderr is not its work.
#[test]
fn a_stub_without_stderr_works() {
    let path = temporary("stub");
    for redirection in ["2>/dev/full", "2>&-", "2>/dev/full <&0"] {
        let script = format!("#!/bin/sh\nexec {} {redirection}\n", programs::stub());
        programs::write(&path, script);
        let ended = nlr_words(&format!("--stub {} show link", path.display()));
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{redirection}");
    }
    // Without a stream there is no stub: the client says what it saw.
    programs::write(&path, format!("#!/bin/sh\nexec {} >&-\n", programs::stub()));
    let ended = nlr_words(&format!("--stub {} show link", path.display()));
    assert_eq!(ended.code(), 3, "{ended:?}");
    programs::write(&path, format!("#!/bin/sh\nexec {} >/dev/full\n", programs::stub()));
    let ended = nlr_words(&format!("--stub {} show link", path.display()));
    assert_eq!(ended.code(), 3, "{ended:?}");
    std::fs::remove_file(path).unwrap();
}

/// A pipe that takes no more bytes, and its reading end.
fn full_pipe() -> (PipeWriter, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let flags = OFlag::from_bits_truncate(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[b'.'; 4096]).is_ok() {}
    while nix::unistd::write(&writer, b".").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(flags)).unwrap();
    assert!(writer.as_raw_fd() > 2);
    (writer, reader)
}

/// Standard error of a server, and the reading end of its pipe.
type Log = (Stdio, Option<PipeReader>);

/// A way to make one, with its name.
type Kind = (&'static str, fn() -> Log);

/// The log is lost, and nothing else: clients come and go, and SIGTERM ends the server.
#[test]
fn a_server_whose_log_nobody_takes_serves_and_ends() {
    let kinds: [Kind; 3] = [
        ("/dev/full", || (File::options().write(true).open("/dev/full").unwrap().into(), None)),
        ("a full pipe", || {
            let (writer, reader) = full_pipe();
            (writer.into(), Some(reader))
        }),
        ("a pipe without a reader", || (full_pipe().0.into(), None)),
    ];
    for (kind, make) in kinds {
        let socket = temporary("serve");
        let target = format!("unix:{}", socket.display());
        let (stderr, _reader) = make();
        let mut command = nlr(&["serve", &target]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut server = Running(command.spawn().unwrap());
        wait("nlr serve to listen", || UnixStream::connect(&socket).is_ok());
        for _ in 0..20 {
            let ended = finish(nlr(&["show", "link", &target]));
            assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{kind}");
        }
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{kind}");
        assert!(!socket.exists(), "{kind}");
    }
    // Closed from the start.
    let socket = temporary("serve");
    let target = format!("unix:{}", socket.display());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {} serve {target} <&- >&- 2>&-", programs::nlr())]);
    let mut server = Running(command.spawn().unwrap());
    wait("nlr serve to listen", || UnixStream::connect(&socket).is_ok());
    let ended = finish(nlr(&["show", "link", &target]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

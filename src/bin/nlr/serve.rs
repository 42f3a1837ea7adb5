//! `nlr serve`.

use std::{io, path::PathBuf, thread};

use clap::Args;
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::geteuid,
};

use super::{
    failure::{Failure, message},
    progress::print_line,
};
use netlink_remote::{
    Hop, Target,
    errno::{EACCES, EPERM, words},
    stub::{ListenConfig, ListenEvent, Listener, Shutdown},
};

const EXAMPLES: &str = "\
A client has the privileges of this process, and can use up its memory and descriptors (SECURITY.md,
\"Known gaps\"). The socket file has mode 0600, or 0666 where --allow-uid admits other users; with
either mode the peer's uid is checked (SO_PEERCRED). SIGTERM and SIGINT end all connections and
remove the file; the exit code is 0.

Examples:
  nlr serve unix:/run/nlr.sock
  nlr serve unix:/run/nlr.sock --allow-uid 0 --allow-uid 1000 --max-clients 16";

/// Serves clients on a unix socket
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Socket to listen on
    #[arg(value_name = "unix:PATH", value_parser = unix_path)]
    path: PathBuf,
    /// User that may connect, instead of the user of this process alone; may be repeated
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Number of clients at the same time
    #[arg(long, value_name = "N", default_value = "1024", value_parser = max_clients)]
    max_clients: usize,
}

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let path = args.path.display();
    let failed = |error: &io::Error| {
        let text = format!("serving on unix:{path}: {}", words(error));
        match error.raw_os_error() {
            Some(errno @ (EPERM | EACCES)) => Failure::errno(errno, text),
            _ => Failure::request(text),
        }
    };
    // Before any other thread starts: threads inherit the mask.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().map_err(|errno| failed(&errno.into()))?;

    let mut config = ListenConfig::default();
    config.max_clients = args.max_clients;
    if !args.allow_uid.is_empty() {
        config.allowed_uids.clone_from(&args.allow_uid);
    }
    let allowed = config.allowed_uids.clone();
    if allowed.iter().any(|uid| *uid != geteuid().as_raw()) {
        // With mode 0600 connect(2) fails before the uid is checked.
        config.mode = 0o666;
    }
    let listener = Listener::bind(&args.path, config).map_err(|error| failed(&error))?;
    let uids: Vec<_> = allowed.iter().map(u32::to_string).collect();
    log(format_args!("listening on unix:{path} for uid {}", uids.join(", ")));

    let shutdown = Shutdown::new().map_err(|error| failed(&error))?;
    let trigger = shutdown.clone();
    let waiter = move || {
        if let Ok(signal) = signals.wait() {
            log(format_args!("{signal}: ending"));
        }
        trigger.trigger();
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiter)
        .map_err(|error| failed(&error))?;
    listener.run(&shutdown, |event| log(describe(&event))).map_err(|error| failed(&error))
}

fn describe(event: &ListenEvent) -> String {
    match event {
        ListenEvent::Accepted { uid, .. } => format!("a client of uid {uid} has connected"),
        ListenEvent::Refused { uid, reason, .. } => {
            format!("a client of uid {uid} was refused: {reason}")
        }
        ListenEvent::Ended { uid, exit, .. } => format!("a client of uid {uid} has ended: {exit}"),
        ListenEvent::AcceptFailed { reason, .. } => format!("accepting a connection: {reason}"),
        other => format!("{other:?}"),
    }
}

/// Writes a line of the log to standard error.
fn log(text: impl std::fmt::Display) {
    print_line(&format!("nlr serve: {}", message(&text.to_string())));
}

fn unix_path(text: &str) -> Result<PathBuf, String> {
    let target = text.parse::<Target>().map_err(|error| format!("{error:#}"))?;
    match target.hops() {
        [Hop::Unix(path)] => Ok(path.clone()),
        _ => Err("expected `unix:PATH`".to_owned()),
    }
}

fn max_clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number of at least 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_sockets_are_served() {
        assert_eq!(unix_path("unix:/run/a%2Cb"), Ok("/run/a,b".into()));
        assert!(unix_path("local:").unwrap_err().contains("unix:PATH"));
        assert!(unix_path("/run/nlr.sock").is_err());
    }
}

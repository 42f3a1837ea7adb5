//! `nlr serve`.

use std::{
    io::{self, Write},
    thread,
};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, Signal},
    unistd::geteuid,
};

use super::{
    args::ServeArgs,
    failure::{Failure, describe, one_line},
};
use netlink_remote::stub::{ListenConfig, ListenEvent, Listener, Shutdown};

pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let path = args.path.display();
    let failed = |error: &io::Error| {
        let text = format!("serving on unix:{path}: {}", describe(error));
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EPERM | Errno::EACCES)) => Failure::errno(errno as i32, text),
            _ => Failure::request(text),
        }
    };
    // Blocked before there is another thread, so that it is so in all of them.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().map_err(|errno| failed(&errno.into()))?;

    let mut config = ListenConfig::default();
    config.max_clients = args.max_clients;
    if !args.allow_uid.is_empty() {
        config.allowed_uids.clone_from(&args.allow_uid);
    }
    let allowed = config.allowed_uids.clone();
    if allowed.iter().any(|uid| *uid != geteuid().as_raw()) {
        // The file's mode would keep them out before their uid is looked at.
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
    listener.run(&shutdown, |event| log(describe_event(&event))).map_err(|error| failed(&error))
}

fn describe_event(event: &ListenEvent) -> String {
    match event {
        ListenEvent::Accepted { uid, .. } => format!("a client of uid {uid} has connected"),
        ListenEvent::Refused { uid, reason, .. } => {
            format!("a client of uid {uid} was refused: {reason}")
        }
        ListenEvent::Ended { uid, exit, .. } => format!("a client of uid {uid} has ended: {exit}"),
        ListenEvent::AcceptFailed { reason, .. } => {
            format!("a connection was not accepted: {reason}")
        }
        other => format!("{other:?}"),
    }
}

/// Writes a line of the log to standard error.
fn log(text: impl std::fmt::Display) {
    // A log that cannot be written is no reason to stop serving.
    let _ = writeln!(io::stderr(), "nlr serve: {}", one_line(&text.to_string()));
}

//! `nlr serve`.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::geteuid,
};
use serde_json::{Value, json};

use super::{
    confine::ConfineArgs,
    failure::{Failure, message},
    json,
    progress::print_line,
};
use netlink_remote::{
    Hop, Protocol, Target,
    errno::{EACCES, EPERM, words},
    stub::{
        ListenConfig, ListenEvent, Listener, Peer, Shutdown, activated, close_inherited,
        dedicate_process, notify,
    },
};

const EXAMPLES: &str = "\
A client may do what this process may. The process gives up the capabilities that its options do not
need, and has the kernel refuse the system calls that it does not make (SECURITY.md). With --read-only
the kernel refuses clients every change.

The socket file has mode 0600, or 0666 where --allow-uid admits other users; with either mode the
peer's uid is checked (SO_PEERCRED). SIGTERM and SIGINT end all connections and remove the file; the
exit code is 0.

Half of the clients, descriptors, memory and threads is divided among the users that may connect; the
other half goes to whoever asks first. One client may have a quarter of each.

Without unix:PATH the socket is the one that a socket unit of systemd has passed on (LISTEN_FDS); it
stays when the server ends. A service of Type=notify is told READY=1 and STOPPING=1.

The log on standard error has a line for each client, socket, namespace and refusal. A log that
nobody reads delays nobody: lines are lost, and counted.

Examples:
  nlr serve unix:/run/nlr.sock
  nlr serve unix:/run/nlr.sock --allow-uid 0 --allow-uid 1000 --max-clients 16
  nlr serve unix:/run/nlr.sock --allow-uid 1000 --read-only --allow-netns current
  systemd-socket-activate --listen /run/nlr.sock nlr serve";

/// Serves clients on a unix socket
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Socket to listen on; without one, the socket that systemd has passed on
    #[arg(value_name = "unix:PATH", value_parser = unix_path)]
    path: Option<PathBuf>,
    /// User that may connect, instead of the user of this process alone; may be repeated
    #[arg(long, value_name = "UID", value_parser = uid)]
    allow_uid: Vec<u32>,
    /// Number of clients at the same time
    #[arg(long, value_name = "N", default_value = "1024", value_parser = max_clients)]
    max_clients: usize,
    #[command(flatten)]
    confine: ConfineArgs,
    /// Write the log as JSON, an object on each line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ServeArgs, read_only: bool) -> Result<(), Failure> {
    // Before anything is opened here.
    close_inherited();
    // Before any other thread starts: threads inherit the mask.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().map_err(|errno| failed("blocking signals", &errno.into()))?;
    // A server that may not raise it has fewer, and says so when they run out.
    let _ = dedicate_process();

    let mut config = ListenConfig::default();
    config.max_clients = args.max_clients;
    config.stub.access = args.confine.access(read_only);
    let access = config.stub.access.clone();
    if !args.allow_uid.is_empty() {
        config.allowed_uids.clone_from(&args.allow_uid);
    }
    if config.allowed_uids.iter().any(|uid| *uid != geteuid().as_raw()) {
        // With mode 0600 connect(2) fails before the uid is checked.
        config.mode = 0o666;
    }
    let uids: Vec<_> = config.allowed_uids.iter().map(u32::to_string).collect();
    let (listener, place) = listener(args.path.as_deref(), config)?;
    // Before there is a second thread, which would keep its privileges.
    let confined = args.confine.confinement().apply(&access);
    if let Some(note) = confined.map_err(|error| failed("giving up privileges", &error))? {
        print_line(&match args.json {
            true => json::text(&json!({ "event": "note", "text": note })),
            false => format!("nlr serve: {}", message(&note)),
        });
    }
    let shutdown = Shutdown::new().map_err(|error| failed("starting", &error))?;
    let (trigger, signalled) = (shutdown.clone(), Arc::new(OnceLock::new()));
    let caught = Arc::clone(&signalled);
    let waiter = move || {
        if let Ok(signal) = signals.wait() {
            let _ = caught.set(signal);
        }
        // First: the process may end at once. A service manager that does not listen changes nothing.
        let _ = notify("STOPPING=1");
        trigger.trigger();
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiter)
        .map_err(|error| failed("starting a thread", &error))?;
    let json = args.json;
    let log = move |event: ListenEvent| match json {
        true => print_line(&json::text(&as_json(&event))),
        false => {
            let text = match (&event, signalled.get()) {
                (ListenEvent::Listening, _) => {
                    format!("listening on {place} for uid {}", uids.join(", "))
                }
                (ListenEvent::Ending, Some(signal)) => format!("{signal}: ending"),
                _ => describe(&event),
            };
            print_line(&format!("nlr serve: {}", message(&text)));
        }
    };
    // Connections that come from now on are queued.
    let _ = notify("READY=1");
    listener.run(&shutdown, log).map_err(|error| failed("serving", &error))
}

/// The socket to listen on, and its place in words.
fn listener(path: Option<&Path>, config: ListenConfig) -> Result<(Listener, String), Failure> {
    if let Some(path) = path {
        let place = format!("unix:{}", path.display());
        let listener = Listener::bind(path, config)
            .map_err(|error| failed(&format!("serving on {place}"), &error))?;
        return Ok((listener, place));
    }
    let step = "taking the service manager's socket";
    let mut sockets = activated().map_err(|error| failed(step, &error))?;
    match (sockets.pop(), sockets.len()) {
        (Some((name, socket)), 0) => {
            let listener =
                Listener::from_socket(socket, config).map_err(|error| failed(step, &error))?;
            Ok((listener, format!("the service manager's socket {name:?}")))
        }
        (Some(_), others) => {
            let count = others + 1;
            Err(Failure::usage(format!("{count} sockets were passed on, and one can be served")))
        }
        (None, _) => Err(Failure::usage(
            "no socket to listen on: name one as unix:PATH, or start `nlr serve` by a socket unit \
             of systemd",
        )),
    }
}

fn failed(step: &str, error: &io::Error) -> Failure {
    let text = format!("{step}: {}", words(error));
    match error.raw_os_error() {
        Some(errno @ (EPERM | EACCES)) => Failure::errno(errno, text),
        _ => Failure::request(text),
    }
}

fn describe(event: &ListenEvent) -> String {
    match event {
        ListenEvent::Listening => "listening".to_owned(),
        ListenEvent::Accepted { peer, .. } => format!("{} has connected", named(peer)),
        ListenEvent::Refused { peer, reason, .. } => {
            format!("{} was refused: {reason}", named(peer))
        }
        ListenEvent::Socket { peer, protocol, netns, result, .. } => {
            let (peer, protocol) = (named(peer), Protocol::from(*protocol));
            match result {
                Ok(portid) => {
                    format!("{peer} has opened a {protocol} socket in {netns}: port id {portid}")
                }
                Err(reason) => {
                    format!("{peer} was refused a {protocol} socket in {netns}: {reason}")
                }
            }
        }
        ListenEvent::Namespace { peer, request, result, .. } => match result {
            Ok(()) => format!("{} asked to {request}: done", named(peer)),
            Err(reason) => format!("{} asked to {request}, and was refused: {reason}", named(peer)),
        },
        ListenEvent::Ended { peer, exit, .. } => format!("{} has ended: {exit}", named(peer)),
        ListenEvent::AcceptFailed { reason, .. } => format!("accepting a connection: {reason}"),
        ListenEvent::Lost { count, .. } => format!("... {count} lines were lost"),
        ListenEvent::Ending => "ending".to_owned(),
        other => format!("{other:?}"),
    }
}

fn named(peer: &Peer) -> String {
    format!("client {} (uid {}, pid {})", peer.number, peer.uid, peer.pid)
}

/// An event as one object: its name, its time in seconds since 1970, and who, what, and the result.
fn as_json(event: &ListenEvent) -> Value {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let object = |name: &str, peer: Option<&Peer>, more: Value| {
        let mut all = json!({ "time": time, "event": name });
        if let Some(object) = all.as_object_mut() {
            if let Some(peer) = peer {
                let who = json!({ "client": peer.number, "uid": peer.uid, "pid": peer.pid });
                object.extend(who.as_object().cloned().unwrap_or_default());
            }
            object.extend(more.as_object().cloned().unwrap_or_default());
        }
        all
    };
    let nothing = || json!({});
    match event {
        ListenEvent::Listening => object("listening", None, nothing()),
        ListenEvent::Accepted { peer, .. } => object("accepted", Some(peer), nothing()),
        ListenEvent::Refused { peer, reason, .. } => {
            object("refused", Some(peer), json!({ "error": reason }))
        }
        ListenEvent::Socket { peer, protocol, netns, result, .. } => {
            let protocol = Protocol::from(*protocol).to_string();
            let what = match result {
                Ok(portid) => json!({ "protocol": protocol, "netns": netns, "portid": portid }),
                Err(error) => json!({ "protocol": protocol, "netns": netns, "error": error }),
            };
            object("socket", Some(peer), what)
        }
        ListenEvent::Namespace { peer, request, result, .. } => {
            let what = match result {
                Ok(()) => json!({ "request": request }),
                Err(error) => json!({ "request": request, "error": error }),
            };
            object("namespace", Some(peer), what)
        }
        ListenEvent::Ended { peer, exit, .. } => {
            object("ended", Some(peer), json!({ "reason": exit.to_string() }))
        }
        ListenEvent::AcceptFailed { reason, .. } => {
            object("accept-failed", None, json!({ "error": reason }))
        }
        ListenEvent::Lost { count, .. } => object("lost", None, json!({ "count": count })),
        ListenEvent::Ending => object("ending", None, nothing()),
        other => object("other", None, json!({ "text": format!("{other:?}") })),
    }
}

fn unix_path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with(['/', '.']) {
        return Err(format!("expected `unix:PATH`: write `unix:{text}`"));
    }
    if text.starts_with("tcp:") || text.parse::<SocketAddr>().is_ok() {
        let text = "a TCP port is not served: whoever reached it would be root there; serve `unix:PATH`, or let \
                    clients start a stub of their own by `ssh://HOST`";
        return Err(text.to_owned());
    }
    let target = text.parse::<Target>().map_err(|error| format!("{error:#}"))?;
    match target.hops() {
        [Hop::Unix(path)] => Ok(path.clone()),
        _ => Err("expected `unix:PATH`".to_owned()),
    }
}

fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a user's number, as `id -u NAME` prints it".to_owned())
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

//! `nlr monitor`.
//!
//! | module | contents |
//! |---|---|
//! | `groups` | names of multicast groups |
//! | `event` | messages as events |
//! | `objects` | objects of events that `nlr show` does not list |

mod event;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod groups;
mod objects;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::pending,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    args::{ColorArg, NetnsArg, count, seconds},
    connection::ConnectionArgs,
    dump::{self, Dumper},
    failure::{Failure, warn},
    json,
    output::Output,
    session::{self, Session},
    show::{
        fields::{Fields, Put},
        link_request,
        names::Names,
        one_link_request,
    },
    table::{Cell, Paint, line},
    time::rfc3339,
};
use netlink_remote::{
    Client, Error, ErrorKind, Event, Group, Netns, Protocol, RemoteSocket, Target,
    client::NetnsMode,
    errno::{EINVAL, ENOENT, EPERM, ESRCH},
    nlmsg::{Message, messages},
};

/// Bytes of lines that are collected, while more events have arrived, before they are written.
const PIECE: usize = 64 * 1024;

/// The names that are asked for in one datagram, at most, and the time for an answer.
const LOOKUPS: u32 = 8;
const LOOKUP: Duration = Duration::from_secs(1);

/// The time between two looks at a namespace.
const WATCH: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
The first line, `ready`, says that the subscription stands: changes from then on are events.

With --json each line is an object: `time` (RFC 3339, UTC), `event` (`ready`, `new`, `del`, `get`, `set`
or `lost`), `object` (`link`, `addr`, `route`, ..., `port` for the port of a bridge, or `message` for an
unknown type, with its bytes), then the keys of `ip -j`. `message_flags` are those of the request that
made the change: `replace`, `excl`, `create`, `append`. Where a key of ip's has one of these three names, the object's name is put in front of it,
as in `link_event`. A line of `lost` has no object, but `dropped`, the number of datagrams that the
far kernel dropped because its receive buffer was full, and `total`, their number since the start.

A link whose name is not known, since it is deleted already, is shown as `if12`, and listed under `unnamed`. Where the
namespace of -n is deleted, or another one gets its name, a last line says `gone`, and the exit code is 1.

The end by --count is a success: exit code 0. So is that by --timeout alone; where it comes before
the events of --count, the exit code is 124.

Examples:
  nlr monitor
  nlr monitor --group link --group ipv6-route -n blue
  nlr monitor --group neigh --json --timeout 60 unix:/run/nlr.sock
  nlr monitor --group addr --count 1      waits until an address is added or removed";

/// Prints changes as they happen, one line for each event
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MonitorArgs {
    /// Multicast group: a group of the kernel (`ipv4-route`), an object of ip (`route`: its groups
    /// of every family), or a number; may be repeated. Default: every group that the kernel has
    /// and permits
    #[arg(long, short, value_name = "GROUP", value_parser = groups::parse)]
    group: Vec<groups::Groups>,
    #[command(flatten)]
    netns: NetnsArg,
    /// A JSON object on each line
    #[arg(long, short)]
    json: bool,
    #[command(flatten)]
    color: ColorArg,
    /// Number of events after which it ends
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Time after which it ends
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &MonitorArgs) -> Result<(), Failure> {
    session::run(connection, &args.target, async |session| monitor(session, args).await)
}

async fn monitor(session: &Session, args: &MonitorArgs) -> Result<(), Failure> {
    session.check_byte_order()?;
    let netns = args.netns.netns();
    // First joined, then listed: no change falls between the list of links and the first event.
    let socket = subscribe(session, args, &netns).await?;
    let mut monitor = Monitor {
        dumper: Dumper::open(&session.client, &netns).await?,
        names: Names::local(),
        json: args.json,
        color: !args.json && args.color.on(),
        nameless: Nameless::default(),
        asks_names: true,
        lookups: 0,
        left: args.count,
        pending: Vec::new(),
    };
    monitor.learn_links().await?;
    let mut output = Output::new()?;
    monitor.print_ready();
    monitor.flush(&mut output).await?;
    let end = async {
        match args.timeout {
            Some(timeout) => sleep(timeout).await,
            None => pending().await,
        }
    };
    let is_gone = tokio::select! {
        // Events that have arrived by the end count.
        biased;
        result = monitor.follow(&socket, &mut output) => result.map(|()| false)?,
        () = end => false,
        () = gone(&session.client, &netns) => true,
    };
    if is_gone {
        monitor.print_gone(&netns);
        monitor.flush(&mut output).await?;
        output.finish().await?;
        return Err(Failure::request(format_args!(
            "{netns} is gone: it was deleted, or another one has its name now"
        )));
    }
    output.finish().await?;
    match (monitor.left, args.count, args.timeout) {
        (Some(left @ 1..), Some(count), Some(timeout)) => Err(Failure::waited_in_vain(
            format_args!("{} of {count} events came within {timeout:?}", count - left),
        )),
        _ => Ok(()),
    }
}

/// Waits until a namespace is no longer what it was reached by: a socket keeps the namespace itself
/// alive, and would hear nothing for ever.
async fn gone(client: &Client, netns: &Netns) {
    let namespaces = client.netns();
    let open = || namespaces.open(netns.clone(), NetnsMode::Existing);
    // A container's is a matter of its engine, which is not to be asked all the time.
    let is_watched = matches!(netns, Netns::Name(_) | Netns::Path(_) | Netns::Pid(_));
    let first = match is_watched {
        true => open().await.ok().map(|handle| handle.id()),
        false => None,
    };
    let Some(first) = first else { return pending().await };
    loop {
        sleep(WATCH).await;
        match open().await {
            Ok(handle) if handle.id() == first => {}
            Ok(_) => return,
            Err(error) if matches!(error.errno(), Some(ENOENT | ESRCH)) => return,
            // Not known any more.
            Err(_) => return pending().await,
        }
    }
}

/// Numbers of links that the kernel does not have. Old ones are forgotten.
#[derive(Default)]
struct Nameless(VecDeque<u32>);

impl Nameless {
    const MOST: usize = 1024;

    fn contains(&self, index: &u32) -> bool {
        self.0.contains(index)
    }

    fn note(&mut self, index: u32) {
        self.0.push_back(index);
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }
}

/// Opens a socket in the groups of the command line.
async fn subscribe(
    session: &Session,
    args: &MonitorArgs,
    netns: &Netns,
) -> Result<RemoteSocket, Failure> {
    let builder = || session.client.socket(Protocol::ROUTE).netns(netns.clone());
    let chosen: Vec<Group> = args.group.iter().flat_map(|groups| groups.0.clone()).collect();
    let groups = if chosen.is_empty() { groups::all().collect() } else { chosen.clone() };
    let opened = groups.iter().fold(builder(), |builder, group| builder.group(*group)).open().await;
    let error = match opened {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    if !is_refused_group(&error) {
        return Err(Failure::opening(error, netns));
    }
    // Joined one by one: the error then belongs to a group. By default a group that the kernel
    // lacks, or does not permit, is left out.
    let socket = builder().open().await.map_err(|error| Failure::opening(error, netns))?;
    for group in groups {
        match socket.join(group).await {
            Err(error) if chosen.is_empty() && is_refused_group(&error) => {}
            Err(error) => {
                let remedy = match error.errno() {
                    Some(EINVAL) => "; the kernel there has no such group",
                    _ => "",
                };
                let error = error.context(format_args!("group {}", groups::name(group)));
                return Err(Failure::from(error).with_remedy(remedy));
            }
            Ok(()) => {}
        }
    }
    Ok(socket)
}

/// Whether the errno may mean that the kernel refuses a group.
fn is_refused_group(error: &Error) -> bool {
    matches!(error.errno(), Some(EINVAL | EPERM | ENOENT))
        && matches!(error.kind(), ErrorKind::Open | ErrorKind::Request)
}

struct Monitor {
    dumper: Dumper,
    names: Names,
    json: bool,
    color: bool,
    /// Links that the kernel does not have.
    nameless: Nameless,
    /// The kernel is asked for names: it has answered in time so far.
    asks_names: bool,
    /// The names that may be asked for yet, in this datagram.
    lookups: u32,
    /// Events until the end, `None` without an end.
    left: Option<u64>,
    /// Lines that the writer has not got yet.
    pending: Vec<u8>,
}

impl Monitor {
    /// Learns the names of all links.
    async fn learn_links(&mut self) -> Result<(), Failure> {
        let Self { dumper, names, .. } = self;
        names.forget_links();
        let learned = dumper.dump(link_request(), async |message| {
            names.observe(message);
            Ok(())
        });
        let learned = learned.await;
        if names.is_full() {
            warn("the links there have more names than are kept; the others are shown by number");
        }
        match learned {
            Ok(()) => Ok(()),
            // The events of the changes that interrupted the dump are still to come.
            Err(error) if dump::is_transient(&error) => Ok(()),
            Err(error) => Err(dump::failure(error, "links")),
        }
    }

    /// Prints events until their number is reached.
    async fn follow(&mut self, socket: &RemoteSocket, output: &mut Output) -> Result<(), Failure> {
        while self.left != Some(0) {
            let event = match self.pending.len() < PIECE {
                true => socket.try_recv(),
                false => Ok(None),
            };
            let event = match event {
                Ok(Some(event)) => Ok(event),
                // Written before it waits: a line must not wait for the next event.
                Ok(None) => {
                    self.flush(output).await?;
                    socket.recv().await
                }
                Err(error) => Err(error),
            };
            match event {
                Ok(Event::Datagram(datagram)) => self.print_events(&datagram.data, output).await?,
                Ok(Event::Lost { dropped, total, .. }) => {
                    self.print_loss(dropped, total);
                    // The list of links may take a while.
                    self.flush(output).await?;
                    if self.left != Some(0) {
                        self.learn_links().await?;
                    }
                }
                Ok(other) => warn(&format!("unknown event: {other:?}")),
                Err(error) if error.kind() == ErrorKind::Receive => {
                    warn(&format!("{error:#}; its events are missing"));
                }
                Err(error) => {
                    self.flush(output).await?;
                    return Err(error.into());
                }
            }
        }
        self.flush(output).await
    }

    async fn flush(&mut self, output: &mut Output) -> Result<(), Failure> {
        output.write(std::mem::take(&mut self.pending)).await
    }

    /// Prints the events of a datagram, which may have any number of them.
    async fn print_events(&mut self, datagram: &[u8], output: &mut Output) -> Result<(), Failure> {
        let time = rfc3339(SystemTime::now());
        self.lookups = if self.asks_names { LOOKUPS } else { 0 };
        for message in messages(datagram) {
            if self.pending.len() >= PIECE {
                self.flush(output).await?;
            }
            let Some(event) = self.event(&message).await? else { continue };
            let action = event.action.name();
            let text = match self.json {
                true => json_line(&time, action, event.object, event.data),
                false => self.text_line(&time, &event.text(self.color)),
            };
            self.print(&text);
        }
        Ok(())
    }

    /// The event of a message, with the names of the links that it is about. Events of a new link may
    /// come before the one that has its name: the kernel is asked for it then.
    async fn event(&mut self, message: &Message<'_>) -> Result<Option<event::Event>, Failure> {
        self.names.take_missed();
        let event = event::parse(message, &mut self.names);
        let missed = self.names.take_missed();
        if missed.is_empty() || event.is_none() || self.names.is_full() {
            return Ok(event);
        }
        let mut has_learned = false;
        let mut unnamed = Vec::new();
        for index in missed {
            if self.nameless.contains(&index) {
                unnamed.push(index);
                continue;
            }
            if self.lookups == 0 {
                unnamed.push(index);
                continue;
            }
            self.lookups -= 1;
            let Ok(link) = timeout(LOOKUP, self.dumper.one(one_link_request(index))).await else {
                // A kernel whose lock is held: its events are not to wait for it.
                self.asks_names = false;
                self.lookups = 0;
                unnamed.push(index);
                continue;
            };
            match link.map_err(|error| dump::failure(error, "links"))? {
                Some(link) => {
                    self.names.observe(&link.message());
                    has_learned = true;
                }
                // Deleted already; asked for once, as its number is not used again soon.
                None => {
                    unnamed.push(index);
                    self.nameless.note(index);
                }
            }
        }
        let event = match has_learned {
            // What is not known is missed again.
            true => {
                unnamed.clear();
                event::parse(message, &mut self.names)
            }
            false => event,
        };
        let unnamed = self.names.take_missed().into_iter().chain(unnamed);
        let unnamed: Vec<serde_json::Value> =
            unnamed.map(|index| self.names.link(index).into()).collect();
        Ok(event.map(|mut event| {
            if !unnamed.is_empty() {
                event.data.put("unnamed", unnamed);
            }
            event
        }))
    }

    /// Prints that the namespace is gone.
    fn print_gone(&mut self, netns: &Netns) {
        let time = rfc3339(SystemTime::now());
        let netns = match netns {
            Netns::Name(name) => name.clone(),
            Netns::Pid(pid) => format!("pid:{pid}"),
            Netns::Path(path) => path.clone(),
            other => other.to_string(),
        };
        let text = match self.json {
            true => json::text(&json!({ "time": time, "event": "gone", "netns": netns })),
            false => {
                let cells = [Cell::new("gone".to_owned(), Paint::Bad), Cell::plain(netns)];
                self.text_line(&time, &line(&cells, self.color))
            }
        };
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }

    /// Prints that the subscription stands. That is no event of --count.
    fn print_ready(&mut self) {
        let time = rfc3339(SystemTime::now());
        let text = match self.json {
            true => json::text(&json!({ "time": time, "event": "ready" })),
            false => {
                let cells = [Cell::new("ready".to_owned(), Paint::Dim)];
                self.text_line(&time, &line(&cells, self.color))
            }
        };
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }

    /// Prints the number of dropped datagrams.
    fn print_loss(&mut self, dropped: u64, total: u64) {
        let time = rfc3339(SystemTime::now());
        let text = if self.json {
            let line = json!({ "time": time, "event": "lost", "dropped": dropped, "total": total });
            json::text(&line)
        } else {
            let numbers = format!("{dropped} datagrams were dropped, {total} so far");
            let cells = [Cell::new("lost".to_owned(), Paint::Bad), Cell::plain(numbers)];
            self.text_line(&time, &line(&cells, self.color))
        };
        self.print(&text);
    }

    fn text_line(&self, time: &str, text: &str) -> String {
        let time = line(&[Cell::new(time.to_owned(), Paint::Dim)], self.color);
        format!("{time} {text}")
    }

    /// Adds a line, unless the number of events is reached.
    fn print(&mut self, text: &str) {
        if self.left == Some(0) {
            return;
        }
        self.left = self.left.map(|left| left - 1);
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }
}

/// An event as a JSON object: time, event, object, then the keys of the object. Such a key of the
/// same name as one of the first three gets the object's name in front of it.
fn json_line(time: &str, action: &str, object: &str, data: Fields) -> String {
    let mut line = Fields::new();
    for (key, value) in [("time", time), ("event", action), ("object", object)] {
        line.insert(key.to_owned(), value.into());
    }
    for (key, value) in data {
        let key = if line.contains_key(&key) { format!("{object}_{key}") } else { key };
        line.insert(key, value);
    }
    json::text(&line.into())
}

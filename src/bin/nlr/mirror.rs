//! `nlr mirror`: objects as they are, and then as they change; and what `nlr wait` has in common with it.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::time::sleep;

use super::{
    args::{ColorArg, NetnsArg, seconds},
    connection::ConnectionArgs,
    failure::Failure,
    monitor::{Action, Event, LOOKUPS, Lines, Place},
    output::{self, Output},
    prompt::Questions,
    session::{self, check_byte_order, target_options},
    signals::Signals,
};
use netlink_remote::{
    Client, Connector, Netns, Target,
    mirror::{
        Addresses, Change, Fdb, Kind, Links, Mirror, Neighbours, Nexthops, Object, Routes, Rules,
        Why,
    },
    monitor::{Ready, Source, Watched},
};

/// Bytes of lines that are collected before they are written.
const PIECE: usize = 64 * 1024;

const EXAMPLES: &str = "\
First a line `added` for each object, then `synced`: the lines so far are what the far kernel has. Then
`added`, `changed` and `removed` lines as it changes. Where nlr is not sure that it knows all (events were
lost, the connection was cut, an event does not tell everything), a line `stale` says why; differences
follow, and another `synced`.

With --json each line is an object with `time`, `event` (`added`, `changed`, `removed`, `synced`, `stale`),
`object`, `target`, `netns`, then the keys of `ip -j`; `moved_to` is the nsid of the namespace to which a link
was moved.

A first connection that cannot be made is an error; a later one is made again, with pauses of up to a minute.

Examples:
  nlr mirror route ssh://ci@test01,sudo:
  nlr mirror link --once --json -n blue | jq -r .ifname
  nlr mirror neigh --timeout 60 unix:/run/nlr.sock";

/// Prints objects as they are, and then each change
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MirrorArgs {
    /// Kind of object
    object: Mirrored,
    #[command(flatten)]
    netns: NetnsArg,
    /// A JSON object on each line
    #[arg(long, short)]
    json: bool,
    #[command(flatten)]
    color: ColorArg,
    /// Ends at the first `synced`
    #[arg(long)]
    once: bool,
    /// Time after which it ends
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mirrored {
    #[value(alias = "links")]
    Link,
    #[value(alias = "address", alias = "addresses")]
    Addr,
    #[value(alias = "routes")]
    Route,
    #[value(alias = "neighbour", alias = "neighbor")]
    Neigh,
    Fdb,
    #[value(alias = "rules")]
    Rule,
    #[value(alias = "nexthops")]
    Nexthop,
}

pub(crate) fn run(connection: &ConnectionArgs, args: &MirrorArgs) -> Result<(), Failure> {
    match args.object {
        Mirrored::Link => print(connection, args, Links),
        Mirrored::Addr => print(connection, args, Addresses),
        Mirrored::Route => print(connection, args, Routes),
        Mirrored::Neigh => print(connection, args, Neighbours),
        Mirrored::Fdb => print(connection, args, Fdb),
        Mirrored::Rule => print(connection, args, Rules),
        Mirrored::Nexthop => print(connection, args, Nexthops),
    }
}

fn print<K: Kind>(connection: &ConnectionArgs, args: &MirrorArgs, kind: K) -> Result<(), Failure> {
    session::block_on(async |mut signals| {
        let (color, netns) = (!args.json && args.color.on(), args.netns.netns());
        let mut followed = Followed::start(connection, &args.target, netns, kind)?;
        let mut printer = Printer::new(&followed, Lines::new(args.json, color, true))?;
        let work = async {
            loop {
                // Written before it waits: a line must not wait for the next change.
                let change = match followed.mirror.try_next() {
                    Some(change) => change,
                    None => {
                        printer.flush().await?;
                        followed.next().await?
                    }
                };
                let is_synced = matches!(change, Change::Synced);
                printer.print(&mut followed, change).await?;
                if is_synced && args.once {
                    return printer.flush().await;
                }
            }
        };
        let result = within(work, args.timeout, &mut signals).await;
        let result = printer.end(result).await;
        followed.close(&mut signals).await;
        result
    })
}

/// Does some work up to its end, that of the time, a signal, or that of the reader.
pub(crate) async fn within(
    work: impl Future<Output = Result<(), Failure>>,
    limit: Option<Duration>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let end = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        result = work => result,
        () = end => Ok(()),
        signal = signals.next() => Err(Failure::interrupted(signal)),
        () = output::reader_gone() => Ok(()),
    }
}

/// A mirror, and what is told of its connection.
pub(crate) struct Followed<K: Kind> {
    pub(crate) mirror: Mirror<K>,
    pub(crate) source: Arc<Source>,
    target: Target,
    netns: Netns,
    questions: Questions,
    client: Option<Client>,
    /// Whether there was a connection.
    was_connected: bool,
}

impl<K: Kind> Followed<K> {
    pub(crate) fn start(
        connection: &ConnectionArgs,
        target: &Target,
        netns: Netns,
        kind: K,
    ) -> Result<Self, Failure> {
        let mut questions = Questions::new(connection, std::slice::from_ref(target))?;
        questions.prompter = questions.prompter.remembering();
        let connector = Connector::new(target_options(connection, &questions));
        let watched = Watched::new(target.clone()).netns(netns.clone());
        let mirror = Mirror::start(kind, connector, watched)?;
        let source = Arc::new(Source::new(target.to_string(), Some(netns.clone())));
        let target = target.clone();
        let (client, was_connected) = (None, false);
        Ok(Self { mirror, source, target, netns, questions, client, was_connected })
    }

    /// The next change.
    ///
    /// # Errors
    /// That of a first connection that cannot be made, and of a target that was given up.
    pub(crate) async fn next(&mut self) -> Result<Change<K>, Failure> {
        let Some(change) = self.mirror.next().await else {
            return Err(Failure::request("the target was given up"));
        };
        if let Some(client) = self.mirror.ready().and_then(Ready::client) {
            if !self.was_connected {
                self.questions.connected();
                check_byte_order(client.host())?;
            }
            self.was_connected = true;
            self.client = Some(client.clone());
        }
        match &change {
            Change::Stale { why: Why::Disconnected { why, retry_in, .. }, .. }
                if !self.was_connected || retry_in.is_none() =>
            {
                let failure = match why.step() {
                    _ if self.client.is_some() => Failure::opening(why.clone(), &self.netns),
                    Some(netlink_remote::Step::Open) | None if why.errno().is_some() => {
                        Failure::opening(why.clone(), &self.netns)
                    }
                    _ => self.questions.failure(why.clone()),
                };
                Err(match self.target == Target::local() {
                    true => failure,
                    false => failure.context(&self.target),
                })
            }
            Change::Stale { why: Why::Refused { why, .. }, .. } => {
                Err(Failure::from(why.clone()).context("the far kernel refuses the list"))
            }
            _ => Ok(change),
        }
    }

    /// Closes the connection in an orderly way.
    pub(crate) async fn close(self, signals: &mut Signals) {
        let Self { mirror, client, .. } = self;
        drop(mirror);
        if let Some(client) = client {
            session::close(client, signals).await;
        }
    }
}

/// Prints changes.
pub(crate) struct Printer {
    pub(crate) lines: Lines,
    place: Place,
    /// The connection over which the names of links were learned.
    known: Option<Client>,
    source: Arc<Source>,
    output: Output,
}

impl Printer {
    pub(crate) fn new<K: Kind>(followed: &Followed<K>, lines: Lines) -> Result<Self, Failure> {
        let source = Arc::clone(&followed.source);
        Ok(Self { lines, place: Place::default(), known: None, source, output: Output::new()? })
    }

    /// Learns the names of links over a new connection.
    pub(crate) async fn learn<K: Kind>(&mut self, followed: &Followed<K>) -> Result<(), Failure> {
        let Some(ready) = followed.mirror.ready() else { return Ok(()) };
        let Some(client) = ready.client() else { return Ok(()) };
        if !self.known.as_ref().is_some_and(|known| known.is_same(client)) {
            self.place.begin(ready).await?;
            self.known = Some(client.clone());
        }
        Ok(())
    }

    pub(crate) async fn print<K: Kind>(
        &mut self,
        followed: &mut Followed<K>,
        change: Change<K>,
    ) -> Result<(), Failure> {
        self.learn(followed).await?;
        let time = SystemTime::now();
        match change {
            Change::Added { object, .. } => self.object(&object, Action::Added, None).await?,
            Change::Changed { after, .. } => self.object(&after, Action::Changed, None).await?,
            Change::Removed { object, moved_to, .. } => {
                self.object(&object, Action::Removed, moved_to).await?;
            }
            Change::Synced => {
                let objects = followed.mirror.store().len();
                let words = json!({ "count": objects });
                self.lines.say(&self.source, time, "synced", words, "");
            }
            Change::Stale { why, .. } => {
                let words = json!({ "why": why.to_string() });
                self.lines.say(&self.source, time, "stale", words, &why.to_string());
            }
            _ => {}
        }
        match self.lines.pending() >= PIECE {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    pub(crate) async fn object(
        &mut self,
        object: &Object,
        action: Action,
        moved_to: Option<i32>,
    ) -> Result<(), Failure> {
        let mut lookups = LOOKUPS;
        if let Some(mut event) = self.place.event(&object.message(), &mut lookups).await? {
            event.action = action;
            if let Some(nsid) = moved_to {
                event.data.insert("moved_to".to_owned(), nsid.into());
            }
            let event: Event = event;
            self.lines.event(&self.source, SystemTime::now(), event);
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        self.output.write(self.lines.take()).await
    }

    /// Writes what is left; gives the result of the work before.
    pub(crate) async fn end(mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        let flushed = self.flush().await;
        let finished = self.output.finish().await;
        result?;
        flushed?;
        finished
    }
}

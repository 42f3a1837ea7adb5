//! `nlr monitor`.
//!
//! | module | contents |
//! |---|---|
//! | `args` | the command line |
//! | `groups` | names of multicast groups |
//! | `event` | messages of rtnetlink as events |
//! | `objects` | objects of events that `nlr show` does not list |
//! | `foreign` | messages of other protocols |
//! | `place` | what is known of a namespace: the names of its links |
//! | `lines` | lines of output |
//! | `capture` | pcapng files |

mod args;
mod capture;
mod event;
mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod groups;
mod lines;
mod objects;
mod place;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{
    args::netns_text,
    connection::ConnectionArgs,
    failure::{Failure, warn},
    output::{self, Output},
    prompt::Questions,
    session::{self, check_byte_order, target_options},
    signals::Signals,
};
pub(crate) use args::MonitorArgs;
use capture::Capture;
#[cfg(feature = "nats")]
pub(crate) use groups::{Groups, all as all_groups, parse as parse_group};
use netlink_remote::{
    Client, Connector, Error, ErrorKind, Protocol, Target,
    errno::EINVAL,
    fleet::Entry,
    monitor::{Happening, Monitor, MonitorEvent, Source},
};

pub(crate) use event::{Action, Event};
pub(crate) use lines::Lines;
pub(crate) use place::{LOOKUPS, Place};

/// Bytes of lines that are collected, while more events have arrived, before they are written.
const PIECE: usize = 64 * 1024;

pub(crate) fn run(connection: &ConnectionArgs, args: &MonitorArgs) -> Result<(), Failure> {
    let (entries, is_single) = args.entries()?;
    session::block_on(async |mut signals| {
        let targets: Vec<_> = entries.iter().map(|entry| entry.target.clone()).collect();
        let mut questions = Questions::new(connection, &targets)?;
        // A password that is not needed again is forgotten.
        if !is_single {
            questions.prompter = questions.prompter.remembering();
        }
        let connector = Connector::new(target_options(connection, &questions));
        let monitor = start(args, &entries, is_single, connector)?;
        let mut watch = Watch::new(args, questions, is_single, targets)?;
        let result = watch.run(args, monitor, &mut signals).await;
        watch.close(&mut signals).await;
        result
    })
}

fn start(
    args: &MonitorArgs,
    entries: &[Entry],
    is_single: bool,
    connector: Connector,
) -> Result<Monitor, Failure> {
    let chosen = args.group.iter().map(|groups| groups.0.clone());
    let mut builder = Monitor::builder();
    if is_single {
        // That of a single socket.
        builder = builder.window(4 << 20, 16_384);
    }
    for subscription in chosen.chain(args.group.is_empty().then(groups::all)) {
        builder = builder.subscribe(subscription);
    }
    for entry in entries {
        let watched = entry.watched();
        builder = builder.watch(if args.all_netns { watched.all_netns() } else { watched });
    }
    Ok(builder.start(connector)?)
}

/// The state of a namespace, or of a target as a whole.
struct Watch {
    questions: Questions,
    /// Whether the first cut is the end.
    is_single: bool,
    /// The target, where there is one.
    target: Option<Target>,
    places: HashMap<Arc<Source>, Place>,
    lines: Lines,
    capture: Option<Capture>,
    /// Events until the end, `None` without an end.
    left: Option<u64>,
    /// The failure of the last target that was given up.
    failure: Option<Failure>,
    clients: Vec<Client>,
    /// Notified when subscriptions stand.
    ready: Arc<Notify>,
    start: Instant,
}

impl Watch {
    fn new(
        args: &MonitorArgs,
        questions: Questions,
        is_single: bool,
        targets: Vec<Target>,
    ) -> Result<Self, Failure> {
        let capture = match &args.pcap {
            Some(file) => Some(Capture::create(file, args.pcap_size.map(|size| size << 20))?),
            None => None,
        };
        Ok(Self {
            questions,
            is_single,
            target: <[Target; 1]>::try_from(targets).ok().map(|[target]| target),
            places: HashMap::new(),
            lines: Lines::new(args.json, !args.json && args.color.on(), is_single),
            capture,
            left: args.count,
            failure: None,
            clients: Vec::new(),
            ready: Arc::default(),
            start: Instant::now(),
        })
    }

    /// Watches until the end.
    async fn run(
        &mut self,
        args: &MonitorArgs,
        mut monitor: Monitor,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let mut output = Output::new()?;
        let (is_single, ready) = (self.is_single, Arc::clone(&self.ready));
        let end = async {
            let Some(timeout) = args.timeout else { return pending().await };
            // The time to connect does not count, where it is that of all.
            if is_single {
                ready.notified().await;
            }
            sleep(timeout).await;
        };
        let followed = tokio::select! {
            // Events that have arrived by the end count.
            biased;
            result = self.follow(args, &mut monitor, &mut output) => result,
            () = end => Ok(()),
            signal = signals.next() => Err(Failure::interrupted(signal)),
            () = output::reader_gone() => return Ok(()),
        };
        drop(monitor);
        let finished = match self.flush(&mut output).await {
            Ok(()) => output.finish().await,
            Err(failure) => Err(failure),
        };
        match followed {
            Err(failure) if failure.is_connection() || failure.is_permission() => {
                return Err(match session::arrives(signals).await {
                    Some(signal) => Failure::interrupted(signal),
                    None => failure,
                });
            }
            result => result?,
        }
        finished?;
        match (self.left, args.count, args.timeout) {
            (Some(left @ 1..), Some(count), Some(timeout)) => Err(Failure::waited_in_vain(
                format_args!("{} of {count} events came within {timeout:?}", count - left),
            )),
            _ => Ok(()),
        }
    }

    /// Closes the connections in an orderly way.
    async fn close(&mut self, signals: &mut Signals) {
        self.places.clear();
        for client in self.clients.drain(..) {
            session::close(client, signals).await;
        }
    }

    /// Prints events until their number is reached, or no target is left.
    async fn follow(
        &mut self,
        args: &MonitorArgs,
        monitor: &mut Monitor,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let every = args.stats.unwrap_or(Duration::MAX / 4);
        let mut stats = interval_at(Instant::now() + every.min(FAR), every);
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.left != Some(0) {
            let event = match self.lines.pending() < PIECE {
                true => monitor.try_next(),
                false => None,
            };
            let event = match event {
                Some(event) => event,
                // Written before it waits: a line must not wait for the next event.
                None => {
                    self.flush(output).await?;
                    tokio::select! {
                        event = monitor.next() => match event {
                            Some(event) => event,
                            None => return self.failure.take().map_or(Ok(()), Err),
                        },
                        _ = stats.tick(), if args.stats.is_some() => {
                            self.print_stats(every);
                            continue;
                        }
                    }
                }
            };
            self.take(event, output).await?;
        }
        self.flush(output).await
    }

    async fn flush(&mut self, output: &mut Output) -> Result<(), Failure> {
        let bytes = match &mut self.capture {
            Some(capture) => capture.take()?,
            None => self.lines.take(),
        };
        output.write(bytes).await
    }

    /// Takes in an event.
    async fn take(&mut self, event: MonitorEvent, output: &mut Output) -> Result<(), Failure> {
        let MonitorEvent { source, time, what, .. } = event;
        match what {
            Happening::Ready(ready) => {
                self.questions.connected();
                if self.is_single {
                    self.questions.forget();
                }
                if let (Some(client), None) = (ready.client(), &self.capture) {
                    check_byte_order(client.host())?;
                }
                for (protocol, group) in ready.refused() {
                    tracing::debug!(%source, group = groups::name(*protocol, *group), "group left out");
                }
                if let Some(client) = ready.client()
                    && !self.clients.iter().any(|known| known.is_same(client))
                {
                    self.clients.retain(|client| !client.is_over());
                    self.clients.push(client.clone());
                }
                let is_again = ready.is_again();
                let place = self.places.entry(Arc::clone(&source)).or_default();
                // The names of links are for lines alone.
                if self.capture.is_none() {
                    place.begin(&ready).await?;
                }
                let words = if is_again { json!({ "again": true }) } else { json!({}) };
                self.ready.notify_one();
                self.say(&source, time, "ready", words, if is_again { "again" } else { "" });
            }
            Happening::Datagram { protocol, datagram, .. } => {
                let place = self.places.entry(Arc::clone(&source)).or_default();
                place.events += 1;
                if let Some(capture) = &mut self.capture {
                    capture.packet(&source, time, protocol, &datagram.data)?;
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    return Ok(());
                }
                if protocol == Protocol::ROUTE {
                    self.print_route(&source, time, &datagram.data, output).await?;
                } else {
                    for event in foreign::events(protocol, &datagram) {
                        self.print(&source, time, event);
                    }
                }
            }
            Happening::Lost { dropped, total, .. } => {
                self.places.entry(Arc::clone(&source)).or_default().lost += dropped;
                let words = json!({ "dropped": dropped, "total": total });
                let text = format!("{dropped} datagrams were dropped, {total} so far");
                self.say(&source, time, "lost", words, &text);
                self.left = self.left.map(|left| left.saturating_sub(1));
                // The list of links may take a while.
                self.flush(output).await?;
                if self.left != Some(0)
                    && self.capture.is_none()
                    && let Some(place) = self.places.get_mut(&source)
                {
                    place.learn_links().await?;
                }
            }
            Happening::Unreadable { why, .. } => {
                warn(&format!("{}{why:#}; its events are missing", self.lines.prefix(&source)));
            }
            Happening::Disconnected { why, retry_in, .. } => {
                return self.disconnected(&source, time, why, retry_in);
            }
            Happening::Gone => {
                let netns = source.netns.clone().unwrap_or_default();
                self.say(&source, time, "gone", json!({}), &netns_text(&netns));
                self.places.remove(&source);
                if self.is_single {
                    return Err(Failure::request(format_args!(
                        "{netns} is gone: it was deleted, or another one has its name now"
                    )));
                }
            }
            other => warn(&format!("unknown event: {other:?}")),
        }
        Ok(())
    }

    fn disconnected(
        &mut self,
        source: &Arc<Source>,
        time: SystemTime,
        why: Error,
        retry_in: Option<Duration>,
    ) -> Result<(), Failure> {
        let is_opening =
            matches!(why.kind(), ErrorKind::Open | ErrorKind::Request | ErrorKind::Namespace);
        let failure = match &source.netns {
            Some(netns) if is_opening => Failure::opening(with_remedy(why.clone()), netns),
            _ => self.questions.failure(why.clone()),
        };
        if self.is_single {
            return Err(match &self.target {
                Some(target) if *target != Target::local() => failure.context(target),
                _ => failure,
            });
        }
        let retry = retry_in.map(|pause| (pause.as_secs_f64() * 1e3).round() / 1e3);
        let text = match retry_in {
            Some(pause) => format!("{why:#}; tried again in {:.1} s", pause.as_secs_f64()),
            None => format!("{why:#}; given up"),
        };
        let words = json!({ "why": format!("{why:#}"), "retry_in": retry });
        self.say(source, time, "disconnected", words, &text);
        if retry_in.is_none() {
            self.failure = Some(failure.context(source));
        }
        Ok(())
    }

    /// Says something that is no event of --count.
    fn say(
        &mut self,
        source: &Source,
        time: SystemTime,
        what: &str,
        words: serde_json::Value,
        text: &str,
    ) {
        match &self.capture {
            Some(_) => {
                let text = if text.is_empty() { String::new() } else { format!(" {text}") };
                warn(&format!("{source}: {what}{text}"));
            }
            None => self.lines.say(source, time, what, words, text),
        }
    }

    /// Prints an event, unless their number is reached.
    fn print(&mut self, source: &Source, time: SystemTime, event: Event) {
        if self.left != Some(0) {
            self.left = self.left.map(|left| left - 1);
            self.lines.event(source, time, event);
        }
    }

    /// Prints the events of a datagram, which may have any number of them.
    async fn print_route(
        &mut self,
        source: &Arc<Source>,
        time: SystemTime,
        datagram: &[u8],
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut lookups = place::LOOKUPS;
        for message in netlink_remote::nlmsg::messages(datagram) {
            if self.lines.pending() >= PIECE {
                self.flush(output).await?;
            }
            let Some(place) = self.places.get_mut(source) else { return Ok(()) };
            if let Some(event) = place.event(&message, &mut lookups).await? {
                self.print(source, time, event);
            }
        }
        Ok(())
    }

    fn print_stats(&mut self, every: Duration) {
        let time = SystemTime::now();
        let mut sources: Vec<_> = self.places.keys().map(Arc::clone).collect();
        sources.sort_by_key(|source| source.to_string());
        for source in sources {
            let Some(place) = self.places.get_mut(&source) else { continue };
            let rate = (place.events - place.counted) as f64 / every.as_secs_f64();
            place.counted = place.events;
            let (datagrams, lost) = (place.events, place.lost);
            let rate = (rate * 10.0).round() / 10.0;
            let words = json!({ "datagrams": datagrams, "rate": rate, "lost": lost });
            let text = format!("{datagrams} datagrams, {rate}/s, {lost} lost");
            self.say(&source, time, "stats", words, &text);
        }
        tracing::debug!(elapsed = ?self.start.elapsed(), "statistics");
    }
}

/// Later than anybody waits.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// An error of a group with what it mostly means.
fn with_remedy(error: Error) -> Error {
    match (error.errno(), error.to_string().starts_with("group ")) {
        (Some(EINVAL), true) => error.context("the kernel there has no such group"),
        _ => error,
    }
}

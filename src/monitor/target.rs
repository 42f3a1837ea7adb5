//! The task of one target: connecting, subscribing, and doing so again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{
    builder::Watched,
    event::{Happening, MonitorEvent, Source},
    namespaces::{Found, Look},
    place::{End, Groups, Place, merged},
    registry::{Registry, TargetState},
};
use crate::{
    Client, Error, Netns,
    client::NetnsId,
    errno::{ENOENT, ESRCH},
};

/// The task of one target.
pub(super) struct Task {
    watched: Watched,
    registry: Arc<Registry>,
    events: mpsc::Sender<MonitorEvent>,
    groups: Arc<Vec<Groups>>,
    /// The namespaces in which subscriptions have stood.
    stood: HashSet<Netns>,
}

/// The places of one connection.
#[derive(Default)]
struct Places {
    tasks: JoinSet<(Netns, End)>,
    open: HashMap<Netns, Open>,
    /// Namespaces that are waited for.
    missing: HashSet<Netns>,
}

/// A place whose task runs.
struct Open {
    stop: Arc<Notify>,
    id: Arc<OnceLock<NetnsId>>,
}

/// The end of a connection, or of an attempt to make it.
struct Broken {
    why: Error,
    /// How long the connection has lasted.
    lasted: Duration,
}

impl Task {
    pub(super) fn new(
        watched: Watched,
        registry: Arc<Registry>,
        events: mpsc::Sender<MonitorEvent>,
    ) -> Self {
        let groups = Arc::new(merged(&watched.subscriptions));
        Self { watched, registry, events, groups, stood: HashSet::new() }
    }

    /// Runs until the target is given up, or nobody wants its events.
    pub(super) async fn run(mut self) {
        let mut pauses = self.registry.options.backoff.pauses();
        loop {
            self.set_state(TargetState::Connecting);
            let Some(Broken { why, lasted }) = self.connect_once().await else { return };
            let retry_in = (!why.is_lasting()).then(|| pauses.next(lasted));
            self.set_state(match retry_in {
                Some(pause) => {
                    let until = std::time::Instant::now() + pause;
                    TargetState::Waiting { why: why.clone(), until }
                }
                None => TargetState::Failed { why: why.clone() },
            });
            if !self.tell(None, Happening::Disconnected { why, retry_in }).await {
                return;
            }
            match retry_in {
                Some(pause) => sleep(pause).await,
                None => return,
            }
        }
    }

    fn set_state(&self, state: TargetState) {
        self.registry.set_state(&self.watched.name, state);
    }

    /// Tells something of a namespace or of the whole target; false where the consumer is gone.
    async fn tell(&self, netns: Option<Netns>, what: Happening) -> bool {
        let source = self.source(netns);
        self.events.send(MonitorEvent { source, time: SystemTime::now(), what }).await.is_ok()
    }

    fn source(&self, netns: Option<Netns>) -> Arc<Source> {
        Arc::new(Source { target: Arc::clone(&self.watched.name), netns })
    }

    /// Connects, and serves the connection to its end; `None` where nobody wants events.
    async fn connect_once(&mut self) -> Option<Broken> {
        let connected = {
            // A semaphore that is never closed.
            let _permit = self.registry.connects.acquire().await;
            self.registry.connector.connect(&self.watched.target).await
        };
        let client = match connected {
            Ok(client) => client,
            Err(why) => return Some(Broken { why, lasted: Duration::ZERO }),
        };
        let since = std::time::Instant::now();
        self.set_state(TargetState::Connected { since });
        let why = self.serve(&client).await?;
        Some(Broken { why, lasted: since.elapsed() })
    }

    /// Tells the events of a connection; gives its end.
    async fn serve(&mut self, client: &Client) -> Option<Error> {
        let mut places = Places::default();
        for netns in self.watched.netns_or_own() {
            self.start(&mut places, client, netns);
        }
        let every = self.registry.options.look;
        let first = if self.watched.all_netns { Instant::now() } else { Instant::now() + every };
        let mut looks = interval_at(first, every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0_u32;
        let mut last_failure = None;
        let why = loop {
            tokio::select! {
                biased;
                why = client.closed() => break why,
                Some(ended) = places.tasks.join_next(), if !places.tasks.is_empty() => {
                    // Only the end of the runtime cancels a place, and none panics.
                    let Ok((netns, end)) = ended else { continue };
                    match self.ended(&mut places, netns, end).await {
                        Ended::Goes => {}
                        Ended::Failed(error) => last_failure = Some(error),
                        Ended::Unwanted => return None,
                    }
                    if places.tasks.is_empty() && places.missing.is_empty() && !self.watched.all_netns
                        && let Some(failure) = last_failure.take()
                    {
                        return Some(failure.lasting());
                    }
                }
                _ = looks.tick(), if self.looks_at(&places) => {
                    self.look(&mut places, client, number).await;
                    number = number.wrapping_add(1);
                }
            }
        };
        // What has arrived is told before the end.
        while let Some(ended) = places.tasks.join_next().await {
            if let Ok((_, End::Unwanted)) = ended {
                return None;
            }
        }
        Some(why)
    }

    fn start(&mut self, places: &mut Places, client: &Client, netns: Netns) {
        let open = Open { stop: Arc::default(), id: Arc::default() };
        let place = Place {
            source: self.source(Some(netns.clone())),
            netns: netns.clone(),
            client: client.clone(),
            groups: Arc::clone(&self.groups),
            options: self.registry.options.clone(),
            events: self.events.clone(),
            again: !self.stood.insert(netns.clone()),
            stop: Arc::clone(&open.stop),
            id: Arc::clone(&open.id),
        };
        places.missing.remove(&netns);
        places.open.insert(netns.clone(), open);
        places.tasks.spawn(async move { (netns, place.run().await) });
    }

    async fn ended(&mut self, places: &mut Places, netns: Netns, end: End) -> Ended {
        let stood = places.open.remove(&netns).is_some_and(|open| open.id.get().is_some());
        match end {
            // The end of the connection follows.
            End::Disconnected => Ended::Goes,
            End::Unwanted => Ended::Unwanted,
            End::Stopped => {
                if self.watched.names(&netns) {
                    places.missing.insert(netns);
                }
                Ended::Goes
            }
            End::Failed(why) => {
                let is_missing = matches!(why.errno(), Some(ENOENT | ESRCH)) && !stood;
                let waits = self.watched.waits && self.watched.names(&netns);
                let retry_in = (is_missing && waits).then_some(self.registry.options.look);
                // One that was listed and is gone again is no failure.
                if is_missing && !self.watched.names(&netns) {
                    return Ended::Goes;
                }
                self.stood.remove(&netns);
                let told = Happening::Disconnected { why: why.clone(), retry_in };
                if !self.tell(Some(netns.clone()), told).await {
                    return Ended::Unwanted;
                }
                match retry_in {
                    Some(_) => {
                        places.missing.insert(netns);
                        Ended::Goes
                    }
                    None => Ended::Failed(why),
                }
            }
        }
    }

    /// Whether there is anything to look at.
    fn looks_at(&self, places: &Places) -> bool {
        let is_watched = |netns: &Netns| *netns != Netns::Current;
        self.watched.all_netns || !places.missing.is_empty() || places.open.keys().any(is_watched)
    }

    /// Looks for namespaces that are gone, and for those that have come.
    async fn look(&mut self, places: &mut Places, client: &Client, number: u32) {
        let look = Look::new(client, number).await;
        for (netns, open) in &places.open {
            let Some(id) = open.id.get() else { continue };
            if look.compare(netns, *id).await != Found::Same {
                open.stop.notify_one();
            }
        }
        let mut come = Vec::new();
        for netns in &places.missing {
            if look.is_there(netns).await {
                come.push(netns.clone());
            }
        }
        if self.watched.all_netns {
            let is_new = |netns: &Netns| !places.open.contains_key(netns) && !come.contains(netns);
            let new: Vec<_> = look.named().filter(is_new).collect();
            come.extend(new);
        }
        for netns in come {
            self.start(places, client, netns);
        }
    }
}

/// What the end of a place means to its target.
enum Ended {
    /// The others go on.
    Goes,
    /// It is given up.
    Failed(Error),
    /// The consumer is gone.
    Unwanted,
}

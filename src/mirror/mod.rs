//! Far-off state, kept up to date: the links, addresses, routes and the like of a network namespace, as
//! the far kernel has them, and a stream of how they change.
//!
//! ```no_run
//! use netlink_remote::{Connector, TargetOptions};
//! use netlink_remote::{mirror::{Change, Mirror, Routes}, monitor::Watched};
//!
//! # async fn f() -> Result<(), netlink_remote::Error> {
//! let connector = Connector::new(TargetOptions::default());
//! let router = Watched::new("ssh://ci@test01,sudo:".parse()?);
//! let mut routes = Mirror::start(Routes, connector, router)?;
//! while let Some(change) = routes.next().await {
//!     match change {
//!         Change::Added { key, .. } => println!("+ {key}"),
//!         Change::Changed { key, .. } => println!("~ {key}"),
//!         Change::Removed { key, .. } => println!("- {key}"),
//!         Change::Synced => println!("{} routes", routes.store().len()),
//!         Change::Stale { why, .. } => println!("not sure: {why}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # How it is kept
//! A mirror subscribes, then dumps, then applies the events that came meanwhile, and says
//! [`Synced`](Change::Synced). From then on it applies each event as it comes. Where events do not tell all, it
//! says [`Stale`](Change::Stale), dumps again, and tells the differences alone, before the next `Synced`:
//!
//! * after a loss, and after a dump that changes interrupted (`NLM_F_DUMP_INTR`);
//! * after a reconnection, and after the namespace was deleted and made again;
//! * after an event that does not say what became of other objects ([`Reading::Doubt`]): each kind names its
//!   own. The kernel deletes IPv4 routes without a word, for one, when their link goes down.
//!
//! While it is stale, its contents are those of the last moment at which it was sure, and of the events that it
//! has applied since.
//!
//! # Kinds
//! | kind | objects | [`Key`](Kind::Key) |
//! |---|---|---|
//! | [`Links`] | links, without ports of bridges | index |
//! | [`Addresses`] | IPv4 and IPv6 addresses | link, address, prefix |
//! | [`Routes`] | IPv4 and IPv6 routes of all tables, without cached ones | table, destination, TOS, metric |
//! | [`Neighbours`] | IPv4 and IPv6 neighbours, without those that need no resolution (`NUD_NOARP`) | link, address, proxy |
//! | [`Fdb`] | forwarding databases of bridges and VXLANs | bridge or link, address, VLAN, remote |
//! | [`Rules`] | IPv4 and IPv6 rules | family, priority, table |
//! | [`Nexthops`] | nexthop objects and groups | id |
//!
//! Any other dump with its multicast groups is a kind by the trait [`Kind`].
//!
//! # Memory
//! An object takes its message, 16 bytes of a counted reference, and its key. Changes that are not taken yet
//! share the messages. See [`monitor`](crate::monitor) for what waits to be applied.

#![forbid(unsafe_code)]

mod change;
mod dump;
mod entries;
mod kind;
mod kinds;
mod store;
mod trim;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

pub use change::{Change, Object, Why};
pub use kind::{Kind, Reading};
pub use kinds::{
    AddressKey, Addresses, Fdb, FdbKey, Links, NeighbourKey, Neighbours, Nexthops, RouteKey,
    Routes, RuleKey, Rules,
};
pub use store::Store;

use crate::{
    Connector, Error,
    monitor::{
        DumpFailed, Happening, Monitor, MonitorBuilder, MonitorEvent, Ready, Subscription, Watched,
    },
    nlmsg::messages,
};
use dump::{Dump, dump};
use entries::{Applied, Entries};

/// The first and the longest pause before a dump that follows another within [`CALM`].
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(2);

/// The objects of one kind in one network namespace; see the [module](self).
///
/// It does its work while [`next`](Self::next) or the [`Stream`] is polled, and spawns no task besides those
/// of its [`Monitor`]. One that is not polled falls behind, and later catches up.
pub struct Mirror<K: Kind> {
    kind: Arc<K>,
    events: Events,
    store: Store<K>,
    stage: Stage<K>,
    /// The connection, while the subscriptions stand.
    ready: Option<Ready>,
    changes: VecDeque<Change<K>>,
    is_stale: bool,
    /// The number of the last mark.
    mark: u64,
    /// The last dump, and the pause before the next one.
    dumped: Option<Instant>,
    pause: Duration,
}

/// Where events come from.
enum Events {
    Monitor(Monitor),
    Other(Pin<Box<dyn Stream<Item = MonitorEvent> + Send + Sync>>),
}

impl Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<MonitorEvent>> {
        match self {
            Self::Monitor(monitor) => Pin::new(monitor).poll_next(cx),
            Self::Other(events) => events.as_mut().poll_next(cx),
        }
    }
}

enum Stage<K: Kind> {
    /// The subscriptions do not stand, or the kernel refuses the dump.
    Down,
    /// A dump was made a short time ago; events wait.
    Pausing(Pin<Box<Sleep>>),
    /// Events from before the next dump are skipped.
    Skipping,
    /// Objects are dumped; events wait.
    Dumping(Dump<K>),
    /// Events from before the end of the dump are applied to it.
    Replaying(Entries<K>),
    /// Events are applied as they come.
    Live,
}

impl<K: Kind> Mirror<K> {
    /// Starts a mirror of one namespace of a target, the stub's own by default.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a target with several namespaces.
    pub fn start(kind: K, connector: Connector, watched: Watched) -> Result<Self, Error> {
        Self::start_with(kind, Monitor::builder(), connector, watched)
    }

    /// [`start`](Self::start) with options of the monitor, such as its
    /// [`backoff`](MonitorBuilder::backoff).
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(
        kind: K,
        options: MonitorBuilder,
        connector: Connector,
        watched: Watched,
    ) -> Result<Self, Error> {
        if !watched.has_one_netns() {
            return Err(Error::invalid("a mirror is one of a single network namespace"));
        }
        let subscription = Subscription::new(kind.protocol()).groups(kind.groups()).lenient();
        let monitor = options.watch(watched.only(subscription)).start(connector)?;
        Ok(Self::new(kind, Events::Monitor(monitor)))
    }

    /// A mirror of the namespace whose events a stream has, by whatever way they come. The stream's
    /// subscriptions have to include the groups of the kind, and it has to be of one namespace.
    pub fn over(kind: K, events: impl Stream<Item = MonitorEvent> + Send + Sync + 'static) -> Self {
        Self::new(kind, Events::Other(Box::pin(events)))
    }

    fn new(kind: K, events: Events) -> Self {
        Self {
            kind: Arc::new(kind),
            events,
            store: Store::new(),
            stage: Stage::Down,
            ready: None,
            changes: VecDeque::new(),
            is_stale: true,
            mark: 0,
            dumped: None,
            pause: Duration::ZERO,
        }
    }

    /// The next change; `None` once the target was given up. Cancel-safe: a dropped future loses no
    /// change.
    pub async fn next(&mut self) -> Option<Change<K>> {
        std::future::poll_fn(|cx| self.poll_change(cx)).await
    }

    /// A change that can be told without waiting for the far end; `None` if there is none.
    pub fn try_next(&mut self) -> Option<Change<K>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.changes.is_empty() && !matches!(self.stage, Stage::Live) {
            true => None,
            false => match self.poll_change(&mut cx) {
                Poll::Ready(change) => change,
                Poll::Pending => None,
            },
        }
    }

    /// Asks for a [`Synced`](Change::Synced) as of everything that the far kernel has told by now, or for the
    /// next one, where the mirror is not sure.
    pub fn confirm(&mut self) {
        if matches!(self.stage, Stage::Live) {
            self.ask_mark();
        }
    }

    fn ask_mark(&mut self) {
        self.mark += 1;
        if let Some(ready) = &self.ready {
            ready.mark(self.mark);
        }
    }

    /// The objects, to read from any task.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// The monitor, for the state of its target; `None` of a mirror [over](Self::over) other events.
    pub fn monitor(&self) -> Option<&Monitor> {
        match &self.events {
            Events::Monitor(monitor) => Some(monitor),
            Events::Other(_) => None,
        }
    }

    /// The connection, while there is one.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.as_ref()
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Poll::Ready(Some(change));
            }
            match &mut self.stage {
                Stage::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.stage = Stage::Skipping;
                    self.ask_mark();
                    continue;
                }
                Stage::Dumping(dump) => {
                    let dumped = ready!(dump.as_mut().poll(cx));
                    self.dumped(dumped);
                    continue;
                }
                Stage::Down | Stage::Skipping | Stage::Replaying(_) | Stage::Live => {}
            }
            match ready!(self.events.poll_next(cx)) {
                Some(event) => self.take(event),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Takes in the end of a dump.
    fn dumped(&mut self, result: Result<Entries<K>, DumpFailed>) {
        match result {
            Ok(entries) => {
                self.stage = Stage::Replaying(entries);
                self.ask_mark();
            }
            Err(DumpFailed::Interrupted) => self.resync(Why::Interrupted),
            Err(DumpFailed::Refused(error)) => {
                self.set_stale(Why::Refused { why: error });
                self.stage = Stage::Down;
            }
            // The monitor tells the rest.
            Err(DumpFailed::Disconnected) => self.stage = Stage::Down,
        }
    }

    /// Takes in an event of the monitor.
    fn take(&mut self, event: MonitorEvent) {
        match event.what {
            Happening::Ready(ready) => {
                self.ready = Some(ready);
                self.dump();
            }
            Happening::Datagram { datagram, .. } => self.apply(&datagram.data),
            Happening::Lost { dropped, .. } => self.resync(Why::Lost { dropped }),
            Happening::Unreadable { .. } => self.resync(Why::Lost { dropped: 1 }),
            Happening::Mark { number } if number == self.mark => match &self.stage {
                Stage::Skipping => self.dump(),
                _ => self.sync(),
            },
            Happening::Mark { .. } => {}
            Happening::Disconnected { why, retry_in } => {
                self.down(Why::Disconnected { why, retry_in });
            }
            Happening::Gone => self.down(Why::Gone),
        }
    }

    fn down(&mut self, why: Why) {
        self.stage = Stage::Down;
        self.ready = None;
        self.set_stale(why);
    }

    fn set_stale(&mut self, why: Why) {
        self.is_stale = true;
        self.store.set_synced(false);
        self.changes.push_back(Change::Stale { why });
    }

    /// Dumps again, because the events so far do not tell all.
    fn resync(&mut self, why: Why) {
        match self.stage {
            // The dump is still to come.
            Stage::Down | Stage::Pausing(_) | Stage::Skipping => return,
            Stage::Dumping(_) | Stage::Replaying(_) | Stage::Live => {}
        }
        // Once is enough for those that wait for the same dump.
        if !self.is_stale {
            self.set_stale(why);
        }
        let is_calm = self.dumped.is_none_or(|dumped| dumped.elapsed() >= CALM);
        let pause = if is_calm { Duration::ZERO } else { self.pause };
        self.pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        self.stage = Stage::Pausing(Box::pin(sleep(pause)));
    }

    fn dump(&mut self) {
        let Some(ready) = &self.ready else { return };
        self.dumped = Some(Instant::now());
        self.stage = Stage::Dumping(Box::pin(dump(Arc::clone(&self.kind), ready.clone())));
    }

    /// Applies the messages of a datagram.
    fn apply(&mut self, datagram: &[u8]) {
        for message in messages(datagram) {
            let reading = self.kind.read(&message);
            let applied = match &mut self.stage {
                Stage::Replaying(entries) => {
                    // An object that the dump does not have was deleted before it.
                    match entries.apply(&*self.kind, reading, &message, true) {
                        Applied::Doubt => Applied::Doubt,
                        _ => Applied::Nothing,
                    }
                }
                Stage::Live => self.store.apply(&*self.kind, reading, &message),
                Stage::Down | Stage::Pausing(_) | Stage::Skipping | Stage::Dumping(_) => return,
            };
            match applied {
                Applied::Nothing => {}
                Applied::Change(change) => self.changes.push_back(*change),
                Applied::Doubt => {
                    // What follows is older than the dump.
                    self.resync(Why::Doubt);
                    return;
                }
            }
        }
    }

    /// Takes over the dump, to which everything before its end was applied.
    fn sync(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Live);
        match stage {
            Stage::Replaying(entries) => {
                self.store.replace(&*self.kind, entries, &mut self.changes);
                self.is_stale = false;
            }
            // Of `confirm`.
            Stage::Live => {}
            // Of a dump or a connection before.
            Stage::Down | Stage::Pausing(_) | Stage::Skipping | Stage::Dumping(_) => {
                self.stage = stage;
                return;
            }
        }
        self.changes.push_back(Change::Synced);
    }
}

impl<K: Kind> Stream for Mirror<K> {
    type Item = Change<K>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        self.get_mut().poll_change(cx)
    }
}

impl<K: Kind> Unpin for Mirror<K> {}

impl<K: Kind> fmt::Debug for Mirror<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("is_stale", &self.is_stale).finish_non_exhaustive()
    }
}

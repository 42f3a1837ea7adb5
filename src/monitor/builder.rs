//! The description of a monitor.

use std::{sync::Arc, time::Duration};

use super::{Monitor, backoff::Backoff};
use crate::{Connector, Error, Group, Netns, Protocol, Target};

/// The multicast groups of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The protocol.
    pub protocol: Protocol,
    /// The groups.
    pub groups: Vec<Group>,
    /// Groups of generic netlink, as family and group, whose numbers each kernel gives as it likes: they are
    /// asked for upon each connection. Without a group it is every one of the family.
    pub generic: Vec<(String, Option<String>)>,
    /// Whether groups that the far kernel refuses are left out. By default they are an error.
    pub is_lenient: bool,
}

impl Subscription {
    /// A subscription without groups.
    pub fn new(protocol: impl Into<Protocol>) -> Self {
        let protocol = protocol.into();
        Self { protocol, groups: Vec::new(), generic: Vec::new(), is_lenient: false }
    }

    /// A group of a family of generic netlink, such as `nlctrl` and `notify`, or every group of it.
    ///
    /// A family that the far kernel does not have is an error of ENOENT.
    pub fn generic(family: impl Into<String>, group: Option<&str>) -> Self {
        let generic = vec![(family.into(), group.map(str::to_owned))];
        Self { generic, ..Self::new(Protocol::GENERIC) }
    }

    /// Adds a group.
    #[must_use]
    pub fn group(mut self, group: impl Into<Group>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Adds groups.
    #[must_use]
    pub fn groups(mut self, groups: impl IntoIterator<Item = impl Into<Group>>) -> Self {
        self.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Every group of the protocol that has a name here, without those that the far kernel does not have
    /// or does not permit.
    pub fn every_group(protocol: impl Into<Protocol>) -> Self {
        let protocol = protocol.into();
        let groups = protocol.groups().iter().map(|(group, _)| *group).collect();
        Self { groups, is_lenient: true, ..Self::new(protocol) }
    }

    /// Leaves out the groups that the far kernel does not have or does not permit.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.is_lenient = true;
        self
    }
}

/// A target to watch.
#[derive(Debug, Clone)]
#[must_use]
pub struct Watched {
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) netns: Vec<Netns>,
    pub(super) all_netns: bool,
    pub(super) waits: bool,
    pub(super) subscriptions: Vec<Subscription>,
}

impl Watched {
    /// A target, with the namespace of its stub, and the subscriptions of the monitor.
    pub fn new(target: Target) -> Self {
        Self {
            name: target.to_string().into(),
            target,
            netns: Vec::new(),
            all_netns: false,
            waits: false,
            subscriptions: Vec::new(),
        }
    }

    /// Sets the name, which has to be the only one of its kind in the monitor: by default the target's
    /// text.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a network namespace; with the first one the stub's own is no longer watched, unless it is
    /// added as [`Netns::Current`].
    pub fn netns(mut self, netns: Netns) -> Self {
        if !self.netns.contains(&netns) {
            self.netns.push(netns);
        }
        self
    }

    /// Adds the stub's own namespace and every named one (ip-netns(8)), those that come later included.
    pub fn all_netns(mut self) -> Self {
        self.all_netns = true;
        self.netns(Netns::Current)
    }

    /// Waits for namespaces that are not there. By default such a namespace is given up, and a target of
    /// which no namespace is left, too. A namespace that was there and is gone is waited for in any case.
    pub fn wait_for_netns(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Whether it is one of a single namespace.
    pub(crate) fn has_one_netns(&self) -> bool {
        !self.all_netns && self.netns.len() < 2
    }

    /// With this subscription alone.
    pub(crate) fn only(mut self, subscription: Subscription) -> Self {
        self.subscriptions = vec![subscription];
        self
    }

    /// The namespaces to begin with.
    pub(super) fn netns_or_own(&self) -> Vec<Netns> {
        match self.netns.is_empty() {
            true => vec![Netns::Current],
            false => self.netns.clone(),
        }
    }

    /// Whether the namespace was asked for by itself.
    pub(super) fn names(&self, netns: &Netns) -> bool {
        self.netns.contains(netns) || self.netns.is_empty() && *netns == Netns::Current
    }

    /// Adds a subscription for this target, in place of those of the monitor.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }
}

/// The options of a monitor that is not started yet; [`Monitor::builder`] makes it.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct MonitorBuilder {
    options: Options,
    watched: Vec<Watched>,
}

/// Options of all targets.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) backoff: Backoff,
    /// Connections that are being made, at most.
    pub(super) connects: usize,
    /// Bytes and datagrams of each socket's window.
    pub(super) window: (u64, u64),
    pub(super) receive_buffer: Option<u32>,
    /// The time between two looks at namespaces.
    pub(super) look: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            subscriptions: Vec::new(),
            backoff: Backoff::default(),
            connects: 16,
            window: (256 << 10, 1024),
            receive_buffer: None,
            look: Duration::from_secs(1),
        }
    }
}

impl MonitorBuilder {
    /// Adds a subscription, for every target that has none of its own. Subscriptions to one protocol
    /// share a socket, and so keep their order.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.options.subscriptions.push(subscription);
        self
    }

    /// Adds a target.
    pub fn watch(mut self, watched: Watched) -> Self {
        self.watched.push(watched);
        self
    }

    /// Sets the pauses before connecting again.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// Sets how many connections are made at a time: 16 by default. 0 counts as 1.
    pub fn connects(mut self, connects: usize) -> Self {
        self.options.connects = connects.max(1);
        self
    }

    /// Sets the [window](crate::SocketBuilder::window) of each socket: 256 KiB and 1,024 datagrams by
    /// default, a sixteenth of what a single socket has, since there may be hundreds.
    pub fn window(mut self, bytes: u64, datagrams: u64) -> Self {
        self.options.window = (bytes, datagrams);
        self
    }

    /// Sets the [receive buffer](crate::SocketBuilder::receive_buffer) of each socket.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// Sets the time between two looks for namespaces that are new or gone: a second by default.
    pub fn look_every(mut self, time: Duration) -> Self {
        self.options.look = time.max(Duration::from_millis(10));
        self
    }

    /// Starts to connect. Spawns a task for each target on the current tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for two targets of one name, and for one without
    /// subscriptions.
    pub fn start(self, connector: Connector) -> Result<Monitor, Error> {
        Monitor::new(self, connector)
    }

    pub(super) fn into_parts(self) -> (Options, Vec<Watched>) {
        (self.options, self.watched)
    }
}

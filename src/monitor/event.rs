//! What a monitor tells.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Datagram, Error, Netns, Protocol};

use super::ready::Ready;

/// Where an event comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Source {
    /// The target's name: that of [`Watched::name`](super::Watched::name), or its text.
    pub target: Arc<str>,
    /// The network namespace; `None` for what concerns the whole target.
    pub netns: Option<Netns>,
}

impl Source {
    /// A namespace of a target, or the whole target.
    pub fn new(target: impl Into<Arc<str>>, netns: Option<Netns>) -> Self {
        Self { target: target.into(), netns }
    }
}

/// As a person writes it: `test01`, or `test01/blue` for a namespace other than the stub's own.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        match &self.netns {
            None | Some(Netns::Current) => Ok(()),
            Some(Netns::Name(name)) => write!(f, "/{name}"),
            Some(Netns::Path(path)) => write!(f, "{path}"),
            Some(Netns::Pid(pid)) => write!(f, "/pid:{pid}"),
            Some(other) => write!(f, "/{other}"),
        }
    }
}

/// An event of a monitor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MonitorEvent {
    /// The target and the namespace.
    pub source: Arc<Source>,
    /// When it happened: for a datagram when the stub received it, by the far host's clock, where the
    /// stub tells ([`Datagram::received`]); otherwise when this side learned of it.
    pub time: SystemTime,
    /// What happened.
    pub what: Happening,
}

impl MonitorEvent {
    /// An event, such as one that a test makes up.
    pub fn new(source: Arc<Source>, time: SystemTime, what: Happening) -> Self {
        Self { source, time, what }
    }
}

/// What happened at a target, or in a namespace there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happening {
    /// The subscriptions in this namespace stand, for the first time or after a reconnection: whatever
    /// changes from now on is told.
    Ready(Ready),
    /// Every datagram that the far kernel had queued when this mark was asked for has been given.
    #[non_exhaustive]
    Mark {
        /// The number that [`Ready::mark`] was called with.
        number: u64,
    },
    /// A datagram, as the far kernel wrote it.
    #[non_exhaustive]
    Datagram {
        /// The protocol of its socket.
        protocol: Protocol,
        /// The bytes, the multicast group, the nsid, and the time.
        datagram: Datagram,
    },
    /// The far kernel dropped datagrams at this place among those of the protocol.
    #[non_exhaustive]
    Lost {
        /// The protocol of the socket.
        protocol: Protocol,
        /// Datagrams dropped here.
        dropped: u64,
        /// Datagrams dropped since the last [`Ready`](Self::Ready).
        total: u64,
    },
    /// A datagram could not be forwarded: a loss as well.
    #[non_exhaustive]
    Unreadable {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The error, of [`ErrorKind::Receive`](crate::ErrorKind::Receive).
        why: Error,
    },
    /// There is no connection to the target, or no subscription in the namespace.
    #[non_exhaustive]
    Disconnected {
        /// The cause.
        why: Error,
        /// The time until the next attempt; `None` where no attempt is made any more.
        retry_in: Option<Duration>,
    },
    /// The namespace is gone: it was deleted, or another one has its name now. Where that is watched too,
    /// its [`Ready`](Self::Ready) follows.
    Gone,
}

/// In a few words, without the datagram.
impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(ready) if ready.again => f.write_str("reconnected"),
            Self::Ready(_) => f.write_str("ready"),
            Self::Datagram { protocol, datagram } => {
                write!(f, "{} bytes of {protocol}", datagram.data.len())
            }
            Self::Lost { protocol, dropped, .. } => {
                write!(f, "{dropped} datagrams of {protocol} were dropped")
            }
            Self::Unreadable { protocol, why } => write!(f, "a datagram of {protocol}: {why}"),
            Self::Disconnected { why, retry_in: Some(pause) } => {
                write!(f, "disconnected: {why}; tried again in {:.1} s", pause.as_secs_f64())
            }
            Self::Disconnected { why, retry_in: None } => write!(f, "given up: {why}"),
            Self::Mark { number } => write!(f, "mark {number}"),
            Self::Gone => f.write_str("the namespace is gone"),
        }
    }
}

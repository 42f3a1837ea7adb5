//! What a mirror tells.

use std::{fmt, sync::Arc, time::Duration};

use super::kind::Kind;
use crate::{
    Error,
    nlmsg::{Attributes, Header, Message, kind, messages},
};

/// A message that describes an object, such as an `RTM_NEWROUTE`, as the far kernel wrote it; its
/// header's flags, sequence number and port id are zero. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Object(pub(super) Arc<[u8]>);

impl Object {
    /// The whole message, header included, for any library that parses netlink.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The message for [`nlmsg`](crate::nlmsg).
    pub fn message(&self) -> Message<'_> {
        let header = Header { length: 16, kind: kind::NOOP, flags: 0, sequence: 0, portid: 0 };
        // One was made of a message.
        messages(&self.0).next().unwrap_or(Message { header, payload: &[], offset: 0 })
    }

    /// The attributes after a family's header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        self.message().attributes(header)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} bytes)", self.0.len())
    }
}

/// A change of a mirror.
#[non_exhaustive]
pub enum Change<K: Kind> {
    /// There is an object that was not there.
    #[non_exhaustive]
    Added {
        /// Its key.
        key: K::Key,
        /// The object.
        object: Object,
    },
    /// An object is another than it was. Counters, timers and the like alone do not count.
    #[non_exhaustive]
    Changed {
        /// Its key.
        key: K::Key,
        /// The object as it was.
        before: Object,
        /// As it is.
        after: Object,
    },
    /// An object is no longer there.
    #[non_exhaustive]
    Removed {
        /// Its key.
        key: K::Key,
        /// The object as it was.
        object: Object,
        /// The namespace to which it was moved, of a link: an nsid of the mirror's namespace, or -1 for one
        /// that has none there. `None` for an object that was deleted, and for one whose end no event told.
        moved_to: Option<i32>,
    },
    /// The mirror equals what the far kernel has, as of this place in its events.
    Synced,
    /// The mirror may differ from what the far kernel has, until the next [`Synced`](Self::Synced).
    #[non_exhaustive]
    Stale {
        /// The cause.
        why: Why,
    },
}

impl<K: Kind> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added { key, object } => Self::Added { key: key.clone(), object: object.clone() },
            Self::Changed { key, before, after } => {
                Self::Changed { key: key.clone(), before: before.clone(), after: after.clone() }
            }
            Self::Removed { key, object, moved_to } => {
                Self::Removed { key: key.clone(), object: object.clone(), moved_to: *moved_to }
            }
            Self::Synced => Self::Synced,
            Self::Stale { why } => Self::Stale { why: why.clone() },
        }
    }
}

impl<K: Kind> fmt::Debug for Change<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { key, .. } => f.debug_tuple("Added").field(key).finish(),
            Self::Changed { key, .. } => f.debug_tuple("Changed").field(key).finish(),
            Self::Removed { key, moved_to, .. } => {
                f.debug_tuple("Removed").field(key).field(moved_to).finish()
            }
            Self::Synced => f.write_str("Synced"),
            Self::Stale { why } => f.debug_tuple("Stale").field(why).finish(),
        }
    }
}

/// Why a mirror is not sure.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Why {
    /// The far kernel dropped events.
    #[non_exhaustive]
    Lost {
        /// How many datagrams.
        dropped: u64,
    },
    /// Objects changed while they were dumped.
    Interrupted,
    /// An event does not tell what became of other objects.
    Doubt,
    /// There is no connection.
    #[non_exhaustive]
    Disconnected {
        /// The cause.
        why: Error,
        /// The time until the next attempt; `None` where the target was given up.
        retry_in: Option<Duration>,
    },
    /// The namespace is gone. The mirror waits for another of its name.
    Gone,
    /// The far kernel refuses the dump. It is tried again upon the next connection.
    #[non_exhaustive]
    Refused {
        /// Its error.
        why: Error,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { dropped } => write!(f, "{dropped} datagrams of events were dropped"),
            Self::Interrupted => f.write_str("objects changed while they were dumped"),
            Self::Doubt => f.write_str("an event does not tell what became of other objects"),
            Self::Disconnected { why, retry_in: Some(pause) } => {
                write!(f, "{why}; tried again in {:.1} s", pause.as_secs_f64())
            }
            Self::Disconnected { why, retry_in: None } => write!(f, "given up: {why}"),
            Self::Gone => f.write_str("the namespace is gone"),
            Self::Refused { why } => write!(f, "{why}"),
        }
    }
}

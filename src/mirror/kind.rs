//! What a mirror has to know of its objects.

use std::{borrow::Cow, fmt, hash::Hash};

use crate::{Group, Protocol, nlmsg::Message};

/// A kind of object: how it is dumped, the multicast groups that tell its changes, and its key.
///
/// ```
/// use netlink_remote::{Group, mirror::{Kind, Reading}, nlmsg::{Builder, Message}};
///
/// /// The nsids of a namespace: RTM_NEWNSID (88), RTM_DELNSID (89), RTM_GETNSID (90).
/// struct Nsids;
///
/// impl Kind for Nsids {
///     type Key = i32;
///     fn groups(&self) -> Vec<Group> {
///         vec![Group::NSID]
///     }
///     fn requests(&self) -> Vec<Vec<u8>> {
///         vec![Builder::new(90, 0).put(&[0; 4]).finish()]
///     }
///     fn read(&self, message: &Message<'_>) -> Reading<i32> {
///         // NETNSA_NSID
///         match (message.header.kind, message.attributes(4).i32(1)) {
///             (88, Some(nsid)) => Reading::Is(nsid),
///             (89, Some(nsid)) => Reading::IsNot(nsid),
///             _ => Reading::Other,
///         }
///     }
/// }
/// ```
pub trait Kind: Send + Sync + 'static {
    /// What tells one object from another; its order is that of [`Store::snapshot`](super::Store::snapshot).
    type Key: Ord + Hash + Clone + fmt::Debug + Send + Sync + 'static;

    /// The protocol: [`Protocol::ROUTE`] by default.
    fn protocol(&self) -> Protocol {
        Protocol::ROUTE
    }

    /// The multicast groups. Those that the far kernel does not have are left out.
    fn groups(&self) -> Vec<Group>;

    /// The messages that ask for all objects; flags and sequence numbers are written by the mirror. One
    /// that the kernel refuses with EOPNOTSUPP or EAFNOSUPPORT counts as answered by no object.
    fn requests(&self) -> Vec<Vec<u8>>;

    /// The meaning of a message, of a dump or of an event.
    fn read(&self, message: &Message<'_>) -> Reading<Self::Key>;

    /// Whether a key has one object at most, as by default. Of a kind that has several, a message tells one
    /// of them by all of its [`state`](Self::state).
    fn is_unique(&self) -> bool {
        true
    }

    /// Whether the object of one payload may have a part that the message of another removes, so that the rest
    /// of it is not known: a route with several nexthops, of which one was deleted. Of kinds that have several
    /// objects for a key; never, by default.
    fn has_part(&self, object: &[u8], part: &[u8]) -> bool {
        let _ = (object, part);
        false
    }

    /// The part of a message's payload in which a difference counts: all of it by default.
    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(payload)
    }
}

/// The meaning of a message to a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading<T> {
    /// It is about something else.
    Other,
    /// There is this object, as the message describes it. Of a kind with several objects for a key, it is
    /// one more of them.
    Is(T),
    /// There is this object, and it may have joined another one of its key.
    First(T),
    /// This object has taken the place of one of its key.
    Replaces(T),
    /// There is no such object.
    IsNot(T),
    /// The object was moved to another network namespace, with this nsid or -1.
    Moved(T, i32),
    /// Other objects may have changed without a message: all have to be dumped again.
    Doubt,
}

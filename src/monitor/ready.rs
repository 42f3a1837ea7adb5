//! The connection of subscriptions that stand.

use tokio::sync::mpsc;

use crate::{Client, Group, Protocol, SocketBuilder, client::NetnsHandle};

/// The connection on which the subscriptions of a namespace stand. Cheap to clone.
///
/// While a clone lives, so does the connection.
#[derive(Debug, Clone)]
pub struct Ready {
    pub(super) again: bool,
    pub(super) client: Client,
    pub(super) namespace: Option<NetnsHandle>,
    pub(super) refused: Vec<(Protocol, Group)>,
    pub(super) marks: mpsc::UnboundedSender<u64>,
}

impl Ready {
    /// Whether the subscriptions stood before: what happened in between is not told.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Begins to open a socket in the namespace of the subscriptions, whatever has its name by now, for
    /// requests: those never share a kernel socket with a subscription.
    pub fn socket(&self, protocol: impl Into<Protocol>) -> SocketBuilder {
        let builder = self.client.socket(protocol);
        match &self.namespace {
            Some(namespace) => builder.netns_handle(namespace),
            None => builder,
        }
    }

    /// The groups that the kernel there does not have, or does not permit, of a subscription that
    /// [leaves such out](super::Subscription::every_group).
    pub fn refused(&self) -> &[(Protocol, Group)] {
        &self.refused
    }

    /// Asks for a [`Mark`](super::Happening::Mark) of this number behind everything that the far kernel's
    /// sockets of the subscriptions have queued by now. After a dump was received on another socket, events
    /// up to the mark may be older than the dump, and those behind it are not.
    ///
    /// There is no mark after the end of the subscriptions, and where several are asked for at a time, the
    /// last one alone.
    pub fn mark(&self, number: u64) {
        // Subscriptions that have ended have told so.
        let _ = self.marks.send(number);
    }
}

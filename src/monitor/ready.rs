//! The connection of subscriptions that stand.

#[cfg(feature = "nats")]
use std::{fmt, future::Future, pin::Pin, sync::Arc};

#[cfg(feature = "nats")]
use bytes::Bytes;
use tokio::sync::mpsc;

#[cfg(feature = "nats")]
use crate::Error;
use crate::{Client, Group, Protocol, SocketBuilder, client::NetnsHandle};

/// The connection on which the subscriptions of a namespace stand. Cheap to clone.
///
/// While a clone lives, so does the connection.
#[derive(Debug, Clone)]
pub struct Ready {
    pub(super) again: bool,
    pub(super) refused: Vec<(Protocol, Group)>,
    pub(super) way: Way,
}

/// How the far end is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By a connection of this process.
    Direct { client: Client, namespace: Option<NetnsHandle>, marks: mpsc::UnboundedSender<u64> },
    /// By another process.
    #[cfg(feature = "nats")]
    Relayed(Arc<dyn Relay>),
}

/// The messages of a dump, one after the other.
#[cfg(feature = "nats")]
pub(crate) type Relayed = Pin<Box<dyn Future<Output = Result<Vec<Bytes>, Error>> + Send>>;

/// Another process that has the connection.
#[cfg(feature = "nats")]
pub(crate) trait Relay: fmt::Debug + Send + Sync {
    /// Asks for a mark.
    fn mark(&self, number: u64);

    /// Dumps: the bytes of each datagram are whole messages.
    fn dump(&self, protocol: Protocol, request: Vec<u8>) -> Relayed;
}

impl Ready {
    /// Subscriptions of another process.
    #[cfg(feature = "nats")]
    pub(crate) fn relayed(again: bool, relay: Arc<dyn Relay>) -> Self {
        Self { again, refused: Vec::new(), way: Way::Relayed(relay) }
    }

    /// Whether the subscriptions stood before: what happened in between is not told.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// The connection; `None` where another process has it.
    pub fn client(&self) -> Option<&Client> {
        match &self.way {
            Way::Direct { client, .. } => Some(client),
            #[cfg(feature = "nats")]
            Way::Relayed(_) => None,
        }
    }

    /// Begins to open a socket in the namespace of the subscriptions, whatever has its name by now, for
    /// requests: those never share a kernel socket with a subscription. `None` where another process has the
    /// connection.
    pub fn socket(&self, protocol: impl Into<Protocol>) -> Option<SocketBuilder> {
        match &self.way {
            Way::Direct { client, namespace, .. } => {
                let builder = client.socket(protocol);
                Some(match namespace {
                    Some(namespace) => builder.netns_handle(namespace),
                    None => builder,
                })
            }
            #[cfg(feature = "nats")]
            Way::Relayed(_) => None,
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
    /// There is no mark after the end of the subscriptions.
    pub fn mark(&self, number: u64) {
        match &self.way {
            // Subscriptions that have ended have told so.
            Way::Direct { marks, .. } => drop(marks.send(number)),
            #[cfg(feature = "nats")]
            Way::Relayed(relay) => relay.mark(number),
        }
    }
}

//! The namespaces of a target as they are now.

use std::collections::HashMap;

use crate::{
    Client, Netns,
    client::{NetnsId, NetnsMode},
    errno::{ENOENT, ESRCH},
};

/// Looks at a container every so many times: its engine is not to be asked all the time.
const CONTAINERS: u32 = 10;

/// The named namespaces of a host, and how to look at others.
pub(super) struct Look<'a> {
    client: &'a Client,
    named: HashMap<String, NetnsId>,
    /// The number of the look.
    number: u32,
}

/// What has become of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is the one it was, or cannot be looked at.
    Same,
    /// Nothing has its name any more.
    Gone,
    /// Another one has it.
    Other,
}

impl<'a> Look<'a> {
    /// Lists the named namespaces. A list that cannot be made counts as an empty one.
    pub(super) async fn new(client: &'a Client, number: u32) -> Self {
        let list = client.netns().list().await.unwrap_or_default();
        let named = list.into_iter().map(|entry| (entry.name, entry.id)).collect();
        Self { client, named, number }
    }

    /// The named namespaces.
    pub(super) fn named(&self) -> impl Iterator<Item = Netns> {
        // A file there that is no namespace has zeros for its identity.
        let is_namespace = |(_, id): &(&String, &NetnsId)| id.inode != 0;
        self.named.iter().filter(is_namespace).map(|(name, _)| Netns::Name(name.clone()))
    }

    /// Looks whether a namespace is the one that it was.
    pub(super) async fn compare(&self, netns: &Netns, known: NetnsId) -> Found {
        match netns {
            Netns::Name(name) if self.named.get(name) == Some(&known) => return Found::Same,
            Netns::Current | Netns::Handle(_) => return Found::Same,
            Netns::Container { .. } if !self.number.is_multiple_of(CONTAINERS) => {
                return Found::Same;
            }
            _ => {}
        }
        // The list's names are for display: one with an odd character is not found there.
        match self.open(netns).await {
            Some(Ok(id)) if id == known => Found::Same,
            Some(Ok(_)) => Found::Other,
            Some(Err(())) => Found::Gone,
            None => Found::Same,
        }
    }

    /// Whether a namespace that was missing is there now.
    pub(super) async fn is_there(&self, netns: &Netns) -> bool {
        match netns {
            Netns::Name(name) if self.named.contains_key(name) => true,
            Netns::Container { .. } if !self.number.is_multiple_of(CONTAINERS) => false,
            netns => matches!(self.open(netns).await, Some(Ok(_))),
        }
    }

    /// The identity of a namespace; `Some(Err(()))` where there is none, `None` where that is not known.
    async fn open(&self, netns: &Netns) -> Option<Result<NetnsId, ()>> {
        match self.client.netns().open(netns.clone(), NetnsMode::Existing).await {
            Ok(handle) => Some(Ok(handle.id())),
            Err(error) if matches!(error.errno(), Some(ENOENT | ESRCH)) => Some(Err(())),
            Err(_) => None,
        }
    }
}

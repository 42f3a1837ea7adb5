//! A mirror's objects, for any task to read.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

use super::{
    change::{Change, Object},
    entries::{Applied, Entries},
    kind::{Kind, Reading},
};
use crate::{nlmsg::Message, sync::lock};

/// The objects of a mirror. Cheap to clone; clones are the same objects, which change while the mirror is
/// polled.
pub struct Store<K: Kind>(Arc<Mutex<Inner<K>>>);

struct Inner<K: Kind> {
    entries: Entries<K>,
    is_synced: bool,
}

impl<K: Kind> Store<K> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { entries: Entries::default(), is_synced: false })))
    }

    /// All objects with their keys, sorted by these.
    pub fn snapshot(&self) -> Vec<(K::Key, Object)> {
        let inner = lock(&self.0);
        let entries = inner.entries.0.iter();
        entries
            .flat_map(|(key, slot)| {
                slot.objects().iter().map(|object| (key.clone(), object.clone()))
            })
            .collect()
    }

    /// The objects of a key: one at most for every kind but [`Routes`](super::Routes) and
    /// [`Rules`](super::Rules).
    pub fn get(&self, key: &K::Key) -> Vec<Object> {
        let inner = lock(&self.0);
        inner.entries.0.get(key).map(|slot| slot.objects().to_vec()).unwrap_or_default()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        lock(&self.0).entries.0.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the mirror is sure: the last of its [`Synced`](Change::Synced) and
    /// [`Stale`](Change::Stale) was the former. True then means as of the last event that it has applied.
    pub fn is_synced(&self) -> bool {
        lock(&self.0).is_synced
    }

    pub(super) fn set_synced(&self, is_synced: bool) {
        lock(&self.0).is_synced = is_synced;
    }

    pub(super) fn apply(
        &self,
        kind: &K,
        reading: Reading<K::Key>,
        message: &Message<'_>,
    ) -> Applied<K> {
        lock(&self.0).entries.apply(kind, reading, message, false)
    }

    pub(super) fn replace(&self, kind: &K, entries: Entries<K>, changes: &mut VecDeque<Change<K>>) {
        let mut inner = lock(&self.0);
        inner.entries.replace(kind, entries, changes);
        inner.is_synced = true;
    }
}

impl<K: Kind> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Kind> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("len", &self.len()).finish_non_exhaustive()
    }
}

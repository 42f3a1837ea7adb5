//! The objects of a mirror by their keys.

use std::{
    collections::{
        BTreeMap, VecDeque,
        btree_map::{Entry, OccupiedEntry},
    },
    sync::Arc,
};

use super::{
    change::{Change, Object},
    kind::{Kind, Reading},
};
use crate::nlmsg::{HEADER_LEN, Message};

/// The objects of a key: one, or several in the order in which they came.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    One(Object),
    Several(Vec<Object>),
}

impl Slot {
    pub(super) fn objects(&self) -> &[Object] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Several(objects) => objects,
        }
    }

    fn push(&mut self, object: Object) {
        match self {
            Self::One(first) => *self = Self::Several(vec![first.clone(), object]),
            Self::Several(objects) => objects.push(object),
        }
    }
}

/// What a message has changed.
pub(super) enum Applied<K: Kind> {
    Nothing,
    Change(Box<Change<K>>),
    /// It does not fit what is there: all objects have to be dumped again.
    Doubt,
}

/// What a message says of its object and others of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Adds,
    MayJoin,
    Replaces,
}

/// All objects.
pub(super) struct Entries<K: Kind>(pub(super) BTreeMap<K::Key, Slot>);

impl<K: Kind> Default for Entries<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Kind> Entries<K> {
    /// Adds an object of a dump.
    pub(super) fn add(&mut self, kind: &K, message: &Message<'_>) {
        if let Reading::Is(key) | Reading::First(key) | Reading::Replaces(key) = kind.read(message)
        {
            let object = object(message);
            match self.0.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Slot::One(object));
                }
                // The kernel may list an object twice that changes meanwhile.
                Entry::Occupied(mut slot) if kind.is_unique() => {
                    slot.insert(Slot::One(object));
                }
                Entry::Occupied(mut slot) => slot.get_mut().push(object),
            }
        }
    }

    /// Applies an event. With `is_replay` it may be older than the objects.
    pub(super) fn apply(
        &mut self,
        kind: &K,
        reading: Reading<K::Key>,
        message: &Message<'_>,
        is_replay: bool,
    ) -> Applied<K> {
        match reading {
            Reading::Other => Applied::Nothing,
            Reading::Doubt => Applied::Doubt,
            Reading::Is(key) => self.put(kind, key, message, How::Adds, is_replay),
            Reading::First(key) => self.put(kind, key, message, How::MayJoin, is_replay),
            Reading::Replaces(key) => self.put(kind, key, message, How::Replaces, is_replay),
            Reading::IsNot(key) => self.remove(kind, key, message, None, is_replay),
            Reading::Moved(key, nsid) => self.remove(kind, key, message, Some(nsid), is_replay),
        }
    }

    fn put(
        &mut self,
        kind: &K,
        key: K::Key,
        message: &Message<'_>,
        how: How,
        is_replay: bool,
    ) -> Applied<K> {
        let after = object(message);
        let mut entry = match self.0.entry(key) {
            Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                vacant.insert(Slot::One(after.clone()));
                return Applied::Change(Box::new(Change::Added { key, object: after }));
            }
            Entry::Occupied(entry) => entry,
        };
        let is_known = entry.get().objects().iter().any(|known| same(kind, known, &after));
        match (how, entry.get()) {
            (How::Replaces, Slot::One(before)) => {
                let before = before.clone();
                replaced(kind, &mut entry, before, after)
            }
            (_, Slot::One(before)) if kind.is_unique() => {
                let before = before.clone();
                replaced(kind, &mut entry, before, after)
            }
            // One of several is gone, and nobody knows which.
            (How::Replaces, Slot::Several(_)) => Applied::Doubt,
            _ if is_known && is_replay => Applied::Nothing,
            // One that may be a part of another now.
            (How::MayJoin, _) => Applied::Doubt,
            // A second one that is equal.
            (How::Adds, _) if is_known => Applied::Doubt,
            (How::Adds, _) => {
                entry.get_mut().push(after.clone());
                let key = entry.key().clone();
                Applied::Change(Box::new(Change::Added { key, object: after }))
            }
        }
    }

    fn remove(
        &mut self,
        kind: &K,
        key: K::Key,
        message: &Message<'_>,
        moved_to: Option<i32>,
        is_replay: bool,
    ) -> Applied<K> {
        let Entry::Occupied(mut entry) = self.0.entry(key) else {
            // One that nobody has told of.
            return Applied::Nothing;
        };
        let removed =
            |key, object| Applied::Change(Box::new(Change::Removed { key, object, moved_to }));
        if kind.is_unique() {
            let (key, slot) = entry.remove_entry();
            return match slot.objects() {
                [object, ..] => removed(key, object.clone()),
                [] => Applied::Nothing,
            };
        }
        let gone = object(message);
        let objects = entry.get().objects();
        let Some(position) = objects.iter().position(|known| same(kind, known, &gone)) else {
            let gone = payload(&gone);
            let is_part = objects.iter().any(|object| kind.has_part(payload(object), gone));
            // Deleted before the objects that are there were dumped.
            return if is_replay && !is_part { Applied::Nothing } else { Applied::Doubt };
        };
        match entry.get_mut() {
            Slot::Several(objects) if objects.len() > 1 => {
                let object = objects.remove(position);
                removed(entry.key().clone(), object)
            }
            _ => {
                let (key, slot) = entry.remove_entry();
                match slot.objects() {
                    [object, ..] => removed(key, object.clone()),
                    [] => Applied::Nothing,
                }
            }
        }
    }

    /// Takes over other objects, and tells the differences.
    pub(super) fn replace(&mut self, kind: &K, new: Self, changes: &mut VecDeque<Change<K>>) {
        let old = std::mem::take(&mut self.0);
        // What is gone comes first: a new object may have its name or its address.
        for (key, slot) in &old {
            let now = new.0.get(key).map_or(&[][..], Slot::objects);
            let gone = missing(kind, slot.objects(), now);
            let come = missing(kind, now, slot.objects());
            let paired = gone.len().min(come.len());
            for object in gone.iter().skip(paired) {
                let (key, object) = (key.clone(), (*object).clone());
                changes.push_back(Change::Removed { key, object, moved_to: None });
            }
        }
        for (key, slot) in &new.0 {
            let before = old.get(key).map_or(&[][..], Slot::objects);
            let gone = missing(kind, before, slot.objects());
            let come = missing(kind, slot.objects(), before);
            let mut gone = gone.into_iter();
            for after in come {
                let (key, after) = (key.clone(), after.clone());
                changes.push_back(match gone.next() {
                    Some(before) => Change::Changed { key, before: before.clone(), after },
                    None => Change::Added { key, object: after },
                });
            }
        }
        self.0 = new.0;
    }
}

/// The objects without an equal one among others, each of which is equal to one at most.
fn missing<'a, K: Kind>(kind: &K, objects: &'a [Object], others: &[Object]) -> Vec<&'a Object> {
    let mut left: Vec<&Object> = others.iter().collect();
    let mut missing = Vec::new();
    for object in objects {
        match left.iter().position(|other| same(kind, object, other)) {
            Some(position) => {
                left.swap_remove(position);
            }
            None => missing.push(object),
        }
    }
    missing
}

/// Whether two objects differ in nothing that counts.
fn same<K: Kind>(kind: &K, first: &Object, second: &Object) -> bool {
    first == second || kind.state(payload(first)) == kind.state(payload(second))
}

fn payload(object: &Object) -> &[u8] {
    object.0.get(HEADER_LEN..).unwrap_or_default()
}

/// Puts an object in the place of the only one of its key.
fn replaced<K: Kind>(
    kind: &K,
    entry: &mut OccupiedEntry<'_, K::Key, Slot>,
    before: Object,
    after: Object,
) -> Applied<K> {
    let is_same = same(kind, &before, &after);
    entry.insert(Slot::One(after.clone()));
    match is_same {
        true => Applied::Nothing,
        false => {
            let key = entry.key().clone();
            Applied::Change(Box::new(Change::Changed { key, before, after }))
        }
    }
}

/// A message as an object.
fn object(message: &Message<'_>) -> Object {
    let length = HEADER_LEN + message.payload.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(message.header.kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(message.payload);
    Object(Arc::from(bytes))
}

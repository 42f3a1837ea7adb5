//! The wakers of all who wait on one session.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

use crate::sync::lock;

/// The wakers of all who wait on one session; itself the waker of the session's socket.
///
/// Any operation receives the data of all channels, so an event of the socket concerns all of them:
/// it wakes every waiter.
#[derive(Default)]
pub(super) struct Wakers {
    waiting: Mutex<BTreeMap<u64, Waker>>,
    next_key: AtomicU64,
}

impl Wakers {
    /// A key for a new waiter.
    pub(super) fn new_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn register(&self, key: u64, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        let slot = waiting.entry(key).or_insert_with(|| waker.clone());
        slot.clone_from(waker);
    }

    pub(super) fn remove(&self, key: u64) {
        let removed = lock(&self.waiting).remove(&key);
        drop(removed);
    }

    pub(super) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_values().for_each(Waker::wake);
    }

    /// Wakes every waiter but this one, whose caller knows already.
    pub(super) fn wake_others(&self, key: u64) {
        let others = {
            let mut waiting = lock(&self.waiting);
            let own = waiting.remove(&key);
            let others = std::mem::take(&mut *waiting);
            waiting.extend(own.map(|waker| (key, waker)));
            others
        };
        others.into_values().for_each(Waker::wake);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

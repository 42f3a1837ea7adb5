//! Who waits for something to happen on a session.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

/// Everyone who waits on one session; itself the waker that its socket's readiness wakes.
///
/// Any operation takes in what has arrived for all channels, so that it cannot be told whom an
/// event is for: all are woken.
#[derive(Default)]
pub(super) struct Wakers {
    waiting: Mutex<BTreeMap<u64, Waker>>,
    keys: AtomicU64,
}

impl Wakers {
    /// A number for someone who is going to wait.
    pub(super) fn key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn register(&self, key: u64, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = waiting.entry(key).or_insert_with(|| waker.clone());
        slot.clone_from(waker);
    }

    pub(super) fn remove(&self, key: u64) {
        let removed = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        drop(removed);
    }

    pub(super) fn wake_all(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_values().for_each(Waker::wake);
    }

    /// Wakes everyone but the one with this number, who knows.
    pub(super) fn wake_others(&self, key: u64) {
        let others = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
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

//! When a server gives memory back: not for each of many clients that come and go.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::kernel::give_memory_back;

/// The shortest time between two times, while clients are connected.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Trimmer {
    last: Mutex<Option<Instant>>,
}

impl Trimmer {
    /// Gives memory back after the last client, and now and then after others.
    pub(super) fn client_has_gone(&self, last: bool) {
        let now = Instant::now();
        let mut before = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last || before.is_none_or(|before| now - before >= PAUSE) {
            *before = Some(now);
            drop(before);
            give_memory_back();
        }
    }
}

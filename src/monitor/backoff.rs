//! Pauses between attempts.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The pauses between attempts to connect: each is twice as long as the one before, up to a longest,
/// and then shortened by chance by up to a half, so that many monitors do not connect to a host that has
/// come back at the same moment.
///
/// A connection that has lasted for a minute begins anew with the first pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first pause: half a second by default.
    pub first: Duration,
    /// The longest: a minute by default.
    pub longest: Duration,
}

/// A connection of this length counts as a success.
const SUCCESS: Duration = Duration::from_secs(60);

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pauses of one target.
    pub(super) fn pauses(self) -> Pauses {
        Pauses { backoff: self, failures: 0 }
    }
}

/// The pauses of one target.
#[derive(Debug)]
pub(super) struct Pauses {
    backoff: Backoff,
    /// Attempts and short connections since the last success.
    failures: u32,
}

impl Pauses {
    /// The pause after a connection that has lasted for this time, which is zero for one that failed.
    pub(super) fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= SUCCESS {
            self.failures = 0;
        }
        let Backoff { first, longest } = self.backoff;
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        // The keys of a hasher are random, and need no crate.
        let random = RandomState::new().build_hasher().finish();
        let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        doubled.mul_f64(1.0 - share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let second = Duration::from_secs(1);
        let mut pauses = Backoff::new(second, second * 5).pauses();
        for expected in [1, 2, 4, 5, 5, 5] {
            let pause = pauses.next(Duration::ZERO);
            assert!(pause <= second * expected && pause >= second * expected / 2, "{pause:?}");
        }
        assert!(pauses.next(SUCCESS) <= second);
        // Without overflow, however often it fails.
        pauses.failures = u32::MAX;
        assert!(pauses.next(Duration::ZERO) <= second * 5);
    }

    #[test]
    fn pauses_differ_by_chance() {
        let pause = || Backoff::default().pauses().next(Duration::ZERO);
        let first = pause();
        assert!((0..50).any(|_| pause() != first));
    }
}

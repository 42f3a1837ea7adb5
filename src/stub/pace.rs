//! The pace of a client that sends one request after the other: whether its stub sleeps between two of them, or
//! looks for the next.
//!
//! A sleep and the wake-up can cost several times the request: an idle CPU of a virtual machine is woken through
//! its hypervisor. Elsewhere, or where all processes share one CPU, a stub that looks is in the way. Only a trial
//! tells: some requests with sleeps, some with looks, and then many in the way that was quicker, looking by a
//! quarter at least.

use std::time::Duration;

/// The longest gap between two requests that a stub looks through: that of a program on the same host which asks one
/// after the other. A client whose requests come further apart, as behind most networks, is not looked for.
pub(super) const GAP: Duration = Duration::from_micros(120);

/// Gaps so short, one after the other, until the first trial, and after each longer one until the next look.
const AT_FIRST: u32 = 4;

/// Gaps at the end of each half of a trial, which are compared.
const COMPARED: u32 = 32;

/// Requests with looks in a trial: the scheduler needs some hundred to give each process its place.
const LOOKS: u32 = 512;

/// Requests with looks until the next trial.
const TERM: u32 = 4096;

/// Requests with sleeps until the next trial: twice as many after each trial that was for nothing.
const FIRST_SLEEPS: u32 = 512;
const MOST_SLEEPS: u32 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sleeps,
    Looks,
    Chosen,
}

#[derive(Debug)]
pub(super) struct Pace {
    /// Gaps of less than [`GAP`], one after the other.
    short: u32,
    stage: Stage,
    /// Requests left of the stage.
    left: u32,
    looks: bool,
    /// Requests until the next trial, once sleeps are chosen.
    sleeps: u32,
    /// Sums of the gaps that are compared.
    slept: Duration,
    looked: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            short: 0,
            stage: Stage::Sleeps,
            left: COMPARED,
            looks: false,
            sleeps: FIRST_SLEEPS,
            slept: Duration::ZERO,
            looked: Duration::ZERO,
        }
    }
}

impl Pace {
    /// Whether the next wait is to look before it sleeps.
    pub(super) fn looks(&self) -> bool {
        self.looks && self.short >= AT_FIRST
    }

    /// Takes in how long a wait has taken, and whether it was begun with a look, that ended with something
    /// from the client, or with something else: nobody waits for the next event.
    pub(super) fn waited(&mut self, gap: Duration, looked: bool, is_client: bool) {
        let is_one_of_many = self.short >= AT_FIRST;
        self.short = match is_client && gap < GAP {
            true => self.short.saturating_add(1),
            false => 0,
        };
        // Another poller may have been looking.
        if !is_client || !is_one_of_many || self.looks != looked {
            return;
        }
        // A long gap may be the look's doing, whose CPU had others to run.
        let gap = gap.min(GAP);
        match self.stage {
            Stage::Sleeps => self.slept += gap,
            Stage::Looks if self.left <= COMPARED => self.looked += gap,
            _ => {}
        }
        self.left -= 1;
        if self.left == 0 {
            self.next_stage();
        }
    }

    fn next_stage(&mut self) {
        // By a quarter: looking costs the time of a CPU.
        let looks_pay = self.looked * 4 < self.slept * 3;
        (self.stage, self.left, self.looks) = match self.stage {
            Stage::Sleeps => (Stage::Looks, LOOKS, true),
            Stage::Looks if looks_pay => {
                self.sleeps = FIRST_SLEEPS;
                (Stage::Chosen, TERM, true)
            }
            Stage::Looks => {
                let term = self.sleeps;
                self.sleeps = (term * 2).min(MOST_SLEEPS);
                (Stage::Chosen, term, false)
            }
            Stage::Chosen => {
                (self.slept, self.looked) = (Duration::ZERO, Duration::ZERO);
                (Stage::Sleeps, COMPARED, false)
            }
        };
    }
}

#[cfg(test)]
impl Pace {
    /// That of a client for whose next request looking was quicker.
    pub(super) fn looking() -> Self {
        Self { short: AT_FIRST, stage: Stage::Chosen, left: TERM, looks: true, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests with these gaps, in microseconds; gives how many of them were looked for.
    fn ask(pace: &mut Pace, count: u32, slept: u64, looked: u64) -> u32 {
        let one = |_| {
            let looks = pace.looks();
            let gap = Duration::from_micros(if looks { looked } else { slept });
            pace.waited(gap, looks, true);
            u32::from(looks)
        };
        (0..count).map(one).sum()
    }

    #[test]
    fn the_shorter_gaps_are_chosen_and_tried_again() {
        let trial = COMPARED + LOOKS;
        let mut pace = Pace::default();
        assert_eq!(ask(&mut pace, AT_FIRST + COMPARED, 60, 20), 0);
        // Only the last gaps of a trial count.
        assert_eq!(ask(&mut pace, LOOKS - COMPARED, 60, 100), LOOKS - COMPARED);
        assert_eq!(ask(&mut pace, COMPARED + TERM, 60, 20), COMPARED + TERM);
        assert_eq!(ask(&mut pace, trial + TERM, 60, 20), LOOKS + TERM);
        // Now it is in the way, or is not worth it: the next trials are ever rarer.
        assert_eq!(ask(&mut pace, trial + FIRST_SLEEPS, 20, 30), LOOKS);
        assert_eq!(ask(&mut pace, trial + 2 * FIRST_SLEEPS, 20, 16), LOOKS);
        assert_eq!(ask(&mut pace, trial + 4 * FIRST_SLEEPS, 20, 30), LOOKS);
        assert_eq!(ask(&mut pace, trial + TERM, 60, 20), LOOKS + TERM);
        assert_eq!(ask(&mut pace, trial + FIRST_SLEEPS, 20, 30), LOOKS);
        let mut pace = Pace { sleeps: MOST_SLEEPS, ..Pace::default() };
        ask(&mut pace, AT_FIRST + COMPARED + LOOKS, 20, 30);
        assert_eq!((pace.left, pace.sleeps), (MOST_SLEEPS, MOST_SLEEPS));
    }

    #[test]
    fn looks_that_take_long_end() {
        let mut pace = Pace::default();
        ask(&mut pace, AT_FIRST + COMPARED, 60, 1500);
        // A look, and some sleeps until the next.
        assert_eq!(ask(&mut pace, LOOKS * (1 + AT_FIRST), 60, 1500), LOOKS);
        assert_eq!((pace.stage, pace.looks), (Stage::Chosen, false));
    }

    #[test]
    fn sleeps_while_another_looks_say_nothing() {
        let mut pace = Pace::default();
        ask(&mut pace, AT_FIRST + COMPARED, 60, 20);
        for _ in 0..10_000 {
            pace.waited(Duration::from_micros(60), false, true);
        }
        assert_eq!((pace.stage, pace.left), (Stage::Looks, LOOKS));
        assert_eq!(ask(&mut pace, LOOKS + TERM, 60, 20), LOOKS + TERM);
    }

    #[test]
    fn who_is_far_or_silent_is_not_looked_for() {
        let mut pace = Pace::default();
        assert_eq!(ask(&mut pace, 10_000, 150, 20), 0);
        assert_eq!(ask(&mut pace, AT_FIRST + COMPARED + LOOKS, 60, 20), LOOKS);
        assert!(pace.looks());
        pace.waited(GAP, true, true);
        assert!(!pace.looks());
        assert_eq!(ask(&mut pace, AT_FIRST, 60, 20), 0);
        assert!(pace.looks());
        pace.waited(Duration::ZERO, true, false);
        assert!(!pace.looks());
    }
}

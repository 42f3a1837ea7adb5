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

/// A look that has taken so long was one that others had to run in: sched_yield(2) gives up a whole time slice.
const TOO_LONG: Duration = Duration::from_micros(480);

/// Gaps so short, one after the other, until the first trial, and after each longer one until the next look.
const AT_FIRST: u32 = 4;

/// Gaps at the end of each half of a trial, which are compared.
const COMPARED: u32 = 32;

/// Requests with looks in a trial: the scheduler needs some hundred to give each process its place.
const LOOKS: u32 = 512;

/// What a look weighs that finds nothing in time, of which one that does takes one back; and how much ends all looks.
const IN_VAIN: u32 = 8;
const TOO_MUCH: u32 = 64;

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
    /// The weight of looks in vain.
    in_vain: u32,
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
            in_vain: 0,
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

    /// Takes in how long a wait has taken that ended with something from the client, or with something else:
    /// nobody waits for the next event. `looked` is the time of the look that it began with.
    pub(super) fn waited(&mut self, gap: Duration, looked: Option<Duration>, is_client: bool) {
        match looked {
            Some(time) if time >= GAP => self.in_vain += IN_VAIN,
            Some(_) => self.in_vain = self.in_vain.saturating_sub(1),
            None => {}
        }
        if self.in_vain >= TOO_MUCH || looked.is_some_and(|time| time >= TOO_LONG) {
            self.short = 0;
            return self.choose_sleeps();
        }
        let is_one_of_many = self.short >= AT_FIRST;
        self.short = match is_client && gap < GAP {
            true => self.short.saturating_add(1),
            false => 0,
        };
        // Another poller may have been looking.
        if !is_client || !is_one_of_many || self.looks != looked.is_some() {
            return;
        }
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
        match self.stage {
            Stage::Sleeps => self.begin(Stage::Looks, LOOKS, true),
            Stage::Looks if looks_pay => {
                self.sleeps = FIRST_SLEEPS;
                self.begin(Stage::Chosen, TERM, true);
            }
            Stage::Looks => self.choose_sleeps(),
            Stage::Chosen => {
                (self.slept, self.looked) = (Duration::ZERO, Duration::ZERO);
                self.begin(Stage::Sleeps, COMPARED, false);
            }
        }
    }

    fn choose_sleeps(&mut self) {
        self.begin(Stage::Chosen, self.sleeps, false);
        self.sleeps = (self.sleeps * 2).min(MOST_SLEEPS);
    }

    fn begin(&mut self, stage: Stage, requests: u32, looks: bool) {
        (self.stage, self.left, self.looks, self.in_vain) = (stage, requests, looks, 0);
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
            pace.waited(gap, looks.then_some(gap), true);
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
        ask(&mut pace, AT_FIRST + COMPARED, 60, 200);
        assert_eq!(ask(&mut pace, FIRST_SLEEPS, 60, 200), TOO_MUCH / IN_VAIN);
        assert!(!pace.looks);
        // A client that pauses now and then is looked for all the same.
        let mut pace = Pace::looking();
        for _ in 0..1000 {
            assert_eq!(ask(&mut pace, 1, 60, 200), 1);
            assert_eq!(ask(&mut pace, AT_FIRST + IN_VAIN, 60, 20), IN_VAIN);
            (pace.stage, pace.left) = (Stage::Chosen, TERM);
        }
        // A time slice is too much.
        let mut pace = Pace::default();
        assert_eq!(ask(&mut pace, COMPARED + FIRST_SLEEPS, 60, 3000), 1);
        assert_eq!(ask(&mut pace, COMPARED + 2 * FIRST_SLEEPS, 60, 3000), 1);
        let mut pace = Pace::looking();
        assert_eq!(ask(&mut pace, FIRST_SLEEPS, 60, 3000), 1);
        assert!(!pace.looks);
    }

    #[test]
    fn sleeps_while_another_looks_say_nothing() {
        let mut pace = Pace::default();
        ask(&mut pace, AT_FIRST + COMPARED, 60, 20);
        for _ in 0..10_000 {
            pace.waited(Duration::from_micros(60), None, true);
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
        pace.waited(GAP, Some(GAP), true);
        assert!(!pace.looks());
        assert_eq!(ask(&mut pace, AT_FIRST, 60, 20), 0);
        assert!(pace.looks());
        pace.waited(Duration::ZERO, Some(Duration::ZERO), false);
        assert!(!pace.looks());
    }
}

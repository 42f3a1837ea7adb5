//! Worlds of random numbers: `tests/run --lib -- worlds`.
//!
//! `NLR_SEEDS=100000` plays so many worlds instead of [`SEEDS`], and `NLR_SEED=17` the world of one seed,
//! with its steps. A seed stands for the same world as long as [`world`](super::world) stays as it is.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::world::play;

const SEEDS: u64 = 2000;

/// The bytes of a seed's world: those of SplitMix64.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let words = 16 + next() % 240;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Plays the world of one seed with its steps, and says whether it came to its end.
fn show(seed: u64) -> bool {
    let mut number = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        play(&bytes(seed), |step| {
            println!("{number:5} {step:?}");
            number += 1;
        });
    }));
    played.is_ok()
}

#[test]
fn worlds_keep_their_invariants() {
    if let Some(seed) = variable("NLR_SEED") {
        assert!(show(seed), "seed {seed} breaks an invariant");
        return;
    }
    let seeds = variable("NLR_SEEDS").unwrap_or(SEEDS);
    let (next, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut failed = None;
        while failed.is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let played = catch_unwind(|| {
                let mut made = 0;
                play(&bytes(seed), |_| made += 1);
                steps.fetch_add(made, Ordering::Relaxed);
            });
            failed = played.is_err().then_some(seed);
        }
        // The other workers stop as well.
        if failed.is_some() {
            next.store(seeds, Ordering::Relaxed);
        }
        failed
    };
    let failed = thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).min()
    });
    if let Some(seed) = failed {
        show(seed);
        panic!("seed {seed} breaks an invariant; NLR_SEED={seed} plays it again");
    }
    println!("{seeds} worlds, {} steps", steps.into_inner());
}

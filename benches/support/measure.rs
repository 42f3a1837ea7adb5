//! Functions of criterion's that are made ready only if a filter lets them be run.

use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

pub type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A group that measures so many samples of each function in about so many seconds.
pub fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    samples: usize,
    seconds: u64,
) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(samples).measurement_time(Duration::from_secs(seconds));
    group.warm_up_time(Duration::from_millis(500));
    group
}

/// A function that says itself how long so many iterations took.
pub fn custom<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    mut run: impl FnMut(&mut S, u64) -> Duration,
) {
    let mut state = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| run(state.get_or_insert_with(&ready), count));
    });
}

/// A function that makes so many iterations.
pub fn whole<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    mut run: impl FnMut(&mut S, u64),
) {
    custom(group, name, ready, |state, count| {
        let began = Instant::now();
        run(state, count);
        began.elapsed()
    });
}

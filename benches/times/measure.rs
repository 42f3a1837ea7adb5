//! Functions for criterion that get ready only where a filter lets them run.

use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

pub(crate) type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A group that takes a number of samples of each function in about a number of seconds.
pub(crate) fn group<'a>(
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

/// Adds a function that runs a number of iterations and gives their time.
pub(crate) fn custom<S>(
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

/// Adds a function that runs a number of iterations.
pub(crate) fn whole<S>(
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

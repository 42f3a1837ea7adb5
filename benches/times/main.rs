//! The times: round trips, throughput, events, connecting, the codec, and the same of other programs.
//!
//! Each part runs in a process and a world of its own, so that no part changes the figures of
//! another: one pins its processes to a CPU, others fill a table of routes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics"
)]

mod codec;
mod connect;
mod cpu;
mod events;
mod floor;
mod measure;
mod peers;
mod picture;
mod programs;
mod rtt;
mod throughput;
mod watching;

use std::process::ExitCode;

use criterion::Criterion;
use testing::bench::{routes, world};

/// Runs one part.
type Part = fn() -> ExitCode;

/// The parts, in the order of a run. Where they share a world, those that leave routes behind come
/// last.
const PARTS: [(&str, Part); 10] = [
    ("codec", || measured(codec::measure)),
    ("rtt", || measured(rtt::measure)),
    ("events", || measured(events::measure)),
    ("events-of-monitors", || measured(watching::events)),
    ("connect", || measured(connect::measure)),
    ("throughput", || measured(throughput::measure)),
    ("programs", || measured(programs::measure)),
    ("mirror", || measured(watching::start)),
    ("peers", peers::compare),
    ("picture", || {
        picture::draw();
        ExitCode::SUCCESS
    }),
];

fn measured(part: fn(&mut Criterion)) -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    part(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    if codec::is_counted() {
        return ExitCode::SUCCESS;
    }
    let Some(role) = world::role() else { return run_all() };
    match role.as_str() {
        floor::ROLE => floor::relay(),
        routes::ROLE => routes::change(),
        part => {
            let (_, run) = PARTS.iter().find(|(name, _)| *name == part).expect("a part");
            return run();
        }
    }
    ExitCode::SUCCESS
}

/// Runs the parts one after the other; the first that fails ends the run.
fn run_all() -> ExitCode {
    for (part, _) in PARTS {
        let status = world::in_role_and_world(part).status().unwrap();
        if !status.success() {
            eprintln!("{part}: {status}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

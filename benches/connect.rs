//! From nothing to a client, and what ssh alone takes of it.

#![allow(
    clippy::expect_used,
    clippy::field_reassign_with_default,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "benchmarks say that they cannot go on by panicking, and share one support module"
)]

#[path = "../tests/behaviour/sshd.rs"]
mod sshd;
#[path = "../tests/lab/stub.rs"]
mod stub;
mod support;

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use criterion::Criterion;
use netlink_remote::transport::End;
use support::{
    far::{self, Way},
    measure::{custom, group, whole},
    world,
};
use tokio::runtime::Runtime;

/// Where stubs are kept in the home of sshd's account.
const CACHE: &str = "/run/sshd-of-tests/home/.cache";

fn main() {
    world::enter();
    let mut criterion = Criterion::default().configure_from_args();
    if !world::has_ssh() {
        return;
    }
    let mut group = group(&mut criterion, "connect", 10, 5);
    whole(&mut group, "ssh-true", far::runtime, |runtime, count| {
        for _ in 0..count {
            runtime.block_on(async {
                let running = far::command(&far::connector(Way::Ssh), Way::Ssh, &["true"]).await;
                assert_eq!(running.end.await, End::Code(0));
            });
        }
    });
    custom(&mut group, "warm", far::runtime, |runtime, count| connects(runtime, Way::Ssh, count));
    custom(&mut group, "cold", far::runtime, |runtime, count| {
        let one = |_| {
            if Path::new(CACHE).exists() {
                fs::remove_dir_all(CACHE).unwrap();
            }
            let took = connects(runtime, Way::Ssh, 1);
            assert!(Path::new(CACHE).exists(), "stubs are kept elsewhere");
            took
        };
        (0..count).map(one).sum()
    });
    whole(
        &mut group,
        "openssh-true",
        || (),
        |(), count| {
            for _ in 0..count {
                let status = far::openssh("true").stdin(Stdio::null()).status();
                assert!(status.unwrap().success());
            }
        },
    );
    let ready = far::runtime;
    custom(&mut group, "openssh-warm", ready, |runtime, count| {
        connects(runtime, Way::OpenSsh, count)
    });
    group.finish();
    criterion.final_summary();
}

/// Connects so often, each time as if it were the first, and closes again.
fn connects(runtime: &Runtime, way: Way, count: u64) -> Duration {
    let one = |_| {
        runtime.block_on(async {
            let began = Instant::now();
            let client = far::connector(way).connect(&way.target()).await.unwrap();
            let took = began.elapsed();
            client.close().await;
            took
        })
    };
    (0..count).map(one).sum()
}

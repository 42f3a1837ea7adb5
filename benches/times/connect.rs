//! Connecting from nothing to a client, and ssh's own share.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use criterion::Criterion;
use netlink_remote::transport::End;
use testing::bench::{
    transport::{self, Transport},
    world,
};
use tokio::runtime::Runtime;

use crate::measure::{custom, group, whole};

/// The folder of cached stubs, in the home of sshd's account.
const CACHE: &str = "/run/sshd-of-tests/home/.cache";

pub(crate) fn measure(criterion: &mut Criterion) {
    if !world::has_ssh() {
        return;
    }
    let mut group = group(criterion, "connect", 10, 5);
    whole(&mut group, "ssh-true", transport::runtime, |runtime, count| {
        for _ in 0..count {
            runtime.block_on(async {
                let running = transport::command(
                    &transport::connector(Transport::Ssh),
                    Transport::Ssh,
                    &["true"],
                )
                .await;
                assert_eq!(running.end.await, End::Code(0));
            });
        }
    });
    custom(&mut group, "warm", transport::runtime, |runtime, count| {
        connects(runtime, Transport::Ssh, count)
    });
    custom(&mut group, "cold", transport::runtime, |runtime, count| {
        let one = |_| {
            if Path::new(CACHE).exists() {
                fs::remove_dir_all(CACHE).unwrap();
            }
            let took = connects(runtime, Transport::Ssh, 1);
            assert!(Path::new(CACHE).exists(), "stubs are cached elsewhere");
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
                let status = transport::openssh("true").stdin(Stdio::null()).status();
                assert!(status.unwrap().success());
            }
        },
    );
    let ready = transport::runtime;
    custom(&mut group, "openssh-warm", ready, |runtime, count| {
        connects(runtime, Transport::OpenSsh, count)
    });
    group.finish();
}

/// Connects and closes `count` times, each time by a new connector; gives the time of connecting.
fn connects(runtime: &Runtime, transport: Transport, count: u64) -> Duration {
    let one = |_| {
        runtime.block_on(async {
            let began = Instant::now();
            let client =
                transport::connector(transport).connect(&transport.target()).await.unwrap();
            let took = began.elapsed();
            client.close().await;
            took
        })
    };
    (0..count).map(one).sum()
}

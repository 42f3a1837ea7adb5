//! A hundred thousand events, made by another process in one go, until the last has arrived.

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

use std::time::{Duration, Instant};

use criterion::Criterion;
use netlink_packet_core::NLMSG_ERROR;
use support::{
    far::{Far, Way, datagram},
    local::Local,
    measure::{custom, group},
    netlink::{NETLINK_ROUTE, ROUTE_GROUP, kind},
    routes::{self, COUNT, Changer},
    world,
};

fn main() {
    world::enter();
    if world::role().as_deref() == Some(routes::ROLE) {
        return routes::change();
    }
    if world::is_users() {
        eprintln!("events are not measured: room for them in the kernel takes real root");
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = group(&mut criterion, "events", 10, 5);
    // Each time with a socket of its own: it is not to hear of what is deleted in between.
    custom(&mut group, "direct", Changer::new, |changer, count| {
        let one = |_| {
            let mut local = Local::with_large_buffer();
            local.socket.add_membership(ROUTE_GROUP).unwrap();
            let began = Instant::now();
            changer.begin_adding();
            // An overrun would be an error.
            (0..COUNT).for_each(|_| check(local.recv()));
            let took = began.elapsed();
            drop(local);
            changer.delete();
            took
        };
        (0..count).map(one).sum()
    });
    for way in Way::possible(&[Way::Unix, Way::Pipe, Way::Ssh]) {
        let ready = || (Changer::new(), Far::new(way));
        custom(&mut group, way.name(), ready, |(changer, far), count| {
            let one = |_| far.run(burst(changer, far));
            (0..count).map(one).sum()
        });
    }
    group.finish();
    criterion.final_summary();
}

async fn burst(changer: &mut Changer, far: &Far) -> Duration {
    let socket = far.client.socket(NETLINK_ROUTE).group(ROUTE_GROUP).open().await.unwrap();
    let began = Instant::now();
    changer.begin_adding();
    for _ in 0..COUNT {
        // A loss would be another event than a datagram.
        check(&datagram(&socket).await.data);
    }
    let took = began.elapsed();
    socket.close().await.unwrap();
    changer.delete();
    took
}

fn check(event: &[u8]) {
    assert_ne!(kind(event), NLMSG_ERROR);
}

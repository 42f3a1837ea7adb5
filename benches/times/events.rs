//! 100,000 events, made by another process without a pause, until the last has arrived.

use std::time::Duration;

use criterion::Criterion;
use netlink_remote::nlmsg;
use testing::{
    bench::{
        local::Local,
        routes::{COUNT, Changer},
        transport::{Far, Transport, datagram},
    },
    netlink::{NETLINK_ROUTE, RTNLGRP_IPV4_ROUTE},
    world,
};

use crate::{
    cpu::Meter,
    measure::{Group, custom, group},
};

pub(crate) fn measure(criterion: &mut Criterion) {
    if world::is_user() {
        eprintln!("events are not measured: room for them in the kernel takes real root");
        return;
    }
    let mut group = group(criterion, "events", 10, 5);
    // Each time with a new socket, which gets no event of the routes deleted in between.
    bursts(&mut group, "direct", Changer::new, |changer, meter| {
        let mut local = Local::with_large_buffer();
        local.socket.add_membership(RTNLGRP_IPV4_ROUTE).unwrap();
        meter.begin();
        changer.begin_adding();
        // An overrun is an error.
        (0..COUNT).for_each(|_| check(local.recv()));
        let took = meter.end();
        drop(local);
        changer.delete();
        took
    });
    for transport in Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Ssh]) {
        let ready = || (Changer::new(), Far::new(transport));
        bursts(&mut group, transport.name(), ready, |(changer, far), meter| {
            far.run(burst(changer, far, meter))
        });
    }
    group.finish();
}

/// Measures bursts, and prints the CPU time of each program for an event: that of the changer, which
/// has the benchmark's program too, is mostly the kernel's for making it.
pub(crate) fn bursts<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    burst: impl Fn(&mut S, &mut Meter) -> Duration,
) {
    let (mut meter, mut total) = (Meter::default(), 0);
    custom(group, name, ready, |state, count| {
        total += count * u64::from(COUNT);
        (0..count).map(|_| burst(state, &mut meter)).sum()
    });
    meter.print(&format!("events/{name}"), total);
}

async fn burst(changer: &mut Changer, far: &Far, meter: &mut Meter) -> Duration {
    let socket = far.client.socket(NETLINK_ROUTE).group(RTNLGRP_IPV4_ROUTE).open().await.unwrap();
    meter.begin();
    changer.begin_adding();
    for _ in 0..COUNT {
        // A loss is no datagram.
        check(&datagram(&socket).await.data);
    }
    let took = meter.end();
    socket.close().await.unwrap();
    changer.delete();
    took
}

fn check(event: &[u8]) {
    let header = nlmsg::Header::parse(event).unwrap();
    assert_ne!(header.kind, nlmsg::kind::ERROR);
}

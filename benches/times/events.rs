//! 100,000 events, made by another process without a pause, until the last has arrived.

use std::time::{Duration, Instant};

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

use crate::measure::{custom, group};

pub(crate) fn measure(criterion: &mut Criterion) {
    if world::is_user() {
        eprintln!("events are not measured: room for them in the kernel takes real root");
        return;
    }
    let mut group = group(criterion, "events", 10, 5);
    // Each time with a new socket, which gets no event of the routes deleted in between.
    custom(&mut group, "direct", Changer::new, |changer, count| {
        let one = |_| {
            let mut local = Local::with_large_buffer();
            local.socket.add_membership(RTNLGRP_IPV4_ROUTE).unwrap();
            let began = Instant::now();
            changer.begin_adding();
            // An overrun is an error.
            (0..COUNT).for_each(|_| check(local.recv()));
            let took = began.elapsed();
            drop(local);
            changer.delete();
            took
        };
        (0..count).map(one).sum()
    });
    for transport in Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Ssh]) {
        let ready = || (Changer::new(), Far::new(transport));
        custom(&mut group, transport.name(), ready, |(changer, far), count| {
            let one = |_| far.run(burst(changer, far));
            (0..count).map(one).sum()
        });
    }
    group.finish();
}

async fn burst(changer: &mut Changer, far: &Far) -> Duration {
    let socket = far.client.socket(NETLINK_ROUTE).group(RTNLGRP_IPV4_ROUTE).open().await.unwrap();
    let began = Instant::now();
    changer.begin_adding();
    for _ in 0..COUNT {
        // A loss is no datagram.
        check(&datagram(&socket).await.data);
    }
    let took = began.elapsed();
    socket.close().await.unwrap();
    changer.delete();
    took
}

fn check(event: &[u8]) {
    let header = nlmsg::Header::parse(event).unwrap();
    assert_ne!(header.kind, nlmsg::kind::ERROR);
}

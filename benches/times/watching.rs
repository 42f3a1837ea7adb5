//! What stands on the socket: monitors and mirrors of 100,000 routes.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use criterion::Criterion;
use netlink_remote::{
    Group, Protocol,
    mirror::{Change, Mirror, Routes},
    monitor::{Backoff, Happening, Monitor, MonitorBuilder, Subscription, Watched},
};
use testing::{
    bench::{
        routes::{self, COUNT, Changer},
        transport::{self, Transport, connector, listener},
    },
    world,
};

use crate::{
    cpu::Meter,
    events::bursts,
    measure::{custom, group, whole},
};

/// Pauses that do not count beside what is measured.
fn builder() -> MonitorBuilder {
    Monitor::builder().backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(1)))
}

fn watched() -> Watched {
    Watched::new(Transport::Unix.target())
}

fn mirror() -> Mirror<Routes> {
    let connector = connector(Transport::Unix);
    Mirror::start_with(Routes, builder(), connector, watched()).unwrap()
}

async fn synced(mirror: &mut Mirror<Routes>) {
    while !matches!(mirror.next().await.unwrap(), Change::Synced) {}
}

/// Events, as `events` measures them of a socket: here before any route is there.
pub(crate) fn events(criterion: &mut Criterion) {
    if world::is_user() {
        eprintln!("events are not measured: room for them in the kernel takes real root");
        return;
    }
    let mut group = group(criterion, "events", 10, 5);
    let ready = || (Changer::new(), listener(), transport::runtime());
    bursts(&mut group, "monitor-unix", ready, |(changer, _, runtime), meter| {
        runtime.block_on(burst_of_monitor(changer, meter))
    });
    bursts(&mut group, "mirror-unix", ready, |(changer, _, runtime), meter| {
        runtime.block_on(burst_of_mirror(changer, meter))
    });
    group.finish();
}

async fn burst_of_monitor(changer: &mut Changer, meter: &mut Meter) -> Duration {
    let routes = Subscription::new(Protocol::ROUTE).group(Group::IPV4_ROUTE);
    let builder = builder().subscribe(routes).watch(watched());
    let mut monitor = builder.start(connector(Transport::Unix)).unwrap();
    assert!(matches!(monitor.next().await.unwrap().what, Happening::Ready(_)));
    meter.begin();
    changer.begin_adding();
    for _ in 0..COUNT {
        // A loss is no datagram.
        let event = monitor.next().await.unwrap();
        assert!(matches!(event.what, Happening::Datagram { .. }), "{}", event.what);
    }
    let took = meter.end();
    drop(monitor);
    changer.delete();
    took
}

async fn burst_of_mirror(changer: &mut Changer, meter: &mut Meter) -> Duration {
    let mut mirror = mirror();
    synced(&mut mirror).await;
    meter.begin();
    changer.begin_adding();
    for _ in 0..COUNT {
        let change = mirror.next().await.unwrap();
        assert!(matches!(change, Change::Added { .. }), "{change:?}");
    }
    let took = meter.end();
    drop(mirror);
    changer.delete();
    took
}

/// From nothing, and from a cut, to a mirror that is sure; beside `ip` and its JSON.
pub(crate) fn start(criterion: &mut Criterion) {
    routes::fill();
    let mut group = group(criterion, "mirror", 10, 5);
    whole(
        &mut group,
        "ip-json",
        || (),
        |(), count| {
            for _ in 0..count {
                let mut command = Command::new("sh");
                command.args(["-c", "ip -j route show table all | wc -c"]);
                let status = command.stdout(Stdio::null()).status();
                assert!(status.unwrap().success());
            }
        },
    );
    let ready = || (listener(), transport::runtime());
    custom(&mut group, "start", ready, |(_, runtime), count| {
        let one = |_| {
            runtime.block_on(async {
                let began = Instant::now();
                let mut mirror = mirror();
                synced(&mut mirror).await;
                let took = began.elapsed();
                assert!(mirror.store().len() >= COUNT as usize);
                took
            })
        };
        (0..count).map(one).sum()
    });
    let ready = || {
        let (listener, runtime) = (listener(), transport::runtime());
        let mut mirror = runtime.block_on(async { mirror() });
        runtime.block_on(synced(&mut mirror));
        (listener, runtime, mirror)
    };
    custom(&mut group, "reconnect", ready, |(_, runtime, mirror), count| {
        let one = |_| {
            runtime.block_on(async {
                let began = Instant::now();
                mirror.ready().unwrap().client().unwrap().clone().close().await;
                synced(mirror).await;
                began.elapsed()
            })
        };
        (0..count).map(one).sum()
    });
    group.finish();
}

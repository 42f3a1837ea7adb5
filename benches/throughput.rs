//! Much at a time: dumps, many requests on one socket, many sockets, and what ssh leaves of it.

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

use std::{net::Ipv4Addr, sync::Arc};

use criterion::{Criterion, Throughput};
use futures_util::{TryStreamExt, future::join_all};
use netlink_remote::{RemoteSocket, client::NetlinkSocket, hops::Connector};
use rtnetlink::{Handle, RouteMessageBuilder};
use support::{
    far::{self, Far, Way, datagram, dump},
    floor::{self, Floor},
    local::Local,
    measure::{group, whole},
    netlink::{self, all_routes, one_link},
    routes, world,
};
use tokio::{io::AsyncReadExt, runtime::Runtime};

/// Fewer bytes than the routes have in a dump, by any kernel.
const LEAST: usize = 40 * routes::COUNT as usize;

fn main() {
    world::enter();
    if world::role().as_deref() == Some(floor::ROLE) {
        return floor::relay();
    }
    let mut criterion = Criterion::default().configure_from_args();
    dumps(&mut criterion);
    parsed_dumps(&mut criterion);
    pipelined(&mut criterion);
    fanout(&mut criterion);
    bulk(&mut criterion);
    criterion.final_summary();
}

fn open(way: Way) -> (RemoteSocket, Far) {
    let far = Far::new(way);
    (far.socket(), far)
}

/// A table of 100,000 routes: its datagrams, received and counted.
fn dumps(criterion: &mut Criterion) {
    let mut group = group(criterion, "dump", 15, 3);
    let request = all_routes();
    let framed = Floor::framed(&request);
    let floor = || {
        routes::fill();
        Floor::new()
    };
    whole(&mut group, "floor", floor, |floor, count| {
        (0..count).for_each(|_| assert!(floor.dump(&framed) > LEAST));
    });
    let local = || {
        routes::fill();
        Local::new()
    };
    whole(&mut group, "direct", local, |local, count| {
        (0..count).for_each(|_| assert!(local.dump(&request) > LEAST));
    });
    for way in Way::possible(&[Way::Unix, Way::Pipe, Way::Duplex, Way::Ssh]) {
        let ready = || {
            routes::fill();
            open(way)
        };
        whole(&mut group, way.name(), ready, |(socket, far), count| {
            far.run(async {
                for _ in 0..count {
                    assert!(dump(socket, &request).await > LEAST);
                }
            });
        });
    }
    group.finish();
}

/// The same table as messages of rtnetlink.
fn parsed_dumps(criterion: &mut Criterion) {
    let mut group = group(criterion, "dump-parsed", 10, 4);
    let ready = || {
        routes::fill();
        let runtime = far::runtime();
        let handle = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            handle
        });
        (handle, runtime)
    };
    whole(&mut group, "direct", ready, |(handle, runtime): &mut (Handle, Runtime), count| {
        runtime.block_on(parse_routes(handle, count));
    });
    for way in Way::possible(&[Way::Unix, Way::Pipe, Way::Ssh]) {
        let ready = || {
            routes::fill();
            let (socket, far) = open(way);
            let handle = far.run(async {
                let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
                tokio::spawn(connection);
                handle
            });
            (handle, far)
        };
        whole(&mut group, way.name(), ready, |(handle, far), count| {
            far.run(parse_routes(handle, count));
        });
    }
    group.finish();
}

async fn parse_routes(handle: &Handle, count: u64) {
    for _ in 0..count {
        let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut routes = handle.route().get(request).execute();
        let mut seen = 0;
        while routes.try_next().await.unwrap().is_some() {
            seen += 1;
        }
        assert!(seen >= routes::COUNT);
    }
}

/// A thousand requests in flight on one socket.
fn pipelined(criterion: &mut Criterion) {
    const REQUESTS: usize = 1000;
    /// As many replies as the kernel's default receive buffer has room for, and some to spare.
    const FITTING: usize = 50;
    let mut group = group(criterion, "pipelined", 20, 3);
    let request = one_link();
    whole(&mut group, "direct", Local::new, |local, count| {
        for _ in 0..count {
            for _ in 0..REQUESTS / FITTING {
                (0..FITTING).for_each(|_| local.send(&request));
                (0..FITTING).for_each(|_| assert!(local.recv().len() > request.len()));
            }
        }
    });
    for way in Way::possible(&[Way::Unix, Way::Pipe, Way::Ssh]) {
        whole(
            &mut group,
            way.name(),
            || open(way),
            |(socket, far), count| {
                far.run(async {
                    for _ in 0..count {
                        for _ in 0..REQUESTS {
                            socket.send(&request).await.unwrap();
                        }
                        for _ in 0..REQUESTS {
                            assert!(datagram(socket).await.data.len() > request.len());
                        }
                    }
                });
            },
        );
    }
    group.finish();
}

/// Many sockets over one stream, each with one request in flight.
fn fanout(criterion: &mut Criterion) {
    const SOCKETS: usize = 64;
    let mut group = group(criterion, "fanout", 20, 3);
    let request: Arc<[u8]> = one_link().into();
    let ready = || (0..SOCKETS).map(|_| Local::new()).collect::<Vec<_>>();
    whole(&mut group, "direct", ready, |sockets, count| {
        for _ in 0..count {
            sockets.iter().for_each(|socket| socket.send(&request));
            sockets.iter_mut().for_each(|socket| assert!(socket.recv().len() > request.len()));
        }
    });
    for way in Way::possible(&[Way::Unix, Way::Pipe, Way::Ssh]) {
        let ready = || {
            let far = Far::new(way);
            ((0..SOCKETS).map(|_| Arc::new(far.socket())).collect::<Vec<_>>(), far)
        };
        whole(&mut group, way.name(), ready, |(sockets, far), count| {
            let one = |socket: &Arc<RemoteSocket>| {
                let (socket, request) = (Arc::clone(socket), Arc::clone(&request));
                tokio::spawn(async move {
                    for _ in 0..count {
                        socket.send(&request).await.unwrap();
                        assert!(datagram(&socket).await.data.len() > request.len());
                    }
                })
            };
            far.run(async {
                for ended in join_all(sockets.iter().map(one)).await {
                    ended.unwrap();
                }
            });
        });
    }
    group.finish();
}

/// As many bytes through ssh as dumps and as anything else.
fn bulk(criterion: &mut Criterion) {
    const BYTES: usize = 256 << 20;
    if !world::has_ssh() {
        return;
    }
    let mut group = group(criterion, "bulk", 10, 5);
    group.throughput(Throughput::Bytes(BYTES as u64));
    let ready = || (far::connector(Way::Ssh), far::runtime());
    whole(&mut group, "ssh-raw", ready, |(connector, runtime), count| {
        (0..count).for_each(|_| runtime.block_on(raw(connector, BYTES)));
    });
    let request = all_routes();
    let ready = || {
        routes::fill();
        open(Way::Ssh)
    };
    whole(&mut group, "ssh", ready, |(socket, far), count| {
        for _ in 0..count {
            far.run(async {
                let mut bytes = 0;
                while bytes < BYTES {
                    bytes += dump(socket, &request).await;
                }
            });
        }
    });
    group.finish();
}

/// What the connector keeps is its connection.
async fn raw(connector: &Connector, bytes: usize) {
    let command = format!("head -c {bytes} /dev/zero");
    let mut running = far::command(connector, Way::Ssh, &["sh", "-c", &command]).await;
    let mut room = vec![0; netlink::ROOM];
    let mut read = 0;
    while read < bytes {
        let length = running.stdio.read(&mut room).await.unwrap();
        assert_ne!(length, 0, "it ended early");
        read += length;
    }
}

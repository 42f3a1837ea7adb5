//! Dumps, many requests on one socket, many sockets, and the throughput of ssh.

use std::{net::Ipv4Addr, sync::Arc};

use criterion::{Criterion, Throughput};
use futures_util::{TryStreamExt, future::join_all};
use netlink_remote::{Connector, NetlinkSocket, RemoteSocket};
use rtnetlink::{Handle, RouteMessageBuilder};
use testing::{
    bench::{
        local::Local,
        routes,
        transport::{self, Far, Transport, datagram, dump},
        world,
    },
    netlink::{LOOPBACK, ROOM, dump_routes, link_by_index},
};
use tokio::{io::AsyncReadExt, runtime::Runtime};

use crate::{
    floor::Floor,
    measure::{group, whole},
};

/// A lower bound of the bytes in a dump of the routes, for any kernel.
const LEAST: usize = 40 * routes::COUNT as usize;

pub(crate) fn measure(criterion: &mut Criterion) {
    dumps(criterion);
    parsed_dumps(criterion);
    pipelined(criterion);
    fanout(criterion);
    bulk(criterion);
}

fn open(transport: Transport) -> (RemoteSocket, Far) {
    let far = Far::new(transport);
    (far.socket(), far)
}

/// Dumps of a table of 100,000 routes, their bytes counted.
fn dumps(criterion: &mut Criterion) {
    let mut group = group(criterion, "dump", 15, 3);
    let request = dump_routes(0);
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
    for transport in
        Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Duplex, Transport::Ssh])
    {
        let ready = || {
            routes::fill();
            open(transport)
        };
        whole(&mut group, transport.name(), ready, |(socket, far), count| {
            far.run(async {
                for _ in 0..count {
                    assert!(dump(socket, &request).await > LEAST);
                }
            });
        });
    }
    group.finish();
}

/// Dumps of the same table, parsed by rtnetlink.
fn parsed_dumps(criterion: &mut Criterion) {
    let mut group = group(criterion, "dump-parsed", 10, 4);
    let ready = || {
        routes::fill();
        let runtime = transport::runtime();
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
    for transport in Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Ssh]) {
        let ready = || {
            routes::fill();
            let (socket, far) = open(transport);
            let handle = far.run(async {
                let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
                tokio::spawn(connection);
                handle
            });
            (handle, far)
        };
        whole(&mut group, transport.name(), ready, |(handle, far), count| {
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
    /// A number of replies for which the kernel's default receive buffer has room to spare.
    const FITTING: usize = 50;
    let mut group = group(criterion, "pipelined", 20, 3);
    let request = link_by_index(LOOPBACK, 0);
    whole(&mut group, "direct", Local::new, |local, count| {
        for _ in 0..count {
            for _ in 0..REQUESTS / FITTING {
                (0..FITTING).for_each(|_| local.send(&request));
                (0..FITTING).for_each(|_| assert!(local.recv().len() > request.len()));
            }
        }
    });
    for transport in Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Ssh]) {
        whole(
            &mut group,
            transport.name(),
            || open(transport),
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
    let request: Arc<[u8]> = link_by_index(LOOPBACK, 0).into();
    let ready = || (0..SOCKETS).map(|_| Local::new()).collect::<Vec<_>>();
    whole(&mut group, "direct", ready, |sockets, count| {
        for _ in 0..count {
            sockets.iter().for_each(|socket| socket.send(&request));
            sockets.iter_mut().for_each(|socket| assert!(socket.recv().len() > request.len()));
        }
    });
    for transport in Transport::possible(&[Transport::Unix, Transport::Pipe, Transport::Ssh]) {
        let ready = || {
            let far = Far::new(transport);
            ((0..SOCKETS).map(|_| Arc::new(far.socket())).collect::<Vec<_>>(), far)
        };
        whole(&mut group, transport.name(), ready, |(sockets, far), count| {
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

/// The same number of bytes through ssh as dumps and as raw output.
fn bulk(criterion: &mut Criterion) {
    const BYTES: usize = 256 << 20;
    if !world::has_ssh() {
        return;
    }
    let mut group = group(criterion, "bulk", 10, 5);
    group.throughput(Throughput::Bytes(BYTES as u64));
    let ready = || (transport::connector(Transport::Ssh), transport::runtime());
    whole(&mut group, "ssh-raw", ready, |(connector, runtime), count| {
        (0..count).for_each(|_| runtime.block_on(raw(connector, BYTES)));
    });
    let request = dump_routes(0);
    let ready = || {
        routes::fill();
        open(Transport::Ssh)
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

/// Reads bytes over the connection that the connector keeps.
async fn raw(connector: &Connector, bytes: usize) {
    let command = format!("head -c {bytes} /dev/zero");
    let mut running = transport::command(connector, Transport::Ssh, &["sh", "-c", &command]).await;
    let mut room = vec![0; ROOM];
    let mut read = 0;
    while read < bytes {
        let length = running.stdio.read(&mut room).await.unwrap();
        assert_ne!(length, 0, "the output ended early");
        read += length;
    }
}

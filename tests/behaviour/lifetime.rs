//! Dropping releases the far end's sockets, and the death of a stub reaches its client.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use netlink_remote::{
    Client, ErrorKind,
    client::{ClientOptions, NetnsMode},
    stub::{Config, Exit, ListenConfig, ListenEvent, Listener, Shutdown, serve_stream},
    transport::{ExitReport, process, unix},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::*;

over_every_transport!(
    a_dropped_socket_is_closed_at_the_far_end,
    an_abandoned_open_leaves_no_socket,
    abandoned_requests_leave_nothing,
    the_end_of_this_side_wakes_every_waiter,
);

async fn a_dropped_socket_is_closed_at_the_far_end(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route_of_its_own().await;
    let portid = socket.portid();
    assert!(has_portid(portid));
    // With answers under way.
    for sequence in 1..50 {
        socket.send(&link_by_index(1, sequence)).await.unwrap();
    }
    drop(socket);
    eventually("the socket is closed", || !has_portid(portid)).await;
    assert!(link_names(&far.route().await).await.contains(&"lo".to_owned()));
    far.end().await;
}

async fn an_abandoned_open_leaves_no_socket(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    for _ in 0..50 {
        for builder in [
            far.client.socket(NETLINK_ROUTE).portid(0x0bad_cafe),
            far.client.socket(NETLINK_ROUTE).portid(0x0bad_cafe).netns(netns.netns()),
            far.client.socket(1000),
        ] {
            let opening = tokio::spawn(builder.open());
            tokio::task::yield_now().await;
            opening.abort();
            let _ = opening.await;
        }
    }
    // The port id is free again: no socket is left.
    let client = far.client.clone();
    let free = || async {
        loop {
            match client.socket(NETLINK_ROUTE).portid(0x0bad_cafe).open().await {
                Ok(socket) => return socket,
                Err(error) => assert_eq!(error.errno(), Some(EADDRINUSE)),
            }
        }
    };
    drop(within(free()).await);
    drop(client);
    far.end().await;
}

async fn abandoned_requests_leave_nothing(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let socket = Arc::new(far.route().await);
    let namespaces = far.client.netns();
    let open = || within(namespaces.open(netns.netns(), NetnsMode::Existing));
    let first = open().await.unwrap().fd();
    // More requests than may be in flight at a time, all abandoned.
    for _ in 0..3 {
        let mut abandoned = Vec::new();
        for _ in 0..200 {
            let (remote, target) = (far.client.netns(), netns.netns());
            abandoned.push(tokio::spawn(async move {
                let _ = remote.open(target, NetnsMode::Existing).await;
            }));
            let theirs = Arc::clone(&socket);
            abandoned.push(tokio::spawn(async move {
                let _ = theirs.join(1).await;
                let _ = theirs.send_confirmed(&link_by_index(1, 1)).await;
            }));
        }
        tokio::task::yield_now().await;
        abandoned.iter().for_each(|task| task.abort());
    }
    // Handles that a late reply opened are closed again: none of their numbers stays taken. (Only
    // a stub process is alone with its numbers; other tests of this process use them too.)
    if transport == Transport::Process {
        within(async { while open().await.unwrap().fd() != first {} }).await;
    }
    assert!(link_names(&far.route().await).await.contains(&"lo".to_owned()));
    drop((socket, namespaces));
    far.end().await;
}

async fn the_end_of_this_side_wakes_every_waiter(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = Arc::new(far.route().await);
    let full = Arc::new(far.client.socket(NETLINK_ROUTE).window(1, 1).open().await.unwrap());
    let waiters = vec![
        {
            let socket = Arc::clone(&socket);
            tokio::spawn(async move { socket.recv().await.unwrap_err() })
        },
        {
            let full = Arc::clone(&full);
            tokio::spawn(async move {
                loop {
                    if let Err(error) = full.send(&link_by_index(1, 1)).await {
                        return error;
                    }
                    tokio::task::yield_now().await;
                }
            })
        },
        {
            let client = far.client.clone();
            tokio::spawn(async move { client.closed().await })
        },
    ];
    tokio::time::sleep(Duration::from_millis(20)).await;
    far.end().await;
    for waiter in waiters {
        let error = within(waiter).await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    }
    // So does every later call.
    assert_eq!(socket.send(&[]).await.unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(socket.join(1).await.unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(socket.send_confirmed(&[]).await.unwrap_err().kind(), ErrorKind::Disconnected);
}

/// Drops the handles of a connection one by one, in an order in which handle `last` is the last. Up
/// to the last everything works.
async fn drop_one_by_one(client: Client, last: usize) {
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let current = netlink_remote::Netns::Current;
    let netns = client.netns().open(current, NetnsMode::Existing).await.unwrap();
    let other = client.clone();
    match last {
        0 => {
            drop((socket, netns, client));
            within(other.ping()).await.unwrap();
        }
        1 => {
            drop((other, netns, client));
            within(socket.send_confirmed(&link_by_index(1, 1))).await.unwrap();
        }
        _ => {
            let ended = tokio::spawn(async move { other.closed().now_or_never() });
            drop((socket, client));
            assert!(ended.await.unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(netns);
        }
    }
}

#[tokio::test]
async fn the_connection_and_the_stub_end_with_the_last_handle() {
    world::require();
    for last in 0..3 {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(async move {
            serve_stream(far, Config::default(), &Shutdown::new().unwrap()).await.unwrap()
        });
        let client = Client::handshake(near).await.unwrap();
        assert!(!serving.is_finished());
        drop_one_by_one(client, last).await;
        assert_eq!(within(serving).await.unwrap(), Exit::ClientGone);

        let (client, pid) = child().await;
        drop_one_by_one(client, last).await;
        eventually("the process has ended and is reaped", || kill(pid, None).is_err()).await;
    }
}

#[tokio::test]
async fn a_listeners_connection_ends_with_its_last_handle() {
    world::require();
    let path = temporary("last").with_extension("sock");
    let shutdown = Shutdown::new().unwrap();
    let bound = Listener::bind(&path, ListenConfig::default()).unwrap();
    let (told, mut exits) = tokio::sync::mpsc::unbounded_channel();
    let theirs = shutdown.clone();
    let thread = std::thread::spawn(move || {
        let tell = move |event| {
            if let ListenEvent::Ended { exit, .. } = event {
                let _ = told.send(exit);
            }
        };
        bound.run(&theirs, tell).unwrap();
    });
    for last in 0..3 {
        let client = Client::handshake(unix::dial(&path).await.unwrap()).await.unwrap();
        assert!(exits.try_recv().is_err());
        drop_one_by_one(client, last).await;
        assert_eq!(within(exits.recv()).await, Some(Exit::ClientGone));
    }
    shutdown.trigger();
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
}

/// The stub is a process of its own, in which no other test opens descriptors.
#[tokio::test]
async fn a_thousand_sockets_come_and_go_and_leave_no_descriptor() {
    let (client, pid) = child().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let open = async || client.socket(NETLINK_ROUTE).open().await.unwrap();
    let few = descriptors();
    let first = open().await;
    assert!(descriptors() > few);
    first.close().await.unwrap();
    let before = descriptors();
    for _ in 0..2 {
        let mut sockets = Vec::new();
        for _ in 0..500 {
            sockets.push(open().await);
        }
        assert!(descriptors() >= before + 500);
        let last = sockets.pop().unwrap();
        assert!(link_names(&last).await.contains(&"lo".to_owned()));
        drop(sockets);
        last.close().await.unwrap();
        eventually("all are closed", || descriptors() == before).await;
    }
    client.close().await;
}

/// A stub as a child process, with its pid.
async fn child() -> (Client, Pid) {
    child_behind(Arc::default()).await
}

/// A stub as a child process whose output passes a valve.
async fn child_behind(control: Arc<ValveControl>) -> (Client, Pid) {
    world::require();
    let running = process::spawn(stub_command()).unwrap();
    let mut options = ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    let valve = Valve { inner: running.stdio, control };
    let client = Client::handshake_with(valve, options).await.unwrap();
    let pid = Pid::from_raw(i32::try_from(client.host().pid).unwrap());
    (client, pid)
}

#[tokio::test]
async fn a_killed_stub_wakes_every_waiter_and_the_error_says_so() {
    let (client, pid) = child().await;
    let socket = Arc::new(client.socket(NETLINK_ROUTE).open().await.unwrap());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let socket = Arc::clone(&socket);
        waiting.push(tokio::spawn(async move { socket.recv().await.unwrap_err() }));
    }
    let theirs = client.clone();
    waiting.push(tokio::spawn(async move { theirs.closed().await }));
    tokio::time::sleep(Duration::from_millis(20)).await;
    kill(pid, Signal::SIGKILL).unwrap();
    for waiter in waiting {
        let error = within(waiter).await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(error.to_string().contains("killed by signal 9"), "{error}");
    }
    let error = client.ping().await.unwrap_err();
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
    // The stub is reaped: its pid is free.
    assert!(kill(pid, None).is_err());
}

#[tokio::test]
async fn a_stub_killed_in_mid_dump_is_an_error_behind_what_had_come() {
    let control = Arc::new(ValveControl::default());
    let (client, pid) = child_behind(Arc::clone(&control)).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let socket = |window| client.socket(NETLINK_ROUTE).netns(netns.netns()).window(window, 1000);
    let adding = socket(1 << 20).open().await.unwrap();
    for number in 0..5000 {
        adding.send(&add_route(number, 0)).await.unwrap();
    }
    within(adding.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    // A window of one byte lets one datagram pass.
    let dumping = socket(1).open().await.unwrap();
    let read = || control.read.load(Ordering::SeqCst);
    let before = read();
    dumping.send(&dump_routes(1)).await.unwrap();
    // No other frame is so long.
    eventually("the first part of the dump has come", || read() > before + 1000).await;
    kill(pid, Signal::SIGKILL).unwrap();
    let (mut datagrams, mut done) = (0, false);
    let error = loop {
        match within(dumping.recv()).await {
            Ok(netlink_remote::Event::Datagram(datagram)) => {
                datagrams += 1;
                done |= is_done(&datagram.data);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(datagrams > 0, "what had come is delivered first");
    assert!(!done, "the dump was to be cut");
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
}

#[tokio::test]
async fn a_stub_ends_with_its_client_however_that_ends() {
    // Closed in order: exit code 0, and reaped.
    let (client, pid) = child().await;
    client.close().await;
    assert!(kill(pid, None).is_err());
    // Dropped, with sockets open.
    let (client, pid) = child().await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(kill(pid, None).is_ok(), "a socket keeps the connection");
    drop(socket);
    eventually("the stub has ended", || kill(pid, None).is_err()).await;
}

#[tokio::test]
async fn an_nft_table_with_an_owner_goes_with_its_socket() {
    let (client, pid) = child().await;
    let netns = Namespace::empty();
    let socket = client.socket(NETLINK_NETFILTER).netns(netns.netns()).open().await.unwrap();
    // NFT_MSG_NEWTABLE with flag NFT_TABLE_F_OWNER in a batch of its own.
    let batch = |kind: u16| {
        let mut out = 20_u32.to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(1_u16.to_ne_bytes());
        out.extend([0; 8]);
        out.extend([0, 0, 0, 10]);
        out
    };
    let mut table = 40_u32.to_ne_bytes().to_vec();
    table.extend(0x0a00_u16.to_ne_bytes());
    table.extend(0x405_u16.to_ne_bytes());
    table.extend([0; 8]);
    table.extend([1, 0, 0, 0]);
    table.extend([10, 0, 1, 0]);
    table.extend(b"owned\0\0\0");
    table.extend([8, 0, 2, 0, 0, 0, 0, 2]);
    let transaction = [batch(0x10), table, batch(0x11)].concat();
    within(socket.send_confirmed(&transaction)).await.unwrap();
    let list = || {
        let output = std::process::Command::new("ip")
            .args(["netns", "exec", &netns.0, "nft", "list", "tables"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list().contains("owned"), "{}", list());
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("the table is gone", || !list().contains("owned")).await;
    drop(socket);
    let _ = client.closed().await;
}

/// A client requests dumps and reads nothing: the stub's memory stays bounded, and the dumps arrive
/// whole once the client reads.
#[tokio::test]
async fn a_client_that_does_not_read_costs_the_stub_no_memory() {
    let control = Arc::new(ValveControl::default());
    let (client, pid) = child_behind(Arc::clone(&control)).await;
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let adding = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    for number in 0..20_000 {
        adding.send(&add_route(number, 0)).await.unwrap();
    }
    within(adding.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..40 {
        let builder = client.socket(NETLINK_ROUTE).netns(netns.netns());
        sockets.push(builder.window(1 << 40, 1 << 40).open().await.unwrap());
    }
    control.held.store(true, Ordering::SeqCst);
    for socket in &sockets {
        socket.send(&dump_routes(1)).await.unwrap();
    }
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Forty dumps are 40 MB. On a busy machine many system calls count as slow, and each thread
    // that takes one over has buffers of its own.
    const LIMIT_KIB: u64 = 32 * 1024;
    assert!(resident() < LIMIT_KIB, "{} KiB", resident());
    control.release();
    for socket in &sockets {
        let routes = all_route_numbers(&whole_dump(socket).await).count();
        assert_eq!(routes, 20_000);
    }
    assert!(resident() < LIMIT_KIB, "{} KiB", resident());
    drop(sockets);
    drop(adding);
    client.close().await;
}

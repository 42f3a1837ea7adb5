//! What is dropped is released at the far end, and what dies there is noticed here.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use netlink_remote::{Client, ErrorKind, NetnsMode, client::ConnectOptions, transport::process};
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
    the_connection_ends_with_its_last_handle,
    a_thousand_sockets_come_and_go,
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
    let netns = TestNetns::new();
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
    // The port id is free again, which it would not be were one of them left.
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
    let netns = TestNetns::new();
    let socket = Arc::new(far.route().await);
    let namespaces = far.client.netns();
    let open = || within(namespaces.open(netns.netns(), NetnsMode::Existing));
    let first = open().await.unwrap().fd();
    // More than may be in flight at a time, all of them abandoned.
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
    // Handles that a late reply opened are closed again: in the end none of their numbers is
    // taken. (Other tests of this process take and free numbers too, but a stub process is alone.)
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
    // And so does whatever is tried afterwards.
    assert_eq!(socket.send(&[]).await.unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(socket.join(1).await.unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(socket.send_confirmed(&[]).await.unwrap_err().kind(), ErrorKind::Disconnected);
}

async fn the_connection_ends_with_its_last_handle(transport: Transport) {
    let far = Far::new(transport).await;
    let socket = far.route_of_its_own().await;
    let portid = socket.portid();
    let client = far.client.clone();
    drop(client);
    assert!(has_portid(portid));
    let Far { client, .. } = &far;
    let _ = client;
    drop(socket);
    eventually("the socket is closed", || !has_portid(portid)).await;
    far.end().await;
}

async fn a_thousand_sockets_come_and_go(transport: Transport) {
    let far = Far::new(transport).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..2 {
        let mut sockets = Vec::new();
        for _ in 0..500 {
            sockets.push(far.route_of_its_own().await);
        }
        let last = sockets.last().unwrap();
        assert!(link_names(last).await.contains(&"lo".to_owned()));
        let portids: Vec<u32> = sockets.iter().map(|socket| socket.portid()).collect();
        drop(sockets);
        eventually("all are closed", || !portids.iter().any(|id| has_portid(*id))).await;
    }
    // Other tests of this process open and close things meanwhile, but not five hundred.
    assert!(descriptors() < before + 250, "{before} before, {} after", descriptors());
    far.end().await;
}

/// A stub as a child process, with its pid.
async fn child() -> (Client, Pid) {
    in_test_world();
    let (stream, epitaph) = process::spawn(stub_command()).unwrap();
    let mut options = ConnectOptions::default();
    options.epitaph = Some(epitaph);
    let client = Client::connect_with(stream, options).await.unwrap();
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
    // Reaped: the pid is nobody's, not even a zombie's.
    assert!(kill(pid, None).is_err());
}

#[tokio::test]
async fn a_stub_killed_in_mid_dump_is_an_error_behind_what_had_come() {
    let (client, pid) = child().await;
    let netns = TestNetns::new();
    netns.ip("link set lo up");
    let socket = |window| client.socket(NETLINK_ROUTE).netns(netns.netns()).window(window, 1000);
    let adding = socket(1 << 20).open().await.unwrap();
    for number in 0..5000 {
        adding.send(&add_route(number, 1, 0)).await.unwrap();
    }
    within(adding.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    // A window of one byte lets one datagram through.
    let dumping = socket(1).open().await.unwrap();
    dumping.send(&dump_routes()).await.unwrap();
    eventually("something has come", || client_has(&dumping)).await;
    kill(pid, Signal::SIGKILL).unwrap();
    let mut done = false;
    let error = loop {
        match within(dumping.recv()).await {
            Ok(netlink_remote::Event::Datagram(datagram)) => done |= is_done(&datagram.data),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(!done, "the dump was to be cut");
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
}

/// Whether the far end has been given time to send; what has come is looked at by receiving it.
fn client_has(_: &netlink_remote::RemoteSocket) -> bool {
    std::thread::sleep(Duration::from_millis(50));
    true
}

fn dump_routes() -> Vec<u8> {
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage, route::RouteMessage};
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    request(RouteNetlinkMessage::GetRoute(route), netlink_packet_core::NLM_F_DUMP, 1)
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
    let netns = TestNetns::new();
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

/// A client that asks for everything and reads nothing: the stub stays small, and what it held
/// back arrives once the client reads.
#[tokio::test]
async fn a_client_that_does_not_read_costs_the_stub_no_memory() {
    let (near, pid) = {
        in_test_world();
        let (stream, epitaph) = process::spawn(stub_command()).unwrap();
        let control = Arc::new(ValveControl::default());
        let valve = Valve { inner: stream, control: Arc::clone(&control) };
        let mut options = ConnectOptions::default();
        options.epitaph = Some(epitaph);
        let client = Client::connect_with(valve, options).await.unwrap();
        let pid = client.host().pid;
        ((client, control), pid)
    };
    let (client, control) = near;
    let netns = TestNetns::new();
    netns.ip("link set lo up");
    let adding = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    for number in 0..20_000 {
        adding.send(&add_route(number, 1, 0)).await.unwrap();
    }
    within(adding.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..40 {
        let builder = client.socket(NETLINK_ROUTE).netns(netns.netns());
        sockets.push(builder.window(1 << 40, 1 << 40).open().await.unwrap());
    }
    control.held.store(true, Ordering::SeqCst);
    for socket in &sockets {
        socket.send(&dump_routes()).await.unwrap();
    }
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Forty dumps are 40 MB.
    assert!(resident() < 16 * 1024, "{} KiB", resident());
    control.release();
    for socket in &sockets {
        let routes = whole_dump(socket).await.iter().filter_map(route_number).count();
        assert_eq!(routes, 20_000);
    }
    assert!(resident() < 16 * 1024, "{} KiB", resident());
    drop(sockets);
    drop(adding);
    client.close().await;
}

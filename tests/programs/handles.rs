//! Descriptors for code that takes one: `RemoteSocket::into_fd` and `nlr attach`.

use std::{
    io::{BufRead, BufReader},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use netlink_remote::{Client, Connector, Group, NetlinkSocket, Protocol, TargetOptions};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use testing::{
    Namespace, Running,
    netlink::{self, dump_links, error_code, is_done, link_names, sequence_of},
    programs,
    tool::nlr,
};

fn received(fd: &OwnedFd) -> Vec<u8> {
    let mut room = vec![0; 1 << 20];
    let length = recv(fd.as_raw_fd(), &mut room, MsgFlags::empty()).unwrap();
    room.truncate(length);
    room
}

fn dumped(fd: &OwnedFd, sequence: u32) -> Vec<String> {
    send(fd.as_raw_fd(), &dump_links(sequence), MsgFlags::empty()).unwrap();
    let mut names = Vec::new();
    loop {
        let datagram = received(fd);
        assert_eq!(sequence_of(&datagram), sequence);
        names.extend(link_names(&datagram));
        if is_done(&datagram) || netlink::ends_with_done(&datagram) {
            return names;
        }
    }
}

async fn client() -> Client {
    let mut options = TargetOptions::default();
    options.stub = Some(vec![programs::stub().into()]);
    Connector::new(options).connect(&"local:".parse().unwrap()).await.unwrap()
}

async fn handle(namespace: &Namespace, group: Option<Group>) -> OwnedFd {
    let client = client().await;
    let mut builder = client.socket(Protocol::ROUTE).netns(namespace.netns()).receive_buffer(0);
    if let Some(group) = group {
        builder = builder.group(group);
    }
    let fd = builder.open().await.unwrap().into_fd().unwrap();
    setsockopt(&fd, sockopt::ReceiveTimeout, &nix::sys::time::TimeVal::new(20, 0)).unwrap();
    fd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descriptor_takes_requests_and_gives_answers() {
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    let fd = handle(&namespace, None).await;
    tokio::task::spawn_blocking(move || {
        assert_eq!(dumped(&fd, 7), ["lo", "v1", "v0"]);
        assert_eq!(dumped(&fd, 8).len(), 3);
        // An error is a message, as that of the kernel.
        let none = netlink::link_by_index(9999, 9);
        send(fd.as_raw_fd(), &none, MsgFlags::empty()).unwrap();
        assert_eq!(error_code(&received(&fd)), Some(libc::ENODEV));
        // Larger than any kernel takes: told, and the next one works.
        let large = vec![0; 900_000];
        let _ = setsockopt(&fd.as_fd(), sockopt::SndBufForce, &(2 << 20));
        if send(fd.as_raw_fd(), &large, MsgFlags::empty()).is_ok() {
            assert_eq!(error_code(&received(&fd)), Some(libc::EMSGSIZE));
        }
        assert_eq!(dumped(&fd, 10).len(), 3);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_are_told_and_memory_is_bounded() {
    let namespace = Namespace::new();
    let fd = handle(&namespace, Some(Group::IPV4_ROUTE)).await;
    let name = namespace.0.clone();
    tokio::task::spawn_blocking(move || {
        let changes = "route add blackhole 10.9.9.9\nroute del blackhole 10.9.9.9\n";
        Namespace::batch_in(&name, &changes.repeat(40_000));
        setsockopt(&fd, sockopt::ReceiveTimeout, &nix::sys::time::TimeVal::new(2, 0)).unwrap();
        let (mut events, mut losses) = (0, 0);
        let mut room = vec![0; 1 << 20];
        while let Ok(length) = recv(fd.as_raw_fd(), &mut room, MsgFlags::empty()) {
            match error_code(&room[..length]) {
                Some(errno) => {
                    assert_eq!((errno, sequence_of(&room[..length])), (libc::ENOBUFS, 0));
                    losses += 1;
                }
                None => events += 1,
            }
        }
        assert!(events > 1000 && losses >= 1, "{events} {losses}");
        Namespace::batch_in(&name, changes);
        assert_eq!(error_code(&received(&fd)), None);
    })
    .await
    .unwrap();
}

/// What was sent before the descriptor was closed has reached the far kernel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_sends_arrive() {
    let namespace = Namespace::new();
    let fd = handle(&namespace, None).await;
    tokio::task::spawn_blocking(move || {
        for number in 0..500 {
            send(fd.as_raw_fd(), &netlink::add_route(number, 0), MsgFlags::empty()).unwrap();
        }
    })
    .await
    .unwrap();
    let routes = || namespace.ip("-o route show").lines().count();
    testing::wait("500 routes", || routes() == 500);
}

#[test]
fn attach_gives_a_socket_to_another_program() {
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap();
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .unwrap();
    let number = theirs.as_raw_fd().to_string();
    let mut command =
        nlr(&["attach", "local:", "-n", &namespace.0, "--protocol", "route", "--fd", &number]);
    command.stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    drop(theirs);
    let mut line = String::new();
    let stdout = running.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let portid: u32 = line.trim().strip_prefix("attached ").unwrap().parse().unwrap();
    assert_ne!(portid, 0);
    setsockopt(&ours, sockopt::ReceiveTimeout, &nix::sys::time::TimeVal::new(20, 0)).unwrap();
    assert_eq!(dumped(&ours, 3), ["lo", "v1", "v0"]);
    drop(ours);
    assert!(running.wait().success());
}

#[test]
fn attach_wants_a_descriptor() {
    for (fd, words) in [("77", "inherits"), ("0", "above 2")] {
        testing::finish(nlr(&["attach", "local:", "--fd", fd])).failed(2, &[words]);
    }
    let mut command = std::process::Command::new("sh");
    let line = "exec \"$0\" attach local: --fd 9 9</dev/null";
    command.args(["-c", line, testing::programs::nlr()]);
    testing::finish(command).failed(2, &["--fd 9", "SOCK_SEQPACKET"]);
}

/// The library's own adapters have no need of it, and work beside it.
#[tokio::test]
async fn other_sockets_of_the_client_go_on() {
    let client = client().await;
    let socket = client.socket(Protocol::ROUTE).open().await.unwrap();
    let fd = client.socket(Protocol::ROUTE).open().await.unwrap().into_fd().unwrap();
    drop(fd);
    let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
    let connection = tokio::spawn(connection);
    let mut links = handle.link().get().match_index(1).execute();
    let link = futures_util::TryStreamExt::try_next(&mut links);
    let link = tokio::time::timeout(Duration::from_secs(20), link).await.unwrap().unwrap();
    assert!(link.is_some());
    connection.abort();
}

//! Users of `nlr serve` that try to keep others from it: by silence, by taking everything, by not
//! reading its log, and by requests that outlive them.

use std::{
    fs,
    io::ErrorKind,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use netlink_remote::{
    Netns, connect,
    errno::{EMFILE, ETIMEDOUT},
    kernel,
    transport::unix,
    wire::{
        ContainerEngine, Credit, Message, NetnsMode, NetnsRequest, Open, SocketId, hello::Role,
    },
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        signal::Signal,
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
    },
};
use testing::{
    finish, run,
    tool::{Server, nlr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{raw::*, support::*};

/// Threads of a server that has no client: those that accept, log, start tasks, and wait for signals.
const THREADS: u64 = 4;

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn silent(server: &Server) -> UnixStream {
    UnixStream::connect(&server.path).await.unwrap()
}

/// A client that has said hello, and whose first ping is answered.
async fn greeted(server: &Server) -> UnixStream {
    let mut stream = silent(server).await;
    let ping = frame(SocketId::CONNECTION, &Message::Ping(1));
    stream.write_all(&[hello(Role::Client), ping].concat()).await.unwrap();
    read_until(&mut stream, &frame(SocketId::CONNECTION, &Message::Pong(1))).await;
    stream
}

/// Likewise; `None` for one that the server does not serve.
async fn greeted_if_served(server: &Server) -> Option<UnixStream> {
    let mut stream = silent(server).await;
    let ping = frame(SocketId::CONNECTION, &Message::Ping(1));
    let pong = frame(SocketId::CONNECTION, &Message::Pong(1));
    stream.write_all(&[hello(Role::Client), ping].concat()).await.ok()?;
    let mut said = Vec::new();
    while !said.ends_with(&pong) {
        match within(stream.read_buf(&mut said)).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
    Some(stream)
}

async fn read_until(stream: &mut UnixStream, end: &[u8]) {
    let mut said = Vec::new();
    while !said.ends_with(end) {
        let read = within(stream.read_buf(&mut said)).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
    }
}

async fn said(mut stream: UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    within(stream.read_to_end(&mut said)).await.unwrap();
    said
}

fn shown(server: &Server) -> String {
    finish(nlr(&["show", "link", &server.target()])).printed()
}

/// An `nlr serve` with a soft and a hard limit of descriptors.
fn limited(path: PathBuf, limit: &str, options: &[&str]) -> Server {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limit}")).arg(programs::nlr());
    command.arg("serve").arg(format!("unix:{}", path.display())).args(options);
    Server::start_command(path, command)
}

#[tokio::test]
async fn silent_connections_lock_nobody_out() {
    let server = Server::start(&[]);
    let mut strangers = Vec::new();
    for _ in 0..1100 {
        strangers.push(silent(&server).await);
    }
    // Those that came last are not told to go, and none has a thread.
    assert!(shown(&server).contains("lo"));
    let threads = status(server.pid(), "Threads:");
    assert!(threads < THREADS + 8, "{threads} threads");
    let last = strangers.pop().unwrap();
    let first = strangers.remove(0);
    let reason = fault(&said(first).await).unwrap();
    assert!(reason.contains("has said no hello"), "{reason}");
    // It may still say hello.
    let mut last = last;
    last.write_all(&hello(Role::Client)).await.unwrap();
    last.write_all(&frame(SocketId::CONNECTION, &Message::Ping(1))).await.unwrap();
    read_until(&mut last, &frame(SocketId::CONNECTION, &Message::Pong(1))).await;
    let log = server.stop_unread(Signal::SIGTERM);
    assert_eq!(log.code(), 0, "{log:?}");
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_waited_for() {
    let server = Server::start(&[]);
    let mut stream = silent(&server).await;
    for byte in hello(Role::Client) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(&frame(SocketId::CONNECTION, &Message::Ping(1))).await.unwrap();
    read_until(&mut stream, &frame(SocketId::CONNECTION, &Message::Pong(1))).await;
}

#[tokio::test]
async fn the_whole_limit_of_descriptors_is_of_use() {
    world::require();
    let server = limited(temporary("serve"), "256:4096", &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "raised to the hard limit");

    // A quarter of 600 - 200 descriptors: 4 of the connection, and 96 sockets.
    let server = limited(temporary("serve"), "600:600", &[]);
    let client = connect(&server.target()).await.unwrap();
    let mut sockets = Vec::new();
    let refused = loop {
        match client.socket(NETLINK_ROUTE).open().await {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
    };
    assert_eq!(sockets.len(), 96);
    assert_eq!(refused.errno(), Some(EMFILE));
    let text = format!("{refused:#}");
    assert!(text.contains("this client has 100 descriptors, and may have 100"), "{text}");
    // It goes on, and so do others.
    assert!(shown(&server).contains("lo"));
    sockets.pop().unwrap().close().await.unwrap();
    client.socket(NETLINK_ROUTE).open().await.unwrap();
    client.close().await;
}

/// The server's own descriptors leave none for a connection.
#[tokio::test]
async fn a_connection_without_a_descriptor_is_told_so() {
    world::require();
    let server = limited(temporary("serve"), "64:64", &[]);
    // It has served, so that all it opens for good is open.
    assert!(shown(&server).contains("lo"));
    let pid = server.pid();
    eventually("the client has gone", || status(pid, "Threads:") <= THREADS).await;
    let folder = format!("/proc/{pid}/fd");
    let count = || fs::read_dir(&folder).unwrap().count();
    let set_limit = |limit: usize| {
        let limit = format!("--nofile={limit}:64");
        run("prlimit", &["--pid", &pid.to_string(), &limit]);
    };
    let before = count();
    let lowest_free = (0..).find(|number| !Path::new(&format!("{folder}/{number}")).exists());
    set_limit(lowest_free.unwrap());
    for _ in 0..3 {
        let reason = said(silent(&server).await).await;
        let reason = String::from_utf8_lossy(&reason);
        assert!(reason.contains("no descriptor left: Too many open files"), "{reason}");
    }
    set_limit(64);
    assert!(shown(&server).contains("lo"));
    eventually("no descriptor is lost", || count() <= before).await;
}

#[tokio::test]
async fn idle_clients_of_one_user_leave_room_for_others() {
    world::require();
    let folder = temporary("folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let options = ["--allow-uid", "0", "--allow-uid", "65534"];
    let server = limited(folder.join("nlr"), "600:600", &options);
    let mut clients = Vec::new();
    let reason = loop {
        let mut stream = silent(&server).await;
        let ping = frame(SocketId::CONNECTION, &Message::Ping(1));
        let _ = stream.write_all(&[hello(Role::Client), ping].concat()).await;
        let mut answer = vec![0; 4];
        within(stream.read_exact(&mut answer)).await.unwrap();
        if answer.starts_with(b"nlr") {
            answer.extend(said(stream).await);
            break String::from_utf8(answer).unwrap();
        }
        clients.push(stream);
    };
    // 100 descriptors are its own, 200 are common, and each client has 4.
    assert_eq!(clients.len(), 75);
    assert!(reason.contains("300 of 400 descriptors are taken"), "{reason}");
    if !world::is_user() {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        other.args([programs::nlr(), "show", "link", &server.target()]);
        assert!(finish(other).printed().contains("lo"));
    }
    drop(clients);
    assert_eq!(server.stop_unread(Signal::SIGTERM).code(), 0);
    fs::remove_dir(&folder).unwrap();
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let server = Server::start(&["--allow-uid", "4242"]);
    // A pipe takes some 800 lines.
    for _ in 0..3000 {
        let reason = said(silent(&server).await).await;
        assert!(String::from_utf8_lossy(&reason).contains("may not connect here"));
    }
    let ended = server.stop_unread(Signal::SIGTERM);
    assert_eq!(ended.code(), 0, "{ended:?}");
    // Half a second is left for the log, which nobody reads even then.
    let server = Server::start(&["--allow-uid", "4242"]);
    for _ in 0..3000 {
        said(silent(&server).await).await;
    }
    let log = server.stop(Signal::SIGTERM).stderr;
    assert!(log.contains("lines were lost"), "{}", log.lines().last().unwrap_or_default());
    assert!(log.contains("SIGTERM: ending"));
}

/// A server whose address space ends long before its budget.
#[tokio::test]
async fn memory_that_runs_out_ends_connections_and_not_the_server() {
    world::require();
    let path = temporary("serve");
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={}", 308 << 20)).arg(programs::nlr());
    command.arg("serve").arg(format!("unix:{}", path.display()));
    let server = Server::start_command(path, command);
    let mut clients = Vec::new();
    // A ping may be longer than its token: most of 16 MiB each, which are never complete.
    let mut ping = raw_header(16 << 20, 0x02, 0);
    ping[8] = 0;
    ping.resize(12 << 20, 0);
    let mut ended = 0;
    for _ in 0..24 {
        // Where what is left is too little for a thread, the client is told so.
        let Some(mut client) = greeted_if_served(&server).await else {
            ended += 1;
            continue;
        };
        match within(client.write_all(&ping)).await {
            Ok(()) => clients.push(client),
            Err(_) => ended += 1,
        }
    }
    assert!(ended > 0, "{} clients have 12 MiB each", clients.len());
    drop(clients);
    assert!(shown(&server).contains("lo"));
    let log = server.stop(Signal::SIGTERM);
    assert_eq!(log.code(), 0, "{log:?}");
    assert!(log.stderr.contains("reading: Out of memory"), "{log:?}");
}

/// A folder with a `docker` that never answers.
fn hanging_docker() -> PathBuf {
    let folder = temporary("engines");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("docker");
    programs::write(&program, "#!/bin/sh\nsleep 1000 & wait\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The processes that a process has started, and those that these have, by name.
fn started(pid: u32) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return names };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
            names.extend(started(child.parse().unwrap()));
        }
    }
    names
}

fn open_in(netns: Netns) -> Message<'static> {
    let credit = Credit { bytes: 1 << 20, datagrams: 100 };
    let open = Open { protocol: NETLINK_ROUTE, credit, netns, ..Open::default() };
    Message::Open(open)
}

#[tokio::test]
async fn questions_to_an_engine_are_few_and_end_with_their_client() {
    let engines = hanging_docker();
    let path = temporary("serve");
    let mut command = nlr(&["serve", &format!("unix:{}", path.display())]);
    let search = format!("{}:{}", engines.display(), std::env::var("PATH").unwrap());
    command.env("PATH", search);
    let server = Server::start_command(path, command);
    let container = || Netns::Container { engine: ContainerEngine::Docker, name: "web".to_owned() };
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = greeted(&server).await;
        for id in 1..=6 {
            client.write_all(&frame(SocketId(id), &open_in(container()))).await.unwrap();
        }
        clients.push(client);
    }
    let pid = server.pid();
    // Each has one child. A child that is not yet `sleep` has its parent's name.
    let engines_of = || started(pid).iter().filter(|name| *name == "sleep").count();
    eventually("all that may run, run", || engines_of() >= 16).await;
    assert_eq!(engines_of(), 16, "of 120");
    // Another's quick request is not behind them.
    finish(nlr(&["netns", "list", &server.target()])).printed();
    let begun = Instant::now();
    drop(clients);
    let others = |name: &String| name == "docker" || name == "sleep";
    eventually("they end", || !started(pid).iter().any(others)).await;
    eventually("threads end", || status(pid, "Threads:") <= THREADS + 1).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "before the engine's time is over");
    server.stop(Signal::SIGTERM);
    fs::remove_dir_all(engines).unwrap();
}

fn lock_namespaces() -> Flock<fs::File> {
    let directory = fs::File::open(kernel::netns::DIRECTORY).unwrap();
    Flock::lock(directory, FlockArg::LockExclusive).unwrap()
}

#[tokio::test]
async fn no_namespace_is_made_for_a_client_that_is_gone() {
    let server = Server::start(&[]);
    let prefix = unique("gone");
    let name = |number: u32| format!("{prefix}-{number}");
    let exist = || {
        let names = fs::read_dir(kernel::netns::DIRECTORY).unwrap();
        names
            .filter(|name| {
                name.as_ref().unwrap().file_name().to_string_lossy().starts_with(&prefix)
            })
            .count()
    };
    // The directory is made.
    drop(Namespace::empty());
    let locked = lock_namespaces();
    let mut client = greeted(&server).await;
    for number in 0..20 {
        let request = match number % 2 {
            0 => NetnsRequest::Add(name(number)),
            _ => NetnsRequest::Open(Netns::Name(name(number)), NetnsMode::Create),
        };
        let message = Message::Netns { request: number, operation: request };
        client.write_all(&frame(SocketId::CONNECTION, &message)).await.unwrap();
    }
    let pid = server.pid();
    eventually("tasks wait for the lock", || status(pid, "Threads:") >= THREADS + 2 + 8).await;
    drop(client);
    eventually("tasks end without the lock", || status(pid, "Threads:") <= THREADS + 1).await;
    drop(locked);
    assert_eq!(exist(), 0);
    // With a client that stays, the same request has its effect.
    finish(nlr(&["netns", "add", &name(99), &server.target()])).printed();
    assert_eq!(exist(), 1);
    finish(nlr(&["netns", "delete", &name(99), &server.target()])).printed();
    server.stop(Signal::SIGTERM);
}

#[tokio::test]
async fn a_lock_that_a_stranger_keeps_is_not_waited_for_without_end() {
    drop(Namespace::empty());
    let locked = lock_namespaces();
    let client = connect(&format!("local:,stub:{}", programs::stub())).await.unwrap();
    let error = within(client.netns().add(&unique("locked"))).await.unwrap_err();
    assert_eq!(error.errno(), Some(ETIMEDOUT));
    let text = format!("{error:#}");
    assert!(text.contains("another process has held the lock on /run/netns for 5 s"), "{text}");
    client.close().await;
    drop(locked);
    assert!(Path::new(kernel::netns::DIRECTORY).exists());
}

#[tokio::test]
async fn a_place_in_the_queue_of_a_server_is_waited_for() {
    world::require();
    let path = temporary("queue");
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let first = UnixStream::connect(&path).await.unwrap();
    let full = UnixStream::connect(&path).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let place = path.clone();
    let dialled = tokio::spawn(async move { unix::dial(&place).await });
    let listener = std::os::unix::net::UnixListener::from(listener);
    // Its first attempt has failed by then, or comes to a queue with room.
    tokio::task::yield_now().await;
    drop(first);
    listener.accept().unwrap();
    within(dialled).await.unwrap().unwrap();
    fs::remove_file(&path).unwrap();
}

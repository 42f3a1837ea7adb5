//! Sizes and memory, each with its limit. One run is enough: no figure is a time.
//!
//! A program of its own for its allocator, which counts: the times of `times` are without that.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics"
)]
#![allow(unsafe_code, reason = "a counting allocator is unsafe to implement")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    env, fs,
    os::{fd::OwnedFd, unix::net},
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    thread,
};

use netlink_remote::{
    Client, RemoteSocket,
    stub::{Config, Shutdown, serve},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{
    Running,
    bench::{
        routes,
        transport::{self, datagram, dump},
        world,
    },
    netlink::{LOOPBACK, NETLINK_ROUTE, dump_routes, ends_with_done, link_by_index},
    programs,
};
use tokio::net::UnixStream;

/// Sockets of one stub, and connections of one client.
const MANY: usize = 1000;

/// Round trips that are counted, after the same number for warming up.
const STEADY: u64 = 10_000;

const KIB: f64 = 1024.0;

fn main() {
    let filters = env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let filters: Vec<_> = filters.collect();
    let is_wanted = filters.is_empty() || filters.iter().any(|filter| "memory".contains(filter));
    if !world::is_measured() || !is_wanted {
        return;
    }
    world::enter();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let stubs = sizes();
    for (name, stub) in stubs {
        resident(&name, &stub);
    }
    allocations();
    connections();
    mirrored();
}

/// Prints a figure and its limit.
fn figure(name: &str, value: f64, unit: &str, limit: Option<f64>) {
    let verdict = match limit {
        Some(limit) if value > limit => format!("(limit {limit}) OVER"),
        Some(limit) => format!("(limit {limit})"),
        None => String::new(),
    };
    println!("{name:<64} {value:>9.2} {unit:<5} {verdict}");
}

/// The sizes of the static stubs that `build-stubs` has built. Without any, the stub of this
/// build is what the other figures are about.
fn sizes() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for (libc, limit) in [("musl", 768.0), ("gnu", 1536.0)] {
        let target = format!("{}-unknown-linux-{libc}", env::consts::ARCH);
        match programs::static_stub(&target) {
            Some(path) => {
                let size = fs::metadata(&path).unwrap().len() as f64 / KIB;
                figure(&format!("stub, {libc}: size"), size, "KiB", Some(limit));
                found.push((format!("stub, {libc}"), path));
            }
            None => println!("stub, {libc}: missing; `build-stubs {libc}` builds it"),
        }
    }
    if found.is_empty() {
        found.push(("stub of this build".to_owned(), programs::stripped_stub().into()));
    }
    found
}

/// The resident memory of a stub.
fn resident(name: &str, stub: &PathBuf) {
    let (near, far) = net::UnixStream::pair().unwrap();
    let far = OwnedFd::from(far);
    let mut command = Command::new(stub);
    command.stdin(far.try_clone().unwrap()).stdout(far);
    let child = Running(command.spawn().unwrap());
    // It holds copies of the far end.
    let pages = || resident_kib(child.0.id());
    transport::runtime().block_on(async {
        let client = connect(near).await;
        let idle = pages();
        figure(&format!("{name}: resident when idle"), idle, "KiB", Some(2048.0));
        let mut sockets = Vec::new();
        for _ in 0..MANY {
            sockets.push(client.socket(NETLINK_ROUTE).open().await.unwrap());
        }
        let each = (pages() - idle) / MANY as f64;
        figure(&format!("{name}: and for each of 1,000 idle sockets"), each, "KiB", Some(16.0));
        drop(sockets);
        routes::fill();
        let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
        dump(&socket, &dump_routes(0)).await;
        figure(&format!("{name}: after 1,000 sockets and a large dump"), pages(), "KiB", None);
    });
}

fn resident_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn connect(near: net::UnixStream) -> Client {
    near.set_nonblocking(true).unwrap();
    Client::handshake(UnixStream::from_std(near).unwrap()).await.unwrap()
}

const DUMPS: u32 = 10;

/// Allocations for each datagram. The client runs on this thread, the stub on all others.
fn allocations() {
    let (near, far) = net::UnixStream::pair().unwrap();
    let far = OwnedFd::from(far);
    let input = far.try_clone().unwrap();
    let shutdown = Shutdown::new().unwrap();
    let stub = thread::spawn(move || serve(input, far, Config::default(), &shutdown));
    IS_CLIENT.set(true);
    routes::fill();
    transport::runtime().block_on(async {
        let client = connect(near).await;
        let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
        let (one, all) = (link_by_index(LOOPBACK, 0), dump_routes(0));
        exchange(&socket, &one, STEADY).await;
        let before = counts();
        exchange(&socket, &one, STEADY).await;
        each("one request after the other", before, STEADY);

        pipeline(&socket, &one, STEADY).await;
        let before = counts();
        pipeline(&socket, &one, STEADY).await;
        each("1,000 requests in flight", before, STEADY);

        dumps(&socket, &all).await;
        let before = counts();
        let datagrams = dumps(&socket, &all).await;
        each("large dumps", before, datagrams);
        client.close().await;
    });
    IS_CLIENT.set(false);
    stub.join().unwrap();
}

async fn exchange(socket: &RemoteSocket, request: &[u8], count: u64) {
    for _ in 0..count {
        socket.send(request).await.unwrap();
        datagram(socket).await;
    }
}

async fn pipeline(socket: &RemoteSocket, request: &[u8], count: u64) {
    for _ in 0..count / 1000 {
        for _ in 0..1000 {
            socket.send(request).await.unwrap();
        }
        for _ in 0..1000 {
            datagram(socket).await;
        }
    }
}

/// Datagrams of some dumps.
async fn dumps(socket: &RemoteSocket, request: &[u8]) -> u64 {
    let mut count = 0;
    for _ in 0..DUMPS {
        count += dumped(socket, request).await;
    }
    count
}

/// Datagrams of a dump.
async fn dumped(socket: &RemoteSocket, request: &[u8]) -> u64 {
    socket.send(request).await.unwrap();
    let mut count = 1;
    while !ends_with_done(&datagram(socket).await.data) {
        count += 1;
    }
    count
}

fn each(name: &str, (stub, client): (u64, u64), datagrams: u64) {
    let (stub_now, client_now) = counts();
    let each = |before, now| (now - before) as f64 / datagrams as f64;
    let text = |side| format!("allocations for each datagram received, {side}: {name}");
    figure(&text("stub"), each(stub, stub_now), "", Some(0.0));
    figure(&text("client"), each(client, client_now), "", Some(1.0));
}

/// The memory of a client of many stubs, which run in another process.
fn connections() {
    let _listener = transport::listener();
    transport::runtime().block_on(async {
        let target = transport::Transport::Unix.target();
        let connector = transport::connector(transport::Transport::Unix);
        // The first connection is not counted: it makes what all share.
        let mut held = vec![hold(&connector, &target).await];
        let (heap, pages) = (LIVE.load(Relaxed), resident_kib(process::id()));
        for _ in 0..MANY {
            held.push(hold(&connector, &target).await);
        }
        let heap = (LIVE.load(Relaxed) - heap) as f64 / KIB / MANY as f64;
        let pages = (resident_kib(process::id()) - pages) / MANY as f64;
        figure("client: heap for each of 1,000 connections", heap, "KiB", Some(64.0));
        figure("client: resident for each of 1,000 connections", pages, "KiB", Some(64.0));
        for (client, _) in held {
            client.close().await;
        }
    });
}

/// The heap of a mirror of 100,000 routes, once its changes are taken.
fn mirrored() {
    use netlink_remote::{
        mirror::{Change, Mirror, Routes},
        monitor::Watched,
    };
    routes::fill();
    let _listener = transport::listener();
    transport::runtime().block_on(async {
        let connector = transport::connector(transport::Transport::Unix);
        let heap = LIVE.load(Relaxed);
        let watched = Watched::new(transport::Transport::Unix.target());
        let mut mirror = Mirror::start(Routes, connector, watched).unwrap();
        while !matches!(mirror.next().await.unwrap(), Change::Synced) {}
        let routes = mirror.store().len();
        assert!(routes >= routes::COUNT as usize, "{routes}");
        let heap = (LIVE.load(Relaxed) - heap) as f64 / routes as f64;
        figure("mirror: heap for each of 100,000 routes", heap, "B", Some(600.0));
    });
}

/// A connection with a socket that has made a request.
async fn hold(
    connector: &netlink_remote::Connector,
    target: &netlink_remote::Target,
) -> (Client, RemoteSocket) {
    let client = connector.connect(target).await.unwrap();
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    exchange(&socket, &link_by_index(LOOPBACK, 0), 1).await;
    (client, socket)
}

thread_local! {
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

static STUB: AtomicU64 = AtomicU64::new(0);
static CLIENT: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Allocations so far: the stub's, the client's.
fn counts() -> (u64, u64) {
    (STUB.load(Relaxed), CLIENT.load(Relaxed))
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    let of = if IS_CLIENT.get() { &CLIENT } else { &STUB };
    of.fetch_add(1, Relaxed);
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to the system's allocator with the arguments of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        LIVE.fetch_add(size(layout.size()), Relaxed);
        // SAFETY: the caller's arguments.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        LIVE.fetch_add(size(layout.size()), Relaxed);
        // SAFETY: the caller's arguments.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count();
        LIVE.fetch_add(size(new) - size(layout.size()), Relaxed);
        // SAFETY: the caller's arguments.
        unsafe { System.realloc(at, layout, new) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(size(layout.size()), Relaxed);
        // SAFETY: the caller's arguments.
        unsafe { System.dealloc(at, layout) }
    }
}

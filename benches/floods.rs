//! Floods: clients that try to use up an `nlr serve`, one kind after the other. Prints what each takes
//! at its peak beside the ceiling that the guide `limits` states, and what is left when its clients
//! have gone; exits with 1 above a ceiling.
//!
//! `cargo bench --all-features --bench floods [-- NAME]`; as a test, each flood is shorter.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics"
)]

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    fs,
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use netlink_remote::{
    limits,
    wire::{
        ContainerEngine, Credit, Destination, Flags, HEADER_LEN, Hello, MARKER, Message, Netns,
        Open, SocketId, SocketOption,
        hello::{PeerLimits, Role},
    },
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{
    bench::world,
    netlink::{NETLINK_ROUTE, dump_links},
    programs, run, temporary,
    tool::{Server, nlr},
    wait_up_to,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Resident memory of a server without clients.
const IDLE: u64 = 24 * MIB;

/// Memory of a client's threads and buffers that is not counted as waiting: stacks, the input buffer,
/// and the datagrams that are being received and sent.
const EACH: u64 = MIB;

/// How much more memory may be resident when the clients have gone.
const LEFT: u64 = 16 * MIB;

struct Flood {
    name: &'static str,
    /// Clients at a time that are admitted.
    clients: u64,
    run: fn(&Attack),
}

const FLOODS: &[Flood] = &[
    Flood { name: "open and close", clients: 1, run: open_and_close },
    Flood { name: "pings, answers unread", clients: 1, run: pings },
    Flood { name: "options, answers unread", clients: 1, run: options },
    Flood { name: "tiny credits", clients: 1, run: tiny_credits },
    Flood { name: "headers only", clients: 200, run: headers_only },
    Flood { name: "half sends", clients: 8, run: half_sends },
    Flood { name: "one byte at a time", clients: 200, run: one_byte },
    Flood { name: "never reading", clients: 50, run: never_reading },
    Flood { name: "silent connections", clients: 0, run: silent },
    Flood { name: "opens behind a hanging engine", clients: 20, run: hanging_engine },
    Flood { name: "many sockets with big buffers", clients: 4, run: big_buffers },
    Flood { name: "error texts, unread", clients: 1, run: error_texts },
];

impl Flood {
    /// The most that may be resident: the server itself, what waits for its clients, and the threads of
    /// each.
    fn ceiling(&self) -> u64 {
        let share = limits::server::MAX_MEMORY / limits::server::CLIENT_SHARE;
        IDLE + (self.clients * share).min(limits::server::MAX_MEMORY) + self.clients * EACH
    }

    fn threads(&self) -> u64 {
        4 + 2 * self.clients + limits::server::MAX_THREADS as u64 + 3 * limits::server::MAX_TASKS
    }
}

fn main() -> ExitCode {
    let filters: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    world::enter();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let length = Duration::from_secs(if world::is_measured() { 10 } else { 1 });
    let mut over = false;
    println!(
        "{:<31} {:>10} {:>10} {:>8} {:>8} {:>8} {:>10} {:>10}",
        "flood", "peak MiB", "ceiling", "threads", "fds", "tasks", "kernel MiB", "left MiB"
    );
    for flood in FLOODS {
        if filters.is_empty() || filters.iter().any(|filter| flood.name.contains(filter.as_str())) {
            over |= measure(flood, length);
        }
    }
    if over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs a flood against a server of its own; gives whether it passed a ceiling.
fn measure(flood: &Flood, length: Duration) -> bool {
    let engines = hanging_docker();
    let path = temporary("flooded");
    let mut command = nlr(&["serve", &format!("unix:{}", path.display())]);
    command.env("PATH", format!("{}:{}", engines.display(), env::var("PATH").unwrap()));
    let server = Server::start_command(path.clone(), command);
    let pid = server.pid();
    let (idle, done) = (resident(pid), Arc::new(AtomicBool::new(false)));
    let watched = Arc::clone(&done);
    let watcher = thread::spawn(move || {
        let mut peak = Peak::default();
        while !watched.load(Relaxed) {
            peak.look(pid);
            thread::sleep(Duration::from_millis(5));
        }
        peak
    });
    (flood.run)(&Attack { path, end: Instant::now() + length });
    done.store(true, Relaxed);
    let peak = watcher.join().unwrap();
    // The high-water mark is the kernel's own.
    let most = status(pid, "VmHWM:") * KIB;
    wait_up_to(Duration::from_secs(10), || resident(pid) <= idle + LEFT / 2);
    let left = resident(pid).saturating_sub(idle);
    let ended = server.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(ended.code(), 0, "{ended:?}");
    fs::remove_dir_all(engines).unwrap();

    let in_mib = |bytes: u64| bytes as f64 / MIB as f64;
    let checks = [
        ("memory", most > flood.ceiling()),
        ("threads", peak.threads > flood.threads()),
        ("descriptors", peak.descriptors > hard_descriptors()),
        ("kernel memory", peak.kernel > limits::server::MAX_KERNEL_MEMORY + peak.defaults),
        ("memory left", left > LEFT),
    ];
    let mut verdict = String::new();
    for (what, _) in checks.iter().filter(|(_, over)| *over) {
        write!(verdict, " OVER: {what}").unwrap();
    }
    println!(
        "{:<31} {:>10.1} {:>10.1} {:>8} {:>8} {:>8} {:>10.1} {:>10.1}{verdict}",
        flood.name,
        in_mib(most),
        in_mib(flood.ceiling()),
        peak.threads,
        peak.descriptors,
        peak.children,
        in_mib(peak.kernel),
        in_mib(left),
    );
    !verdict.is_empty()
}

fn hard_descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().1
}

#[derive(Default)]
struct Peak {
    threads: u64,
    descriptors: u64,
    children: u64,
    /// Bytes in the receive queues of netlink sockets.
    kernel: u64,
    /// Bytes that the host gives so many sockets by default.
    defaults: u64,
}

impl Peak {
    fn look(&mut self, pid: u32) {
        self.threads = self.threads.max(status(pid, "Threads:"));
        let count = |folder: String| fs::read_dir(folder).map_or(0, |all| all.count() as u64);
        self.descriptors = self.descriptors.max(count(format!("/proc/{pid}/fd")));
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let all = children.unwrap_or_default().split_whitespace().count() as u64;
        self.children = self.children.max(all);
        let sockets = fs::read_to_string("/proc/net/netlink").unwrap();
        // By protocol and portid: the kernel may list a socket twice while its table grows.
        let queued = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let &[_, protocol, portid, _, bytes, ..] = fields.as_slice() else { return None };
            Some(((protocol.to_owned(), portid.to_owned()), bytes.parse::<u64>().ok()?))
        };
        let queues: HashMap<_, _> = sockets.lines().filter_map(queued).collect();
        let default = fs::read_to_string("/proc/sys/net/core/rmem_default").unwrap();
        let default: u64 = default.trim().parse().unwrap();
        self.kernel = self.kernel.max(queues.values().sum());
        self.defaults = self.defaults.max(queues.len() as u64 * default);
    }
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:") * KIB
}

/// A folder with a `docker` that never answers.
fn hanging_docker() -> PathBuf {
    let folder = temporary("engines");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("docker");
    programs::write(&program, "#!/bin/sh\nexec sleep 1000\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A server, and the time until which it is attacked.
struct Attack {
    path: PathBuf,
    end: Instant,
}

impl Attack {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        // A server that does not read is not waited for.
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream
    }

    /// A connection whose hello is said.
    fn client(&self) -> UnixStream {
        let mut stream = self.connect();
        let mut hello = MARKER.to_vec();
        Hello::new(Role::Client, PeerLimits::default(), None).encode(&mut hello);
        stream.write_all(&hello).unwrap();
        stream
    }

    fn clients(&self, count: usize) -> Vec<UnixStream> {
        (0..count).map(|_| self.client()).collect()
    }

    /// Sends what `next` makes, on connections one after the other that each last until the server
    /// ends them or reads no more.
    fn pour(&self, mut next: impl FnMut(u32) -> Vec<u8>) {
        while self.goes_on() {
            let mut stream = self.client();
            for number in 1.. {
                if stream.write_all(&next(number)).is_err() || !self.goes_on() {
                    break;
                }
            }
        }
    }

    /// Leaves the server with these connections until the time is over.
    fn hold<T>(&self, held: T) {
        thread::sleep(self.end.saturating_duration_since(Instant::now()));
        drop(held);
    }
}

/// Reads and forgets everything.
fn drain(stream: &UnixStream) {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
}

fn frame(id: u32, message: &Message<'_>) -> Vec<u8> {
    flagged(id, message, Flags::NONE)
}

fn flagged(id: u32, message: &Message<'_>, flags: Flags) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(SocketId(id), flags, &mut out);
    out
}

fn open() -> Open {
    let credit = Credit { bytes: 1 << 40, datagrams: 1 << 40 };
    Open { protocol: NETLINK_ROUTE, credit, ..Open::default() }
}

fn send(id: u32, data: &[u8]) -> Vec<u8> {
    let destination = Destination::default();
    frame(id, &Message::Send { serial: 1, destination, data })
}

fn open_and_close(attack: &Attack) {
    while attack.goes_on() {
        let mut stream = attack.client();
        drain(&stream);
        for id in 1.. {
            let pair = [frame(id, &Message::Open(open())), frame(id, &Message::Close)].concat();
            if stream.write_all(&pair).is_err() || !attack.goes_on() {
                break;
            }
        }
    }
}

fn pings(attack: &Attack) {
    let many = frame(0, &Message::Ping(7)).repeat(1000);
    attack.pour(|_| many.clone());
}

fn options(attack: &Attack) {
    // NETLINK_LIST_MEMBERSHIPS of SOL_NETLINK.
    let get = |request| {
        frame(1, &Message::OptionGet { request, level: 270, name: 9, capacity: 32 << 10 })
    };
    attack.pour(|number| match number {
        1 => frame(1, &Message::Open(open())),
        _ => (0..200).flat_map(get).collect(),
    });
}

fn tiny_credits(attack: &Attack) {
    let dumps: Vec<u8> = (0..20).flat_map(|sequence| send(1, &dump_links(sequence))).collect();
    let credits = frame(1, &Message::Credit(Credit { bytes: 1, datagrams: 1 })).repeat(100);
    while attack.goes_on() {
        let mut stream = attack.client();
        drain(&stream);
        let open = Open { credit: Credit { bytes: 1, datagrams: 1 }, ..open() };
        let _ = stream.write_all(&frame(1, &Message::Open(open)));
        while attack.goes_on() {
            let both = [dumps.as_slice(), credits.as_slice()].concat();
            if stream.write_all(&both).is_err() {
                break;
            }
        }
    }
}

fn header(length: u32) -> Vec<u8> {
    // A send on socket 1.
    let mut header = send(1, &[])[..HEADER_LEN].to_vec();
    header[..4].copy_from_slice(&length.to_le_bytes());
    header
}

fn headers_only(attack: &Attack) {
    let mut clients = attack.clients(200);
    for client in &mut clients {
        client.write_all(&header(limits::wire::DEFAULT_MAX_FRAME)).unwrap();
    }
    attack.hold(clients);
}

fn half_sends(attack: &Attack) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let piece = vec![0; 1 << 20];
                let destination = Destination::default();
                attack.pour(|number| match number % 2 {
                    1 => frame(number, &Message::Open(open())),
                    _ => {
                        let data = &piece;
                        let message = Message::Send { serial: 1, destination, data };
                        flagged(number - 1, &message, Flags::MORE)
                    }
                });
            });
        }
    });
}

fn one_byte(attack: &Attack) {
    let mut clients = attack.clients(200);
    let whole = [header(limits::wire::DEFAULT_MAX_FRAME), vec![0; 4096]].concat();
    for byte in whole {
        for client in &mut clients {
            let _ = client.write_all(&[byte]);
        }
        if !attack.goes_on() {
            return;
        }
    }
}

fn never_reading(attack: &Attack) {
    let requests: Vec<u8> = (0..100).flat_map(|sequence| send(1, &dump_links(sequence))).collect();
    let mut clients = attack.clients(50);
    while attack.goes_on() {
        for client in &mut clients {
            let more = [frame(1, &Message::Open(open())), requests.clone()].concat();
            // The second open of the same number ends the connection, if it is read.
            if client.write_all(&more).is_err() {
                *client = attack.client();
            }
            if !attack.goes_on() {
                break;
            }
        }
    }
}

fn silent(attack: &Attack) {
    let mut held = Vec::new();
    while attack.goes_on() {
        held.push(attack.connect());
        if held.len() > 2000 {
            held.drain(..1000);
        }
    }
}

fn hanging_engine(attack: &Attack) {
    let netns = Netns::Container { engine: ContainerEngine::Docker, name: "web".to_owned() };
    // As long as a request may be.
    let option = SocketOption { level: 270, name: 4, value: vec![0; 4] };
    let open = Open { netns, options: vec![option; 4000], ..open() };
    let mut clients = attack.clients(20);
    for id in 1..=1000 {
        for client in &mut clients {
            let _ = client.write_all(&frame(id, &Message::Open(open.clone())));
        }
        if !attack.goes_on() {
            break;
        }
    }
    attack.hold(clients);
}

fn big_buffers(attack: &Attack) {
    let mut clients = attack.clients(4);
    for client in &mut clients {
        drain(client);
        for id in 1..=100 {
            let credit = Credit { bytes: 0, datagrams: 0 };
            // RTNLGRP_LINK.
            let open = Open { receive_buffer: 32 << 20, groups: vec![1], credit, ..open() };
            let _ = client.write_all(&frame(id, &Message::Open(open)));
        }
    }
    let mut batch = String::new();
    for mtu in 1..=500 {
        writeln!(batch, "link set lo mtu {}", 1000 + mtu).unwrap();
    }
    let file = temporary("batch");
    fs::write(&file, batch).unwrap();
    while attack.goes_on() {
        run("ip", &["-batch", file.to_str().unwrap()]);
    }
    fs::remove_file(file).unwrap();
}

fn error_texts(attack: &Attack) {
    let netns = Netns::Path("x".repeat(4000));
    attack.pour(|id| frame(id, &Message::Open(Open { netns: netns.clone(), ..open() })));
}

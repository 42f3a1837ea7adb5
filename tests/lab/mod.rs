//! Real hosts for tests: each a network, mounts, processes and a name of its own, with users,
//! sudo and sshd; links between them that can be cut or slowed; and a client to reach them from.
//!
//! ```ignore
//! if !Lab::available() { return; }
//! let lab = Lab::new();
//! let gateway = lab.host("gw01").on("public").on("inner").sudoers("ci ALL=NOPASSWD: ALL").start();
//! let test01 = lab.host("test01").on("inner").password("secret").sudoers("ci ALL=ALL").start();
//! let ended = finish(lab.nlr(&["..."]));
//! test01.assert_idle();
//! ```
//!
//! All of it goes away when dropped, in any order, or with the test process.

#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

mod census;
mod client;
mod host;
mod machine;
mod pty;
mod relay;
pub(crate) mod stub;

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::{
    census::Census,
    client::{Agent, Client},
    host::{Host, HostBuilder},
    pty::{Pty, render},
    relay::Relay,
};

/// Longer than anything takes on a machine that is not stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The network that the client is in too.
pub(crate) const PUBLIC: &str = "public";

/// Some hosts, the networks between them and the client that reaches them.
///
/// The client's side is the network that the test itself runs in.
pub(crate) struct Lab(Arc<Inner>);

struct Inner {
    number: u32,
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    networks: Vec<String>,
    /// The numbers of hosts used up so far.
    hosts: u32,
    /// The addresses of `many` hosts used up so far.
    many: u32,
    entries: Vec<Entry>,
    /// The started hosts, which know the names of their networks.
    started: Vec<host::Known>,
}

/// What the client knows of a name.
#[derive(Clone)]
struct Entry {
    name: String,
    /// The first is the one that `ssh` takes.
    addresses: Vec<IpAddr>,
    networks: Vec<String>,
    port: u16,
    /// Public host keys; the client has them among its known hosts.
    keys: Vec<String>,
    trust: Trust,
}

#[derive(Clone, Copy, PartialEq)]
enum Trust {
    Right,
    Wrong,
    None,
}

/// Ways for an address not to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bad {
    /// Nobody listens: refused at once.
    Refused,
    /// What is sent gets lost, so that nothing ever comes back.
    Silent,
    /// No host has the address: an error after some seconds.
    Absent,
}

impl Lab {
    /// Whether this world can have hosts: that takes real root, for several users.
    pub(crate) fn available() -> bool {
        match std::env::var("NLR_TEST_WORLD").as_deref() {
            Ok("root") => true,
            Ok("user") => {
                // Not by print: the test harness would keep it to itself.
                let test = thread::current().name().unwrap_or("a test").to_owned();
                let why = "not run: hosts with several users take real root";
                let _ = writeln!(io::stderr(), "{test}: {why}");
                false
            }
            _ => panic!("these tests need a world of their own: run tests/run"),
        }
    }

    /// A client alone.
    pub(crate) fn new() -> Self {
        assert!(Self::available(), "ask Lab::available() first");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = State { networks: vec![PUBLIC.to_owned()], hosts: 1, ..State::default() };
        let lab = Inner { number, client: Client::start(number), state: Mutex::new(state) };
        let bridge = lab.bridge(0);
        let (inet, inet6) = (lab.address(0, 1), lab.address6(0, 1));
        batch(
            &mut Command::new("ip"),
            &format!(
                "link add {bridge} type bridge\naddr add {inet}/16 dev {bridge}\n\
                 addr add {inet6}/64 dev {bridge} nodad\nlink set {bridge} up\n"
            ),
        );
        Self(Arc::new(lab))
    }

    /// A host to be started; with the user `ci`, who has the client's key.
    pub(crate) fn host(&self, name: &str) -> HostBuilder {
        HostBuilder::new(&self.0, name)
    }

    /// Where the tool and `ssh` run.
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// The tool, not run yet, on the client.
    pub(crate) fn nlr(&self, arguments: &[&str]) -> Command {
        let mut command = self.0.client.command(env!("CARGO_BIN_EXE_nlr"));
        command.args(arguments);
        command
    }

    /// An agent on the client that has its key; the file stays.
    pub(crate) fn agent(&self) -> Agent<'_> {
        Agent::start(&self.0.client)
    }

    /// The address of the client among the hosts.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.0.address(0, 1)
    }

    /// A relay to a host's sshd, which the client knows by this name.
    pub(crate) fn relay(&self, name: &str, to: &Host, delay: Duration) -> Relay {
        let relay = Relay::new(to.socket_address(), delay);
        self.0.register(Entry {
            name: name.to_owned(),
            addresses: vec![relay.address().ip()],
            networks: vec![PUBLIC.to_owned()],
            port: relay.address().port(),
            keys: to.keys().to_vec(),
            trust: Trust::Right,
        });
        relay
    }

    /// A name whose address does not answer.
    pub(crate) fn bad(&self, name: &str, how: Bad) -> Ipv4Addr {
        let bridge = self.0.bridge(0);
        let mut state = self.0.state.lock().unwrap();
        state.hosts += 1;
        // Far from those of the hosts, and of the many.
        let address = self.0.address(0, (100 << 8) + state.hosts);
        drop(state);
        let command = match how {
            Bad::Refused => format!("addr add {address}/32 dev {bridge}\n"),
            // A neighbour that is none.
            Bad::Silent => {
                format!("neigh add {address} lladdr 02:ff:ff:ff:ff:ff dev {bridge} nud permanent\n")
            }
            Bad::Absent => String::new(),
        };
        batch(&mut Command::new("ip"), &command);
        self.0.register(Entry {
            name: name.to_owned(),
            addresses: vec![address.into()],
            networks: vec![PUBLIC.to_owned()],
            port: 22,
            keys: Vec::new(),
            trust: Trust::None,
        });
        address
    }

    /// Many names, each with an address of its own, that one host answers to. The names are the
    /// host's own with a number behind: `many1` and so on.
    pub(crate) fn many(&self, host: &Host, count: u32) -> Vec<(String, Ipv4Addr)> {
        let mut state = self.0.state.lock().unwrap();
        // Behind the addresses of single hosts, before the bad ones.
        let start = (1 << 8) + 1 + state.many;
        state.many += count;
        assert!(state.hosts < 256 && state.many < 20_000, "no room for so many addresses");
        let made =
            (0..count).map(|i| (format!("{}{}", host.name(), i + 1), self.0.address(0, start + i)));
        let made = made.collect::<Vec<_>>();
        state.entries.extend(made.iter().map(|(name, address)| Entry {
            name: name.clone(),
            addresses: vec![(*address).into()],
            networks: vec![PUBLIC.to_owned()],
            port: 22,
            keys: host.keys().to_vec(),
            trust: Trust::Right,
        }));
        self.0.publish(&state);
        drop(state);
        let lines = made.iter().map(|(_, address)| format!("addr add {address}/16 dev eth0\n"));
        host.ip_batch(&lines.collect::<String>());
        made
    }

    /// Has the client know another host key for a name than the host has.
    pub(crate) fn misremember(&self, name: &str) {
        self.set_trust(name, Trust::Wrong);
    }

    /// Has the client know no host key for a name.
    pub(crate) fn forget(&self, name: &str) {
        self.set_trust(name, Trust::None);
    }

    fn set_trust(&self, name: &str, trust: Trust) {
        let mut state = self.0.state.lock().unwrap();
        let entry = state.entries.iter_mut().find(|entry| entry.name == name);
        entry.unwrap_or_else(|| panic!("no {name} here")).trust = trust;
        self.0.publish(&state);
    }
}

impl Inner {
    fn bridge(&self, network: usize) -> String {
        format!("lab{}b{network}", self.number)
    }

    /// The networks that the client is not in may have the same addresses in every lab.
    fn address(&self, network: usize, host: u32) -> Ipv4Addr {
        let base = match u32::try_from(network).unwrap() {
            0 => Ipv4Addr::new(10, u8::try_from(self.number % 250 + 1).unwrap(), 0, 0),
            other => Ipv4Addr::new(192, 168, u8::try_from(other).unwrap(), 0),
        };
        Ipv4Addr::from_bits(base.to_bits() + host)
    }

    fn address6(&self, network: usize, host: u32) -> Ipv6Addr {
        let lab = if network == 0 { self.number % 250 + 1 } else { 0 };
        let lab = u16::try_from(lab).unwrap();
        let (network, host) = (u16::try_from(network).unwrap(), u16::try_from(host).unwrap());
        Ipv6Addr::new(0xfd00, lab, network, 0, 0, 0, 0, host)
    }

    /// The number of a network, made where it is new.
    fn network(&self, name: &str) -> usize {
        let mut state = self.state.lock().unwrap();
        if let Some(number) = state.networks.iter().position(|network| network == name) {
            return number;
        }
        state.networks.push(name.to_owned());
        let bridge = self.bridge(state.networks.len() - 1);
        // Without an address: the client has no way in.
        batch(
            &mut Command::new("ip"),
            &format!("link add {bridge} type bridge\nlink set {bridge} addrgenmode none up\n"),
        );
        state.networks.len() - 1
    }

    fn register(&self, entry: Entry) {
        let mut state = self.state.lock().unwrap();
        // A host that is started anew.
        state.entries.retain(|known| known.name != entry.name);
        state.entries.push(entry);
        self.publish(&state);
    }

    /// Tells everybody the names that they may know.
    fn publish(&self, state: &State) {
        self.client.publish(&state.entries);
        state.started.iter().for_each(|host| host.publish(&state.entries));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = state.networks.len();
        let lines = (0..count).map(|network| format!("link del {}\n", self.bridge(network)));
        let lines = lines.collect::<String>();
        // Dropped by a test that fails, it must not fail as well.
        let _ = try_batch(&mut Command::new("ip"), &lines);
    }
}

/// The names of some entries, as /etc/hosts has them.
fn hosts_file<'a>(own: &str, entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {own}\n");
    for entry in entries {
        for address in &entry.addresses {
            text += &format!("{address} {}\n", entry.name);
        }
    }
    text
}

/// The keys of some entries, as known_hosts has them; `wrong` is for those that are to be wrong.
fn known_hosts<'a>(wrong: &str, entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = String::new();
    for entry in entries.filter(|entry| entry.trust != Trust::None) {
        let mut names = vec![entry.name.clone()];
        names.extend(entry.addresses.iter().map(ToString::to_string));
        if entry.port != 22 {
            names = names.iter().map(|name| format!("[{name}]:{}", entry.port)).collect();
        }
        for key in &entry.keys {
            let key = if entry.trust == Trust::Wrong { wrong } else { key };
            text += &format!("{} {}\n", names.join(","), key.trim_end());
        }
    }
    text
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; 128 and the signal where one ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end, with nothing for input.
#[track_caller]
pub(crate) fn finish(command: Command) -> Ended {
    finish_with(command, "")
}

/// Runs a program to its end. One that does not end is killed, and a failure.
#[track_caller]
pub(crate) fn finish_with(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without having read it.
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = thread::spawn(move || read_all(stdout));
    let stderr = thread::spawn(move || read_all(stderr));
    let mut status = None;
    wait_up_to(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else {
        panic!("{command:?} does not end: {stdout}{stderr}");
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    Ended { code, stdout, stderr }
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a condition; gives whether it came.
pub(crate) fn wait_up_to(patience: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if reached() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs lines of `ip` commands, which must succeed.
#[track_caller]
fn batch(ip: &mut Command, lines: &str) {
    if let Err(said) = try_batch(ip, lines) {
        panic!("{lines}: {said}");
    }
}

fn try_batch(ip: &mut Command, lines: &str) -> Result<(), String> {
    ip.args(["-force", "-batch", "-"]);
    let mut child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let written = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() && written.is_ok() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

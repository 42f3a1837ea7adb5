//! Real hosts for tests: each with namespaces of its own for network, mounts, processes and host
//! name, with users, sudo and sshd. Their links can be cut and slowed. One client reaches them.
//!
//! ```ignore
//! if !Lab::available() {
//!     return;
//! }
//! let lab = Lab::new();
//! let gateway = lab.host("gw01").on("public").on("inner").sudoers("ci ALL=NOPASSWD: ALL").start();
//! let test01 = lab.host("test01").on("inner").password("secret").sudoers("ci ALL=ALL").start();
//! let ended = finish(lab.nlr(&["..."]));
//! test01.assert_idle();
//! ```
//!
//! Each part ends when dropped, in any order, or with the test process.

mod census;
mod client;
mod host;
mod machine;
mod pty;
mod relay;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub use self::{
    census::Census,
    client::{Agent, Client},
    host::{Host, HostBuilder},
    pty::{Pty, render},
    relay::Relay,
};
use crate::{command::succeed, finish_with, programs, world};

/// The name of the client's network.
pub const PUBLIC: &str = "public";

/// Hosts, the networks between them, and the client that reaches them.
///
/// The client shares the network namespace of the test.
pub struct Lab(Arc<Inner>);

struct Inner {
    number: u32,
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    networks: Vec<String>,
    /// Host numbers in use so far.
    hosts: u32,
    /// Addresses of `many` hosts in use so far.
    many: u32,
    entries: Vec<Entry>,
    /// The started hosts: each knows the names on its networks.
    started: Vec<host::Known>,
}

/// A name, with the addresses and host keys that the client knows for it.
#[derive(Clone)]
struct Entry {
    name: String,
    /// `ssh` takes the first.
    addresses: Vec<IpAddr>,
    networks: Vec<String>,
    port: u16,
    /// Public host keys, among the client's known hosts.
    keys: Vec<String>,
    trust: Trust,
}

/// The client's known host key for a name.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// The host's.
    Right,
    /// Another host's.
    Wrong,
    /// None.
    None,
}

/// Addresses that do not answer.
#[derive(Debug, Clone, Copy)]
pub enum Bad {
    /// Without a listener: refused at once.
    Refused,
    /// Every packet to it is lost.
    Silent,
    /// Of no host: an error after some seconds.
    Absent,
}

impl Lab {
    /// Whether this world can have hosts, which takes real root for their several users; prints
    /// that the test is skipped where it cannot.
    pub fn available() -> bool {
        world::has_real_root("a host with several users")
    }

    /// A lab with a client and no host yet.
    #[allow(clippy::new_without_default, reason = "starting machines is no default")]
    pub fn new() -> Self {
        assert!(Self::available(), "ask Lab::available() first");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = State { networks: vec![PUBLIC.to_owned()], hosts: 1, ..State::default() };
        let lab = Inner { number, client: Client::start(number), state: Mutex::new(state) };
        let bridge = lab.bridge(0);
        let (inet, inet6) = (lab.address(0, 1), lab.address6(0, 1));
        batch(
            Command::new("ip"),
            &format!(
                "link add {bridge} type bridge\naddr add {inet}/16 dev {bridge}\n\
                 addr add {inet6}/64 dev {bridge} nodad\nlink set {bridge} up\n"
            ),
        );
        Self(Arc::new(lab))
    }

    /// A host to be started, whose user `ci` takes the client's key.
    pub fn host(&self, name: &str) -> HostBuilder {
        HostBuilder::new(&self.0, name)
    }

    /// The machine that the tool and `ssh` run on.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The tool on the client, not run yet.
    pub fn nlr(&self, arguments: &[&str]) -> Command {
        let mut command = self.0.client.command(programs::nlr());
        command.args(arguments);
        command
    }

    /// Starts an agent on the client with its key; the key file stays.
    pub fn agent(&self) -> Agent<'_> {
        Agent::start(&self.0.client)
    }

    /// The address of the client on the network "public".
    pub fn address(&self) -> Ipv4Addr {
        self.0.address(0, 1)
    }

    /// Starts a relay to a host's sshd, and gives it a name on the client.
    pub fn relay(&self, name: &str, to: &Host, delay: Duration) -> Relay {
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

    /// Adds a name whose address does not answer.
    pub fn bad(&self, name: &str, how: Bad) -> Ipv4Addr {
        let bridge = self.0.bridge(0);
        let mut state = self.0.state.lock().unwrap();
        state.hosts += 1;
        // Far from the addresses of hosts and of the many.
        let address = self.0.address(0, (100 << 8) + state.hosts);
        drop(state);
        let command = match how {
            Bad::Refused => format!("addr add {address}/32 dev {bridge}\n"),
            // A neighbour entry of a link-layer address that no host has.
            Bad::Silent => {
                format!("neigh add {address} lladdr 02:ff:ff:ff:ff:ff dev {bridge} nud permanent\n")
            }
            Bad::Absent => String::new(),
        };
        batch(Command::new("ip"), &command);
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

    /// Gives a host many names, each with an address of its own. The names are the host's own and
    /// a number: `many1` and so on.
    pub fn many(&self, host: &Host, count: u32) -> Vec<(String, Ipv4Addr)> {
        let mut state = self.0.state.lock().unwrap();
        // Between the addresses of single hosts and the bad ones.
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

    /// Puts another host's key among the client's known hosts for a name.
    pub fn misremember(&self, name: &str) {
        self.set_trust(name, Trust::Wrong);
    }

    /// Removes a name from the client's known hosts.
    pub fn forget(&self, name: &str) {
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

    /// An address on a network. The client's networks differ from lab to lab; the others need not.
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

    /// The number of a network, which is created for its first host.
    fn network(&self, name: &str) -> usize {
        let mut state = self.state.lock().unwrap();
        if let Some(number) = state.networks.iter().position(|network| network == name) {
            return number;
        }
        state.networks.push(name.to_owned());
        let bridge = self.bridge(state.networks.len() - 1);
        // Without an address, which would let the client in.
        batch(
            Command::new("ip"),
            &format!("link add {bridge} type bridge\nlink set {bridge} addrgenmode none up\n"),
        );
        state.networks.len() - 1
    }

    fn register(&self, entry: Entry) {
        let mut state = self.state.lock().unwrap();
        // The name of a host that is started again.
        state.entries.retain(|known| known.name != entry.name);
        state.entries.push(entry);
        self.publish(&state);
    }

    /// Writes the names to the client and to each host on their networks.
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
        // Without an assertion: a panic while a test panics aborts the program.
        finish_with(with_batch(Command::new("ip")), &lines);
    }
}

/// The text of /etc/hosts for some entries.
fn hosts_file<'a>(own: &str, entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {own}\n");
    for entry in entries {
        for address in &entry.addresses {
            text += &format!("{address} {}\n", entry.name);
        }
    }
    text
}

/// The text of known_hosts for some entries; `wrong` is the key of [`Trust::Wrong`].
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

/// Runs lines of `ip` commands, which must succeed.
#[track_caller]
fn batch(ip: Command, lines: &str) {
    succeed(with_batch(ip), lines);
}

/// `ip` that reads lines of commands, and continues after one that fails.
fn with_batch(mut ip: Command) -> Command {
    ip.args(["-force", "-batch", "-"]);
    ip
}

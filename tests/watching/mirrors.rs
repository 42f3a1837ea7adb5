//! `Mirror`: random changes, losses and cuts, after each of which it equals what the kernel has.

use std::{
    any::TypeId,
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use netlink_remote::{
    Client, Netns, Requests,
    mirror::{
        Addresses, Change, Fdb, Kind, Links, Mirror, Neighbours, Nexthops, Object, Reading, Routes,
        Rules,
    },
    nlmsg::{add_flags, flags},
};
use testing::{Namespace, finish_with, tool::Server};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    random::{BEGIN, Random, bridge_line, ip_line},
    relay::Relay,
    support::*,
};

/// Time for a mirror to be sure.
const SOON: Duration = Duration::from_secs(60);

/// What counts of objects, by their keys.
type State<K> = BTreeMap<<K as Kind>::Key, Vec<Vec<u8>>>;

fn add<K: Kind>(state: &mut State<K>, kind: &K, key: K::Key, payload: &[u8]) {
    let states = state.entry(key).or_default();
    states.push(kind.state(payload).into_owned());
    states.sort();
}

/// What the kernel has, without a mirror's help.
async fn dumped<K: Kind>(kind: &K, client: &Client, netns: &Netns) -> State<K> {
    let socket = client.socket(kind.protocol()).netns(netns.clone());
    let socket = socket.netlink_option(netlink_remote::client::options::GET_STRICT_CHK, true);
    let requests = Requests::new(socket.open().await.unwrap());
    'again: loop {
        let mut state = State::<K>::new();
        for mut request in kind.requests() {
            add_flags(&mut request, flags::DUMP);
            let Ok(messages) = requests.dump(request).await else { continue 'again };
            for message in messages {
                if let Reading::Is(key) | Reading::First(key) | Reading::Replaces(key) =
                    kind.read(&message.message())
                {
                    add(&mut state, kind, key, message.payload());
                }
            }
        }
        return state;
    }
}

/// A mirror, and what its changes amount to.
struct Followed<K: Kind> {
    kind: K,
    mirror: Mirror<K>,
    told: BTreeMap<K::Key, Vec<Object>>,
    last: VecDeque<String>,
    synced: u64,
}

impl<K: Kind + Clone> Followed<K> {
    fn start(kind: K, target: &str, netns: Netns, buffer: Option<u32>) -> Self {
        let mut options = builder();
        if let Some(buffer) = buffer {
            options = options.receive_buffer(buffer);
        }
        let place = watched(target).netns(netns);
        let mirror = Mirror::start_with(kind.clone(), options, connector(), place).unwrap();
        Self { kind, mirror, told: BTreeMap::new(), last: VecDeque::new(), synced: 0 }
    }

    async fn next(&mut self) -> Change<K> {
        let change = timeout(SOON, self.mirror.next()).await;
        let change = change.unwrap_or_else(|_| panic!("nothing more after {:?}", self.last));
        let change = change.expect("the end");
        self.note(&change);
        change
    }

    /// The changes have to fit what was told before.
    fn note(&mut self, change: &Change<K>) {
        self.last.push_back(format!("{change:?}"));
        if self.last.len() > 30 {
            self.last.pop_front();
        }
        match change.clone() {
            Change::Added { key, object, .. } => self.told.entry(key).or_default().push(object),
            Change::Changed { key, before, after, .. } => {
                let objects = self.told.get_mut(&key).unwrap();
                let position =
                    objects.iter().position(|known| same(&self.kind, known, &before)).unwrap();
                objects[position] = after;
            }
            Change::Removed { key, object, .. } => {
                let objects = self.told.get_mut(&key).unwrap();
                let position =
                    objects.iter().position(|known| same(&self.kind, known, &object)).unwrap();
                objects.remove(position);
                if objects.is_empty() {
                    self.told.remove(&key);
                }
            }
            Change::Synced => {
                self.synced += 1;
                assert_eq!(self.state_told(), self.state(), "what was told and what is there");
            }
            _ => {}
        }
    }

    fn state_told(&self) -> State<K> {
        let mut state = State::<K>::new();
        for (key, objects) in &self.told {
            for object in objects {
                add(&mut state, &self.kind, key.clone(), object.message().payload);
            }
        }
        state
    }

    fn state(&self) -> State<K> {
        let mut state = State::<K>::new();
        for (key, object) in self.mirror.store().snapshot() {
            add(&mut state, &self.kind, key, object.message().payload);
        }
        state
    }

    /// At a `Synced` between two dumps that are equal, the mirror equals them.
    async fn check(&mut self, client: &Client, netns: &Netns) {
        let began = Instant::now();
        // From work queues, the kernel tells a carrier, on which the flag RTNH_F_LINKDOWN of routes and nexthops
        // depends, and an IPv6 address without duplicate address detection.
        let may_lag = [
            TypeId::of::<Links>(),
            TypeId::of::<Addresses>(),
            TypeId::of::<Routes>(),
            TypeId::of::<Nexthops>(),
        ]
        .contains(&TypeId::of::<K>());
        let patience = if may_lag { SOON } else { Duration::ZERO };
        loop {
            assert!(began.elapsed() < 2 * SOON, "the kernel does not come to rest");
            let before = dumped(&self.kind, client, netns).await;
            self.mirror.confirm();
            while !matches!(self.next().await, Change::Synced) {}
            let mirrored = self.state();
            if before == dumped(&self.kind, client, netns).await {
                if mirrored != before && began.elapsed() < patience {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                assert!(
                    mirrored == before,
                    "{}: {}\nafter {:#?}",
                    std::any::type_name::<K>(),
                    difference::<K>(&mirrored, &before),
                    self.last
                );
                return;
            }
        }
    }
}

fn same<K: Kind>(kind: &K, first: &Object, second: &Object) -> bool {
    let state = |object: &Object| kind.state(object.message().payload).into_owned();
    state(first) == state(second)
}

fn difference<K: Kind>(mirrored: &State<K>, kernel: &State<K>) -> String {
    let count = |state: &State<K>, key| state.get(key).cloned().unwrap_or_default();
    let keys = mirrored.keys().chain(kernel.keys());
    let differ = keys.filter(|key| count(mirrored, key) != count(kernel, key));
    let lines = differ.map(|key| {
        let hex = |state: &State<K>| format!("{:02x?}", count(state, key));
        format!("{key:?}:\n  mirror {}\n  kernel {}", hex(mirrored), hex(kernel))
    });
    lines.take(2).collect::<Vec<_>>().join("\n").chars().take(8000).collect()
}

/// Follows a kind until its checks end; each has to be answered.
async fn follow<K: Kind + Clone>(
    kind: K,
    target: String,
    server: PathBuf,
    netns: Netns,
    buffer: Option<u32>,
    mut checks: mpsc::Receiver<tokio::sync::oneshot::Sender<()>>,
) -> u64 {
    let direct = format!("unix:{}", server.display());
    let client = connector().connect(&direct.parse().unwrap()).await.unwrap();
    let mut followed = Followed::start(kind, &target, netns.clone(), buffer);
    loop {
        tokio::select! {
            check = checks.recv() => match check {
                Some(done) => {
                    followed.check(&client, &netns).await;
                    let _ = done.send(());
                }
                None => return followed.synced,
            },
            _ = followed.next_or_never() => {}
        }
    }
}

impl<K: Kind + Clone> Followed<K> {
    async fn next_or_never(&mut self) {
        match self.mirror.next().await {
            Some(change) => self.note(&change),
            None => panic!("the end"),
        }
    }
}

fn change(name: &str, lines: String, bridge: String) {
    Namespace::batch_in(name, &lines);
    let mut command = Command::new("bridge");
    command.args(["-n", name, "-force", "-batch", "-"]);
    finish_with(command, &bridge);
}

/// Random changes by two processes at once, over a connection that is cut now and then, with buffers of
/// random sizes.
async fn random_changes(seed: u64, rounds: u64, lines: u64) -> u64 {
    let mut random = Random::new(seed);
    let server = Server::start(&[]);
    let relay = Relay::start(server.path.clone());
    let namespace = Namespace::new();
    namespace.batch(BEGIN);
    // Down to a few messages.
    let buffer = [None, Some(2048), Some(8192)][random.below(3) as usize];
    let mut tasks = tokio::task::JoinSet::new();
    let mut checks = Vec::new();
    macro_rules! follow {
        ($($kind:expr),*) => {$({
            let (sender, receiver) = mpsc::channel(1);
            checks.push(sender);
            let (target, server) = (relay.target(), server.path.clone());
            tasks.spawn(follow($kind, target, server, namespace.netns(), buffer, receiver));
        })*};
    }
    follow!(Links, Addresses, Routes, Neighbours, Fdb, Rules, Nexthops);
    for _ in 0..rounds {
        let processes: Vec<_> = (0..2)
            .map(|_| {
                let ip = (0..lines / 2).map(|_| ip_line(&mut random) + "\n").collect::<String>();
                let bridge = (0..lines / 8).map(|_| bridge_line(&mut random) + "\n").collect();
                let name = namespace.0.clone();
                tokio::task::spawn_blocking(move || change(&name, ip, bridge))
            })
            .collect();
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
            relay.cut();
        }
        for process in processes {
            process.await.unwrap();
        }
        for check in &checks {
            let (done, is_done) = tokio::sync::oneshot::channel();
            check.send(done).await.unwrap();
            if is_done.await.is_err() {
                // The task has panicked: its message is the test's.
                drop(checks);
                while let Some(task) = tasks.join_next().await {
                    task.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                }
                unreachable!("no task has failed");
            }
        }
    }
    drop(checks);
    let mut synced = 0;
    while let Some(task) = tasks.join_next().await {
        synced += task.unwrap();
    }
    equals_ip(&namespace).await;
    synced
}

/// As many objects as `ip` lists.
async fn equals_ip(namespace: &Namespace) {
    let count = |arguments: &str, path: &str| {
        let text = namespace.ip(arguments);
        let list: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let list = list.as_array().cloned().unwrap_or_default();
        match path {
            "" => {
                list.iter().filter(|item| item.as_object().is_some_and(|it| !it.is_empty())).count()
            }
            path => list.iter().filter_map(|item| item[path].as_array()).map(Vec::len).sum(),
        }
    };
    async fn objects<K: Kind + Clone + Debug>(kind: K, netns: Netns) -> usize {
        let mut followed = Followed::start(kind, "local:", netns, None);
        while !matches!(followed.next().await, Change::Synced) {}
        followed.mirror.store().snapshot().len()
    }
    let netns = || namespace.netns();
    let routes = count("-j -4 route show table all", "") + count("-j -6 route show table all", "");
    assert_eq!(objects(Routes, netns()).await, routes);
    assert_eq!(objects(Links, netns()).await, count("-j link", ""));
    assert_eq!(objects(Addresses, netns()).await, count("-j addr", "addr_info"));
    let rules = count("-j -4 rule", "") + count("-j -6 rule", "");
    assert_eq!(objects(Rules, netns()).await, rules);
    assert_eq!(objects(Nexthops, netns()).await, count("-j nexthop", ""));
}

/// `NLR_MIRROR_SEEDS` is the number of seeds, `NLR_MIRROR_SEED` a single one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_are_followed() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let (first, count) = match number("NLR_MIRROR_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("NLR_MIRROR_SEEDS").unwrap_or(200)),
    };
    let began = Instant::now();
    let mut synced = 0;
    for seed in first..first + count {
        println!("seed {seed}, {:?}", began.elapsed());
        synced += random_changes(seed, 3, 170).await;
    }
    println!("{count} seeds, synced {synced} times");
}

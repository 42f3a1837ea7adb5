//! Events by way of a real NATS server.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use netlink_remote::{
    Connector, Group, Netns, Protocol, TargetOptions,
    fleet::Inventory,
    mirror::{Change, Links, Mirror, Routes},
    monitor::{Backoff, Happening, Monitor, MonitorBuilder, MonitorEvent, Subscription},
    nats::{Collector, CollectorOptions, Consumer, ConsumerOptions, Progress},
    nlmsg::messages,
};
use netlink_sys::Socket;
use nix::sched::{CloneFlags, setns};
use testing::{
    Namespace, PATIENCE, Running,
    netlink::{add_route, delete_route},
    programs, temporary,
    tool::Server,
};
use tokio::{task::JoinHandle, time::timeout};

const NEWLINK: u16 = 16;
const NEWROUTE: u16 = 24;

/// A NATS server with a folder of its own.
struct Nats {
    running: Option<Running>,
    port: u16,
    folder: PathBuf,
}

impl Nats {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = temporary("nats");
        fs::create_dir(&folder).unwrap();
        let mut nats = Self { running: None, port, folder };
        nats.resume();
        nats
    }

    /// Starts it again at the same port, with what it had stored.
    fn resume(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]);
        command.arg(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(Running::start(command));
        testing::wait("the NATS server", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    fn stop(&mut self) {
        let mut running = self.running.take().unwrap();
        running.signal(nix::sys::signal::Signal::SIGKILL);
        running.wait();
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.running = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn connector() -> Connector {
    Connector::new(TargetOptions::default().with_stub([programs::stub()]))
}

fn builder(groups: &[Group]) -> MonitorBuilder {
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let subscription = Subscription::new(Protocol::ROUTE).groups(groups.iter().copied());
    Monitor::builder().backoff(backoff).subscribe(subscription)
}

/// A collector that runs.
struct Collecting {
    task: JoinHandle<()>,
    progress: Progress,
}

impl Collecting {
    async fn start(
        nats: &Nats,
        options: CollectorOptions,
        builder: MonitorBuilder,
        inventory: &str,
    ) -> Self {
        let entries = inventory.parse::<Inventory>().unwrap().entries;
        let url = nats.url();
        let started = Collector::start(&url, options, builder, connector(), &entries);
        let mut collector = started.await.unwrap();
        let progress = collector.progress();
        let task = tokio::spawn(async move { collector.run().await.unwrap() });
        Self { task, progress }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn consumer(nats: &Nats, options: ConsumerOptions) -> Consumer {
    Consumer::connect(&nats.url(), options).await.unwrap()
}

async fn next(consumer: &mut Consumer) -> MonitorEvent {
    timeout(PATIENCE, consumer.next()).await.expect("no event").expect("the end")
}

/// The next event that passes.
async fn find(consumer: &mut Consumer, passes: impl Fn(&MonitorEvent) -> bool) -> MonitorEvent {
    loop {
        let event = next(consumer).await;
        if passes(&event) {
            return event;
        }
    }
}

fn is_ready(event: &MonitorEvent) -> bool {
    matches!(event.what, Happening::Ready(_))
}

fn is_datagram(event: &MonitorEvent) -> bool {
    matches!(event.what, Happening::Datagram { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_as_a_monitor_tells_them() {
    let nats = Nats::start();
    let server = Server::start(&[]);
    let namespace = Namespace::new();
    let inventory = format!("core1 {} -n {}", server.target(), namespace.0);
    let collecting =
        Collecting::start(&nats, CollectorOptions::default(), builder(&[Group::LINK]), &inventory)
            .await;
    // One that comes late knows what stands.
    testing::wait("the collector", || collecting.progress.published() > 0);
    let mut events = consumer(&nats, ConsumerOptions::default()).await;
    let ready = find(&mut events, is_ready).await;
    assert_eq!(ready.source.to_string(), format!("core1/{}", namespace.0));
    let mut direct = builder(&[Group::LINK])
        .watch(
            netlink_remote::monitor::Watched::new("local:".parse().unwrap())
                .netns(namespace.netns()),
        )
        .start(connector())
        .unwrap();
    assert!(is_ready(&direct.next().await.unwrap()));
    namespace.ip("link add b0 type bridge");
    let told = find(&mut events, is_datagram).await;
    let expected = direct.next().await.unwrap();
    let (
        Happening::Datagram { datagram: told, protocol, .. },
        Happening::Datagram { datagram, .. },
    ) = (&told.what, &expected.what)
    else {
        panic!("{told:?}");
    };
    assert_eq!(
        (&told.data, told.info, *protocol),
        (&datagram.data, datagram.info, Protocol::ROUTE)
    );
    assert_eq!(told.group(), Some(Group::LINK));
    assert!(told.received.is_some());
    // The host goes.
    let path = server.path.clone();
    server.stop(nix::sys::signal::Signal::SIGTERM);
    let cut = find(&mut events, |event| matches!(event.what, Happening::Disconnected { .. })).await;
    assert!(matches!(cut.what, Happening::Disconnected { retry_in: Some(_), .. }), "{}", cut.what);
    let _server = Server::start_at(path, &[]);
    let ready = find(&mut events, is_ready).await;
    assert!(matches!(&ready.what, Happening::Ready(ready) if ready.is_again()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_runs_on_them() {
    let nats = Nats::start();
    let namespace = Namespace::new();
    namespace.batch("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up\naddr add 10.0.0.1/24 dev v0");
    let groups =
        [Group::LINK, Group::IPV4_ROUTE, Group::IPV6_ROUTE, Group::IPV4_IFADDR, Group::NEXTHOP];
    let inventory = format!("core1 local: -n {}", namespace.0);
    let _collecting =
        Collecting::start(&nats, CollectorOptions::default(), builder(&groups), &inventory).await;
    let options = || ConsumerOptions::default().with_target("core1").with_netns(namespace.netns());
    let mut routes = Mirror::over(Routes, consumer(&nats, options()).await);
    let mut links = Mirror::over(Links, consumer(&nats, options()).await);
    let mut synced = async || {
        let both = async {
            routes.confirm();
            links.confirm();
            while !matches!(routes.next().await.unwrap(), Change::Synced) {}
            while !matches!(links.next().await.unwrap(), Change::Synced) {}
        };
        timeout(PATIENCE, both).await.unwrap();
        (routes.store().snapshot().len(), links.store().len())
    };
    synced().await;
    let count = || {
        let length = |arguments: &str| {
            let text = namespace.ip(arguments);
            serde_json::from_str::<serde_json::Value>(&text).unwrap().as_array().unwrap().len()
        };
        let routes = length("-j -4 route show table all") + length("-j -6 route show table all");
        (routes, length("-j link"))
    };
    for round in 0..5 {
        let batch: String = (0..40)
            .map(|number| format!("route replace 10.{round}1.{number}.0/24 via 10.0.0.2\n"))
            .collect();
        namespace.batch(&batch);
        namespace.ip(&format!("link add b{round} type bridge"));
        let expected = count();
        // Another dump may be on its way.
        let began = Instant::now();
        loop {
            if synced().await == expected {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{:?}, not {expected:?}", synced().await);
        }
    }
}

/// The server is away while events happen: each comes later, or is told as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_costs_no_memory_and_losses_are_counted() {
    const ROUTES: usize = 30_000;
    let mut nats = Nats::start();
    let namespace = Namespace::new();
    namespace.ip("link set lo up");
    let inventory = format!("core1 local: -n {}", namespace.0);
    let options = CollectorOptions::default().with_stream("NETLINK");
    let builder = builder(&[Group::IPV4_ROUTE]).receive_buffer(1 << 20);
    let collecting = Collecting::start(&nats, options, builder, &inventory).await;
    testing::wait("the collector", || collecting.progress.published() > 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    nats.stop();
    let batch: String = (0..ROUTES)
        .map(|route| {
            let [_, a, b, c] = u32::try_from(route).unwrap().to_be_bytes();
            format!("route add blackhole 10.{a}.{b}.{c}/32\n")
        })
        .collect();
    let name = namespace.0.clone();
    tokio::task::spawn_blocking(move || Namespace::batch_in(&name, &batch)).await.unwrap();
    nats.resume();
    let options = ConsumerOptions::default().with_stream("NETLINK");
    let mut events = consumer(&nats, options).await;
    let mut received = BTreeSet::new();
    let mut lost = 0;
    while received.len() + lost < ROUTES {
        match next(&mut events).await.what {
            Happening::Datagram { datagram, .. } => {
                let message = messages(&datagram.data).next().unwrap();
                assert_eq!(message.header.kind, NEWROUTE);
                received.insert(message.attributes(12).bytes(1).unwrap().to_vec());
            }
            Happening::Lost { dropped, .. } => lost += usize::try_from(dropped).unwrap(),
            _ => {}
        }
    }
    assert_eq!(received.len() + lost, ROUTES);
    assert!(lost > 0, "the buffers held them all");
    println!("{} received, {lost} lost", received.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_from_its_beginning() {
    let nats = Nats::start();
    let namespace = Namespace::new();
    let inventory = format!("core1 local: -n {}", namespace.0);
    let options = CollectorOptions::default().with_stream("NETLINK").with_prefix("lab");
    let collecting = Collecting::start(&nats, options, builder(&[Group::LINK]), &inventory).await;
    testing::wait("the collector", || collecting.progress.published() > 0);
    for number in 0..5 {
        namespace.ip(&format!("link add b{number} type bridge"));
    }
    testing::wait("the events", || collecting.progress.published() > 5);
    drop(collecting);
    let options = ConsumerOptions::default().with_stream("NETLINK").with_prefix("lab");
    let mut events = consumer(&nats, options).await;
    let mut names = Vec::new();
    while names.len() < 5 {
        let event = find(&mut events, is_datagram).await;
        let Happening::Datagram { datagram, .. } = event.what else { continue };
        for message in messages(&datagram.data).filter(|message| message.header.kind == NEWLINK) {
            names.extend(message.attributes(16).text(3));
        }
    }
    assert_eq!(names, ["b0", "b1", "b2", "b3", "b4"]);
    let url = nats.url();
    let error = Consumer::connect(&url, ConsumerOptions::default().with_stream("NOSUCH"));
    let error = error.await.unwrap_err();
    assert!(format!("{error:#}").contains("NOSUCH"), "{error:#}");
    let error = Consumer::connect("nats://127.0.0.1:1", ConsumerOptions::default()).await;
    let error = error.unwrap_err();
    assert!(format!("{error:#}").contains("connecting to nats://127.0.0.1:1"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_that_share_watch_each_target_once() {
    let nats = Nats::start();
    let namespaces: Vec<_> = (0..6).map(|_| Namespace::new()).collect();
    let inventory: String = namespaces
        .iter()
        .enumerate()
        .map(|(number, namespace)| format!("host{number} local: -n {}\n", namespace.0))
        .collect();
    let mut events = consumer(&nats, ConsumerOptions::default()).await;
    let start = async |name: &str| {
        let options = CollectorOptions::default().sharing().with_name(name);
        Collecting::start(&nats, options, builder(&[Group::LINK]), &inventory).await
    };
    let first = start("first").await;
    let second = start("second").await;
    let mut ready = BTreeSet::new();
    while ready.len() < namespaces.len() {
        let event = find(&mut events, is_ready).await;
        assert!(ready.insert(event.source.to_string()), "{} twice", event.source);
    }
    let has = |collecting: &Collecting| collecting.progress.targets().states().len();
    assert_eq!(has(&first) + has(&second), namespaces.len());
    for namespace in &namespaces {
        namespace.ip("link add b0 type bridge");
    }
    let mut told = BTreeMap::new();
    let quiet = Duration::from_secs(1);
    while let Ok(Some(event)) = timeout(quiet, events.next()).await {
        if is_datagram(&event) {
            *told.entry(event.source.to_string()).or_insert(0) += 1;
        }
    }
    assert!(told.len() == namespaces.len() && told.values().all(|count| *count == 1), "{told:?}");
    // The other takes over what one leaves behind.
    let left = has(&second);
    drop(first);
    let began = Instant::now();
    while has(&second) < namespaces.len() {
        assert!(began.elapsed() < Duration::from_secs(40), "{} of {left}", has(&second));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("taken over after {:?}", began.elapsed());
}

/// A consumer that does not read: the server, or its own bound, drops messages, and the gap is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_is_told_what_it_has_missed() {
    const ROUTES: u64 = 20_000;
    // Without it the far kernel drops some, which is another test's.
    if !testing::world::has_real_root("a large receive buffer") {
        return;
    }
    let nats = Nats::start();
    let namespace = Namespace::new();
    namespace.ip("link set lo up");
    let inventory = format!("core1 local: -n {}", namespace.0);
    let collecting = Collecting::start(
        &nats,
        CollectorOptions::default(),
        builder(&[Group::IPV4_ROUTE]),
        &inventory,
    )
    .await;
    let mut events = consumer(&nats, ConsumerOptions::default().with_target("core1")).await;
    find(&mut events, is_ready).await;
    let before = collecting.progress.published();
    let batch: String = (0..ROUTES)
        .map(|route| {
            let [_, _, _, _, _, a, b, c] = route.to_be_bytes();
            format!("route add blackhole 10.{a}.{b}.{c}/32\n")
        })
        .collect();
    let name = namespace.0.clone();
    tokio::task::spawn_blocking(move || Namespace::batch_in(&name, &batch)).await.unwrap();
    testing::wait("all to be published", || collecting.progress.published() == before + ROUTES);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The gap shows by what comes behind it.
    let (mut received, mut lost) = (0, 0);
    let quiet = Duration::from_secs(1);
    while let Ok(Some(event)) = timeout(quiet, events.next()).await {
        match event.what {
            Happening::Datagram { .. } => received += 1,
            Happening::Lost { dropped, .. } => lost += dropped,
            _ => {}
        }
    }
    namespace.ip("route add blackhole 192.0.2.1");
    while received + lost < ROUTES + 1 {
        let event = next(&mut events).await;
        match event.what {
            Happening::Datagram { .. } => received += 1,
            Happening::Lost { dropped, .. } => lost += dropped,
            _ => {}
        }
    }
    println!("{received} received, {lost} lost");
    assert_eq!(received + lost, ROUTES + 1);
    assert!(lost > 0, "the consumer's bound held them all");
}

#[test]
fn the_example_follows_links() {
    let nats = Nats::start();
    let namespace = Namespace::new();
    let inventory = temporary("inventory");
    fs::write(&inventory, format!("core1 local: -n {}\n", namespace.0)).unwrap();
    let mut collect = testing::tool::nlr(&["collect", "--nats", &nats.url(), "--group", "link"]);
    collect.arg("--inventory").arg(&inventory).args(["--stats", "0.2"]);
    let mut collect = Running::start(collect);
    let mut statistics = BufReader::new(collect.0.stdout.take().unwrap()).lines();
    assert!(statistics.any(|line| line.unwrap().contains("\"connected\":1")));
    let mut example = Command::new(programs::example("nats_consumer"));
    example.args([&nats.url(), "core1"]).stdout(Stdio::piped());
    let mut example = Running::start(example);
    let mut lines = BufReader::new(example.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "= 1 links"));
    namespace.ip("link add b0 type bridge");
    assert!(lines.any(|line| line.unwrap() == "+ b0"));
    namespace.ip("link del b0");
    assert!(lines.any(|line| line.unwrap() == "- b0"));
    collect.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(collect.end().code(), 130);
    fs::remove_file(&inventory).unwrap();
    let words = ["collect", "--inventory", "/nosuch", "--nats", "nats://127.0.0.1:1"];
    testing::finish(testing::tool::nlr(&words)).failed(2, &["/nosuch"]);
}

/// Two hundred targets and a storm at one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_hosts_by_one_collector() {
    const HOSTS: usize = 200;
    let nats = Nats::start();
    let server = Server::start(&[]);
    let namespaces: Vec<_> = (0..HOSTS).map(|_| Namespace::empty()).collect();
    let inventory: String = namespaces
        .iter()
        .enumerate()
        .map(|(number, namespace)| format!("host{number} {} -n {}\n", server.target(), namespace.0))
        .collect();
    let mut events = consumer(&nats, ConsumerOptions::default()).await;
    let groups = [Group::LINK, Group::IPV4_ROUTE];
    let collecting =
        Collecting::start(&nats, CollectorOptions::default(), builder(&groups), &inventory).await;
    let mut ready = BTreeSet::new();
    while ready.len() < HOSTS {
        ready.insert(find(&mut events, is_ready).await.source.to_string());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    println!("{HOSTS} hosts: {memory}, {descriptors} descriptors");
    let mut told = BTreeSet::new();
    for namespace in &namespaces {
        namespace.ip("link set lo up");
    }
    while told.len() < HOSTS {
        told.insert(find(&mut events, is_datagram).await.source.to_string());
    }
    // A storm at the first, and changes at others.
    let storm = Storm::start(&namespaces[0], 50_000);
    let before = collecting.progress.published();
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for namespace in &namespaces[1..20] {
        namespace.ip("link set lo mtu 1000");
        let changed = SystemTime::now();
        let name = Netns::Name(namespace.0.clone());
        find(&mut events, |event| is_datagram(event) && event.source.netns.as_ref() == Some(&name))
            .await;
        longest = longest.max(changed.elapsed().unwrap_or_default());
    }
    let each_second = |count: u64| count as f64 / began.elapsed().as_secs_f64();
    let published = each_second(collecting.progress.published() - before);
    let made = each_second(storm.end());
    println!(
        "a storm of {made:.0} events a second, {published:.0} of them published; others came after {longest:?} at most"
    );
}

/// Changes of routes in a namespace, so many a second as its thread manages.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Storm {
    fn start(namespace: &Namespace, each_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (is_over, path) = (Arc::clone(&stop), format!("/run/netns/{}", namespace.0));
        let thread = thread::spawn(move || {
            setns(fs::File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let socket = Socket::new(0).unwrap();
            let changes = each_second / 100;
            let batch: Vec<u8> = (0..changes / 2)
                .flat_map(|number| [add_route(number, 0), delete_route(number)])
                .flatten()
                .collect();
            let (began, mut batches) = (Instant::now(), 0);
            while !is_over.load(Ordering::Relaxed) {
                socket.send(&batch, 0).unwrap();
                batches += 1;
                let due = Duration::from_millis(10) * batches;
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            u64::from(batches * changes)
        });
        Self { stop, thread }
    }

    /// The number of changes made.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

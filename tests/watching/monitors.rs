//! `Monitor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use netlink_remote::{
    Connector, Group, Netns, Protocol, TargetOptions,
    monitor::{Happening, Monitor, Subscription, TargetState},
};
use testing::{Namespace, processes, programs, run, sshd::sshd, tool::Server, world};

use crate::{relay::Relay, support::*};

/// Runs `ip` outside of every namespace of the tests.
fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

const NEWLINK: u16 = 16;
const NEWROUTE: u16 = 24;

fn links() -> Subscription {
    Subscription::new(Protocol::ROUTE).group(Group::LINK)
}

/// The next datagram's types, source and time.
async fn datagram(monitor: &mut Monitor) -> (Vec<u16>, String, SystemTime) {
    let event = next(monitor).await;
    match event.what {
        Happening::Datagram { datagram, .. } => {
            (types(&datagram.data), event.source.to_string(), event.time)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn events_of_two_namespaces_name_their_sources() {
    let (first, second) = (Namespace::new(), Namespace::new());
    let place = watched("local:").name("here").netns(first.netns()).netns(second.netns());
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    let ready = [next(&mut monitor).await, next(&mut monitor).await];
    let sources: BTreeSet<_> = ready.iter().map(|event| event.source.to_string()).collect();
    let names: BTreeSet<_> =
        [&first, &second].map(|namespace| format!("here/{}", namespace.0)).into();
    assert_eq!(sources, names);
    assert!(ready.iter().all(|event| event.what.to_string() == "ready"));
    for namespace in [&second, &first] {
        let before = SystemTime::now();
        namespace.ip("link add b0 type bridge");
        let (kinds, source, time) = datagram(&mut monitor).await;
        assert_eq!((kinds, source), (vec![NEWLINK], format!("here/{}", namespace.0)));
        assert!(before <= time && time <= SystemTime::now());
    }
    let states = monitor.targets().states();
    assert!(matches!(&states[..], [(name, TargetState::Connected { .. })] if &**name == "here"));
}

#[tokio::test]
async fn a_cut_is_told_and_mended() {
    let server = Server::start(&[]);
    let relay = Relay::start(server.path.clone());
    let namespace = Namespace::new();
    let place = watched(&relay.target()).name("far").netns(namespace.netns());
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    assert!(!ready(&mut monitor).await.is_again());
    namespace.ip("link add b0 type bridge");
    assert_eq!(datagram(&mut monitor).await.0, [NEWLINK]);
    relay.refuse(true);
    relay.cut();
    let gone = next_word(&mut monitor).await;
    assert_eq!(gone.source.to_string(), "far");
    assert!(
        matches!(gone.what, Happening::Disconnected { retry_in: Some(_), .. }),
        "{}",
        gone.what
    );
    // Not told: it happens while nobody listens.
    namespace.ip("link add b1 type bridge");
    let again = next_word(&mut monitor).await;
    assert!(matches!(again.what, Happening::Disconnected { retry_in: Some(_), .. }));
    assert!(matches!(monitor.targets().states()[0].1, TargetState::Waiting { .. }));
    relay.refuse(false);
    let ready = loop {
        match next_word(&mut monitor).await.what {
            Happening::Ready(ready) => break ready,
            Happening::Disconnected { retry_in: Some(_), .. } => {}
            other => panic!("{other}"),
        }
    };
    assert!(ready.is_again());
    namespace.ip("link add b2 type bridge");
    assert_eq!(datagram(&mut monitor).await.0, [NEWLINK]);
}

#[tokio::test]
async fn a_namespace_that_is_deleted_and_made_again_is_told() {
    let namespace = Namespace::new();
    let place = watched("local:").netns(namespace.netns());
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    ready(&mut monitor).await;
    let name = namespace.0.clone();
    ip(&format!("netns del {name}"));
    assert_eq!(next_word(&mut monitor).await.what.to_string(), "the namespace is gone");
    ip(&format!("netns add {name}"));
    assert!(ready(&mut monitor).await.is_again());
    namespace.ip("link add b0 type bridge");
    assert_eq!(datagram(&mut monitor).await.0, [NEWLINK]);
    // Another one at once.
    ip(&format!("netns del {name}"));
    ip(&format!("netns add {name}"));
    assert_eq!(next_word(&mut monitor).await.what.to_string(), "the namespace is gone");
    assert!(ready(&mut monitor).await.is_again());
}

#[tokio::test]
async fn namespaces_that_come_are_watched_too() {
    if !world::has_real_root("listing /run/netns") {
        return;
    }
    let place = watched("local:").all_netns();
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    ready(&mut monitor).await;
    let namespace = Namespace::new();
    let suffix = format!("/{}", namespace.0);
    loop {
        let event = next_word(&mut monitor).await;
        // Other tests have theirs.
        if event.source.to_string().ends_with(&suffix) {
            assert_eq!(event.what.to_string(), "ready");
            break;
        }
    }
    drop(namespace);
    loop {
        let event = next_word(&mut monitor).await;
        if event.source.to_string().ends_with(&suffix) {
            assert_eq!(event.what.to_string(), "the namespace is gone");
            break;
        }
    }
}

#[tokio::test]
async fn what_cannot_succeed_is_given_up_and_the_stream_ends() {
    // A group that no kernel has, a namespace that is not there, and a target that cannot be.
    let group = Subscription::new(Protocol::ROUTE).group(Group::new(4000));
    let places = [
        watched("local:").name("group").subscribe(group),
        watched("local:").name("netns").netns(Netns::Name("nosuch".into())),
    ];
    let mut monitor = builder().subscribe(links());
    for place in places {
        monitor = monitor.watch(place);
    }
    let mut monitor = monitor.start(connector()).unwrap();
    let mut given_up = BTreeMap::new();
    while let Some(event) = monitor.next().await {
        match event.what {
            Happening::Disconnected { retry_in: None, why, .. } => {
                *given_up.entry(event.source.target.to_string()).or_insert(0) += 1;
                assert!(why.errno().is_some(), "{why}");
            }
            other => panic!("{}: {other}", event.source),
        }
    }
    // The namespace, and with it the target.
    assert_eq!(given_up, BTreeMap::from([("group".into(), 2), ("netns".into(), 2)]));
    let states = monitor.targets().states();
    assert!(states.iter().all(|(_, state)| matches!(state, TargetState::Failed { .. })));
    // Others can come.
    monitor.targets().add(watched("local:").name("good")).unwrap();
    ready(&mut monitor).await;
    assert!(monitor.targets().remove("good"));
    assert!(monitor.next().await.is_none());
}

#[tokio::test]
async fn a_namespace_is_waited_for_where_that_is_asked() {
    let name = testing::unique("late");
    let place = watched("local:").netns(Netns::Name(name.clone())).wait_for_netns();
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    match next(&mut monitor).await.what {
        Happening::Disconnected { retry_in: Some(_), why, .. } => assert!(why.errno().is_some()),
        other => panic!("{other}"),
    }
    ip(&format!("netns add {name}"));
    ready(&mut monitor).await;
    ip(&format!("netns del {name}"));
}

#[tokio::test]
async fn names_are_the_only_ones_of_their_kind() {
    let twice = builder().subscribe(links()).watch(watched("local:")).watch(watched("local:"));
    let error = twice.start(connector()).unwrap_err();
    assert!(error.to_string().contains("two targets of this name"), "{error}");
    let error = builder().watch(watched("local:")).start(connector()).unwrap_err();
    assert!(error.to_string().contains("no subscription"), "{error}");
}

/// As fast as another process makes them: each is received, or its gap is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_routes_are_received_or_told_as_lost() {
    let server = Server::start(&[]);
    received_or_lost(&server.target(), &connector()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_are_they_over_ssh() {
    if !world::has_real_root("sshd") {
        return;
    }
    let sshd = sshd();
    let options = TargetOptions::default()
        .with_stub([programs::stub()])
        .with_stubs([programs::stripped_stub()])
        .with_ssh_config(sshd.config.clone());
    let target = format!("ssh://{}", sshd.destination);
    received_or_lost(&target, &Connector::new(options)).await;
}

async fn received_or_lost(target: &str, connector: &Connector) {
    const ROUTES: usize = 100_000;
    let namespace = Namespace::new();
    namespace.ip("link set lo up");
    let routes = Subscription::new(Protocol::ROUTE).group(Group::IPV4_ROUTE);
    for (asleep, buffer) in [(Duration::ZERO, None), (Duration::from_secs(10), Some(1 << 20))] {
        let place = watched(target).netns(namespace.netns());
        let mut options = builder().subscribe(routes.clone()).watch(place);
        if let Some(buffer) = buffer {
            options = options.receive_buffer(buffer);
        }
        let mut monitor = options.start(connector.clone()).unwrap();
        ready(&mut monitor).await;
        let batch: String = (0..ROUTES)
            .map(|route| {
                let [_, a, b, c] = u32::try_from(route).unwrap().to_be_bytes();
                format!("route replace blackhole 10.{a}.{b}.{c}/32\n")
            })
            .collect();
        let changes = tokio::task::spawn_blocking({
            let name = namespace.0.clone();
            move || Namespace::batch_in(&name, &batch)
        });
        tokio::time::sleep(asleep).await;
        let (mut received, mut lost) = (0, 0);
        let began = Instant::now();
        while received + lost < ROUTES {
            assert!(began.elapsed() < Duration::from_secs(120), "{received} and {lost}");
            let event = tokio::time::timeout(Duration::from_secs(20), monitor.next()).await;
            let event = event.unwrap_or_else(|_| panic!("{received} received, {lost} lost"));
            match event.unwrap().what {
                Happening::Datagram { datagram, .. } => {
                    assert_eq!(types(&datagram.data), [NEWROUTE]);
                    received += 1;
                }
                Happening::Lost { dropped, .. } => lost += usize::try_from(dropped).unwrap(),
                other => panic!("{other}"),
            }
        }
        changes.await.unwrap();
        assert_eq!(received + lost, ROUTES);
        println!("asleep for {asleep:?}: {received} received, {lost} lost");
        match buffer {
            // Without privileges the kernel has less room.
            None => assert!(lost == 0 || world::is_user(), "{lost} lost at default settings"),
            Some(_) => assert!(lost > 0, "the buffer was not too small"),
        }
        // Then normal service.
        namespace.ip("route flush table main");
        let quiet = Duration::from_secs(1);
        while tokio::time::timeout(quiet, monitor.next()).await.is_ok() {}
        namespace.ip("route add blackhole 192.0.2.1");
        loop {
            if let Happening::Datagram { datagram, .. } = next(&mut monitor).await.what
                && types(&datagram.data) == [NEWROUTE]
            {
                break;
            }
        }
        namespace.ip("route flush table main");
    }
}

/// A storm in one place does not hold up the events of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_does_not_starve_others() {
    let server = Server::start(&[]);
    let (stormy, quiet) = (Namespace::new(), Namespace::new());
    let rules = Subscription::new(Protocol::ROUTE).group(Group::IPV4_ROUTE).group(Group::IPV4_RULE);
    let mut options = builder().subscribe(rules);
    for (name, namespace) in [("stormy", &stormy), ("quiet", &quiet)] {
        let place = watched(&server.target()).name(name).netns(namespace.netns());
        options = options.watch(place);
    }
    let mut monitor = options.start(connector()).unwrap();
    for _ in 0..2 {
        ready(&mut monitor).await;
    }
    stormy.ip("link set lo up");
    let batch =
        "route replace blackhole 10.0.0.1\nroute replace unreachable 10.0.0.1\n".repeat(100_000);
    let storm = tokio::task::spawn_blocking({
        let name = stormy.0.clone();
        move || Namespace::batch_in(&name, &batch)
    });
    let mut between = Vec::new();
    for priority in 1..=10 {
        quiet.ip(&format!("rule add prio {priority} lookup 100"));
        let mut others = 0;
        loop {
            let event = next(&mut monitor).await;
            if &*event.source.target == "quiet" {
                break;
            }
            others += 1;
        }
        between.push(others);
    }
    assert!(!storm.is_finished(), "the storm was over too soon");
    // Events that were told between a change and its event: those that waited before it, and what a reader
    // has taken while `ip` ran. Without turns it would be all that the storm had queued.
    println!("between: {between:?}");
    drop(monitor);
    storm.await.unwrap();
}

/// Memory and descriptors of a process.
fn taken(pid: u32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes = line.trim().trim_end_matches(" kB").parse().unwrap();
    (kibibytes, std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_namespaces_are_watched_by_one_connection() {
    const COUNT: usize = 500;
    let server = Server::start(&[]);
    let namespaces: Vec<_> = (0..COUNT).map(|_| Namespace::empty()).collect();
    let mut place = watched(&server.target()).name("host");
    for namespace in &namespaces {
        place = place.netns(namespace.netns());
    }
    let before = (taken(server.pid()), taken(std::process::id()));
    let mut monitor = builder().subscribe(links()).watch(place).start(connector()).unwrap();
    let began = Instant::now();
    for _ in 0..COUNT {
        ready(&mut monitor).await;
    }
    println!("{COUNT} namespaces ready after {:?}", began.elapsed());
    let after = (taken(server.pid()), taken(std::process::id()));
    println!("the server, KiB and descriptors: {:?}, then {:?}", before.0, after.0);
    println!("this side: {:?}, then {:?}", before.1, after.1);
    let each = (after.1.0 - before.1.0) as usize * 1024 / COUNT;
    assert!(each < 64 << 10, "{each} bytes each at this side");
    assert!(after.0.1 - before.0.1 < 3 * COUNT + 50, "{after:?}");
    let mut told = BTreeSet::new();
    for namespace in &namespaces {
        namespace.ip("link set lo up");
        told.insert(datagram(&mut monitor).await.1);
    }
    assert_eq!(told.len(), COUNT, "an event of each");
}

/// A peer that is there and says nothing, as one behind a network that is cut.
#[tokio::test]
async fn a_silent_peer_is_noticed_within_two_intervals() {
    let server = Server::start(&[]);
    let interval = Duration::from_millis(300);
    let options = TargetOptions::default().with_keepalive(interval);
    let mut monitor = builder()
        .subscribe(links())
        .watch(watched(&server.target()))
        .start(Connector::new(options))
        .unwrap();
    ready(&mut monitor).await;
    processes::stop(server.pid());
    let began = Instant::now();
    loop {
        match next_word(&mut monitor).await.what {
            Happening::Disconnected { why, retry_in: Some(_), .. } => {
                assert!(why.is_timeout(), "{why}");
                break;
            }
            other => println!("{other}"),
        }
    }
    // Twice the interval, and what a busy machine adds.
    assert!(began.elapsed() < 20 * interval, "{:?}", began.elapsed());
    processes::signal(server.pid(), nix::sys::signal::Signal::SIGCONT);
    loop {
        match next_word(&mut monitor).await.what {
            Happening::Ready(ready) => {
                assert!(ready.is_again());
                break;
            }
            other => println!("{other}"),
        }
    }
}

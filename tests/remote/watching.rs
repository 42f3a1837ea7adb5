//! Monitors and mirrors of a host whose sshd, sudo and network come and go.

use std::time::{Duration, Instant};

use netlink_remote::{
    Connector, Group, Protocol, Step,
    mirror::{Change, Links, Mirror, Why},
    monitor::{Backoff, Happening, Monitor, MonitorBuilder, Subscription, Watched},
};
use testing::{
    lab::{Host, Lab},
    remote::*,
};

const TARGET: &str = "ssh://test01,sudo:";

fn builder() -> MonitorBuilder {
    Monitor::builder().backoff(Backoff::new(Duration::from_millis(100), Duration::from_secs(1)))
}

/// Follows a mirror up to a moment at which it is sure, and gives what it was not sure of before.
async fn synced(mirror: &mut Mirror<Links>) -> Vec<Why> {
    let mut doubts = Vec::new();
    loop {
        match within(mirror.next()).await.expect("the end") {
            Change::Synced => return doubts,
            Change::Stale { why, .. } => doubts.push(why),
            _ => {}
        }
    }
}

fn names(mirror: &Mirror<Links>) -> Vec<String> {
    let objects = mirror.store().snapshot().into_iter();
    let mut names: Vec<_> = objects.map(|(_, link)| link.attributes(16).text(3).unwrap()).collect();
    names.sort();
    names
}

/// The mirror notices, and is right again.
async fn mended(mirror: &mut Mirror<Links>, host: &Host) {
    let doubts = synced(mirror).await;
    assert!(
        doubts.iter().any(|why| matches!(why, Why::Disconnected { retry_in: Some(_), .. })),
        "{doubts:?}"
    );
    let mut links = links_of(host);
    links.sort();
    assert_eq!(names(mirror), links);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_outlives_sudo_sshd_and_the_network_and_asks_once() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").password("secret").sudoers("ci ALL=ALL").start();
    let (prompter, asked) = answers(&["secret"]);
    let keepalive = Duration::from_millis(500);
    let mut options = options(&lab).with_keepalive(keepalive).with_timeout(Duration::from_secs(5));
    options.prompter = prompter.remembering();
    let watched = Watched::new(TARGET.parse().unwrap());
    let mut mirror =
        Mirror::start_with(Links, builder(), Connector::new(options), watched).unwrap();
    synced(&mut mirror).await;
    host.kill_all("sudo");
    host.run("ip link add while-cut type veth peer name while-cut2");
    mended(&mut mirror, &host).await;
    host.kill_sshd();
    host.run("ip link del while-cut");
    host.start_sshd();
    mended(&mut mirror, &host).await;
    // Packets are lost without a word, as behind a firewall that forgets.
    host.link_down();
    let began = Instant::now();
    let why = loop {
        match within(mirror.next()).await.unwrap() {
            Change::Stale { why: Why::Disconnected { why, .. }, .. } => break why,
            other => println!("{other:?}"),
        }
    };
    assert!(began.elapsed() < 20 * keepalive, "{:?}: {why}", began.elapsed());
    host.link_up();
    synced(&mut mirror).await;
    let mut links = links_of(&host);
    links.sort();
    assert_eq!(names(&mirror), links);
    assert_eq!(asked.lock().unwrap().len(), 1, "asked once");
    // Sudo is revoked: told, and given up.
    host.file("/etc/sudoers", "root ALL=(ALL) ALL\n", 0o440);
    host.kill_all("sudo");
    loop {
        match within(mirror.next()).await.expect("the last word") {
            Change::Stale { why: Why::Disconnected { why, retry_in: None, .. }, .. } => {
                assert_eq!(why.step(), Some(Step::Privilege), "{why}");
                break;
            }
            other => println!("{other:?}"),
        }
    }
    assert!(within(mirror.next()).await.is_none());
}

/// What no attempt can mend is tried once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_and_a_host_key_that_are_refused_are_given_up() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let _host = lab.host("test01").start();
    let links = Subscription::new(Protocol::ROUTE).group(Group::LINK);
    let watched = |name: &str, target: &str| Watched::new(target.parse().unwrap()).name(name);
    let mut monitor = builder()
        .subscribe(links)
        .watch(watched("login", "ssh://somebody@test01"))
        .watch(watched("sudo", TARGET))
        .start(Connector::new(options(&lab)))
        .unwrap();
    let mut refused = Vec::new();
    while let Some(event) = within(monitor.next()).await {
        match event.what {
            Happening::Disconnected { why, retry_in: None, .. } => {
                refused.push((event.source.target.to_string(), why.step()));
            }
            other => panic!("{}: {other}", event.source),
        }
    }
    refused.sort_by(|(first, _), (second, _)| first.cmp(second));
    let expected = [("login", Step::Authentication), ("sudo", Step::Privilege)];
    assert_eq!(refused, expected.map(|(name, step)| (name.to_owned(), Some(step))));
}

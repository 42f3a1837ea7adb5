//! `nlr mirror` and `nlr wait`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use testing::{
    Namespace, Running, finish,
    tool::{Server, json_lines, nlr, nlr_words},
};

fn objects(namespace: &Namespace, object: &str) -> Vec<Value> {
    let words = format!("mirror {object} --once --json -n {}", namespace.0);
    let mut lines = json_lines(&nlr_words(&words).printed());
    let synced = lines.pop().unwrap();
    assert_eq!(synced["event"], "synced");
    assert!(lines.iter().all(|line| line["event"] == "added"), "{lines:?}");
    lines
}

#[test]
fn each_kind_of_object_is_listed() {
    let namespace = Namespace::new();
    namespace.batch(
        "link add v0 type veth peer name v1
         link add br0 type bridge
         link set v1 master br0
         link set v0 up
         link set v1 up
         addr add 10.0.0.1/24 dev v0
         neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
         rule add prio 7 lookup 100
         nexthop add id 5 via 10.0.0.9 dev v0
         route add 192.0.2.0/24 nhid 5",
    );
    namespace.sh("bridge fdb add 02:00:00:00:00:01 dev v1 master static");
    let has = |object: &str, key: &str, value: Value| {
        let listed = objects(&namespace, object);
        assert!(listed.iter().any(|line| line[key] == value), "{object}: {listed:#?}");
    };
    has("link", "ifname", "v0".into());
    has("addr", "local", "10.0.0.1".into());
    has("route", "dst", "192.0.2.0/24".into());
    has("neigh", "dst", "10.0.0.9".into());
    has("rule", "priority", 7.into());
    has("nexthop", "id", 5.into());
    has("fdb", "lladdr", "02:00:00:00:00:01".into());
    assert_eq!(objects(&namespace, "link").len(), 4);
}

#[test]
fn changes_follow_the_list() {
    let server = Server::start(&[]);
    let (path, target) = (server.path.clone(), server.target());
    let namespace = Namespace::new();
    let running = Running::start(nlr(&["mirror", "link", "--json", "-n", &namespace.0, &target]));
    namespace.wait_for_listener();
    namespace.ip("link add b0 type bridge");
    namespace.ip("link set b0 mtu 1400");
    std::thread::sleep(Duration::from_millis(500));
    server.stop(Signal::SIGTERM);
    namespace.ip("link add b1 type bridge");
    namespace.ip("link del b0");
    let server = Server::start_at(path, &[]);
    namespace.wait_for_listener();
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!(ended.code(), 130, "{ended:?}");
    let lines = json_lines(&ended.stdout);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let name = line["ifname"].as_str().unwrap_or_default();
            format!("{} {name}", line["event"].as_str().unwrap())
        })
        .filter(|line| !line.ends_with(" lo"))
        .collect();
    let stale = told.iter().position(|line| line == "stale ").unwrap();
    assert_eq!(told[..3], ["synced ", "added b0", "changed b0"], "{told:?}");
    let after: Vec<_> = told[stale..].iter().filter(|line| *line != "stale ").collect();
    assert_eq!(after, ["removed b0", "added b1", "synced "], "{told:?}");
    drop(server);
}

#[test]
fn a_link_that_is_moved_is_told_from_one_that_is_deleted() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.ip("link add v0 type veth peer name v1");
    let running = Running::start(nlr(&["mirror", "link", "--json", "-n", &namespace.0]));
    namespace.wait_for_listener();
    std::thread::sleep(Duration::from_millis(500));
    namespace.ip(&format!("link set v0 netns {}", other.0));
    namespace.ip("link del v1");
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::SIGINT);
    let lines = json_lines(&running.end().stdout);
    let removed = |name: &str| {
        let found = lines.iter().find(|line| line["event"] == "removed" && line["ifname"] == name);
        found.unwrap_or_else(|| panic!("{name}: {lines:#?}"))
    };
    assert!(removed("v0")["moved_to"].is_number(), "{lines:#?}");
    assert_eq!(removed("v1")["moved_to"], Value::Null);
}

#[test]
fn a_wait_ends_when_its_condition_holds() {
    let namespace = Namespace::new();
    let start = |words: &str| {
        let words = format!("wait {words} -n {} --timeout 20 --json", namespace.0);
        Running::start(nlr(&words.split(' ').collect::<Vec<_>>()))
    };
    let waits = [
        start("link v0 up"),
        start("addr 10.0.0.1 dev v0"),
        start("addr fd00::1/64"),
        start("route 192.0.2.0/24 via 10.0.0.2 dev v0"),
        start("route default table 100"),
        start("neigh 10.0.0.9 reachable"),
    ];
    std::thread::sleep(Duration::from_millis(500));
    let mut running = start("link v0 gone").end();
    assert_eq!((running.code(), running.stdout.as_str()), (0, ""), "it is not there yet");
    namespace.batch(
        "link add v0 type veth peer name v1
         link set v0 up
         link set v1 up
         addr add 10.0.0.1/24 dev v0
         -6 addr add fd00::1/64 dev v0
         route add 192.0.2.0/24 via 10.0.0.2
         route add blackhole default table 100
         neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent",
    );
    for (wait, key, value) in waits
        .into_iter()
        .zip(["v0", "10.0.0.1", "fd00::1", "192.0.2.0/24", "default", "10.0.0.9"])
        .map(|(wait, value)| (wait, ["ifname", "local", "dst"], value))
    {
        let ended = wait.end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        let lines = json_lines(&ended.stdout);
        assert!(key.iter().any(|key| lines[0][*key] == value), "{value}: {lines:?}");
    }
    let gone = start("link v0 gone");
    std::thread::sleep(Duration::from_millis(300));
    namespace.ip("link del v0");
    running = gone.end();
    assert_eq!(running.code(), 0, "{running:?}");
}

#[test]
fn a_wait_that_is_in_vain_has_an_exit_code() {
    let namespace = Namespace::new();
    let began = Instant::now();
    let words = format!("wait link nosuch -n {} --timeout 0.5", namespace.0);
    nlr_words(&words).failed(1, &["nosuch did not come true within 500ms"]);
    assert!(began.elapsed() >= Duration::from_millis(500));
    // Not connected at all.
    finish(nlr(&["wait", "link", "lo", "unix:/nosuch/socket"])).failed(3, &["/nosuch/socket"]);
    finish(nlr(&["wait", "link", "lo", "-n", "nosuch"])).failed(1, &["nosuch"]);
    finish(nlr(&["mirror", "link", "unix:/nosuch/socket"])).failed(3, &["/nosuch/socket"]);
    finish(nlr(&["wait", "link", "lo", "sideways"])).failed(2, &["sideways", "up, down"]);
}

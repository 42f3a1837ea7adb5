//! `nlr monitor`: events, their order, and losses.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use testing::{
    Namespace, Running,
    tool::{json_lines, nlr, nlr_words},
};

/// The events of `nlr monitor` during some changes, up to an event that ends it.
fn watch(namespace: &Namespace, options: &str, changes: impl FnOnce()) -> String {
    let words = format!("monitor -n {} {options}", namespace.0);
    let running = Running::start(nlr(&words.split_whitespace().collect::<Vec<_>>()));
    namespace.wait_for_listener();
    changes();
    // No event marks the end: a second without one does.
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (130, ""), "Ctrl-C ends it quietly");
    ended.stdout
}

fn watch_json(namespace: &Namespace, options: &str, changes: &str) -> Vec<Value> {
    let lines =
        json_lines(&watch(namespace, &format!("--json {options}"), || namespace.batch(changes)));
    let (ready, events) = lines.split_first().unwrap();
    assert_eq!(ready["event"], "ready");
    events.to_vec()
}

/// Whether an event has all of these values.
fn has(event: &Value, expected: &[(&str, Value)]) -> bool {
    expected.iter().all(|(key, value)| event[*key] == *value)
}

#[test]
fn events_as_json_have_the_keys_of_ip() {
    let namespace = Namespace::new();
    namespace.batch("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up");
    let events = watch_json(
        &namespace,
        "",
        "addr add 10.0.0.1/24 dev v0
         -6 addr add 2001:db8::1/64 dev v0
         route add 192.0.2.0/24 via 10.0.0.2
         rule add prio 7 lookup 100
         neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
         link add new0 type veth peer name new1
         link set new0 name renamed
         link del renamed
         route del 192.0.2.0/24
         rule del prio 7
         neigh del 10.0.0.9 dev v0
         addr del 10.0.0.1/24 dev v0",
    );
    for expected in [
        &[("event", "new"), ("object", "addr"), ("dev", "v0"), ("local", "10.0.0.1")],
        &[("event", "new"), ("object", "addr"), ("dev", "v0"), ("local", "2001:db8::1")],
        &[("event", "new"), ("object", "route"), ("dst", "192.0.2.0/24"), ("gateway", "10.0.0.2")],
        &[("event", "new"), ("object", "rule"), ("src", "all"), ("table", "100")],
        &[("event", "new"), ("object", "neigh"), ("dst", "10.0.0.9"), ("dev", "v0")],
        &[("event", "new"), ("object", "link"), ("ifname", "new0"), ("link_type", "ether")],
        &[("event", "new"), ("object", "link"), ("ifname", "renamed"), ("operstate", "DOWN")],
        &[("event", "del"), ("object", "link"), ("ifname", "renamed"), ("link_type", "ether")],
        &[("event", "del"), ("object", "route"), ("dst", "192.0.2.0/24"), ("dev", "v0")],
        &[("event", "del"), ("object", "rule"), ("src", "all"), ("table", "100")],
        &[("event", "del"), ("object", "neigh"), ("dst", "10.0.0.9"), ("dev", "v0")],
        &[("event", "del"), ("object", "addr"), ("dev", "v0"), ("local", "10.0.0.1")],
    ] {
        let expected = expected.map(|(key, value)| (key, Value::from(value)));
        assert!(events.iter().any(|event| has(event, &expected)), "{expected:?}: {events:#?}");
    }
    for event in &events {
        let time = event["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
        let first: Vec<_> = event.as_object().unwrap().keys().take(3).collect();
        assert_eq!(first, ["time", "event", "object"]);
    }
    let times: Vec<_> = events.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(events.iter().all(|event| event["object"] != "message"), "{events:#?}");
}

#[test]
fn events_as_text_are_a_line_each() {
    let namespace = Namespace::new();
    namespace.batch("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up");
    let text = watch(
        &namespace,
        "--group addr --group route --group rule --group neigh --group link",
        || {
            namespace.batch(
                "addr add 10.0.0.1/24 dev v0
             route add 192.0.2.0/24 via 10.0.0.2
             neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
             rule add prio 7 lookup 100
             link set v1 mtu 1400
             link del v0",
            );
        },
    );
    let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
    for expected in [
        "new addr    v0 address 10.0.0.1/24",
        "new route   192.0.2.0/24 via 10.0.0.2 dev v0",
        "new neigh   10.0.0.9 dev v0",
        "new rule    7 ",
        "del link    ",
    ] {
        assert!(lines.iter().any(|(_, event)| event.starts_with(expected)), "{expected}: {text}");
    }
    assert!(
        lines.iter().any(|(_, event)| event.contains("name v1@v0") && event.contains("mtu 1400"))
    );
    assert!(lines.iter().all(|(time, _)| time.len() == 27 && time.ends_with('Z')), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn only_the_groups_asked_for_are_told() {
    for (option, told) in [
        ("link", &["link"][..]),
        ("1", &["link"]),
        ("addr", &["addr"]),
        ("ipv4-ifaddr", &["addr"]),
        ("ipv6-route", &["route"]),
        ("route", &["route"]),
        ("ipv4-rule", &["rule"]),
        ("neigh", &["neigh"]),
    ] {
        let namespace = Namespace::new();
        let events = watch_json(
            &namespace,
            &format!("--group {option}"),
            "link add v0 type veth peer name v1
             link set v0 up
             link set v1 up
             addr add 10.0.0.1/24 dev v0
             -6 addr add 2001:db8::1/64 dev v0
             neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
             rule add prio 7 lookup 100
             -6 rule add prio 8 lookup 100",
        );
        assert!(!events.is_empty(), "{option}");
        for event in &events {
            assert!(told.contains(&event["object"].as_str().unwrap()), "{option}: {event}");
        }
        let of_ipv6 = |event: &Value| event.to_string().contains("2001:db8");
        match option {
            "ipv4-ifaddr" => assert!(!events.iter().any(of_ipv6)),
            "addr" | "ipv6-route" | "route" => assert!(events.iter().any(of_ipv6), "{events:#?}"),
            _ => {}
        }
    }
}

#[test]
fn a_count_ends_it() {
    let namespace = Namespace::new();
    let words = ["monitor", "--group", "rule", "--count", "3", "--json", "-n", &namespace.0];
    let running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    namespace.batch("rule add prio 1 lookup 100\nrule add prio 2 lookup 100");
    namespace.batch("rule add prio 3 lookup 100\nrule add prio 4 lookup 100");
    let lines = json_lines(&running.end().printed());
    assert_eq!(lines[0]["event"], "ready", "no event of the count");
    let priorities: Vec<_> =
        lines[1..].iter().map(|event| event["priority"].as_u64().unwrap()).collect();
    assert_eq!(priorities, [1, 2, 3]);
}

#[test]
fn a_timeout_ends_it_well() {
    let namespace = Namespace::new();
    let began = Instant::now();
    let words = format!("monitor --timeout 0.5 -n {}", namespace.0);
    let text = nlr_words(&words).printed();
    assert!(text.ends_with("Z ready\n") && text.lines().count() == 1, "{text}");
    assert!(began.elapsed() >= Duration::from_millis(500));
}

/// A script can tell an event from its absence.
#[test]
fn a_timeout_before_the_count_has_an_exit_code_of_its_own() {
    let namespace = Namespace::new();
    let words = format!("monitor --group rule --count 2 --timeout 0.2 --json -n {}", namespace.0);
    let ended = nlr_words(&words);
    assert_eq!(ended.code(), 124, "{ended:?}");
    assert_eq!(ended.stderr, "nlr: 0 of 2 events came within 200ms\n");
    assert_eq!(json_lines(&ended.stdout)[0]["event"], "ready");
}

/// A port that leaves its bridge is no link that is deleted, and a request that replaces a route is told
/// from one that adds another. Of what has no decoder the bytes are there.
#[test]
fn ports_flags_and_unknown_messages_are_told() {
    let namespace = Namespace::new();
    namespace.batch(
        "link add v0 type veth peer name v1
         link add br0 type bridge
         link set v0 up
         link set br0 up
         addr add 10.0.0.1/24 dev v1
         link set v1 up",
    );
    let events = watch_json(
        &namespace,
        "",
        "link set v0 master br0
         link set v0 type bridge_slave cost 77
         link set v0 nomaster
         route replace 192.0.2.0/24 via 10.0.0.2
         route replace 192.0.2.0/24 via 10.0.0.3
         route append 192.0.2.0/24 via 10.0.0.4",
    );
    let all =
        |object: &str| events.iter().filter(|event| event["object"] == object).collect::<Vec<_>>();
    let ports = all("port");
    assert!(ports.iter().any(|event| event["event"] == "new" && event["cost"] == 77), "{ports:#?}");
    let gone = ports.iter().find(|event| event["event"] == "del").unwrap();
    assert_eq!((&gone["ifname"], &gone["master"]), (&"v0".into(), &"br0".into()));
    assert!(all("link").iter().all(|event| event["event"] != "del"), "{events:#?}");
    let routes = all("route");
    let flags = |gateway: &str| {
        let route = routes.iter().find(|route| route["gateway"] == gateway).unwrap();
        route.get("message_flags").cloned().unwrap_or_default()
    };
    // The kernel says what it has done: there was nothing to replace at first.
    assert_eq!(flags("10.0.0.2"), serde_json::json!(["excl", "create"]));
    assert!(flags("10.0.0.3").to_string().contains("replace"), "{routes:#?}");
    assert!(flags("10.0.0.4").to_string().contains("append"), "{routes:#?}");
    for event in all("message") {
        let bytes = event["length"].as_u64().unwrap() * 2;
        assert_eq!(event["payload"].as_str().unwrap().len() as u64, bytes, "{event}");
    }
}

#[test]
fn events_are_not_kept_back_while_it_listens() {
    let namespace = Namespace::new();
    let words = ["monitor", "--group", "rule", "--json", "-n", &namespace.0];
    let mut running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    let mut lines = std::io::BufReader::new(running.0.stdout.take().unwrap());
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut lines, &mut ready).unwrap();
    assert_eq!(json_lines(&ready)[0]["event"], "ready");
    for priority in [5, 6] {
        namespace.ip(&format!("rule add prio {priority} lookup 100"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert_eq!(json_lines(&line)[0]["priority"], priority);
    }
}

/// 200,000 events while the output is not read: the events that do not fit are reported as lost,
/// with their number.
#[test]
fn what_is_lost_is_told_and_names_are_learnt_again() {
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("link set v0 up");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    let words = ["monitor", "--group", "route", "--group", "link", "--json", "-n", &namespace.0];
    let mut running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    let flood = |verb: &str| {
        let route = |number: u32| {
            let (a, b, c) = (number >> 16, number >> 8 & 255, number & 255);
            format!("route {verb} 11.{a}.{b}.{c} via 10.0.0.2\n")
        };
        namespace.batch(&(0..100_000).map(route).collect::<String>());
    };
    flood("add");
    flood("del");
    // This event is lost too: only another dump of links shows the name.
    namespace.ip("link set v0 name renamed");
    let mut stdout = running.0.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        let mut stream = std::io::BufReader::new(&mut stdout);
        let mut line = String::new();
        while std::io::BufRead::read_line(&mut stream, &mut line).unwrap() > 0 {
            lines.extend(json_lines(&line));
            if line.contains("192.0.2.0/24") {
                break;
            }
            line.clear();
        }
        lines
    });
    // New events fit once the queue is empty.
    testing::wait("the event after the gap", || {
        if !reader.is_finished() {
            namespace.ip("route replace 192.0.2.0/24 via 10.0.0.2");
            namespace.ip("route del 192.0.2.0/24");
            std::thread::sleep(Duration::from_millis(20));
        }
        reader.is_finished()
    });
    let events = reader.join().unwrap();
    let lost: Vec<_> = events.iter().filter(|event| event["event"] == "lost").collect();
    assert!(!lost.is_empty(), "{} events and none lost", events.len());
    let dropped: u64 = lost.iter().map(|event| event["dropped"].as_u64().unwrap()).sum();
    assert!(dropped > 0);
    assert_eq!(lost.last().unwrap()["total"], dropped);
    assert!(lost[0].get("object").is_none());
    assert_eq!(events.last().unwrap()["dev"], "renamed");
}

#[test]
fn a_new_link_has_its_name_from_the_first_event_on() {
    let namespace = Namespace::new();
    let events = watch_json(&namespace, "", "link add v0 type veth peer name v1");
    assert!(events.iter().any(|event| event["object"] == "netconf"), "{events:#?}");
    for event in &events {
        for key in ["dev", "interface", "ifname"] {
            let name = event[key].as_str().unwrap_or("v0");
            assert!(["v0", "v1"].contains(&name), "{event}");
        }
        assert_eq!(event["unnamed"], Value::Null, "{event}");
    }
}

#[test]
fn forwarding_entries_and_traffic_control_are_told() {
    let namespace = Namespace::new();
    namespace.batch(
        "link add v0 type veth peer name v1
         link set v0 up
         link set v1 up
         link add br0 type bridge
         link set v1 master br0
         link set br0 up
         link add vx0 type vxlan id 5 dstport 4789",
    );
    let running = Running::start(nlr(&["monitor", "--json", "-n", &namespace.0]));
    namespace.wait_for_listener();
    for words in [
        "bridge fdb add 02:00:00:00:00:09 dev v1 master static",
        "bridge fdb add 02:00:00:00:00:01 dev vx0 dst 192.0.2.8 vni 9 port 4444 self",
        "tc qdisc add dev v0 root handle 1: htb default 10",
        "tc class add dev v0 parent 1: classid 1:10 htb rate 1mbit ceil 2mbit",
        "tc filter add dev v0 parent 1: protocol ip prio 5 u32 match ip dst 10.0.0.0/8 flowid 1:10",
    ] {
        namespace.sh(words);
    }
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::SIGINT);
    let events = json_lines(&running.end().stdout);
    let find = |object: &str, key: &str| {
        let found =
            events.iter().find(|event| event["object"] == object && event[key] != Value::Null);
        found.unwrap_or_else(|| panic!("no {object} with {key}: {events:#?}"))
    };
    let static_entry = events.iter().find(|event| event["lladdr"] == "02:00:00:00:00:09").unwrap();
    assert_eq!(static_entry["object"], "fdb");
    assert_eq!((&static_entry["dev"], &static_entry["master"]), (&"v1".into(), &"br0".into()));
    let remote = find("fdb", "vni");
    assert_eq!((&remote["dst"], &remote["vni"]), (&"192.0.2.8".into(), &9.into()), "{remote}");
    assert_eq!(remote["port"], 4444);
    let qdisc = events.iter().find(|event| event["object"] == "qdisc" && event["kind"] == "htb");
    assert_eq!(qdisc.unwrap()["options"]["default"], "0x10");
    let class = find("class", "options");
    assert_eq!((&class["handle"], &class["options"]["rate"]), (&"1:10".into(), &125_000.into()));
    let filter = find("filter", "options");
    assert_eq!(filter["handle"], "800::800", "{filter}");
    assert_eq!(filter["options"]["flowid"], "1:10", "{filter}");
    assert_eq!(filter["options"]["match"]["keys"][0]["mask"], "ff000000", "{filter}");
}

#[test]
fn a_namespace_that_is_deleted_ends_it_with_a_word() {
    for format in ["--json", "--color=never"] {
        let namespace = Namespace::new();
        let running = Running::start(nlr(&["monitor", format, "-n", &namespace.0]));
        namespace.wait_for_listener();
        let name = namespace.0.clone();
        drop(namespace);
        let ended = running.end();
        assert_eq!(ended.code(), 1, "{ended:?}");
        assert!(ended.stderr.contains(&name) && ended.stderr.contains("is gone"), "{ended:?}");
        let last = ended.stdout.lines().last().unwrap();
        assert!(last.contains("gone") && last.contains(&name), "{last}");
    }
}

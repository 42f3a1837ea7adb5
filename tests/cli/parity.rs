//! `nlr show` against `ip`, in namespaces with links of many kinds: the same objects in the same
//! order, each with the same keys in the same order with the same values.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testing::{
    Namespace,
    tool::{as_ip_shows, elements, links, nlr_words},
    world,
};

/// The output of `nlr show` with these arguments.
fn show(namespace: &Namespace, arguments: &str) -> String {
    nlr_words(&format!("show {arguments} -n {}", namespace.0)).printed()
}

/// The output of `nlr show --json` with these arguments.
fn json(namespace: &Namespace, arguments: &str) -> String {
    show(namespace, &format!("{arguments} --json"))
}

/// A list without the values of a bridge's timers, which differ from one moment to the next.
fn without_timers(mut list: Vec<Value>) -> Vec<Value> {
    fn stop(value: &mut Value) {
        for (key, value) in value.as_object_mut().into_iter().flatten() {
            match value.as_f64() {
                Some(seconds) if key.ends_with("_timer") => {
                    assert!((0.0..1e4).contains(&seconds), "{key} {value}");
                    *value = Value::Null;
                }
                _ => stop(value),
            }
        }
    }
    list.iter_mut().for_each(stop);
    list
}

/// Asserts that a list is that of `ip`, and gives it. Ages differ from one moment to the next, so
/// only a difference that persists counts.
#[track_caller]
fn compare(namespace: &Namespace, ip: &str, nlr: &str) -> Vec<Value> {
    let mut difference = String::new();
    for _ in 0..20 {
        let theirs = without_timers(elements(&namespace.ip(ip)));
        let ours = as_ip_shows(without_timers(elements(&json(namespace, nlr))));
        let lines = |list: &[Value]| list.iter().map(Value::to_string).collect::<Vec<_>>();
        let (their_lines, our_lines) = (lines(&theirs), lines(&ours));
        if their_lines == our_lines {
            return ours;
        }
        let only = |one: &[String], other: &[String]| {
            let lines = one.iter().filter(|line| !other.contains(line));
            lines.map(|line| format!("\n  {line}")).collect::<String>()
        };
        difference = format!(
            "ip {ip}: {} objects, here {}\nonly of ip:{}\nonly here:{}",
            theirs.len(),
            ours.len(),
            only(&their_lines, &our_lines),
            only(&our_lines, &their_lines)
        );
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{difference}");
}

#[test]
fn links_are_those_of_ip() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    links(&namespace, &other);
    if world::kind() == world::Kind::Root {
        // On many machines the device file is for root alone.
        namespace.batch(
            "tuntap add tap0 mode tap multi_queue user 4242
             tuntap add tun0 mode tun",
        );
    }
    namespace.batch(
        "link set v0 alias the_first txqueuelen 0 group 7
         link property add dev v0 altname another altname third
         link add mv1 link v1 type macvlan mode source
         link set mv1 type macvlan macaddr add 02:00:00:00:00:99
         link add mv2 link p1 type macvlan mode private bcqueuelen 500
         link set p1 down
         link set mv2 up
         link set br0 type bridge stp_state 1 priority 4096
         link set p0 type bridge_slave group_fwd_mask 16389 isolated on hairpin on
         link set v1 promisc on allmulticast on
         link add v2 type veth peer name v3 numtxqueues 4 numrxqueues 2
         link set v2 arp off multicast off
         link add ifb0 type ifb
         link add mt0 link v0 type macvtap mode vepa
         link add vx0 type vxlan id 42 remote 10.0.0.9 local 10.0.0.1 dstport 4789 ttl 9 tos 0x10 ageing 60 maxaddress 7
         link add vx1 type vxlan id 43 group ff02::7 dev v0 dstport 8472 srcport 1000 2000 nolearning proxy udp6zerocsumtx
         link add vx2 type vxlan external dstport 4790 gbp",
    );
    compare(&namespace, "-s -s -d -j link", "link --statistics");
    let links = compare(&namespace, "-d -j link", "link");
    assert!(links.len() > 10);
    let named = |name: &str| links.iter().find(|link| link["ifname"] == name).unwrap();
    assert!(named("mv2")["flags"].as_array().unwrap().contains(&"M-DOWN".into()));
    assert_eq!(named("far0")["link_index"], 2);
    assert_eq!(named("p0")["linkinfo"]["info_slave_kind"], "bridge");

    // The index of `far0` in its peer's "link" is that of another link here: the namespace differs.
    let there = compare(&other, "-d -j link", "link");
    assert!(
        there.iter().any(|link| link["ifname"] == "far1" && link.get("link_netnsid").is_some())
    );

    let text = show(&namespace, "link");
    let column = text.lines().next().unwrap().find("MTU").unwrap();
    for line in text.lines().skip(1) {
        assert!(
            line.as_bytes()[column].is_ascii_digit() && line.as_bytes()[column - 1] == b' ',
            "{text}"
        );
    }
    assert!(text.contains("far0@if2 ") && text.contains("mv0@v0 "), "{text}");
    let colored = show(&namespace, "link --color always");
    assert!(
        colored.contains("\u{1b}[36m") && colored.contains("\u{1b}[32mUP\u{1b}[0m"),
        "{colored}"
    );
}

#[test]
fn addresses_are_those_of_ip() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    links(&namespace, &other);
    namespace.batch(
        "addr add 10.0.0.1/24 broadcast + dev v0 label v0:one
         addr add 10.0.0.2/24 dev v0
         addr add 10.1.0.1 peer 10.1.0.2/32 dev v0
         addr add 10.2.0.1/24 dev v1 valid_lft 5000 preferred_lft 4000 metric 77
         addr add 10.3.0.1/24 dev far0 scope link noprefixroute
         addr add 10.4.0.1/24 dev br0 scope 42
         addr add 2001:db8::1/64 dev v0 nodad
         addr add 2001:db8::2/64 dev v0 home mngtmpaddr
         addr add 2001:db8:1::1/64 dev v1 valid_lft 3000 preferred_lft 0
         addr add 2001:db8:2::1 peer 2001:db8:2::2/128 dev far0
         addr add 2001:db8:3::1/64 dev mv0 valid_lft 5000 preferred_lft 4000 noprefixroute",
    );
    // With duplicate address detection on a link without carrier, an address stays tentative.
    namespace.sysctl("net/ipv6/conf/default/accept_dad", "1");
    namespace.ip("link add w0 type veth peer name w1");
    namespace.ip("link set w0 up");
    namespace.ip("addr add 2001:db8:4::1/64 dev w0");
    let all = compare(&namespace, "-j addr", "addr");
    let text = serde_json::to_string(&all).unwrap();
    for word in [
        "dynamic",
        "secondary",
        "deprecated",
        "tentative",
        "mngtmpaddr",
        "noprefixroute",
        "nodad",
        "home",
        "label",
    ] {
        assert!(text.contains(&format!("\"{word}\":")), "{word} is not tested");
    }
    let inet = compare(&namespace, "-4 -j addr", "addr -4");
    assert!(inet.iter().all(|link| link["ifname"] != "w0" && link.get("address").is_none()));

    // `Listing` explains the keys that `ip -6` lacks.
    let theirs = elements(&namespace.ip("-6 -j addr"));
    let ours = elements(&json(&namespace, "addr -6"));
    assert_eq!(theirs.len(), ours.len());
    for (their, our) in theirs.iter().zip(&ours) {
        for (key, value) in their
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| *key != "link" && *key != "addr_info")
        {
            assert_eq!(our.get(key), Some(value), "{key} of {our}");
        }
        let addresses = |link: &Value| link["addr_info"].as_array().map(Vec::len);
        assert_eq!(addresses(their), addresses(our));
    }

    let text = show(&namespace, "addr");
    assert!(text.contains("10.1.0.1 peer 10.1.0.2/32"), "{text}");
    let empty = Namespace::new();
    empty.ip("link set lo down");
    compare(&empty, "-j addr", "addr");
    compare(&empty, "-4 -j addr", "addr -4");
}

#[test]
fn routes_are_those_of_ip() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    links(&namespace, &other);
    namespace.batch(
        "addr add 10.0.0.1/24 dev v0
         addr add 10.1.0.1/24 dev v1
         addr add 2001:db8::1/64 dev v0
         addr add 2001:db8:1::1/64 dev v1
         nexthop add id 7 via 10.0.0.9 dev v0
         nexthop add id 8 via 10.1.0.9 dev v1
         nexthop add id 9 group 7,3/8
         route add default via 10.0.0.254
         route add 192.0.2.0/24 via 10.0.0.254 dev v0 metric 50 proto static src 10.0.0.1
         route add 192.0.2.1 via 10.0.0.253 proto 12
         route add 192.0.3.0/24 proto 77 scope link dev v1
         route add 192.0.4.0/24 nexthop via 10.0.0.2 dev v0 weight 3 nexthop via 10.1.0.2 dev v1 weight 1
         route add 192.0.5.0/24 via inet6 2001:db8::99 dev v0
         route add 192.0.6.0/24 nexthop via inet6 2001:db8::98 dev v0 nexthop via 203.0.113.1 dev v1 onlink
         route add blackhole 192.0.7.0/24
         route add unreachable 192.0.8.0/24 metric 9
         route add prohibit 192.0.9.0/24
         route add throw 192.0.10.0/24 table 100
         route add 192.0.11.0/24 via 203.0.113.2 dev v0 onlink table 100
         route add 192.0.12.0/24 dev v0 mtu lock 1300 advmss 1200 hoplimit 33 window 4000 rtt 100ms rttvar 20ms
         route add 192.0.13.0/24 dev v0 rto_min 30ms initcwnd 12 initrwnd 14 quickack 1 congctl cubic features ecn
         route add 192.0.14.0/24 dev v0 tos 0x10 realms 5/6
         route add 192.0.15.0/24 dev v0 tos 0x04 realms 5
         route add 192.0.16.0/24 nhid 7
         route add 192.0.18.0/24 dev v0 table 7000
         route add 192.0.19.0/24 dev far0
         -6 route add default via fe80::1 dev v0 pref high
         -6 route add 2001:db8:10::/48 via 2001:db8::9 metric 30 proto static
         -6 route add 2001:db8:11::1 dev v1 expires 5000
         -6 route add 2001:db8:12::/48 nexthop via 2001:db8::8 dev v0 weight 2 nexthop via 2001:db8:1::8 dev v1
         -6 route add unreachable 2001:db8:13::/48
         -6 route add 2001:db8:14::/48 from 2001:db8:1::/64 via 2001:db8::7
         -6 route add 2001:db8:15::/48 dev v0 mtu 1280 table 100
         -6 route add blackhole 2001:db8:16::/48 pref low
         -6 route add 2001:db8:17::/48 encap seg6 mode encap segs 2001:db8::a,2001:db8::b dev v0",
    );
    let main = compare(&namespace, "-j route", "route");
    let text = serde_json::to_string(&main).unwrap();
    for word in [
        "nexthops",
        "via",
        "onlink",
        "linkdown",
        "prefsrc",
        "metrics",
        "flow",
        "nhid",
        "tos",
        "congestion",
        "ecn",
    ] {
        assert!(text.contains(&format!("\"{word}\"")), "{word} is not tested");
    }
    compare(&namespace, "-6 -j route", "route -6");
    compare(&namespace, "-4 -j route show table all", "route -4 --table all");
    compare(&namespace, "-6 -j route show table all", "route -6 --table all");
    compare(&namespace, "-j route show table all", "route --table all");
    compare(&namespace, "-j route show table 100", "route --table 100");
    compare(&namespace, "-6 -j route show table 100", "route -6 --table 100");
    compare(&namespace, "-j route show table 7000", "route --table 7000");
    compare(&namespace, "-j route show table local", "route --table 255");
    compare(&namespace, "-6 -j route show table local", "route -6 --table 255");

    // The ends of a tunnel are in an object of their own, as of iproute2 6.15.
    namespace.batch(
        "route add 192.0.20.0/24 encap ip id 5 src 10.0.0.1 dst 10.0.0.3 ttl 9 tos 0 key via 10.0.0.2 dev v0
         route add 192.0.21.0/24 nexthop encap ip id 7 dst 10.0.0.8 via 10.0.0.2 dev v0 nexthop encap ip id 8 dst 10.1.0.8 via 10.1.0.2 dev v1",
    );
    let routes = compare(&namespace, "-j route", "route");
    let ends = |route: &Value| (route["dst"].clone(), route["encap"]["dst"].clone());
    assert!(
        routes.iter().map(ends).any(|ends| ends == ("192.0.20.0/24".into(), "10.0.0.3".into()))
    );

    let text = show(&namespace, "route");
    assert!(text.contains("blackhole 192.0.7.0/24") && text.contains("  nexthop"), "{text}");
    assert!(text.contains("mtu lock 1300"), "{text}");
    assert!(text.contains("encap ip id 5 src 10.0.0.1 dst 10.0.0.3 ttl 9 tos 0 key"), "{text}");
    assert!(text.contains("encap ip id 8 src 0.0.0.0 dst 10.1.0.8"), "{text}");
    let locked = elements(&json(&namespace, "route"));
    let locked = locked.iter().find(|route| route["dst"] == "192.0.12.0/24").unwrap();
    assert_eq!(locked["metrics"][0]["lock"], serde_json::json!(["mtu"]));
    let empty = Namespace::new();
    assert_eq!(json(&empty, "route"), "[]\n");
    compare(&empty, "-j route", "route");
}

#[test]
fn neighbours_are_those_of_ip() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    links(&namespace, &other);
    namespace.batch(
        "addr add 10.0.0.1/24 dev v0
         addr add 2001:db8::1/64 dev v0
         neigh add 10.0.0.2 lladdr 02:00:00:00:01:02 dev v0 nud permanent
         neigh add 10.0.0.3 lladdr 02:00:00:00:01:03 dev v0 nud stale
         neigh add 10.0.0.4 lladdr 02:00:00:00:01:04 dev v0 nud reachable protocol static
         neigh add 10.0.0.5 lladdr 02:00:00:00:01:05 dev v0 nud noarp
         neigh add 10.0.0.6 dev v0 nud failed
         neigh add 10.0.0.7 lladdr 02:00:00:00:01:07 dev br0 nud stale extern_learn
         neigh add 2001:db8::2 lladdr 02:00:00:00:02:02 dev v0 nud permanent router
         neigh add 2001:db8::3 lladdr 02:00:00:00:02:03 dev v1 nud stale protocol 99
         neigh add proxy 10.0.0.77 dev v0
         neigh add proxy 2001:db8::77 dev v1",
    );
    let all = compare(&namespace, "-j neigh", "neigh");
    let text = serde_json::to_string(&all).unwrap();
    for word in ["PERMANENT", "STALE", "REACHABLE", "FAILED", "router", "extern_learn", "protocol"]
    {
        assert!(text.contains(word), "{word} is not tested");
    }
    assert!(!text.contains("10.0.0.5\""), "an entry that needs no resolution is not listed");
    compare(&namespace, "-4 -j neigh", "neigh -4");
    compare(&namespace, "-6 -j neigh", "neigh -6");

    let text = show(&namespace, "neigh");
    assert!(
        text.lines().any(|line| line.starts_with("10.0.0.6 ") && line.ends_with("FAILED")),
        "{text}"
    );
}

#[test]
fn rules_are_those_of_ip() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    links(&namespace, &other);
    namespace.batch(
        "rule add prio 100 fwmark 0x1 lookup 100
         rule add prio 101 fwmark 0x10/0xff iif v0 lookup default
         rule add prio 102 from 10.0.0.0/8 to 192.0.2.1 lookup main suppress_prefixlength 0
         rule add prio 103 from 10.0.0.1 oif gone blackhole
         rule add prio 104 iif gone prohibit
         rule add prio 105 not to 10.0.0.0/8 unreachable
         rule add prio 106 goto 32766
         rule add prio 107 goto 40000
         rule add prio 108 nop
         rule add prio 109 uidrange 0-0 ipproto tcp sport 80 dport 1000-2000 lookup 7000
         rule add prio 110 tos 0x10 lookup local protocol static
         rule add prio 111 l3mdev
         rule add prio 112 fwmark 0/0xf0 ipproto 253 lookup main suppress_ifgroup default
         rule add prio 113 from all realms 3/4 lookup main
         rule add prio 114 tun_id 77 lookup main proto 99
         -6 rule add prio 200 from 2001:db8::/32 to 2001:db8::1 lookup 100
         -6 rule add prio 201 goto 300 iif v0",
    );
    let rules = compare(&namespace, "-j rule", "rule");
    assert_eq!(rules.len(), 15 + 3);
    compare(&namespace, "-4 -j rule", "rule -4");
    compare(&namespace, "-6 -j rule", "rule -6");
    compare(&namespace, "-j rule show table 100", "rule --table 100");
    compare(&namespace, "-j rule show table main", "rule --table 254");
    let text = show(&namespace, "rule");
    assert!(
        text.lines().any(|line| line
            .split_whitespace()
            .eq(["100", "all", "lookup", "100", "fwmark", "0x1"])),
        "{text}"
    );
}

#[test]
fn a_hundred_thousand_routes() {
    const COUNT: u32 = 100_000;
    let namespace = Namespace::new();
    namespace.ip("link add v0 type veth peer name v1");
    namespace.ip("link set v0 up");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    let lines: String = (0..COUNT)
        .map(|number| {
            format!(
                "route add 11.{}.{}.{} via 10.0.0.2\n",
                number >> 16,
                number >> 8 & 255,
                number & 255
            )
        })
        .collect();
    namespace.batch(&lines);
    let start = Instant::now();
    let ours = elements(&json(&namespace, "route"));
    let json = start.elapsed();
    assert_eq!(ours.len(), COUNT as usize + 1);
    let start = Instant::now();
    let text = show(&namespace, "route --color always");
    eprintln!("{COUNT} routes: {json:?} as JSON (parsed again), {:?} as text", start.elapsed());
    assert_eq!(text.lines().count(), COUNT as usize + 2);
    assert_eq!(ours, elements(&namespace.ip("-j route")));
}

//! Kinds of links that the machine of the tests lacks, in a User-Mode Linux guest: `nlr` and `ip` show the same,
//! key by key, in both directions.

#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testing::{
    programs,
    tool::{as_ip_shows, elements, json_lines},
    world,
};

/// The time of the guest, whose system calls are slow.
const LIMIT: Duration = Duration::from_secs(240);

/// Links of all kinds, each refused by no guest.
const LINKS: &str = "
    link set lo up
    link add d0 type dummy
    link set d0 up
    addr add 10.0.0.1/24 dev d0
    -6 addr add 2001:db8::1/64 dev d0 nodad
    link add d1 type dummy
    link add d2 type dummy
    link add d3 type dummy
    link add d4 type dummy
    link add link d0 name d0.5 type vlan id 5 ingress-qos-map 1:2 egress-qos-map 3:4
    link add link d0 name d0.6 type vlan protocol 802.1ad id 6 reorder_hdr off gvrp on
    link add link d0 name d0.7 type vlan id 7 loose_binding on mvrp on bridge_binding on
    link add bo0 type bond mode 802.3ad miimon 100 lacp_rate fast xmit_hash_policy layer3+4
    link add bo1 type bond mode active-backup arp_interval 100 arp_ip_target 10.0.0.9
    link add bo2 type bond mode balance-tlb
    link add bo3 type bond mode balance-alb
    link add bo4 type bond mode balance-rr packets_per_slave 3
    link add bo5 type bond mode balance-xor
    link add bo6 type bond mode broadcast
    link set d1 master bo0
    link add vrf0 type vrf table 100
    link set d2 master vrf0
    link add gre1 type gre local 10.0.0.1 remote 10.0.0.2 key 5
    link add gre2 type gre local 10.0.0.1 remote 10.0.0.3 ikey 1 okey 2 seq csum ttl 64 tos inherit
    link add gre3 type gre external
    link add gt1 type gretap local 10.0.0.1 remote 10.0.0.4
    link add gt2 type gretap local 10.0.0.1 remote 10.0.0.14 nopmtudisc ignore-df
    link add er1 type erspan local 10.0.0.1 remote 10.0.0.5 seq key 7 erspan_ver 1 erspan 5
    link add er2 type erspan local 10.0.0.1 remote 10.0.0.15 seq key 8 erspan_ver 2 erspan_dir egress erspan_hwid 7
    link add ip1 type ipip local 10.0.0.1 remote 10.0.0.6
    link add ip2 type ipip mode any external
    link add si1 type sit local 10.0.0.1 remote 10.0.0.7
    link add si2 type sit local 10.0.0.1 remote any mode any
    link add vt1 type vti local 10.0.0.1 remote 10.0.0.8 key 3
    link add g61 type ip6gre local 2001:db8::1 remote 2001:db8::2
    link add g62 type ip6gre local 2001:db8::1 remote 2001:db8::12 key 4 flowlabel 0x12345 tclass 0x20 hoplimit 9
    link add gt61 type ip6gretap local 2001:db8::1 remote 2001:db8::3 key 8
    link add er61 type ip6erspan local 2001:db8::1 remote 2001:db8::4 seq key 9 erspan_ver 2 erspan_dir ingress erspan_hwid 3
    link add t61 type ip6tnl local 2001:db8::1 remote 2001:db8::5
    link add t62 type ip6tnl mode ipip6 local 2001:db8::1 remote 2001:db8::15 encaplimit none
    link add v61 type vti6 local 2001:db8::1 remote 2001:db8::6 key 4
    link add ge1 type geneve id 10 remote 10.0.0.9
    link add ge2 type geneve id 11 remote 2001:db8::9 ttl inherit udp6zerocsumtx
    link add vx1 type vxlan id 11 dstport 4789 local 10.0.0.1 group 239.1.1.1 dev d0
    link add vx2 type vxlan external dstport 4790
    link add vx3 type vxlan id 12 dstport 4791 remote 2001:db8::9 nolearning proxy l2miss l3miss
    link add vx4 type vxlan id 13 dstport 4792 ttl 9 tos 4 ageing 77 maxaddress 99 gbp
    link add mv1 link d0 type macvlan mode bridge
    link add mv2 link d0 type macvlan mode private
    link add mv3 link d0 type macvlan mode vepa
    link add mt1 link d0 type macvtap mode vepa
    link add iv1 link d3 type ipvlan mode l3
    link add iv2 link d3 type ipvlan mode l3 private
    link add if1 type ifb
    link add ve1 type veth peer name ve2
    link add ve3 type veth peer name ve4
    link add br1 type bridge vlan_filtering 1 stp_state 1 mcast_snooping 1
    link add br2 type bridge vlan_protocol 802.1ad ageing_time 1234 priority 7 mcast_querier 1 nf_call_iptables 1
    link set ve1 master br1
    link set ve3 master br2
    link set ve3 type bridge_slave cost 9 priority 3 hairpin on guard on mcast_flood off neigh_suppress on isolated on
    link add te1 type team
    link add nl1 type nlmon
    link add vc1 type vcan
    link add vxc1 type vxcan peer name vxc2
    link add link d4 ms1 type macsec port 5 encrypt on
    link add hs1 type hsr slave1 ve2 slave2 if1 supervision 45 version 1
    link add ba1 type batadv
    tuntap add tu1 mode tun
    tuntap add ta1 mode tap multi_queue vnet_hdr
    link add dup0 type dummy
    link set dup0 alias with-alias
    link property add dev dup0 altname other-name
    link set dup0 group 7
    link set dup0 mtu 1400
    link set dup0 txqueuelen 5
    link set dup0 addrgenmode none";

/// Routes of all types, metrics and tunnels.
fn routes() -> Vec<String> {
    let mut lines = Vec::new();
    for (at, kind) in
        ["unicast", "blackhole", "unreachable", "prohibit", "throw"].iter().enumerate()
    {
        let way = if *kind == "unicast" { "via 10.0.0.2" } else { "" };
        lines.push(format!("route add {kind} 10.{at}.1.0/24 {way}"));
        lines.push(format!("route add {kind} 10.{at}.2.0/24 {way} table 77 metric 5 proto bird"));
    }
    let options = "mtu 1300|mtu lock 1300|advmss 1200|advmss lock 1200|rtt 100ms|rttvar 50ms|window 5000|ssthresh 9|cwnd 10|\
                   initcwnd 11|initrwnd 12|hoplimit 33|rto_min 44ms|quickack 1|congctl cubic|features ecn|reordering 5|\
                   realms 7|src 10.0.0.1|tos 0x10|metric 99|proto static|proto 77|onlink|table 99|\
                   fastopen_no_cookie 1|encap mpls 100/200|encap ip id 7 dst 10.0.0.8 ttl 5 tos 4|\
                   encap ip6 id 8 dst 2001:db8::8 hoplimit 6|mtu 1400 advmss 1300 hoplimit 60|mtu lock 1200 rtt lock 80ms";
    for (at, option) in options.split('|').map(str::trim).enumerate() {
        lines.push(format!("route add 172.16.{at}.0/24 {option} via 10.0.0.3 dev d0"));
    }
    for at in 0..20 {
        lines.push(format!("route add 192.168.{at}.0/24 dev d0 metric {at}"));
        lines.push(format!("-6 route add 2001:db8:{at}::/48 via 2001:db8::7 metric {}", at + 1));
    }
    for weights in 2..8 {
        let hops: String =
            (2..2 + weights).map(|hop| format!(" nexthop via 10.0.0.{hop} weight {hop}")).collect();
        lines.push(format!("route add 203.0.{weights}.0/24{hops}"));
    }
    lines.extend(
        [
            "route add 198.51.100.0/24 nexthop encap ip id 7 dst 10.0.0.8 via 10.0.0.2 nexthop via 10.0.0.3",
            "route add 198.51.101.0/24 nexthop encap mpls 5 via 10.0.0.2 nexthop encap mpls 6/7 via 10.0.0.3",
            "-6 route add 2001:db8:f0::/48 via 2001:db8::7 pref high",
            "-6 route add 2001:db8:f1::/48 via 2001:db8::7 pref low expires 1000",
            "-6 route add unreachable 2001:db8:f2::/48",
            "-6 route add 2001:db8:f8::/48 nexthop via 2001:db8::7 weight 3 nexthop via 2001:db8::8",
            "nexthop add id 5 via 10.0.0.2 dev d0",
            "nexthop add id 6 via 10.0.0.3 dev d0",
            "nexthop add id 7 group 5,3/6,200",
            "route add 10.99.0.0/16 nhid 5",
            "route add 10.98.0.0/16 nhid 7",
        ]
        .map(str::to_owned),
    );
    lines
}

/// Rules by each selector and action.
fn rules() -> Vec<String> {
    let selectors = "from 10.1.0.0/16|to 10.2.0.0/16|from 10.1.0.0/16 to 10.2.0.0/16|iif d0|oif d0|iif nosuch0|tos 0x10|fwmark 7|fwmark 7/0xff|\
                     uidrange 10-20|ipproto tcp|ipproto udp dport 53|ipproto tcp sport 1000-2000 dport 80|not from 10.3.0.0/16|\
                     from all|fwmark 0x10/0x10 iif lo|ipproto icmp|tun_id 5|ipproto 99|uidrange 0-0";
    let actions = "lookup 100|lookup main|goto 40000|blackhole|unreachable|prohibit|lookup 100 suppress_prefixlength 0|\
                   lookup 100 suppress_ifgroup 7|lookup 100 protocol bird|nop";
    let mut lines = vec!["rule add from all lookup main prio 40000".to_owned()];
    let mut priority = 1000;
    for selector in selectors.split('|').map(str::trim) {
        for action in actions.split('|').map(str::trim).take(5) {
            priority += 1;
            lines.push(format!("rule add prio {priority} {selector} {action}"));
        }
    }
    for action in actions.split('|').map(str::trim) {
        priority += 1;
        lines.push(format!("rule add prio {priority} from 10.9.0.0/16 {action}"));
    }
    lines.extend(
        [
            "-6 rule add prio 7 from 2001:db8::/32 lookup 100",
            "-6 rule add prio 8 iif d0 fwmark 9 prohibit",
        ]
        .map(str::to_owned),
    );
    lines
}

/// Changes whose events are told.
const CHANGES: &str = "
    ip link add e0 type dummy
    ip link set e0 up
    ip addr add 10.5.0.1/24 dev e0
    ip route add 10.6.0.0/16 via 10.5.0.2
    ip route replace 10.6.0.0/16 via 10.5.0.3
    ip route append 10.6.0.0/16 via 10.5.0.4
    ip neigh add 10.5.0.9 lladdr 02:00:00:00:00:01 dev e0
    ip rule add prio 77 lookup 100
    ip nexthop add id 90 via 10.5.0.2 dev e0
    ip nexthop add id 91 group 90 type resilient buckets 4
    ip link add e1 type bridge vlan_filtering 1 mcast_snooping 1
    ip link set e1 up
    ip link add e2 type veth peer name e3
    ip link set e2 master e1
    ip link set e2 up
    ip link set e3 up
    bridge vlan add vid 5-7 dev e2 untagged
    bridge vlan add vid 8 dev e2 pvid
    bridge vlan add vid 9 dev e1 self
    bridge vlan del vid 6 dev e2
    bridge mdb add dev e1 port e2 grp 239.1.1.1 permanent vid 5
    bridge mdb del dev e1 port e2 grp 239.1.1.1 vid 5
    bridge fdb add 02:00:00:00:00:09 dev e2 master static vlan 5
    bridge link set dev e2 cost 7 isolated on
    ip link set e2 nomaster
    tc qdisc add dev e2 root handle 1: htb default 10
    tc class add dev e2 parent 1: classid 1:10 htb rate 1mbit ceil 2mbit
    tc qdisc add dev e2 parent 1:10 handle 10: fq_codel limit 100
    tc filter add dev e2 parent 1: protocol ip prio 5 u32 match ip dst 10.0.0.0/8 flowid 1:10
    tc qdisc add dev e3 clsact
    tc filter add dev e3 ingress protocol ip prio 1 flower dst_ip 10.1.0.0/16 ip_proto tcp dst_port 80 action drop
    tc filter add dev e3 ingress protocol all prio 2 matchall action mirred egress mirror dev e2
    tc filter add dev e3 egress protocol ip prio 9 handle 0x10 fw action pass
    tc actions add action vlan push id 7 index 3
    tc actions add action skbedit priority 1:2 index 4
    tc actions add action tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 5 dst_port 4789 index 5
    tc actions add action gact drop index 6
    tc qdisc del dev e2 root
    tc qdisc add dev e2 root fq
    tc qdisc replace dev e2 root tbf rate 1mbit burst 10k latency 50ms
    tc qdisc replace dev e2 root prio bands 4
    ip netns add other
    ip link set e0 netns other
    ip rule del prio 77
    ip link del e2
    ip link del e1";

/// Without what changes from one moment to the next.
fn steady(text: &str) -> Vec<Value> {
    fn cut(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| !key.contains("timer") && key != "expires");
                fields.values_mut().for_each(cut);
            }
            Value::Array(list) => list.iter_mut().for_each(cut),
            _ => {}
        }
    }
    let mut list = elements(text);
    list.iter_mut().for_each(cut);
    // `ip` has an empty object for what it filters out.
    list.retain(|one| one.as_object().is_none_or(|fields| !fields.is_empty()));
    list
}

#[test]
fn links_routes_and_rules_are_those_of_ip() {
    // User-Mode Linux 6.1 cannot set the registers of such a processor (`ptrace set fp regs failed`), in CI
    // either: its init ends at once.
    if std::fs::read_to_string("/proc/cpuinfo").unwrap().contains(" amx_tile") {
        eprintln!("NOT RUN: User-Mode Linux does not run on a processor with AMX");
        return;
    }
    if !world::has_real_root("the root of a guest") {
        return;
    }
    let out = testing::temporary("guest");
    fs::create_dir_all(&out).unwrap();
    let links = LINKS.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
    let lines: Vec<String> = links.chain(routes()).chain(rules()).collect();
    let text: String = lines.iter().map(|line| format!("ip {line}\n")).collect();
    fs::write(out.join("lines"), text).unwrap();
    let changes = CHANGES.lines().map(str::trim).filter(|line| !line.is_empty());
    fs::write(out.join("changes"), changes.map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    let repository = programs::repository();
    let ip = std::env::var("PATH").unwrap().split(':').next().unwrap().to_owned();
    let mut guest = Command::new("linux.uml")
        .args(["mem=256M", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"])
        .args(["con=null", "con0=null", "con1=null"])
        .arg(format!("uml_dir={}/", out.display()))
        .arg(format!("init={}", repository.join("tests/guest/init.sh").display()))
        .arg(format!("out={}", out.display()))
        .arg(format!("ip={ip}"))
        .arg(format!("nlr={}", programs::nlr()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("linux.uml, of Debian's user-mode-linux");
    let began = Instant::now();
    while guest.try_wait().unwrap().is_none() {
        if began.elapsed() > LIMIT {
            guest.kill().unwrap();
            guest.wait().unwrap();
            panic!("the guest does not end: {}", log(&out));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = log(&out);
    assert!(log.trim_end().ends_with("done"), "{log}");
    let refused = log.lines().filter(|line| line.starts_with("refused: ")).count();
    // What the guest refuses is no comparison.
    assert_eq!(refused, 0, "{log}");
    let mut counts = Vec::new();
    let mut differences = Vec::new();
    for object in ["link", "route", "route6", "rule", "rule6", "addr"] {
        let read = |by: &str| fs::read_to_string(out.join(format!("{by}-{object}"))).unwrap();
        let (theirs, ours) = (steady(&read("ip")), as_ip_shows(steady(&read("nlr"))));
        counts.push(ours.len());
        let text = |list: &[Value]| list.iter().map(Value::to_string).collect::<Vec<_>>();
        let (theirs, ours) = (text(&theirs), text(&ours));
        let only = |one: &[String], other: &[String], by: &str| -> Vec<String> {
            let lines = one.iter().filter(|line| !other.contains(line));
            lines.map(|line| format!("{object}, {by}: {line}")).collect()
        };
        differences.extend(only(&theirs, &ours, "ip "));
        differences.extend(only(&ours, &theirs, "nlr"));
        if differences.is_empty() {
            assert_eq!(theirs, ours, "the order of {object}");
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    println!("links, routes, IPv6 routes, rules, IPv6 rules, addresses: {counts:?}");
    check_events(&json_lines(&fs::read_to_string(out.join("events")).unwrap()));
    fs::remove_dir_all(&out).unwrap();
    assert!(counts[0] > 70 && counts[1] + counts[2] > 120 && counts[3] > 100, "{counts:?}: {log}");
}

fn log(out: &Path) -> String {
    fs::read_to_string(out.join("log")).unwrap_or_default()
}

/// Events are decoded to the last attribute, and those of a kind are told as such.
fn check_events(events: &[Value]) {
    println!("{} events", events.len());
    assert!(events.len() > 80, "{events:#?}");
    for event in events {
        assert!(
            event["object"] != "message" && !event.to_string().contains("\"unknown\""),
            "{event}"
        );
    }
    let has = |object: &str, pointer: &str, value: Value| {
        let found = events.iter().any(|event| {
            event["object"] == object && event.pointer(pointer).is_some_and(|found| *found == value)
        });
        assert!(found, "no {object} with {pointer} {value}: {events:#?}");
    };
    has("vlan", "/vlans/0/vlanEnd", 7.into());
    has("vlan", "/vlans/0/flags", json!(["Egress Untagged"]));
    has("mdb", "/mdb/0/grp", "239.1.1.1".into());
    has("fdb", "/vlan", 5.into());
    has("port", "/cost", 7.into());
    has("link", "/new_netnsid", 0.into());
    has("route", "/message_flags/0", "replace".into());
    has("nexthop", "/id", 91.into());
    has("qdisc", "/options/limit", 100.into());
    has("filter", "/options/dst_ip", "10.1.0.0".into());
    has("filter", "/handle", "800::800".into());
    has("action", "/actions/0/vlan_action", "push".into());
    has("action", "/actions/0/key_id", 5.into());
    has("action", "/actions/0/control_action/type", "drop".into());
}

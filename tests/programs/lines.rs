//! Command lines of the tools that people have, over three kinds of targets.

use std::{process::Command, time::Duration};

use testing::{
    Namespace, Running,
    sshd::sshd,
    tool::{Server, nlr},
    wait_up_to, world,
};

use crate::support::{alike, by_nlr, native, outcome};

/// What each line prints, and how it ends, is the same inside the namespace and by the tool. They run in this order:
/// what one changes, the next ones show. No line prints what differs from run to run: counters, random addresses.
const LINES: &str = "
ip link
ip -d link
ip -j -d link
ip -br link
ip addr
ip -6 addr
ip route
ip -6 route
ip -4 route show table all
ip -j -4 route show table all
ip rule
ip -6 rule
ip neigh
ip route get 10.1.0.9
ip route get 203.0.113.1
ip nexthop
ip maddr
ip netconf
ip tcp_metrics
ip xfrm state
ip xfrm policy
ip mroute
ip netns list-id
ip mptcp endpoint show
ip token
ip link show nosuch
ip addr add 10.1.0.1/24 dev v0
ip addr add 10.1.0.1/24 dev nosuch
ip addr add 10.1.5.1/24 dev v0
ip addr del 10.1.5.1/24 dev v0
ip addr del 10.1.5.1/24 dev v0
ip link add br0 type bridge
ip link add br7 address 02:00:00:00:03:00 type bridge
ip link set v1 master br7
ip link set v1 mtu 99999999
ip link set nosuch up
ip route add 10.7.0.0/16 via 10.1.0.2
ip route add 10.7.0.0/16 via 10.1.0.2
ip route add 10.8.0.0/16 via 10.200.0.2
ip route del 10.99.0.0/16
ip route replace 10.7.0.0/16 via 10.1.0.3
ip route show 10.7.0.0/16
ip rule add prio 77 lookup 100
ip rule del prio 78
ip neigh add 10.1.0.7 lladdr 02:00:00:00:00:07 dev v0
ip neigh show
ip link add vx7 address 02:00:00:00:04:00 type vxlan id 7 dstport 4789
ip -d link show vx7
ip link add mv7 address 02:00:00:00:05:00 link v0 type macvlan mode bridge
ip link del mv7
printf 'route add 10.60.0.0/24 via 10.1.0.2\\nroute add 10.60.0.0/24 via 10.1.0.2\\nlink set nosuch up\\nroute add 10.61.0.0/24 via 10.1.0.2\\n' | ip -force -batch -
ip route show 10.60.0.0/14
bridge link
bridge -d link
bridge fdb
bridge vlan
bridge mdb
bridge fdb add 02:00:00:00:00:09 dev vx7 dst 10.1.0.9
bridge fdb show dev vx7
bridge vlan add vid 5 dev v0
tc qdisc
tc qdisc add dev v0 root handle 1: prio
tc qdisc add dev v0 root handle 1: prio
tc class show dev v0
tc filter add dev v0 parent 1: protocol ip prio 1 u32 match ip dst 10.0.0.0/8 flowid 1:1
tc filter show dev v0
tc qdisc add dev v0 clsact
tc qdisc del dev v0 root
ss -tln
ss -uan
ss -4tan state listening
ss -xl
nft list ruleset
nft add table inet t
nft add chain inet t c
nft add rule inet t c tcp dport 22 accept
nft add rule inet t c nosuch
nft delete table inet nosuch
printf 'table ip6 g { map m { type inet_service : verdict; elements = { 1 : drop, 2 : accept } } }' | nft -f -
nft -j list ruleset
nft -a list ruleset
nft 'add set inet t s { type ipv4_addr; }'
for i in $(seq 3000); do echo \"add element inet t s { 10.0.$((i / 250)).$((i % 250)) }\"; done | nft -f -
nft list set inet t s
nft flush ruleset
ethtool v0
ethtool -k v0
ethtool -c v0
ethtool -g v0
ethtool -a v0
ethtool -T v0
ethtool nosuch
devlink dev
devlink port show
genl ctrl list
genl ctrl get name nlctrl
genl ctrl get name nosuch
busybox ip link show dev v0
busybox ip addr
busybox ip route
busybox ip route add 10.77.0.0/16 via 10.1.0.2
busybox ip link set nosuch up
busybox ip rule
getent ahosts localhost
getent ahostsv4 localhost
hostname -I
conntrack -L
conntrack -I -p tcp --src 10.1.0.1 --dst 10.1.0.9 --sport 1000 --dport 80 --state ESTABLISHED --timeout 30000
conntrack -G -p tcp --src 10.1.0.1 --dst 10.1.0.9 --sport 1000 --dport 80 | grep -o \"EST.*\"
conntrack -C
conntrack -D -p tcp --src 10.1.0.1 | grep -o \"EST.*\"
conntrack -D -p tcp --src 10.1.0.1
wg show
wg show nosuch
wg set v0 listen-port 5
nosuch_program
python3 $PYROUTE iproute
python3 $PYROUTE async
python3 $PYROUTE ndb
cat /proc/net/route
sort /proc/net/if_inet6
cat /proc/sys/net/ipv4/ip_forward
cat /proc/sys/net/nosuch
python3 -c 'import socket; print(socket.if_nameindex(), socket.if_nametoindex(\"v0\"), socket.if_indextoname(1))'
ip link del br7
ip link del nosuch
exit 17
kill -TERM $$
";

/// The script of pyroute2's classes, in the environment of the lines.
const PYROUTE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/pyroute.py");

fn lines() -> Vec<&'static str> {
    LINES.lines().filter(|line| !line.is_empty()).collect()
}

/// A line that runs all others, and leaves what each prints, and its end, in a folder.
fn script(folder: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let one = |(number, line): (usize, &str)| {
        let line = quoted(line);
        format!(
            "sh -c {line} >{folder}/{number}.out 2>{folder}/{number}.err </dev/null; echo $? >{folder}/{number}.code"
        )
    };
    lines().into_iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
}

/// The results of all lines by a command that runs [`script`].
fn results(command: impl Fn(&str) -> Command) -> Vec<[String; 3]> {
    let folder = testing::temporary("lines");
    std::fs::create_dir(&folder).unwrap();
    let mut command = command(&script(&folder.display().to_string()));
    command.env("PYROUTE", PYROUTE);
    let ended = outcome(command);
    assert_eq!(ended, Default::default());
    let read = |number: usize, kind: &str| {
        let content = std::fs::read(folder.join(format!("{number}.{kind}"))).unwrap();
        String::from_utf8_lossy(&content).into_owned()
    };
    let all =
        (0..lines().len()).map(|number| ["out", "err", "code"].map(|kind| read(number, kind)));
    let all = all.collect();
    std::fs::remove_dir_all(&folder).unwrap();
    all
}

fn same_over(target: &str) {
    let (here, there) = (alike(), alike());
    let expected = results(|line| native(&here, line));
    let actual = results(|line| {
        let run = ["run", target, "-n", &there.0, "--", "sh", "-c", line];
        match target.contains("ssh://") {
            true => nlr(&[&["-F", sshd().config.to_str().unwrap()], &run[..]].concat()),
            false => nlr(&run),
        }
    });
    let all = lines().into_iter().zip(expected.iter().zip(&actual));
    let differ: Vec<_> = all.filter(|(_, (expected, actual))| expected != actual).collect();
    assert!(differ.is_empty(), "{target}: {differ:#?}");
    assert!(lines().len() >= 110, "{}", lines().len());
    let failed = |name: &str| {
        let python = lines().iter().position(|line| line.ends_with(name)).unwrap();
        expected.get(python).filter(|[_, _, code]| code != "0\n")
    };
    for class in ["iproute", "async", "ndb"] {
        assert_eq!(failed(class), None);
    }
    // Most lines do something.
    assert!(expected.iter().filter(|[_, _, code]| code == "0\n").count() > 70);
}

#[test]
fn local() {
    same_over("local:");
}

#[test]
fn by_a_server() {
    let server = Server::start(&[]);
    same_over(&server.target());
}

#[test]
fn by_ssh_and_sudo() {
    if !world::has_real_root("sshd") {
        return;
    }
    same_over(&format!("ssh://{},sudo:", sshd().destination));
}

/// By the standard library's own netlink, and by vishvananda/netlink, with a second namespace.
#[test]
fn a_static_program_of_go() {
    let folder = testing::temporary("go");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("links");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/links.go"));
    build.env("CGO_ENABLED", "0").env("GOCACHE", folder.join("cache")).env("HOME", &folder);
    // The libraries are those of Debian's packages.
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    // A busy machine takes minutes for the standard library.
    let mut building = Running(build.spawn().unwrap());
    let mut status = None;
    let built = wait_up_to(Duration::from_secs(600), || {
        status = building.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(built && status.is_some_and(|status| status.success()), "{status:?}");
    // The thread that enters a namespace differs from run to run.
    for _ in 0..3 {
        let (here, there) = (alike(), alike());
        let run = |command: fn(&Namespace, &str) -> Command, namespace: &Namespace| {
            let second = Namespace::new();
            let line = format!("{} {}", program.display(), second.0);
            (outcome(command(namespace, &line)), second.ip("-br link show v0"))
        };
        let expected = run(native, &here);
        assert!(expected.0.0.contains("gone: gb0") && expected.0.2 == 0, "{expected:?}");
        let actual = run(|namespace, line| by_nlr("local:", namespace, line), &there);
        assert_eq!(actual, expected);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_inventory_runs_it_for_each() {
    let (first, second) = (alike(), Namespace::new());
    let file = testing::temporary("inventory");
    let text = format!("a local: -n {}\nb local: -n {}\n", first.0, second.0);
    std::fs::write(&file, text).unwrap();
    let inventory = file.to_str().unwrap();
    let run = |line: &str| outcome(nlr(&["run", "--inventory", inventory, "--", "sh", "-c", line]));
    let (stdout, stderr, code) = run("ip -o link | wc -l");
    assert!(stdout.contains("== a") && stdout.contains("== b"), "{stdout}");
    assert!(stdout.contains("\n4\n") && stdout.contains("\n1\n"), "{stdout}");
    assert_eq!((stderr.as_str(), code), ("", 0));
    let (_, stderr, code) = run("ip link show v0 >/dev/null");
    assert!(stderr.contains("nlr: b: Device \"v0\" does not exist.") && !stderr.contains("nlr: a"));
    assert_eq!(code, 21);
    std::fs::remove_file(&file).unwrap();
}

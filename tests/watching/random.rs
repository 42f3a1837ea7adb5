//! Random changes of a namespace's network configuration, as lines for `ip -batch` and `bridge -batch`.

/// A generator of numbers that a seed determines (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
}

/// The links that every namespace begins with: pairs of veth with addresses, and a bridge.
pub(crate) const BEGIN: &str = "link set lo up
link add v0 type veth peer name p0
link add v1 type veth peer name p1
link add br0 type bridge
link set v0 addrgenmode none
link set p0 addrgenmode none
link set v1 addrgenmode none
link set p1 addrgenmode none
link set br0 addrgenmode none
link set v0 up
link set p0 up
link set v1 up
link set p1 up
link set br0 up
addr add 10.1.0.1/24 dev v0
addr add 10.2.0.1/24 dev v1
addr add fd01::1/64 dev v0 nodad
addr add fd02::1/64 dev v1 nodad
";

/// A random line for `ip`, about any kind of object. Some lines fail.
pub(crate) fn ip_line(random: &mut Random) -> String {
    let number = random.below(4);
    let link = random.of(&["v0", "v1"]);
    match random.below(20) {
        0..5 => route(random),
        5..8 => route6(random),
        8 => format!(
            "rule {} prio {} {} lookup {}",
            random.of(&["add", "del"]),
            100 + random.below(3),
            random.of(&["from 10.7.0.0/16", "iif v0", "iif late", "fwmark 7", ""]),
            random.of(&["100", "101"]),
        ),
        9 => format!(
            "-6 rule {} prio {} lookup {}",
            random.of(&["add", "del"]),
            200 + number,
            random.of(&["100", "101"]),
        )
        .replace("-6 rule", "-6 rule"),
        10 => format!(
            "neigh {} 10.1.0.{} lladdr 02:00:00:00:00:0{} dev {link} nud {}",
            random.of(&["replace", "add", "del"]),
            10 + number,
            random.below(4),
            random.of(&["permanent", "noarp", "stale", "reachable"]),
        ),
        11 => format!(
            "addr {} 10.1.{number}.{}/24 dev {link}",
            random.of(&["add", "del", "replace"]),
            1 + random.below(3)
        ),
        12 => format!(
            "addr {} fd01::{}:{number}/64 dev {link} nodad",
            random.of(&["add", "del"]),
            1 + random.below(3)
        ),
        13 => match random.below(3) {
            0 => format!(
                "nexthop {} id {} via 10.1.0.{} dev v0",
                random.of(&["add", "replace"]),
                1 + number,
                2 + number
            ),
            1 => format!(
                "nexthop {} id {} group 1/2",
                random.of(&["add", "replace"]),
                10 + random.below(2)
            ),
            _ => format!("nexthop del id {}", random.of(&["1", "2", "3", "10", "11"])),
        },
        14 => format!("link set {link} {}", random.of(&["up", "down", "mtu 1400", "mtu 1500"])),
        15 => format!(
            "link set {link} {}",
            random.of(&["master br0", "nomaster", "alias x", "alias y"])
        ),
        16 => match random.below(2) {
            0 => format!("link add late type veth peer name late{number}"),
            _ => "link del late".to_owned(),
        },
        17 => format!("link set p1 {}", random.of(&["up", "down"])),
        18 => format!("link set late name late{number}x"),
        _ => format!("route flush table {}", random.of(&["100", "main"])),
    }
}

fn route(random: &mut Random) -> String {
    let action = random.of(&["add", "append", "prepend", "replace", "change", "del", "del"]);
    let destination = random.of(&["10.9.0.0/24", "10.9.1.0/24", "10.9.0.0/16", "default"]);
    let metric = random.of(&["", "metric 5", "metric 6", "tos 0x10"]);
    let table = random.of(&["", "", "table 100"]);
    let way = random.of(&[
        "via 10.1.0.2",
        "via 10.1.0.3",
        "via 10.2.0.2 mtu 1300",
        "dev v0",
        "dev v1 scope link src 10.2.0.1",
        "nexthop via 10.1.0.2 weight 2 nexthop via 10.2.0.2",
        "nhid 1",
        "nhid 10",
    ]);
    let kind = random.of(&["", "", "", "", "blackhole", "unreachable"]);
    match kind {
        "" => format!("route {action} {destination} {way} {metric} {table}"),
        kind => format!("route {action} {kind} {destination} {metric} {table}"),
    }
}

fn route6(random: &mut Random) -> String {
    let action = random.of(&["add", "append", "replace", "change", "del", "del"]);
    let destination = random.of(&["fd09::/64", "fd09:1::/64", "fd09::/32"]);
    let metric = random.of(&["", "metric 5"]);
    let way = random.of(&[
        "via fd01::2",
        "via fd01::3",
        "via fd02::2",
        "dev v0",
        "dev v1",
        "nexthop via fd01::2 nexthop via fd02::2",
        "nexthop via fd01::2 nexthop via fd01::3 nexthop via fd02::2",
    ]);
    format!("-6 route {action} {destination} {way} {metric}").replace("-6 route", "route")
}

/// A random line for `bridge`.
pub(crate) fn bridge_line(random: &mut Random) -> String {
    format!(
        "fdb {} 02:00:00:00:01:0{} dev {} {}",
        random.of(&["add", "del", "replace", "append"]),
        random.below(4),
        random.of(&["v0", "v1", "br0"]),
        random.of(&["master static", "self local", "master static vlan 5"]),
    )
}

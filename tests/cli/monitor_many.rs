//! `nlr monitor` of several targets and namespaces, of other protocols, through cuts, and into captures.

use std::{collections::BTreeSet, fs, io::Read, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use testing::{
    Namespace, Running, finish, run, temporary,
    tool::{Server, json_lines, nlr},
    wait,
};

/// A monitor whose lines are read while it runs.
struct Watch {
    running: Running,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(words: &[&str]) -> Self {
        let mut running = Running::start(nlr(words));
        let stdout = running.0.stdout.take().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        Self { running, lines }
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("a line").unwrap();
        json_lines(&line).remove(0)
    }

    /// The next line of an event.
    fn find(&mut self, event: &str) -> Value {
        loop {
            let line = self.next();
            if line["event"] == event {
                return line;
            }
        }
    }

    fn end(self) -> testing::Ended {
        self.running.signal(Signal::SIGINT);
        self.running.end()
    }
}

#[test]
fn an_inventory_of_targets_and_namespaces_is_watched_together() {
    let (first, second) = (Namespace::new(), Namespace::new());
    let server = Server::start(&[]);
    let file = temporary("inventory");
    let text = format!(
        "# hosts\none local: -n {}\ntwo {} -n {} # by a server\n",
        first.0,
        server.target(),
        second.0
    );
    fs::write(&file, text).unwrap();
    let words = [
        "monitor",
        "--inventory",
        file.to_str().unwrap(),
        "--json",
        "--group",
        "link",
        "--stats",
        "1",
    ];
    let mut watch = Watch::start(&words);
    let ready: BTreeSet<_> = [watch.next(), watch.next()]
        .map(|line| format!("{} {} {}", line["event"], line["target"], line["netns"]))
        .into();
    let expected = [("one", &first), ("two", &second)]
        .map(|(name, namespace)| format!("\"ready\" {name:?} {:?}", namespace.0));
    assert_eq!(ready, expected.into());
    for (name, namespace) in [("two", &second), ("one", &first)] {
        namespace.ip("link add b0 type bridge");
        let event = watch.find("new");
        assert_eq!((&event["target"], &event["netns"]), (&name.into(), &(*namespace.0).into()));
        assert_eq!((&event["object"], &event["ifname"]), (&"link".into(), &"b0".into()));
    }
    let stats = watch.find("stats");
    assert_eq!((&stats["lost"], &stats["datagrams"]), (&0.into(), &1.into()), "{stats}");
    let ended = watch.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (130, ""));
    fs::remove_file(file).unwrap();
}

#[test]
fn a_cut_is_a_line_and_the_connection_is_made_again() {
    let server = Server::start(&[]);
    let (path, target) = (server.path.clone(), server.target());
    let namespace = Namespace::new();
    let words =
        ["monitor", "--reconnect", "--json", "--group", "link", "-n", &namespace.0, &target];
    let mut watch = Watch::start(&words);
    assert_eq!(watch.next()["event"], "ready");
    server.stop(Signal::SIGTERM);
    let cut = watch.find("disconnected");
    assert!(cut["retry_in"].as_f64().unwrap() <= 1.0, "{cut}");
    assert!(!cut["why"].as_str().unwrap().is_empty(), "{cut}");
    let server = Server::start_at(path, &[]);
    let ready = watch.find("ready");
    assert_eq!(ready["again"], true);
    namespace.ip("link add b0 type bridge");
    assert_eq!(watch.find("new")["ifname"], "b0");
    // A namespace that is deleted and made again.
    let name = namespace.0.clone();
    run("ip", &["netns", "del", &name]);
    assert_eq!(watch.find("gone")["netns"], *name);
    run("ip", &["netns", "add", &name]);
    assert_eq!(watch.find("ready")["again"], true);
    namespace.ip("link add b1 type bridge");
    assert_eq!(watch.find("new")["ifname"], "b1");
    watch.end();
    drop(server);
}

#[test]
fn a_host_that_fails_does_not_end_the_others() {
    let namespace = Namespace::new();
    let words = [
        "monitor",
        "--json",
        "--group",
        "link",
        "-n",
        &namespace.0,
        "--color=never",
        "local:",
        "unix:/nosuch/socket",
    ];
    let mut watch = Watch::start(&words);
    let first = [watch.next(), watch.next()];
    let failed = first.iter().find(|line| line["event"] == "disconnected").unwrap();
    assert_eq!(failed["target"], "unix:/nosuch/socket");
    assert!(first.iter().any(|line| line["event"] == "ready" && line["target"] == "local:"));
    namespace.ip("link add b0 type bridge");
    assert_eq!(watch.find("new")["target"], "local:");
    watch.end();
    // What no attempt can mend, everywhere, is the end.
    let missing = finish(nlr(&["monitor", "--reconnect", "-n", "nosuch", "--color=never"]));
    assert_eq!(missing.code(), 1, "{missing:?}");
    assert!(missing.stdout.contains("given up"), "{missing:?}");
}

#[test]
fn other_protocols_are_shown_as_header_and_bytes() {
    let namespace = Namespace::new();
    let words = [
        "monitor",
        "--json",
        "-n",
        &namespace.0,
        "--group",
        "netfilter:nftables",
        "--group",
        "generic:nlctrl",
        "--group",
        "xfrm",
        "--group",
        "rule",
    ];
    let mut watch = Watch::start(&words);
    assert_eq!(watch.next()["event"], "ready");
    namespace.sh("nft add table inet filter");
    let message = watch.find("message");
    assert_eq!((&message["object"], &message["group"]), (&"netfilter".into(), &"nftables".into()));
    assert_eq!(message["subsystem"], "nftables");
    let length = message["length"].as_u64().unwrap();
    assert_eq!(message["payload"].as_str().unwrap().len() as u64, 2 * length);
    namespace.ip("xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out");
    loop {
        let message = watch.find("message");
        if message["object"] == "xfrm" {
            assert_eq!(message["group"], "policy", "{message}");
            break;
        }
    }
    watch.end();
    let wrong = finish(nlr(&["monitor", "--group", "generic:nosuch", "-n", &namespace.0]));
    wrong.failed(1, &["nosuch", "generic netlink"]);
}

/// Wireshark's dissector reads what a capture holds.
#[test]
fn captures_are_dissected() {
    let (first, second) = (Namespace::new(), Namespace::new());
    let server = Server::start(&[]);
    let file = temporary("capture");
    let file = file.to_str().unwrap();
    let words = [
        "monitor",
        "--pcap",
        file,
        "--group",
        "link",
        "--group",
        "route",
        "--group",
        "netfilter:nftables",
        "--group",
        "generic:ethtool:monitor",
        "--group",
        "xfrm",
        "-n",
        &first.0,
        "-n",
        &second.0,
        "local:",
        &server.target(),
    ];
    let running = Running::start(nlr(&words));
    first.wait_for_listener();
    second.wait_for_listener();
    std::thread::sleep(Duration::from_millis(500));
    for namespace in [&first, &second] {
        namespace.ip("link add b0 type bridge");
        namespace.ip("link add v0 type veth peer name v1");
        namespace.sh("ethtool -K v0 tso off");
        namespace.ip("link set lo up");
        namespace.ip("route add blackhole 10.0.0.0/8");
        namespace.sh("nft add table inet filter");
        namespace.ip("xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out");
    }
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (130, ""), "{ended:?}");
    assert_eq!(ended.stderr.matches("ready").count(), 4, "{ended:?}");
    let fields = "-Tfields -e frame.interface_name -e netlink.family -e _ws.malformed";
    let words: Vec<_> = ["-r", file].into_iter().chain(fields.split(' ')).collect();
    let dissected = run("tshark", &words);
    let rows: BTreeSet<Vec<_>> =
        dissected.lines().map(|line| line.split('\t').map(str::trim).collect()).collect();
    assert!(
        rows.iter().all(|row| row.get(2).is_none_or(|malformed| malformed.is_empty())),
        "{rows:?}"
    );
    let interfaces: BTreeSet<_> = rows.iter().map(|row| row[0]).collect();
    let expected = ["local:", &server.target()]
        .map(|target| [&first, &second].map(|namespace| format!("{target}/{}", namespace.0)));
    let expected = expected.concat();
    assert_eq!(interfaces, expected.iter().map(String::as_str).collect());
    let families: BTreeSet<_> = rows.iter().map(|row| row[1]).collect();
    for family in ["0", "6", "12", "16"] {
        assert!(families.iter().any(|found| number(found) == family), "{family}: {families:?}");
    }
    fs::remove_file(file).unwrap();
}

/// A number of tshark's, which may be in hexadecimal digits.
fn number(text: &str) -> String {
    let text = text.split(',').next().unwrap_or_default();
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).unwrap().to_string(),
        None => text.to_owned(),
    }
}

#[test]
fn captures_to_standard_output_and_of_a_size() {
    let namespace = Namespace::new();
    let words = ["monitor", "--pcap", "-", "--group", "link", "--count", "1", "-n", &namespace.0];
    let mut running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    std::thread::sleep(Duration::from_millis(300));
    namespace.ip("link add b0 type bridge");
    let mut captured = Vec::new();
    running.0.stdout.take().unwrap().read_to_end(&mut captured).unwrap();
    assert!(running.wait().success());
    assert_eq!(captured[..4], 0x0a0d_0d0a_u32.to_ne_bytes());
    if !testing::world::has_real_root("a large receive buffer") {
        return;
    }
    let folder = testing::temporary("captures");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("c.pcapng");
    let path = file.to_str().unwrap();
    let words =
        ["monitor", "--pcap", path, "--pcap-size", "1", "--group", "route", "-n", &namespace.0];
    let running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    std::thread::sleep(Duration::from_millis(300));
    namespace.ip("link set lo up");
    let routes = (0..40_000).map(|number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        format!("route add blackhole 10.0.{high}.{low}\n")
    });
    namespace.batch(&routes.collect::<String>());
    wait("a second file", || folder.join("c.pcapng.2").exists());
    running.signal(Signal::SIGINT);
    running.end();
    for name in ["c.pcapng", "c.pcapng.1"] {
        let file = folder.join(name);
        assert!(fs::metadata(&file).unwrap().len() < 2 << 20);
        let text = run("tshark", &["-r", file.to_str().unwrap(), "-c", "3"]);
        assert!(text.contains("Netlink route") && !text.contains("Malformed"), "{text}");
    }
    fs::remove_dir_all(folder).unwrap();
    let ended = finish(nlr(&["monitor", "--pcap", "/nosuch/file"]));
    ended.failed(1, &["/nosuch/file", "No such file"]);
}

#[test]
fn mistakes_in_inventories_are_told() {
    let file = temporary("inventory");
    let path = file.to_str().unwrap();
    for (text, words) in [
        ("", &["has no target"][..]),
        ("local:\nlocal:\n", &["line 2", "another target"]),
        ("a ssh:/x\n", &["line 1"]),
        ("local: -n\n", &["line 1", "-n wants"]),
    ] {
        fs::write(&file, text).unwrap();
        finish(nlr(&["monitor", "--inventory", path])).failed(2, words);
    }
    fs::remove_file(&file).unwrap();
    finish(nlr(&["monitor", "--inventory", path])).failed(2, &["reading the inventory", "No such"]);
}

/// What `ip monitor` tells in its text, which has no JSON form up to iproute2 6.15: the objects, in order.
fn as_ip_tells(text: &str) -> Vec<String> {
    let mut told = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t']) && !line.is_empty()) {
        let (verb, rest) = match line.strip_prefix("Deleted ") {
            Some(rest) => ("del", rest),
            None => ("new", line),
        };
        let words: Vec<_> = rest.split_whitespace().collect();
        let name = |word: &str| {
            let word = word.trim_end_matches(':');
            word.split('@').next().unwrap_or(word).to_owned()
        };
        let object = match &words[..] {
            [number, "from", ..] => format!("rule {}", name(number)),
            [_, link, "inet" | "inet6", address, ..] => format!("addr {} {address}", name(link)),
            [_, link, flags, ..] if flags.starts_with('<') => format!("link {}", name(link)),
            [address, "dev", _, "lladdr" | "FAILED", ..] => format!("neigh {address}"),
            ["broadcast" | "local" | "multicast" | "anycast" | "blackhole", route, ..] => {
                format!("route {route}")
            }
            [route, ..] => format!("route {route}"),
            [] => continue,
        };
        told.push(format!("{verb} {object}"));
    }
    told
}

#[test]
fn eighty_changes_are_told_as_ip_monitor_does_and_in_its_order() {
    let namespace = Namespace::new();
    namespace.batch("link add v0 type veth peer name v1\nlink set v0 addrgenmode none\nlink set v1 addrgenmode none");
    let groups = ["link", "addr", "route", "rule", "neigh"];
    let words = ["monitor", "--json", "-n", &namespace.0];
    let words: Vec<_> =
        words.into_iter().chain(groups.into_iter().flat_map(|group| ["--group", group])).collect();
    let running = Running::start(nlr(&words));
    namespace.wait_for_listener();
    let mut command = std::process::Command::new("ip");
    command.args(["-n", &namespace.0, "monitor", "link", "address", "route", "rule", "neigh"]);
    command.stdout(std::process::Stdio::piped());
    let ip = Running::start(command);
    std::thread::sleep(Duration::from_millis(500));
    let mut batch = "link set v0 up
link set v1 up
addr add 10.0.0.1/24 dev v0
addr add 10.0.1.1/24 dev v1
link add br0 type bridge
link set v1 master br0
link set v1 nomaster
link set v0 mtu 1400
link set v0 alias x
"
    .to_owned();
    for number in 1..=9 {
        batch += &format!(
            "route add 192.0.{number}.0/24 via 10.0.0.{number}2
rule add prio {number} lookup 100
neigh add 10.0.0.{number}0 lladdr 02:00:00:00:00:0{number} dev v0
route replace 192.0.{number}.0/24 via 10.0.0.{number}3
addr add 10.0.0.{number}/32 dev v1
"
        );
    }
    for number in 1..=7 {
        batch += &format!(
            "route del 192.0.{number}.0/24
rule del prio {number}
neigh del 10.0.0.{number}0 dev v0
addr del 10.0.0.{number}/32 dev v1
"
        );
    }
    let changes = batch.lines().count();
    assert!(changes >= 80, "{changes}");
    namespace.batch(&batch);
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::SIGINT);
    ip.signal(Signal::SIGTERM);
    let lines = json_lines(&running.end().stdout);
    let ours: Vec<_> = lines
        .iter()
        .filter(|line| matches!(line["event"].as_str(), Some("new" | "del")))
        // Of a port `ip monitor` prints a line of a link.
        .filter(|line| line["object"] != "fdb")
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let object = match text("object").as_str() {
                "link" | "port" => format!("link {}", text("ifname")),
                "addr" => format!("addr {} {}/{}", text("dev"), text("local"), line["prefixlen"]),
                "rule" => format!("rule {}", line["priority"]),
                object => format!("{object} {}", text("dst")),
            };
            format!("{} {object}", text("event"))
        })
        .collect();
    let theirs = as_ip_tells(&ip.end().stdout);
    let theirs: Vec<_> = theirs.into_iter().filter(|line| !line.ends_with(" dev")).collect();
    assert!(theirs.len() >= 80, "{theirs:#?}");
    let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    let from = differs.unwrap_or(ours.len().min(theirs.len()));
    let (ours_left, theirs_left) = (&ours[from..], &theirs[from..]);
    assert!(ours == theirs, "from {from} on:\n{ours_left:?}\n{theirs_left:?}");
}

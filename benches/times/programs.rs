//! Programs that were not written for this crate, by `nlr run` over a unix socket, beside the same inside this
//! namespace.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use criterion::Criterion;
use testing::{
    bench::{
        routes::{COUNT, fill},
        transport::{Transport, listener},
    },
    programs, world,
};

use crate::measure::{custom, group};

/// Routes of a batch, and elements of a set.
const MANY: u32 = 10_000;

/// The program itself, and by `nlr run`.
fn commands(words: &[&str]) -> [(&'static str, Command); 2] {
    let mut native = Command::new(words.first().unwrap());
    native.args(words.iter().skip(1));
    let mut far = Command::new(programs::nlr());
    far.args(["run", &Transport::Unix.target().to_string(), "--"]).args(words);
    [("native", native), ("nlr-run", far)]
}

fn succeed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    began.elapsed()
}

fn sh(line: &str) {
    succeed(Command::new("sh").args(["-c", line]));
}

/// A program that makes so many requests one after the other, and prints their time in nanoseconds.
const REQUESTS: &str = "import socket, struct, sys, time
one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
one.bind((0, 0))
request = struct.pack('=IHHII BBHiII', 32, 18, 1, 7, 0, 0, 0, 0, 1, 0, 0)
count = int(sys.argv[1])
for number in range(count + 100):
    if number == 100:
        began = time.perf_counter_ns()
    one.send(request)
    one.recv(65536)
print(time.perf_counter_ns() - began)
";

/// Single requests of a program.
fn requests(criterion: &mut Criterion) {
    let mut group = group(criterion, "programs/request", 10, 5);
    for (kind, command) in commands(&["python3", "-c", REQUESTS]) {
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let program = command.get_program().to_owned();
        custom(
            &mut group,
            kind,
            || (),
            |(), count| {
                let mut command = Command::new(&program);
                command.args(&words).arg(count.to_string());
                let output = command.stderr(Stdio::inherit()).output().unwrap();
                assert!(output.status.success());
                let text = String::from_utf8(output.stdout).unwrap();
                Duration::from_nanos(text.trim().parse().unwrap())
            },
        );
    }
    group.finish();
}

/// Events that `ip monitor` prints, from the first change to the last line. Another `ip` makes the changes, as
/// quickly as it can.
fn events(criterion: &mut Criterion, adds: &str) {
    let mut group = group(criterion, &format!("programs/ip-monitor-of-{MANY}"), 10, 5);
    for (kind, mut command) in commands(&["ip", "-rcvbuf", "67108864", "monitor", "route"]) {
        custom(
            &mut group,
            kind,
            || (),
            |(), count| {
                let mut monitor = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
                // It says nothing of when it listens.
                let probe = "172.17.0.1";
                let begun = Command::new("sh")
                    .args([
                        "-c",
                        &format!("sleep 1; ip route add blackhole {probe}; ip route del {probe}"),
                    ])
                    .status();
                assert!(begun.unwrap().success());
                for _ in 0..2 {
                    assert!(lines.next().unwrap().unwrap().contains(probe));
                }
                let one = |_| {
                    let began = Instant::now();
                    succeed(Command::new("ip").args(["-batch", adds]));
                    for _ in 0..MANY {
                        lines.next().unwrap().unwrap();
                    }
                    let took = began.elapsed();
                    sh("ip route flush root 172.16.0.0/16");
                    for _ in 0..MANY {
                        lines.next().unwrap().unwrap();
                    }
                    took
                };
                let took = (0..count).map(one).sum();
                sh(&format!("kill {}", monitor.id()));
                monitor.wait().unwrap();
                took
            },
        );
    }
    group.finish();
}

pub(crate) fn measure(criterion: &mut Criterion) {
    if world::is_user() {
        eprintln!("programs are not measured: nftables takes real root");
        return;
    }
    let folder = testing::temporary("programs");
    fs::create_dir(&folder).unwrap();
    let (adds, rules) = (folder.join("adds"), folder.join("rules"));
    let (mut lines, mut elements) = (String::new(), String::new());
    for number in 0..MANY {
        let [_, _, high, low] = number.to_be_bytes();
        writeln!(lines, "route add blackhole 172.16.{high}.{low}").unwrap();
        write!(elements, "10.{high}.{low}.1,").unwrap();
    }
    fs::write(&adds, lines).unwrap();
    let set = "type ipv4_addr; elements = {";
    fs::write(&rules, format!("table inet bench {{ set s {{ {set} {elements} }}; }}; }}\n"))
        .unwrap();
    let _server = listener();
    let (adds, rules) = (adds.to_str().unwrap().to_owned(), rules.to_str().unwrap().to_owned());
    for (name, words, undo) in [
        ("ip-link", vec!["ip", "link", "show", "lo"], "true"),
        ("ip-batch", vec!["ip", "-batch", &adds], "ip route flush root 172.16.0.0/16"),
        ("nft-set", vec!["nft", "-f", &rules], "nft delete table inet bench"),
    ] {
        let mut group = group(criterion, &format!("programs/{name}"), 10, 5);
        for (kind, mut command) in commands(&words) {
            custom(
                &mut group,
                kind,
                || (),
                |(), count| {
                    let one = |_| {
                        let took = succeed(&mut command);
                        sh(undo);
                        took
                    };
                    (0..count).map(one).sum()
                },
            );
        }
        group.finish();
    }
    requests(criterion);
    events(criterion, &adds);
    fill();
    let mut group = group(criterion, &format!("programs/ip-route-of-{COUNT}"), 10, 5);
    for (kind, mut command) in commands(&["ip", "route"]) {
        custom(
            &mut group,
            kind,
            || (),
            |(), count| (0..count).map(|_| succeed(&mut command)).sum(),
        );
    }
    group.finish();
    fs::remove_dir_all(&folder).unwrap();
}

//! Programs that were not written for this crate, by `nlr run` over a unix socket, beside the same inside this
//! namespace.

use std::{
    fmt::Write as _,
    fs,
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

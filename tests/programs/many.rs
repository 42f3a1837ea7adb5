//! Many programs, one behind the other and at once: nothing is left of any.

use std::{thread, time::Duration};

use testing::{Namespace, tool::Server, wait};

use crate::support::{alike, by_nlr, native, outcome};

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn two_hundred_programs_leave_nothing() {
    let namespace = alike();
    let server = Server::start(&[]);
    let before = descriptors(server.pid());
    // Each program in one run of the tool.
    let line = "for i in $(seq 200); do ip -o link show v0 | wc -l; done; ls /proc/$PPID/fd | wc -l; ip -o link show v0 | wc -l; ls /proc/$PPID/fd | wc -l";
    let (stdout, stderr, code) = outcome(by_nlr(&server.target(), &namespace, line));
    assert_eq!((stderr.as_str(), code), ("", 0));
    let numbers: Vec<u32> = stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 203);
    assert!(numbers[..200].iter().all(|lines| *lines == 1));
    // The tool's own, after 200 programs and after one more.
    assert!(numbers[200].abs_diff(numbers[202]) <= 1 && numbers[200] < 40, "{numbers:?}");
    wait("the server's descriptors", || descriptors(server.pid()) <= before);
}

#[test]
fn twenty_at_once() {
    let namespace = alike();
    let server = Server::start(&[]);
    let target = server.target();
    let expected = outcome(native(&namespace, "ip -d link; nft list ruleset; ss -tln"));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let line = "ip -d link; nft list ruleset; ss -tln";
                assert_eq!(outcome(by_nlr(&target, &namespace, line)), expected);
            });
        }
    });
    let line = "for i in $(seq 20); do (ip -o link show v0 | wc -l) & done; wait";
    let (stdout, stderr, code) = outcome(by_nlr(&target, &namespace, line));
    assert_eq!((stdout.as_str(), stderr.as_str(), code), ("1\n".repeat(20).as_str(), "", 0));
}

/// What the kernel drops at its own default buffer is told as the kernel tells it.
#[test]
fn a_slow_program_is_told_of_losses() {
    let namespace = Namespace::new();
    let script = "import socket, time, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0x40))
print('ready'); sys.stdout.flush()
sys.stdin.readline()
got = lost = 0
s.settimeout(1)
try:
    while True:
        try:
            s.recv(65536); got += 1
        except OSError as e:
            if e.errno != 105: raise
            lost += 1
except socket.timeout:
    pass
print(got > 100, lost)
s.settimeout(10)
print('again'); sys.stdout.flush()
print(len(s.recv(65536)) > 16)";
    let mut command = by_nlr("local:", &namespace, "exec python3 -c \"$SCRIPT\"");
    command.env("SCRIPT", script);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut running = testing::Running(command.spawn().unwrap());
    let mut output = std::io::BufReader::new(running.0.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        line
    };
    assert_eq!(line(), "ready\n");
    let changes = "route add blackhole 10.9.9.9\nroute del blackhole 10.9.9.9\n";
    Namespace::batch_in(&namespace.0, &changes.repeat(20_000));
    std::io::Write::write_all(&mut running.0.stdin.as_ref().unwrap(), b"\n").unwrap();
    let told = line();
    let lost: u32 = told.trim().strip_prefix("True ").unwrap().parse().unwrap();
    assert!(lost >= 1, "{told}");
    assert_eq!(line(), "again\n");
    thread::sleep(Duration::from_millis(50));
    namespace.ip("route add blackhole 10.9.9.9");
    assert_eq!(line(), "True\n");
}

//! Ends that nobody asked for: of the program, its child, the supervisor, the stub.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testing::{
    Running,
    processes::{self, MARK},
    tool::nlr,
    unique, wait,
};

use crate::support::outcome;

/// A supervised shell's line that waits in a receive, once it has printed a line.
fn start(line: &str, mark: &str) -> (Running, BufReader<std::process::ChildStdout>) {
    let mut command = nlr(&["run", "local:", "--", "sh", "-c", line]);
    command.env(MARK, mark).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert_eq!(first, "begun\n");
    (running, output)
}

/// The end of a stub's command line.
const STUB: &str = " stub";

const WAITS: &str = "echo begun; exec ip monitor";

fn find(mark: &str, words: &str) -> u32 {
    let mut found = None;
    wait(words, || {
        let all = processes::marked(mark);
        // The tool's own command line ends with the program's.
        let is_it = |process: &&processes::Process| match words {
            STUB => process.words.ends_with(STUB),
            words => process.words == words,
        };
        found = all.iter().find(is_it).map(|process| process.pid);
        found.is_some()
    });
    found.unwrap()
}

fn ends(mut running: Running, mark: &str) -> i32 {
    let began = Instant::now();
    let status = running.wait();
    assert!(began.elapsed() < Duration::from_secs(20));
    processes::assert_none(mark, &[]);
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

#[test]
fn of_the_program() {
    let mark = unique("mark");
    let (running, _output) = start(WAITS, &mark);
    processes::signal(find(&mark, "ip monitor"), Signal::SIGKILL);
    assert_eq!(ends(running, &mark), 137);
}

#[test]
fn of_a_child_of_the_program() {
    let mark = unique("mark");
    let (running, _output) = start("echo begun; ip monitor; ip link >/dev/null", &mark);
    processes::signal(find(&mark, "ip monitor"), Signal::SIGKILL);
    assert_eq!(ends(running, &mark), 0);
}

#[test]
fn of_the_supervisor() {
    let mark = unique("mark");
    let (running, _output) = start(WAITS, &mark);
    find(&mark, "ip monitor");
    running.signal(Signal::SIGKILL);
    assert_eq!(ends(running, &mark), 137);
}

#[test]
fn of_the_stub() {
    let mark = unique("mark");
    let (mut running, _output) = start("echo begun; ip monitor; ip link", &mark);
    find(&mark, "ip monitor");
    processes::signal(find(&mark, STUB), Signal::SIGKILL);
    let mut stderr = running.0.stderr.take().unwrap();
    assert_ne!(ends(running, &mark), 0);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert!(said.contains("nlr: ") && said.contains("Connection reset by peer"), "{said}");
}

#[test]
fn signals_reach_the_program() {
    let mark = unique("mark");
    let (running, _output) =
        start("trap 'echo caught; exit 5' TERM; echo begun; while :; do sleep 0.1; done", &mark);
    running.signal(Signal::SIGTERM);
    assert_eq!(ends(running, &mark), 5);
    let mark = unique("mark");
    let (running, _output) = start(WAITS, &mark);
    find(&mark, "ip monitor");
    running.signal(Signal::SIGTERM);
    assert_eq!(ends(running, &mark), 143);
}

#[test]
fn children_that_outlive_the_program_are_served_to_their_end() {
    let line = "(sleep 0.5; ip -o link show lo | wc -l) & echo over; exit 3";
    let (stdout, stderr, code) = outcome(nlr(&["run", "local:", "--", "sh", "-c", line]));
    assert_eq!((stdout.as_str(), code), ("over\n1\n", 3));
    assert_eq!(
        stderr,
        "nlr: sh has ended; processes that it has left are served until they end (Ctrl-C ends that)\n"
    );
    // They lose their sockets where that is ended, and nothing of the tool is left.
    let mark = unique("mark");
    let (mut running, _output) = start("ip monitor >/dev/null & echo begun", &mark);
    let mut said = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("are served until they end"), "{said}");
    running.signal(Signal::SIGTERM);
    assert_eq!(ends(running, &mark), 0);
}

/// As `nohup` has it.
#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    const HANG_UP: u64 = 1 << (Signal::SIGHUP as u64 - 1);
    let ignores = |line: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line, testing::programs::nlr()]);
        let mask = outcome(command).0.trim().replace("SigIgn:\t", "");
        u64::from_str_radix(&mask, 16).unwrap() & HANG_UP != 0
    };
    let status = "sh -c 'grep SigIgn /proc/self/status'";
    assert!(ignores(&format!("trap '' HUP; \"$0\" run local: -- {status}")));
    assert!(!ignores(&format!("\"$0\" run local: -- {status}")));
}

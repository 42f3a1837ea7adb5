//! What the tests of the tool `nlr` share: network namespaces, what `ip` says of them, and runs of
//! the tool that cannot hang.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Longer than anything takes on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kinds of world that tests/runner makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// Real root.
    Root,
    /// Root of a user namespace.
    User,
}

/// The world these tests run in. They change what they find, so they need one.
pub(crate) fn world() -> World {
    match std::env::var("NLR_TEST_WORLD").as_deref() {
        Ok("root") => World::Root,
        Ok("user") => World::User,
        _ => panic!("these tests need a world of their own: run tests/run"),
    }
}

/// A number no other caller in this process gets.
pub(crate) fn unique() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// A network namespace, deleted when dropped.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    /// An empty namespace, with the loopback link up and no duplicate address detection.
    pub(crate) fn new() -> Self {
        world();
        let name = format!("cli-{}", unique());
        run("ip", &["netns", "add", &name], "");
        let namespace = Self(name);
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` inside, and gives what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let arguments: Vec<_> =
            ["-n", &self.0].into_iter().chain(arguments.split_whitespace()).collect();
        run("ip", &arguments, "")
    }

    /// Runs lines of `ip` commands inside; those that begin with `-6` after the others.
    pub(crate) fn batch(&self, lines: &str) {
        let (inet6, inet): (Vec<_>, Vec<_>) =
            lines.lines().map(str::trim).partition(|line| line.starts_with("-6 "));
        run("ip", &["-n", &self.0, "-batch", "-"], &inet.join("\n"));
        let inet6 = inet6.join("\n").replace("-6 ", "");
        run("ip", &["-n", &self.0, "-6", "-batch", "-"], &inet6);
    }

    /// Sets a kernel parameter inside.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        self.sh(&format!("echo {value} > /proc/sys/{name}"));
    }

    /// Runs a shell's command inside.
    pub(crate) fn sh(&self, script: &str) -> String {
        run("ip", &["netns", "exec", &self.0, "sh", "-c", script], "")
    }

    /// Waits until a netlink socket inside is in a multicast group.
    pub(crate) fn wait_for_listener(&self) {
        wait("a socket in a group", || {
            let sockets = self.sh("cat /proc/net/netlink");
            sockets.lines().skip(1).any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                fields[1] == "0" && fields[3] != "00000000"
            })
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The links of most tests: a veth with its peer here, one with its peer in another namespace, a
/// bridge with a port, a macvlan.
pub(crate) fn links(namespace: &Namespace, other: &Namespace) {
    namespace.batch(&format!(
        "link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02
         link add far0 type veth peer name far1 netns {}
         link add br0 type bridge
         link add p0 type veth peer name p1
         link set p0 master br0
         link add mv0 link v0 type macvlan mode bridge
         link set v0 up
         link set v1 up mtu 1400
         link set far0 up
         link set br0 up
         link set p0 up
         link set p1 up
         link set mv0 up",
        other.0
    ));
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let ended = finish_with(command, input);
    assert_eq!(ended.code(), 0, "{program} {}: {}", arguments.join(" "), ended.stderr);
    ended.stdout
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code; 128 and the signal where one ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }

    /// Asserts a failure: its exit code, nothing on stdout, one line on stderr that has all of
    /// the words.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.stdout, "");
        let line = self.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(line.starts_with("nlr: ") && !line.contains('\n'), "{self:?}");
        for word in words {
            assert!(line.contains(word), "no {word:?}: {self:?}");
        }
    }

    /// Asserts a success, and gives what it printed.
    #[track_caller]
    pub(crate) fn printed(self) -> String {
        assert_eq!((self.code(), self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }
}

/// The tool, not run yet.
pub(crate) fn nlr(arguments: &[&str]) -> Command {
    world();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nlr"));
    command.args(arguments);
    for variable in ["NLR_STUB", "NLR_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the tool with words for arguments.
pub(crate) fn nlr_words(words: &str) -> Ended {
    finish(nlr(&words.split_whitespace().collect::<Vec<_>>()))
}

/// Runs a program to its end.
pub(crate) fn finish(command: Command) -> Ended {
    finish_with(command, "")
}

fn finish_with(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut stdin = running.0.stdin.take().unwrap();
    let input = input.to_owned();
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    running.end()
}

/// A program that runs; killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts a program and keeps what it writes for [`end`](Self::end).
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// The processes it has started.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.0.id();
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Vec::new();
        };
        let children = |task: PathBuf| fs::read_to_string(task.join("children"));
        let texts = tasks.filter_map(|task| children(task.ok()?.path()).ok());
        texts.flat_map(|text| parse_numbers(&text)).collect()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let stdout = thread::spawn(move || read_all(stdout));
        let stderr = thread::spawn(move || read_all(stderr));
        let status = self.wait();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        Ended { status, stdout, stderr }
    }

    /// Waits for its end, and leaves what it writes to others.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait("the end of a program", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parse_numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn read_all(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    stream.map(|mut stream| stream.read_to_string(&mut text).unwrap());
    text
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn wait(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there, and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

/// A path in the folder for temporary files that nobody else uses.
pub(crate) fn temporary(name: &str) -> PathBuf {
    world();
    std::env::temp_dir().join(format!("{name}-{}", unique()))
}

/// An `nlr serve`, ended by SIGTERM when dropped.
pub(crate) struct Server {
    running: Option<Running>,
    pub(crate) path: PathBuf,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_at(temporary("serve"), options)
    }

    pub(crate) fn start_at(path: PathBuf, options: &[&str]) -> Self {
        let mut command = nlr(&["serve", &target(&path)]);
        let mut running = Running::start({
            command.args(options);
            command
        });
        // It says that it listens once it does.
        let mut line = Vec::new();
        let mut byte = [0];
        let stderr = running.0.stderr.as_mut().unwrap();
        while byte != [b'\n'] {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "it ended");
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains("listening"), "{line}");
        Self { running: Some(running), path }
    }

    pub(crate) fn target(&self) -> String {
        target(&self.path)
    }

    /// Has it end by a signal, and gives its log.
    pub(crate) fn stop(mut self, signal: Signal) -> Ended {
        let running = self.running.take().unwrap();
        running.signal(signal);
        running.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::SIGTERM);
            running.end();
        }
    }
}

fn target(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// The elements of a JSON array; of nothing at all, none, as `ip` has it.
pub(crate) fn elements(text: &str) -> Vec<Value> {
    serde_json::from_str(if text.trim().is_empty() { "[]" } else { text })
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Lines of JSON.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

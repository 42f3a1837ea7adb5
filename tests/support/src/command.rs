//! Programs that a test runs, none of which can hang it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::PATIENCE;

/// The end of a program: its status and output.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// Its standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Ended {
    /// The exit code; after a signal, 128 and the signal's number.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }

    /// Asserts the failure of `nlr`: its exit code, an empty stdout, one line on stderr that has
    /// all of the words.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(line.starts_with("nlr: ") && !line.contains('\n'), "{self:?}");
        for word in words {
            assert!(line.contains(word), "no {word:?}: {self:?}");
        }
    }

    /// The end of a `nlr monitor` without its first line, which a signal may have come before.
    #[track_caller]
    pub fn without_ready(mut self) -> Self {
        let (first, rest) = self.stdout.split_once('\n').unwrap_or_default();
        assert!(first.is_empty() || first.ends_with(" ready"), "{self:?}");
        self.stdout = rest.to_owned();
        self
    }

    /// Asserts a success with an empty stderr, and gives the stdout.
    #[track_caller]
    pub fn printed(self) -> String {
        assert_eq!((self.code(), self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }
}

/// Runs a program that must succeed, and gives its stdout.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    succeed(command, "")
}

/// Runs a command that must succeed, and gives its stdout.
#[track_caller]
pub(crate) fn succeed(command: Command, input: &str) -> String {
    let words = format!("{command:?}");
    let ended = finish_with(command, input);
    assert_eq!(ended.code(), 0, "{words}: {ended:?}");
    ended.stdout
}

/// Runs a program to its end, with an empty stdin.
#[track_caller]
pub fn finish(command: Command) -> Ended {
    finish_with(command, "")
}

/// Runs a program to its end, with a text for stdin.
#[track_caller]
pub fn finish_with(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut stdin = running.0.stdin.take().unwrap();
    let input = input.to_owned();
    // A program may end without having read it.
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    running.end()
}

/// A running program; killed when dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts a program with no stdin and its output piped, for [`end`](Self::end).
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// The pids of its children.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.0.id();
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Vec::new();
        };
        let children = |task: PathBuf| fs::read_to_string(task.join("children"));
        let texts = tasks.filter_map(|task| children(task.ok()?.path()).ok());
        texts.flat_map(|text| parse_numbers(&text)).collect()
    }

    /// Waits for its end, and gives its output.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let stdout = thread::spawn(move || read_all(stdout));
        let stderr = thread::spawn(move || read_all(stderr));
        let status = self.ended_within(PATIENCE);
        if status.is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
        // A program that it has left behind may keep them open.
        let is_closed = wait_up_to(PATIENCE, || stdout.is_finished() && stderr.is_finished());
        assert!(is_closed, "something that the program started outlives it, with its output");
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let Some(status) = status else {
            panic!("the program does not end; so far: {stdout}{stderr}");
        };
        Ended { status, stdout, stderr }
    }

    /// Waits for its end; its output stays to be read.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).expect("the program does not end")
    }

    fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_up_to(patience, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status
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
    let mut bytes = Vec::new();
    stream.map(|mut stream| stream.read_to_end(&mut bytes).unwrap());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a condition, which must come.
#[track_caller]
pub fn wait(condition: &str, reached: impl FnMut() -> bool) {
    assert!(wait_up_to(PATIENCE, reached), "waited in vain for {condition}");
}

/// Waits for a condition; gives whether it came.
pub fn wait_up_to(patience: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if reached() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process exists, and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

//! Processes that a test has started, themselves or through others, found by a variable in their
//! environment.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait_up_to;

/// The variable whose value is the mark of a process. Children inherit it.
pub const MARK: &str = "NLR_TEST_MARK";

/// A process of this world.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Its command line.
    pub words: String,
}

/// The processes with a mark. A zombie has no environment, so there is none among them.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        if !environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()) {
            return None;
        }
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        Some(Process { pid, words: words.trim_end().to_owned() })
    })
    .collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Whether a process is stopped.
pub fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// Whether a process waits for something.
pub fn is_waiting(pid: u32) -> bool {
    state(pid) == Some('S')
}

/// Sends a signal; the process may have ended.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Stops a process, and waits until it stands still.
pub fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    assert!(wait_up_to(Duration::from_secs(10), || is_stopped(pid)), "{pid} does not stop");
}

/// Asserts that no process has the mark but these, some seconds later at the latest.
#[track_caller]
pub fn assert_none(mark: &str, but: &[u32]) {
    let mut left = Vec::new();
    wait_up_to(Duration::from_secs(6), || {
        left = marked(mark);
        left.retain(|process| !but.contains(&process.pid));
        left.is_empty()
    });
    assert!(left.is_empty(), "left behind: {left:?}");
}

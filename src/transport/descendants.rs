//! The processes that a child has started, killed with it.
//!
//! A process group of the child's own would name them as well, but would be none that may read the
//! terminal: ssh, which asks there for a password, would be stopped (SIGTTIN).

use std::{collections::HashSet, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process, as `/proc/PID/stat` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kills a child of this process that is not reaped yet, and every process that descends from it. A
/// process that has begun a session of its own, such as the master of ssh's ControlPersist, is
/// meant to stay. So does one that this user may not signal, such as sudo's: it ends with its
/// input.
pub(super) fn kill_with_descendants(child: u32) {
    let child = child.cast_signed();
    // A stopped process starts no other one while the list is made.
    let mut stopped = vec![child];
    signal(child, Signal::SIGSTOP);
    loop {
        let found = descendants(&all(), child);
        let fresh: Vec<_> = found.into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        fresh.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
        stopped.extend(fresh);
    }
    stopped.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
}

fn signal(pid: i32, signal: Signal) {
    // One that has ended meanwhile, or is another user's, is left.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// All processes; none where `/proc` is not mounted.
fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        // The name of the program stands in parentheses, and may hold any byte.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        parse(pid, std::str::from_utf8(stat.get(end + 1..)?).ok()?)
    })
    .collect()
}

/// Parses what stands behind the name in a line of proc_pid_stat(5): state, parent, group, session.
fn parse(pid: i32, rest: &str) -> Option<Process> {
    let mut fields = rest.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session })
}

/// The pids of those that descend from `child` and are in its session.
fn descendants(all: &[Process], child: i32) -> Vec<i32> {
    let Some(session) = all.iter().find(|process| process.pid == child).map(|it| it.session) else {
        return Vec::new();
    };
    let mut family = HashSet::from([child]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in all.iter().filter(|process| process.session == session) {
            if family.contains(&process.parent) && family.insert(process.pid) {
                found.push(process.pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_of_the_session_are_found_in_any_order() {
        let process = |pid, parent, session| Process { pid, parent, session };
        let all = [
            process(9, 7, 1),
            process(7, 5, 1),
            process(5, 1, 1),
            process(6, 1, 1),
            // A daemon, and its child.
            process(8, 5, 8),
            process(10, 8, 8),
        ];
        let mut found = descendants(&all, 5);
        found.sort_unstable();
        assert_eq!(found, [7, 9]);
        assert!(descendants(&all, 4).is_empty());
    }

    #[test]
    fn a_line_of_stat_is_parsed() {
        assert_eq!(
            parse(7, " S 5 6 4 0 -1 4194560"),
            Some(Process { pid: 7, parent: 5, session: 4 })
        );
        assert_eq!(parse(7, " S 5"), None);
        let me = std::process::id().cast_signed();
        assert!(all().iter().any(|process| process.pid == me && process.parent > 0));
    }
}

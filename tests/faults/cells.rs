//! The table's words: parties, steps, faults, and what a cell expects.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

/// A program that takes part in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// `nlr`.
    Client,
    /// The stub, a process of its own.
    Stub,
    /// The program ssh of an `openssh:` hop.
    Ssh,
    /// The far host's sshd: the session of this connection, or the listener where there is none yet.
    Sshd,
    /// sudo on the far host.
    Sudo,
    /// `nlr serve`.
    Server,
    /// `docker inspect`, which a stub runs for `-n docker:NAME`.
    Docker,
}

/// A time in a connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// TCP stands, and ssh says nothing yet.
    Connecting,
    /// The stub is on its way to the host.
    Upload,
    /// The stub's program has started and has said nothing.
    Hello,
    /// A socket is asked for; the stub waits for its namespace.
    Open,
    /// A monitor is running, and nothing happens.
    Idle,
    /// A dump is half read.
    Dump,
    /// A monitor is running, and events are coming.
    Monitor,
    /// The client has closed its stream; the stub has not ended.
    Closing,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// Every packet between the hosts is lost.
    Cut,
    /// ENOSPC: a full file system.
    NoSpace,
    /// EMFILE: RLIMIT_NOFILE.
    NoFiles,
    /// EAGAIN: RLIMIT_NPROC.
    NoProcesses,
    /// ENOMEM: RLIMIT_AS.
    NoMemory,
    /// stdout or stderr is closed.
    ClosedOutput,
    /// stdout or stderr takes nothing: /dev/full, a pipe that nobody reads.
    FullOutput,
}

pub(crate) const PARTIES: [Party; 7] = {
    use Party::*;
    [Client, Stub, Ssh, Sshd, Sudo, Server, Docker]
};

pub(crate) const STEPS: [Step; 8] = {
    use Step::*;
    [Connecting, Upload, Hello, Open, Idle, Dump, Monitor, Closing]
};

pub(crate) const FAULTS: [Fault; 9] = {
    use Fault::*;
    [Kill, Stop, Cut, NoSpace, NoFiles, NoProcesses, NoMemory, ClosedOutput, FullOutput]
};

/// What `nlr` does about a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It ends with this exit code and exactly this on stderr, after `nlr: ` and before the line's end.
    /// Nothing on stderr where the text is empty. `*` stands for any run of digits.
    Ends(i32, &'static str),
    /// As the one or as the other: which of them depends on the room in the buffers between.
    EndsAsOneOf(i32, [&'static str; 2]),
    /// It is killed, and says nothing.
    Dies,
    /// It goes on; SIGINT ends it.
    GoesOn,
    /// As the test that goes through all values of a limit, or all subcommands, says.
    Swept,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) party: Party,
    pub(crate) step: Step,
    pub(crate) fault: Fault,
    pub(crate) outcome: Outcome,
}

pub(crate) const fn cell(party: Party, step: Step, fault: Fault, outcome: Outcome) -> Cell {
    Cell { party, step, fault, outcome }
}

/// Cells that no test has, and why: each combination of the parties, steps and faults. An empty list
/// stands for all.
pub(crate) struct LeftOut {
    pub(crate) parties: &'static [Party],
    pub(crate) steps: &'static [Step],
    pub(crate) faults: &'static [Fault],
    pub(crate) why: &'static str,
}

impl LeftOut {
    pub(crate) fn has(&self, party: Party, step: Step, fault: Fault) -> bool {
        (self.parties.is_empty() || self.parties.contains(&party))
            && (self.steps.is_empty() || self.steps.contains(&step))
            && (self.faults.is_empty() || self.faults.contains(&fault))
    }
}

/// Tries each item on one of some lanes at the same time, and fails with all failures in the end.
pub(crate) fn on_lanes<T: Send + std::fmt::Debug, L>(
    lanes: usize,
    items: impl IntoIterator<Item = T>,
    lane: impl Fn() -> L + Sync,
    attempt: impl Fn(&L, &T) + Sync,
) {
    let queue = Mutex::new(items.into_iter().collect::<VecDeque<_>>());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let place = lane();
                loop {
                    let Some(item) = queue.lock().unwrap().pop_front() else { return };
                    let tried = catch_unwind(AssertUnwindSafe(|| attempt(&place, &item)));
                    if let Err(panic) = tried {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()));
                        let text = text.unwrap_or_default();
                        failures.lock().unwrap().push(format!("{item:?}:\n    {text}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cells fail:\n{}", failures.len(), failures.join("\n"));
}

//! Programs that are run to their end, for a bounded time and with bounded output.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{cancel::Cancel, failure::errno_of, sys};

/// Milliseconds between two checks whether the program has ended. The end of its output mostly wakes
/// earlier.
const TICK: u8 = 5;

/// Bytes of output that are kept, the last ones: an answer has a hundred, an error message a line.
const KEPT: usize = 4096;

/// A program's exit status and the end of its output.
pub(super) struct Answer {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs a program to its end. `None` for a program that has not ended in time; it is killed then.
///
/// # Errors
/// The errno of starting it, such as ENOENT; ECANCELED, and it is killed.
pub(super) fn run(
    mut command: Command,
    limit: Duration,
    cancel: &Cancel,
) -> Result<Option<Answer>, Errno> {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A process group of its own, so that its children can be killed with it.
    command.process_group(0);
    sys::end_with_this_thread(&mut command);
    let mut child = Killed(command.spawn().map_err(|error| errno_of(&error))?);
    let mut stdout = Output::new(child.0.stdout.take().map(OwnedFd::from))?;
    let mut stderr = Output::new(child.0.stderr.take().map(OwnedFd::from))?;
    loop {
        // Before reading, so that the output of a program that has ended is complete.
        let ended = child.0.try_wait().map_err(|error| errno_of(&error))?;
        stdout.read();
        stderr.read();
        if let Some(status) = ended {
            return Ok(Some(Answer { status, stdout: stdout.kept, stderr: stderr.kept }));
        }
        if cancel.is_cancelled() {
            return Err(Errno::ECANCELED);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let mut open: Vec<_> = [&stdout, &stderr].into_iter().filter_map(Output::watch).collect();
        if open.is_empty() {
            thread::sleep(Duration::from_millis(1));
        } else {
            let _ = poll(&mut open, PollTimeout::from(TICK));
        }
    }
}

/// A running program; killed and reaped when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // The pid of a reaped process may be another's.
        if let Ok(None) = self.0.try_wait() {
            let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// One output stream of a program.
struct Output {
    pipe: Option<File>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> Result<Self, Errno> {
        if let Some(pipe) = &pipe {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { pipe: pipe.map(File::from), kept: Vec::new() })
    }

    fn watch(&self) -> Option<PollFd<'_>> {
        self.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
    }

    /// Reads the bytes that are there, up to a bound: a program may write without end.
    fn read(&mut self) {
        let mut chunk = [0; KEPT];
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut chunk) {
                Ok(length @ 1..) => {
                    self.kept.extend(chunk.iter().take(length));
                    let over = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..over);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => self.pipe = None,
            }
        }
    }
}

/// The last line of output that is not empty, as text.
pub(super) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_end_of_what_a_program_writes_is_kept() {
        let script = "echo told; i=0; while [ $i -lt 9999 ]; do echo $i; i=$((i+1)); done >&2; \
                      exit 3";
        let answer = run(sh(script), PATIENCE, &Cancel::default()).unwrap().unwrap();
        assert_eq!(answer.status.code(), Some(3));
        assert_eq!(answer.stdout, b"told\n");
        assert_eq!(answer.stderr.len(), KEPT);
        assert_eq!(last_line(&answer.stderr), "9998");
    }

    #[test]
    fn what_does_not_end_is_killed_with_what_it_started() {
        for script in ["sleep 1000 & wait", "exec >/dev/null 2>&1; sleep 1000 & wait", "yes"] {
            assert!(
                run(sh(script), Duration::from_millis(200), &Cancel::default()).unwrap().is_none(),
                "{script}"
            );
        }
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_killed() {
        let gone = Cancel::default();
        thread::scope(|scope| {
            let running = scope.spawn(|| run(sh("sleep 1000 & wait"), PATIENCE, &gone).err());
            gone.cancel();
            assert_eq!(running.join().unwrap(), Some(Errno::ECANCELED));
        });
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        // It holds the pipe all the while.
        let answer =
            run(sh("sleep 1000 & echo $!"), PATIENCE, &Cancel::default()).unwrap().unwrap();
        let left = last_line(&answer.stdout).parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_program_that_cannot_be_run_gives_its_errno() {
        let errno = run(Command::new("/nonexistent"), PATIENCE, &Cancel::default()).err();
        assert_eq!(errno, Some(Errno::ENOENT));
    }
}

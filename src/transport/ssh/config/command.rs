//! The commands of `Match exec`.

use std::{
    env,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The longest run of a command: ssh waits for ever, with a user before it.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether a command of the user's shell succeeds. Blocks, for the longest time of a command.
pub(super) fn succeeds(command: &str) -> Result<bool, String> {
    let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".into());
    let mut child = Command::new(&shell)
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("starting {}: {error}", shell.display()))?;
    let deadline = Instant::now() + LIMIT;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(pause),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the command of `exec` has not ended within {LIMIT:?}"));
            }
            Err(error) => return Err(format!("the command of `exec`: {error}")),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(succeeds("test a = a"), Ok(true));
        assert_eq!(succeeds("exit 3"), Ok(false));
        assert_eq!(succeeds("no-such-program-here 2>&1"), Ok(false));
    }
}

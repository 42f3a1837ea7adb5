//! Locks on files, flock(2), that are not waited for without end: any process that may open a file
//! can keep its lock.

use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::cancel::Cancel;

/// Time between two attempts.
const TICK: Duration = Duration::from_millis(5);

/// Locks a file against all other processes that lock it.
///
/// # Errors
/// ETIMEDOUT where another process keeps the lock for longer than `patience`, ECANCELED, and those
/// of flock(2).
pub(crate) fn lock_file(
    mut file: File,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Flock<File>, Errno> {
    let deadline = Instant::now() + patience;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((_, _)) if cancel.is_cancelled() => return Err(Errno::ECANCELED),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => {
                return Err(Errno::ETIMEDOUT);
            }
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(errno),
        };
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_keeps_is_waited_for_until_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::open(folder.path()).unwrap();
        let held = lock_file(open(), Duration::ZERO, &Cancel::default()).unwrap();
        let refused = lock_file(open(), Duration::from_millis(20), &Cancel::default());
        assert_eq!(refused.err(), Some(Errno::ETIMEDOUT));
        let gone = Cancel::default();
        gone.cancel();
        assert_eq!(
            lock_file(open(), Duration::from_secs(3600), &gone).err(),
            Some(Errno::ECANCELED)
        );
        drop(held);
        lock_file(open(), Duration::ZERO, &Cancel::default()).unwrap();
    }
}

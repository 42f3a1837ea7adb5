//! The memory of one connection for what waits, out of that of its server.

use std::time::{Duration, Instant};

use super::{
    budget::{Account, Held, Resource},
    exit::Exit,
};
use crate::limits::server::MEMORY_PATIENCE;

/// How often a connection without memory asks again.
pub(super) const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Memory {
    held: Held,
    /// Since when there is too little.
    short_since: Option<Instant>,
}

impl Memory {
    pub(super) fn new(account: &Account) -> Self {
        Self { held: account.nothing(Resource::Memory), short_since: None }
    }

    /// Counts so many bytes. Gives whether there is room for them: if not, no more frames are to be
    /// taken in until there is, because what waits has become less or other clients have given some
    /// back.
    ///
    /// # Errors
    /// The exit of a client for which there was no room for a long time.
    #[inline]
    pub(super) fn count(&mut self, bytes: u64) -> Result<bool, Exit> {
        match self.held.set(bytes) {
            Ok(()) => {
                self.short_since = None;
                Ok(true)
            }
            Err(refused) => {
                let since = *self.short_since.get_or_insert_with(Instant::now);
                if since.elapsed() < MEMORY_PATIENCE {
                    return Ok(false);
                }
                let seconds = MEMORY_PATIENCE.as_secs();
                let text = format!("no memory for what waits, for {seconds} s: {refused}");
                Err(Exit::Violation(text))
            }
        }
    }

    /// Whether there is too little.
    pub(super) fn is_short(&self) -> bool {
        self.short_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::budget::Budget;

    #[test]
    fn a_connection_without_memory_waits_until_another_gives_some_back() {
        let account = Budget::alone(1 << 20).account(0);
        let (mut first, mut second) = (Memory::new(&account), Memory::new(&account));
        assert_eq!(first.count(1 << 20), Ok(true));
        assert_eq!(second.count(1 << 19), Ok(false));
        assert!(second.is_short());
        assert_eq!(second.count(0), Ok(true), "what waits has become less");
        assert_eq!(second.count(1 << 19), Ok(false));
        drop(first);
        assert_eq!(second.count(1 << 19), Ok(true));
        assert!(!second.is_short());
    }

    #[test]
    fn it_does_not_wait_without_end() {
        let account = Budget::alone(1 << 20).account(0);
        let mut memory = Memory::new(&account);
        assert_eq!(memory.count(2 << 20), Ok(false));
        memory.short_since = Instant::now().checked_sub(MEMORY_PATIENCE);
        let Err(Exit::Violation(text)) = memory.count(2 << 20) else { panic!("it goes on") };
        let end = "this client has 0 bytes that wait, and may have 1048576";
        assert!(text.ends_with(end), "{text}");
    }
}

//! Requests that are given up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::errno::Errno;

use super::failure::explained;
use crate::wire::Failure;

/// Whether nobody waits for the result of a request any more. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Has every request that knows this end soon.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the request is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Goes on unless the request is to end.
    ///
    /// # Errors
    /// ECANCELED.
    pub fn check(&self) -> Result<(), Failure> {
        match self.is_cancelled() {
            true => Err(explained(Errno::ECANCELED, "the client has gone")),
            false => Ok(()),
        }
    }

    /// Whether this is a clone of `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

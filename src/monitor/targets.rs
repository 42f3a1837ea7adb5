//! The targets of a monitor, for its users.

use std::sync::Arc;

use super::{
    builder::Watched,
    registry::{Registry, TargetState},
    target::Task,
};
use crate::Error;

/// The targets of a monitor. Cheap to clone; clones are the same targets. It does not keep the monitor
/// alive.
#[derive(Debug, Clone)]
pub struct Targets(Arc<Registry>);

impl Targets {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// Adds a target.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that another target has, for one without
    /// subscriptions, and for a monitor that is gone.
    pub fn add(&self, watched: Watched) -> Result<(), Error> {
        let mut watched = watched;
        let (events, active) = Registry::reserve(&self.0, &mut watched)?;
        let name = Arc::clone(&watched.name);
        let task = Task::new(watched, Arc::clone(&self.0), events);
        let task = tokio::spawn(async move {
            let _active = active;
            task.run().await;
        });
        self.0.started(&name, task.abort_handle());
        Ok(())
    }

    /// Removes a target and ends its connection; false if there is none of this name. Events of it that
    /// wait already are still given.
    pub fn remove(&self, name: &str) -> bool {
        self.0.remove(name)
    }

    /// The names of the targets and their states, sorted by name. Those that were given up stay until
    /// they are removed.
    pub fn states(&self) -> Vec<(Arc<str>, TargetState)> {
        self.0.states()
    }
}

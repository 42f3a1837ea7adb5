//! The targets of a monitor, and their states.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};

use super::{
    builder::{Options, Watched},
    event::MonitorEvent,
};
use crate::{Connector, Error, sync::lock};

/// The state of a target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TargetState {
    /// A connection is being made, or waits for others that are.
    Connecting,
    /// There is a connection.
    #[non_exhaustive]
    Connected {
        /// Since when.
        since: Instant,
    },
    /// There is none, and another attempt will be made.
    #[non_exhaustive]
    Waiting {
        /// The cause.
        why: Error,
        /// When.
        until: Instant,
    },
    /// It was given up.
    #[non_exhaustive]
    Failed {
        /// The cause.
        why: Error,
    },
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected { since } => {
                write!(f, "connected for {:?}", whole_seconds(since.elapsed()))
            }
            Self::Waiting { why, until } => {
                let left = until.saturating_duration_since(Instant::now());
                write!(f, "trying again in {:?}: {why}", whole_seconds(left))
            }
            Self::Failed { why } => write!(f, "given up: {why}"),
        }
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

struct Member {
    state: TargetState,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct Members {
    by_name: HashMap<Arc<str>, Member>,
    /// Those whose tasks run.
    active: usize,
    /// The task that waits for an event, or for the end of the last target.
    waiter: Option<Waker>,
    has_ended: bool,
}

/// What the tasks of a monitor share.
pub(super) struct Registry {
    pub(super) options: Options,
    pub(super) connector: Connector,
    pub(super) connects: Semaphore,
    events: mpsc::Sender<MonitorEvent>,
    members: Mutex<Members>,
}

impl Registry {
    pub(super) fn new(
        options: Options,
        connector: Connector,
        events: mpsc::Sender<MonitorEvent>,
    ) -> Self {
        let connects = Semaphore::new(options.connects);
        Self { options, connector, connects, events, members: Mutex::default() }
    }

    /// Takes in a target, whose task is [started](Self::started) then.
    pub(super) fn reserve(
        registry: &Arc<Self>,
        watched: &mut Watched,
    ) -> Result<(mpsc::Sender<MonitorEvent>, Active), Error> {
        if watched.subscriptions.is_empty() {
            watched.subscriptions.clone_from(&registry.options.subscriptions);
        }
        let name = &watched.name;
        if watched.subscriptions.is_empty() {
            return Err(Error::invalid(format!("{name}: there is no subscription")));
        }
        let mut members = lock(&registry.members);
        if members.has_ended {
            return Err(Error::invalid(format!("{name}: the monitor is gone")));
        }
        if members.by_name.contains_key(name) {
            return Err(Error::invalid(format!("{name}: there are two targets of this name")));
        }
        let member = Member { state: TargetState::Connecting, task: None };
        members.by_name.insert(Arc::clone(name), member);
        members.active += 1;
        Ok((registry.events.clone(), Active(Arc::clone(registry))))
    }

    /// Takes in the task of a target.
    pub(super) fn started(&self, name: &str, task: AbortHandle) {
        match lock(&self.members).by_name.get_mut(name) {
            Some(member) => member.task = Some(task),
            // Removed meanwhile.
            None => task.abort(),
        }
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        let member = lock(&self.members).by_name.remove(name);
        if let Some(Member { task: Some(task), .. }) = &member {
            task.abort();
        }
        member.is_some()
    }

    pub(super) fn states(&self) -> Vec<(Arc<str>, TargetState)> {
        let members = lock(&self.members);
        let state = |(name, member): (&Arc<str>, &Member)| (Arc::clone(name), member.state.clone());
        let mut states: Vec<_> = members.by_name.iter().map(state).collect();
        states.sort_by(|(first, _), (second, _)| first.cmp(second));
        states
    }

    pub(super) fn set_state(&self, name: &str, state: TargetState) {
        if let Some(member) = lock(&self.members).by_name.get_mut(name) {
            member.state = state;
        }
    }

    #[cfg(feature = "nats")]
    pub(super) fn is_active(&self) -> bool {
        lock(&self.members).active > 0
    }

    /// Ready once no target's task runs.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        let mut members = lock(&self.members);
        if members.active == 0 {
            return Poll::Ready(());
        }
        members.waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the tasks of all targets.
    pub(super) fn end(&self) {
        let members = {
            let mut members = lock(&self.members);
            members.has_ended = true;
            std::mem::take(&mut members.by_name)
        };
        members.into_values().filter_map(|member| member.task).for_each(|task| task.abort());
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Counts a task as running until it is dropped, by its end or by being aborted.
pub(super) struct Active(Arc<Registry>);

impl Drop for Active {
    fn drop(&mut self) {
        let waiter = {
            let mut members = lock(&self.0.members);
            members.active -= 1;
            if members.active == 0 { members.waiter.take() } else { None }
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

//! The tasks of one connection: a few of them are in the [`Pool`] at a time.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use super::{
    access::Access,
    budget::Account,
    completions::Completions,
    pool::{Asking, Job, Pool},
    task::Task,
};
use crate::{
    kernel::Cancel,
    limits::stub::{ASKING_AT_A_TIME, TASKS_AT_A_TIME},
};

/// The tasks of one connection. Dropping it drops those that have not begun, and has the others end
/// soon.
#[derive(Debug)]
pub(super) struct Workers {
    access: Arc<Access>,
    pool: Pool,
    account: Account,
    completions: Arc<Completions>,
    waiting: VecDeque<Task>,
    running: usize,
    /// How many of the running ones ask a container engine.
    asking: Arc<AtomicUsize>,
    cancel: Cancel,
}

impl Workers {
    pub(super) fn new(
        access: Access,
        pool: Pool,
        account: Account,
        completions: Arc<Completions>,
    ) -> Self {
        let access = Arc::new(access);
        let (waiting, cancel) = (VecDeque::new(), Cancel::default());
        let asking = Arc::default();
        Self { access, pool, account, completions, waiting, running: 0, asking, cancel }
    }

    /// Has tasks that begin from now on change nothing.
    pub(super) fn set_read_only(&mut self) {
        Arc::make_mut(&mut self.access).read_only = true;
    }

    /// What the client may do.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn start(&mut self, task: Task) {
        self.waiting.push_back(task);
        self.advance();
    }

    /// To be called once for each completion of a task.
    pub(super) fn finished(&mut self) {
        self.running -= 1;
        self.advance();
    }

    fn advance(&mut self) {
        while self.running < TASKS_AT_A_TIME {
            let may_ask = self.asking.load(SeqCst) < ASKING_AT_A_TIME;
            let next = self.waiting.iter().position(|task| may_ask || !task.asks_engine());
            let Some(task) = next.and_then(|next| self.waiting.remove(next)) else { return };
            self.running += 1;
            self.pool.start(Job {
                asking: task.asks_engine().then(|| Asking::new(&self.asking)),
                task,
                access: Arc::clone(&self.access),
                account: self.account.clone(),
                completions: Arc::clone(&self.completions),
                cancel: self.cancel.clone(),
            });
        }
    }

    /// Drops the tasks that have not begun, and has the others end soon.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.cancel.cancel();
        self.pool.forget(&self.cancel);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.clear();
    }
}

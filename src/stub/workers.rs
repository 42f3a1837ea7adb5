//! Threads beside the I/O thread, each for one task.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use super::{access::Access, completions::Completions, task::Task};
use crate::kernel::{errno_of, failure};

/// Tasks that run at a time; more of them wait.
const AT_A_TIME: usize = 8;

/// Of these, tasks that ask a container engine. One that does not answer takes seconds, and other
/// tasks go on meanwhile.
const ASKING_AT_A_TIME: usize = 4;

/// Counts a task that asks a container engine, until it is dropped.
#[derive(Debug)]
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs tasks, a few at a time, each on a thread that is used once.
#[derive(Debug)]
pub(super) struct Workers {
    access: Arc<Access>,
    completions: Arc<Completions>,
    waiting: VecDeque<Task>,
    running: usize,
    /// How many of the running ones ask a container engine.
    asking: Arc<AtomicUsize>,
}

impl Workers {
    pub(super) fn new(access: Access, completions: Arc<Completions>) -> Self {
        let access = Arc::new(access);
        Self { access, completions, waiting: VecDeque::new(), running: 0, asking: Arc::default() }
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
        while self.running < AT_A_TIME {
            let may_ask = self.asking.load(SeqCst) < ASKING_AT_A_TIME;
            let next = self.waiting.iter().position(|task| may_ask || !task.asks_engine());
            let Some(task) = next.and_then(|next| self.waiting.remove(next)) else { return };
            self.running += 1;
            let asking = task.asks_engine().then(|| Asking::new(&self.asking));
            let slot = Arc::new(Mutex::new(Some(task)));
            let (theirs, completions) = (Arc::clone(&slot), Arc::clone(&self.completions));
            let access = Arc::clone(&self.access);
            let take = |slot: &Mutex<Option<Task>>| {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take()
            };
            let spawned = thread::Builder::new()
                .name("nlr-work".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || {
                    if let Some(task) = take(&theirs) {
                        let completion = task.run(&access);
                        // Before the completion arrives, upon which the next task may begin.
                        drop(asking);
                        completions.push(completion);
                    }
                });
            // Only where no thread has come to take the task may it be taken back.
            if let Err(error) = spawned
                && let Some(task) = take(&slot)
            {
                let failure = failure(errno_of(&error), "starting a thread");
                self.completions.push(task.failed(failure));
            }
        }
    }
}

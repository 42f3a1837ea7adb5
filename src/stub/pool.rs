//! The threads of tasks, a bounded number for all clients of a server. A task that finds none free
//! waits; it is dropped, and never begun, when its client goes.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{
    access::Access,
    budget::{Account, Held, Refused, Resource},
    completions::Completions,
    task::Task,
};
use crate::{
    kernel::{Cancel, errno_of, failure},
    limits::server::TASK_PATIENCE,
};

/// Counts a task that asks a container engine, until it is dropped. An engine that does not answer
/// takes seconds, and other tasks go on meanwhile.
#[derive(Debug)]
pub(super) struct Asking(Arc<AtomicUsize>);

impl Asking {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A task, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) access: Arc<Access>,
    pub(super) account: Account,
    pub(super) completions: Arc<Completions>,
    pub(super) cancel: Cancel,
    pub(super) asking: Option<Asking>,
}

impl Job {
    /// A place among the tasks that run.
    fn place(&self) -> Result<Vec<Held>, Refused> {
        let mut place = vec![self.account.hold(Resource::Tasks, 1)?];
        if self.task.asks_engine() {
            place.push(self.account.hold(Resource::Asking, 1)?);
        }
        Ok(place)
    }

    fn fail(self, errno: Errno, step: &str) {
        self.completions.push(self.task.failed(failure(errno, step)));
    }
}

/// The threads. Clones are the same pool.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The queue has become shorter.
    changed: Condvar,
    /// How long a job may wait.
    patience: Duration,
    /// Starts the threads, where they must not be children of those that ask.
    spawner: Option<Sender<Start>>,
}

/// The start of a thread.
type Start = Box<dyn FnOnce() + Send>;

#[derive(Debug, Default)]
struct State {
    /// Jobs that wait, the oldest first, and until when.
    waiting: VecDeque<(Instant, Job)>,
    /// Whether a thread sees to it that none waits for too long.
    supervised: bool,
}

impl Pool {
    /// A pool for one connection.
    pub(super) fn new() -> Self {
        Self::with(TASK_PATIENCE, None)
    }

    /// A pool for many connections. A thread inherits the capabilities of the one that starts it, and
    /// those of a connection that changes nothing have given them up: a thread of the pool's own starts
    /// those of all tasks, until the pool is dropped.
    ///
    /// # Errors
    /// Those of starting that thread.
    pub(super) fn shared() -> io::Result<Self> {
        let (spawner, starts) = channel::<Start>();
        let start_all = move || starts.into_iter().for_each(|start| start());
        let builder = thread::Builder::new().name("nlr-tasks".to_owned());
        builder.stack_size(256 * 1024).spawn(start_all)?;
        Ok(Self::with(TASK_PATIENCE, Some(spawner)))
    }

    fn with(patience: Duration, spawner: Option<Sender<Start>>) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { state, changed, patience, spawner }))
    }

    /// Starts a job, now or when others have ended. Its result is pushed to its completions.
    pub(super) fn start(&self, job: Job) {
        let mut state = self.0.state();
        state.waiting.push_back((Instant::now() + self.0.patience, job));
        self.0.advance(state);
    }

    /// Drops the jobs that wait and have been cancelled.
    pub(super) fn forget(&self, cancel: &Cancel) {
        let mut state = self.0.state();
        let (forgotten, kept) =
            state.waiting.drain(..).partition::<VecDeque<_>, _>(|(_, job)| job.cancel.is(cancel));
        state.waiting = kept;
        self.0.changed.notify_all();
        drop(state);
        drop(forgotten);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every job that has a place.
    fn advance(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut at = 0;
        while let Some((_, job)) = state.waiting.get(at) {
            match job.place() {
                Ok(place) => {
                    if let Some((_, job)) = state.waiting.remove(at) {
                        self.run(job, place);
                    }
                }
                Err(_) => at += 1,
            }
        }
        self.changed.notify_all();
        if !state.waiting.is_empty() && !state.supervised {
            let shared = Arc::clone(self);
            let builder = thread::Builder::new().name("nlr-tasks".to_owned());
            // Without a thread, jobs wait until others end.
            state.supervised =
                builder.stack_size(256 * 1024).spawn(move || shared.supervise()).is_ok();
        }
    }

    /// Runs a job on a thread that is used for nothing else: it may enter a namespace.
    fn run(self: &Arc<Self>, job: Job, place: Vec<Held>) {
        let slot = Arc::new(Mutex::new(Some(job)));
        let (theirs, shared) = (Arc::clone(&slot), Arc::clone(self));
        let take =
            |slot: &Mutex<Option<Job>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = move || {
            if let Some(Job { task, access, completions, cancel, asking, .. }) = take(&theirs) {
                let completion = task.run(&access, &cancel);
                // Before the completion arrives, upon which the next task may begin.
                drop((place, asking));
                completions.push(completion);
            }
            shared.advance(shared.state());
        };
        let start = move || {
            let builder = thread::Builder::new().name("nlr-work".to_owned()).stack_size(256 * 1024);
            // Only where no thread has come to take the job may it be taken back.
            if let Err(error) = builder.spawn(work)
                && let Some(job) = take(&slot)
            {
                job.fail(errno_of(&error), "starting a thread");
            }
        };
        match &self.spawner {
            None => start(),
            // It receives for as long as this sender exists.
            Some(spawner) => drop(spawner.send(Box::new(start))),
        }
    }

    /// Fails the jobs that have waited for too long, until none waits.
    fn supervise(&self) {
        let mut state = self.state();
        while let Some((deadline, _)) = state.waiting.front() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if let Some((_, job)) = state.waiting.pop_front() {
                    let text = format!("waiting {} s for other tasks", self.patience.as_secs());
                    job.fail(Errno::ETIMEDOUT, &text);
                }
                continue;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.supervised = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stub::{budget::Budget, completions::Completion},
        wire::NetnsRequest,
    };

    fn job(account: &Account, completions: &Arc<Completions>, cancel: &Cancel) -> Job {
        let task = Task::Netns(7, NetnsRequest::List, None);
        let completions = Arc::clone(completions);
        let (account, cancel) = (account.clone(), cancel.clone());
        Job { task, access: Arc::default(), account, completions, cancel, asking: None }
    }

    /// Every place that there is for a client alone.
    fn all_places(account: &Account) -> Vec<Held> {
        std::iter::from_fn(|| account.hold(Resource::Tasks, 1).ok()).collect()
    }

    fn result(completions: &Completions) -> Option<i32> {
        let mut arrived = VecDeque::new();
        completions.take_into(&mut arrived);
        arrived.pop_front().map(|completion| match completion {
            Completion::Netns { result, .. } => result.map_or_else(|failure| failure.errno, |_| 0),
            other => panic!("{other:?}"),
        })
    }

    fn wait(completions: &Completions) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match result(completions) {
                Some(errno) => return errno,
                None => assert!(Instant::now() < deadline, "no completion"),
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_waits_for_a_place_and_no_longer_than_it_may() {
        let account = Budget::alone(0).account(0);
        let completions = Arc::new(Completions::new().unwrap());
        let pool = Pool::with(Duration::from_millis(20), None);
        let places = all_places(&account);
        assert!(!places.is_empty());
        pool.start(job(&account, &completions, &Cancel::default()));
        assert_eq!(wait(&completions), Errno::ETIMEDOUT as i32);
        drop(places);
        pool.start(job(&account, &completions, &Cancel::default()));
        assert_eq!(wait(&completions), 0);
    }

    #[test]
    fn a_job_whose_client_has_gone_is_never_begun() {
        let account = Budget::alone(0).account(0);
        let completions = Arc::new(Completions::new().unwrap());
        let pool = Pool::new();
        let places = all_places(&account);
        let (gone, stays) = (Cancel::default(), Cancel::default());
        pool.start(job(&account, &completions, &gone));
        pool.start(job(&account, &completions, &stays));
        gone.cancel();
        pool.forget(&gone);
        assert_eq!(pool.0.state().waiting.len(), 1);
        drop(places);
        pool.0.advance(pool.0.state());
        assert_eq!(wait(&completions), 0);
        assert_eq!(result(&completions), None);
    }

    /// A thread inherits the capabilities of the one that starts it, and a job of another client may be
    /// started by the thread of one that changes nothing.
    #[test]
    fn the_threads_of_a_shared_pool_have_every_capability_whoever_starts_a_job() {
        let account = Budget::alone(0).account(0);
        let completions = Arc::new(Completions::new().unwrap());
        for (pool, errno) in [(Pool::shared().unwrap(), 0), (Pool::new(), Errno::EPERM as i32)] {
            // Deleted again with the completion, of which nobody is told.
            let name = NetnsRequest::Add("nlr-pool".to_owned());
            let mut job = job(&account, &completions, &Cancel::default());
            job.task = Task::Netns(7, name, None);
            let starts = thread::spawn(move || {
                crate::kernel::only_look().unwrap();
                pool.start(job);
            });
            starts.join().unwrap();
            assert_eq!(wait(&completions), errno);
        }
    }
}

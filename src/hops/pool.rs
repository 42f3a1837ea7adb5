//! The ssh connections to one host.
//!
//! libssh2 opens one channel of a connection at a time, and cannot withdraw an opening: that of a
//! tunnel to a host that is down may take minutes. A connection with an opening under way is
//! therefore busy; where all are busy, another connection is made.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OnceCell};

use crate::{
    Error, ErrorKind, Origin, Step,
    sync::lock,
    transport::ssh::{OpenPermit, Session, WeakSession},
};

/// The wait for a busy connection before another is made.
const PATIENCE: Duration = Duration::from_millis(300);

/// The most connections to one host.
const MAX_CONNECTIONS: usize = 16;

/// An attempt to connect, which all that need a connection at that time share.
type Attempt = Arc<OnceCell<Result<(), Error>>>;

#[derive(Default)]
pub(super) struct Pool {
    // Dropping a session, or its permit, takes this lock: neither may happen under it.
    state: Mutex<State>,
    /// Notified when a connection may be free, or may be made.
    freed: Notify,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    /// The connection that stays open without a user.
    kept: Option<(u64, Session)>,
    attempt: Option<Attempt>,
    /// Connecting took questions, which are not asked again for a second connection.
    has_questions: bool,
    /// The last attempt at one more connection failed.
    is_refused: bool,
    next_id: u64,
}

struct Member {
    id: u64,
    session: WeakSession,
    /// A channel is being opened on it.
    is_busy: bool,
}

/// The wait for a connection.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    /// The step that needs the connection.
    pub(super) step: Step,
    pub(super) limit: Duration,
    /// The hop that needs it.
    pub(super) hop: Option<&'a str>,
}

/// A connection on which one channel may be opened.
pub(super) struct Lease {
    pub(super) session: Session,
    /// Dropped once the connection can open another channel.
    pub(super) permit: OpenPermit,
    pub(super) member: MemberId,
    /// Whether the connection existed before.
    pub(super) is_shared: bool,
}

/// A connection's place in its pool.
#[derive(Clone)]
pub(super) struct MemberId {
    // Weak, since a session holds a permit and the pool holds the session.
    pool: Weak<Pool>,
    id: u64,
}

impl MemberId {
    /// Takes the connection out of the pool. Its channels stay open.
    pub(super) fn retire(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.retire(self.id);
        }
    }
}

/// Marks a connection as busy until it is dropped.
struct BusyGuard(MemberId);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let Some(pool) = self.0.pool.upgrade() else { return };
        if let Some(member) = pool.lock().members.iter_mut().find(|member| member.id == self.0.id) {
            member.is_busy = false;
        }
        pool.freed.notify_waiters();
    }
}

impl Pool {
    /// Leases a connection that is not busy. `make` makes one, and returns whether that took
    /// questions.
    ///
    /// An attempt that fails fails for all that wait for it, unless another connection exists, which
    /// may become free.
    pub(super) async fn lease<F>(
        self: &Arc<Self>,
        wait: Wait<'_>,
        make: impl Fn() -> F,
    ) -> Result<Lease, Error>
    where
        F: Future<Output = Result<(Session, bool), Error>>,
    {
        let began = Instant::now();
        let mut failure = None;
        loop {
            // Created before the state is read, so that no notification is missed.
            let mut freed = pin!(self.freed.notified());
            if let Some(lease) = self.take_idle() {
                return Ok(lease);
            }
            let waited = began.elapsed();
            let (attempt, is_first) = self.attempt(waited >= PATIENCE);
            if waited >= wait.limit && !is_first {
                return Err(failure.unwrap_or_else(|| overdue(wait)));
            }
            let until = match waited < PATIENCE || is_first {
                true => PATIENCE,
                false => wait.limit.saturating_sub(waited),
            };
            let waiting = tokio::time::timeout(until, &mut freed);
            let Some(attempt) = attempt else {
                let _ = waiting.await;
                continue;
            };
            let (is_mine, mut lease) = (AtomicBool::new(false), None);
            let made = attempt.get_or_init(async || {
                is_mine.store(true, Ordering::Relaxed);
                let made = make().await;
                self.finish(&attempt, made).map(|made| lease = Some(made))
            });
            let waiting = async {
                let _ = waiting.await;
                // Others wait for this attempt, so it goes on.
                if is_mine.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
            };
            let made = tokio::select! {
                biased;
                made = made => made.clone(),
                () = waiting => Ok(()),
            };
            if let Some(lease) = lease {
                return Ok(lease);
            }
            match made {
                Err(error) if is_first => return Err(error),
                Err(error) => failure = Some(error),
                Ok(()) => {}
            }
        }
    }

    /// Leases the oldest connection that is not busy, so that the others fall out of use.
    fn take_idle(self: &Arc<Self>) -> Option<Lease> {
        self.retire_closed();
        loop {
            let (id, session) = {
                let mut state = self.lock();
                let member = state.members.iter_mut().find(|member| !member.is_busy)?;
                member.is_busy = true;
                (member.id, member.session.upgrade())
            };
            match session {
                Some(session) => return Some(self.lend(id, session, true)),
                None => self.retire(id),
            }
        }
    }

    fn lend(self: &Arc<Self>, id: u64, session: Session, is_shared: bool) -> Lease {
        let member = MemberId { pool: Arc::downgrade(self), id };
        let permit = Box::new(BusyGuard(member.clone()));
        let mut state = self.lock();
        if state.kept.is_none() && state.members.iter().any(|member| member.id == id) {
            state.kept = Some((id, session.clone()));
        }
        drop(state);
        Lease { session, permit, member, is_shared }
    }

    /// Retires connections that are closed.
    fn retire_closed(&self) {
        let sessions = {
            let state = self.lock();
            let session = |member: &Member| (member.id, member.session.upgrade());
            state.members.iter().map(session).collect::<Vec<_>>()
        };
        for (id, session) in sessions {
            if !session.is_some_and(|session| session.is_open()) {
                self.retire(id);
            }
        }
    }

    /// The attempt under way, or a new one if there may be one; and whether no connection exists.
    /// `has_waited` permits one more connection besides those that exist.
    fn attempt(&self, has_waited: bool) -> (Option<Attempt>, bool) {
        let mut state = self.lock();
        let is_first = state.members.is_empty();
        let has_room =
            state.members.len() < MAX_CONNECTIONS && !state.has_questions && !state.is_refused;
        if state.attempt.is_none() && (is_first || has_waited && has_room) {
            state.attempt = Some(Attempt::default());
        }
        (state.attempt.clone(), is_first)
    }

    /// Ends an attempt: leases the new connection, or keeps its failure in mind.
    fn finish(
        self: &Arc<Self>,
        attempt: &Attempt,
        made: Result<(Session, bool), Error>,
    ) -> Result<Lease, Error> {
        let mut state = self.lock();
        if state.attempt.as_ref().is_some_and(|current| Arc::ptr_eq(current, attempt)) {
            state.attempt = None;
        }
        match made {
            Ok((session, has_questions)) => {
                let id = state.next_id;
                state.next_id += 1;
                state.has_questions = has_questions;
                state.members.push(Member { id, session: session.downgrade(), is_busy: true });
                drop(state);
                Ok(self.lend(id, session, false))
            }
            Err(error) => {
                state.is_refused = !state.members.is_empty();
                Err(error)
            }
        }
    }

    /// Takes a connection out of the pool, which makes room for another.
    fn retire(&self, id: u64) {
        let kept = {
            let mut state = self.lock();
            state.members.retain(|member| member.id != id);
            state.is_refused = false;
            state.kept.take_if(|(kept, _)| *kept == id)
        };
        drop(kept);
        self.freed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn overdue(wait: Wait<'_>) -> Error {
    let text = format!(
        "no channel was opened within {:?}: all ssh connections to the gateway wait for other hosts \
         that do not answer",
        wait.limit
    );
    let error =
        Error::new(ErrorKind::Timeout, text).with_origin(Origin::Library).prefix_step(wait.step);
    match wait.hop {
        Some(hop) => error.context(hop),
        None => error,
    }
}

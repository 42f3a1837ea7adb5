//! The connections to one ssh host.
//!
//! libssh2 opens one channel of a connection at a time, and what it has begun cannot be withdrawn:
//! a tunnel to a host that is down may take minutes. So nobody opens anything on a connection
//! where an opening is under way; where none is free, another connection is made.

#![forbid(unsafe_code)]

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OnceCell};

use crate::{
    Error, ErrorKind, Origin, Step,
    transport::ssh::{Session, Turn, WeakSession},
};

/// How long one waits for a connection before another is made.
const PATIENCE: Duration = Duration::from_millis(300);

/// Connections to a host.
const MOST: usize = 16;

/// One attempt at a connection, for everyone who needs it at that time.
type Attempt = Arc<OnceCell<Result<(), Error>>>;

#[derive(Default)]
pub(super) struct Pool {
    // Sessions lock it: none may be used or dropped under this lock.
    state: Mutex<State>,
    /// Tells all who wait.
    freed: Notify,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    /// The one that is kept when nobody uses it.
    kept: Option<(u64, Session)>,
    making: Option<Attempt>,
    /// Questions are asked for a connection, which are not to be asked again and again.
    asks: bool,
    /// One more could not be had.
    refused: bool,
    next: u64,
}

struct Member {
    id: u64,
    session: WeakSession,
    /// Something is being opened there.
    busy: bool,
}

/// How a connection is waited for.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    /// What it is needed for.
    pub(super) step: Step,
    pub(super) limit: Duration,
    /// Whom it is needed for.
    pub(super) hop: Option<&'a str>,
}

/// A connection, to open one thing there.
pub(super) struct Lease {
    pub(super) session: Session,
    pub(super) turn: Turn,
    pub(super) place: Place,
    /// Whether it was made for another.
    pub(super) is_shared: bool,
}

/// Where a connection is.
#[derive(Clone)]
pub(super) struct Place {
    // A turn is the session's, and that the pool's.
    pool: Weak<Pool>,
    id: u64,
}

impl Place {
    /// Has nobody else use the connection. What goes on there goes on.
    pub(super) fn forget(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(self.id);
        }
    }
}

/// Gives the connection back.
struct Busy(Place);

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(pool) = self.0.pool.upgrade() else { return };
        if let Some(member) = pool.lock().members.iter_mut().find(|member| member.id == self.0.id) {
            member.busy = false;
        }
        pool.freed.notify_waiters();
    }
}

impl Pool {
    /// A connection where nothing is being opened. `make` makes one, and says whether that took
    /// questions.
    ///
    /// The failure of an attempt is that of all who wait for it, unless there are connections that
    /// may yet become free.
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
            // From here on nothing that becomes free is missed.
            let mut freed = pin!(self.freed.notified());
            if let Some(lease) = self.take() {
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
            let (is_mine, mut mine) = (AtomicBool::new(false), None);
            let made = attempt.get_or_init(async || {
                is_mine.store(true, Ordering::Relaxed);
                let made = make().await;
                self.made(&attempt, made).map(|lease| mine = Some(lease))
            });
            let waiting = async {
                let _ = waiting.await;
                // What others wait for is not broken off.
                if is_mine.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
            };
            let made = tokio::select! {
                biased;
                made = made => made.clone(),
                () = waiting => Ok(()),
            };
            if let Some(lease) = mine {
                return Ok(lease);
            }
            match made {
                Err(error) if is_first => return Err(error),
                Err(error) => failure = Some(error),
                Ok(()) => {}
            }
        }
    }

    /// A connection that is free, the oldest first, so that the others fall out of use.
    fn take(self: &Arc<Self>) -> Option<Lease> {
        self.sweep();
        loop {
            let (id, session) = {
                let mut state = self.lock();
                let member = state.members.iter_mut().find(|member| !member.busy)?;
                member.busy = true;
                (member.id, member.session.upgrade())
            };
            match session {
                Some(session) => return Some(self.lend(id, session, true)),
                None => self.forget(id),
            }
        }
    }

    fn lend(self: &Arc<Self>, id: u64, session: Session, is_shared: bool) -> Lease {
        let place = Place { pool: Arc::downgrade(self), id };
        let turn = Box::new(Busy(place.clone()));
        let mut state = self.lock();
        if state.kept.is_none() && state.members.iter().any(|member| member.id == id) {
            state.kept = Some((id, session.clone()));
        }
        drop(state);
        Lease { session, turn, place, is_shared }
    }

    /// Forgets those that are over.
    fn sweep(&self) {
        let sessions = {
            let state = self.lock();
            let session = |member: &Member| (member.id, member.session.upgrade());
            state.members.iter().map(session).collect::<Vec<_>>()
        };
        for (id, session) in sessions {
            if !session.is_some_and(|session| session.is_open()) {
                self.forget(id);
            }
        }
    }

    /// The attempt that is under way, or a new one if there may be one; and whether there is no
    /// connection yet.
    fn attempt(&self, is_patient: bool) -> (Option<Attempt>, bool) {
        let mut state = self.lock();
        let is_first = state.members.is_empty();
        let has_room = state.members.len() < MOST && !state.asks && !state.refused;
        if state.making.is_none() && (is_first || is_patient && has_room) {
            state.making = Some(Attempt::default());
        }
        (state.making.clone(), is_first)
    }

    /// Ends an attempt.
    fn made(
        self: &Arc<Self>,
        attempt: &Attempt,
        made: Result<(Session, bool), Error>,
    ) -> Result<Lease, Error> {
        let mut state = self.lock();
        if state.making.as_ref().is_some_and(|making| Arc::ptr_eq(making, attempt)) {
            state.making = None;
        }
        match made {
            Ok((session, asked)) => {
                let id = state.next;
                state.next += 1;
                state.asks = asked;
                state.members.push(Member { id, session: session.downgrade(), busy: true });
                drop(state);
                Ok(self.lend(id, session, false))
            }
            Err(error) => {
                state.refused = !state.members.is_empty();
                Err(error)
            }
        }
    }

    fn forget(&self, id: u64) {
        let kept = {
            let mut state = self.lock();
            state.members.retain(|member| member.id != id);
            state.refused = false;
            state.kept.take_if(|(kept, _)| *kept == id)
        };
        drop(kept);
        // There is room for another.
        self.freed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overdue(wait: Wait<'_>) -> Error {
    let text = format!(
        "not begun within {:?}: every ssh connection to the host before is taken up by hosts that \
         do not answer",
        wait.limit
    );
    let error =
        Error::new(ErrorKind::Timeout, text).with_origin(Origin::Library).prefix_step(wait.step);
    match wait.hop {
        Some(hop) => error.context(hop),
        None => error,
    }
}

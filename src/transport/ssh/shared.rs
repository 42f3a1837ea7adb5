//! A session that many channels share.
//!
//! libssh2 has one outgoing packet at a time. One that is sent in part has to be finished by the
//! very operation that began it, with the same memory, before anything else can go out; and a
//! session opens one channel at a time. So nothing of that is left to callers, who may be
//! cancelled: what they want is noted in the [`State`], and whoever next uses the session does it,
//! or else a task that is there for as long as there is something to do.

#![forbid(unsafe_code)]

use std::{
    future::poll_fn,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_ssh2_lite::ssh2;
use tokio::{io::Interest, sync::oneshot, task::AbortHandle};

use super::{
    callbacks::{self, Traffic},
    fault,
    opening::{Opened, Turn, Way},
    state::State,
    wakers::Wakers,
    wire::Wire,
};
use crate::{Error, ErrorKind, Origin};

/// How often in a row something is tried on a socket that stays ready.
const TRIES: u32 = 4;

/// An authenticated session. Dropping the last reference ends it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There until the end.
    wire: Option<Wire>,
    // Closed only after the session in `state` and `wire` has been freed.
    buried: Option<OwnedFd>,
    wakers: Arc<Wakers>,
    /// `wakers`, for the socket to wake.
    event: Waker,
    runtime: tokio::runtime::Handle,
    keepalive: OnceLock<AbortHandle>,
    /// How often something had arrived.
    heard: AtomicU64,
    /// Dropped with the session: the copying of a jump ends then.
    _carrier: Option<oneshot::Sender<()>>,
}

impl Shared {
    pub(super) fn new(
        session: ssh2::Session,
        wire: Wire,
        carrier: Option<oneshot::Sender<()>>,
    ) -> Arc<Self> {
        let wakers = Arc::<Wakers>::default();
        Arc::new(Self {
            state: Mutex::new(State::new(session)),
            wire: Some(wire),
            buried: None,
            event: Waker::from(Arc::clone(&wakers)),
            wakers,
            runtime: tokio::runtime::Handle::current(),
            keepalive: OnceLock::new(),
            heard: AtomicU64::new(0),
            _carrier: carrier,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for someone who is going to wait.
    pub(super) fn key(&self) -> u64 {
        self.wakers.key()
    }

    /// Whoever had the number waits no more.
    pub(super) fn forget(&self, key: u64) {
        self.wakers.remove(key);
    }

    /// A task that ends with the session.
    pub(super) fn keep_alive_by(&self, task: AbortHandle) {
        if let Err(second) = self.keepalive.set(task) {
            second.abort();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| !wire.is_closed()) && !self.is_dead()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead.is_some()
    }

    /// Another number than before once something has arrived.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().full
    }

    /// Gives the session up: everyone who waits gets this error.
    pub(super) fn give_up(&self, error: Error) {
        self.lock().dead.get_or_insert(error);
        if let Some(wire) = &self.wire {
            wire.hang_up();
        }
        self.wakers.wake_all();
    }

    /// Tries something until it is done.
    pub(super) fn poll<T>(
        self: &Arc<Self>,
        key: u64,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut State, &Wire) -> Poll<T>,
    ) -> Poll<T> {
        let Some(wire) = &self.wire else { return Poll::Pending };
        let mut event = Context::from_waker(&self.event);
        let (mut asked, mut idle) = (false, false);
        for _ in 0..TRIES {
            // Noted and cleared first, so that no event from here on is lost.
            self.wakers.register(key, cx.waker());
            let arrived = wire.poll_readable(&mut event).is_ready();
            if arrived {
                wire.clear(Interest::READABLE);
            }
            let Tried { done, moved, traffic } = self.try_once(wire, arrived, &mut attempt);
            if done.is_ready() {
                self.wakers.remove(key);
            }
            // What was received may be anyone's. It is no event for them any more: the runtime asks
            // the kernel only later, and hears of what is there then. The same goes for what a done
            // one leaves in the socket; and who drives has to ask for the room that it found missing.
            let news = moved || traffic.received > 0;
            if news || done.is_ready() && (!traffic.dry || traffic.full) {
                self.wakers.wake_others(key);
            }
            if done.is_ready() {
                return done;
            }
            // Nobody may have looked whether more is there.
            let mut again = news || arrived || !traffic.dry && wire.is_readable();
            if traffic.full && !asked {
                wire.clear(Interest::WRITABLE);
                // Where there is room by now, nobody was noted to be woken.
                asked = wire.poll_writable(&mut event).is_pending();
                again = true;
            }
            if !again {
                return Poll::Pending;
            }
            idle = !news;
        }
        // It stays ready though nothing comes of it: it is closed, or about to be.
        if idle && wire.is_closed() {
            self.give_up(fault::closed());
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn try_once<T>(
        self: &Arc<Self>,
        wire: &Wire,
        arrived: bool,
        attempt: &mut impl FnMut(&mut State, &Wire) -> Poll<T>,
    ) -> Tried<T> {
        let mut state = self.lock();
        let was_alive = state.dead.is_none();
        state.dry &= !arrived;
        let ((done, moved), traffic) = callbacks::watched(state.dry, || {
            let moved = state.drive(wire);
            let done = attempt(&mut state, wire);
            // libssh2 may stop short of the end of what has arrived, in the midst of a packet.
            if done.is_pending() && !callbacks::is_dry() {
                state.take_in();
            }
            // It may have left behind something to do.
            (done, moved | state.drive(wire))
        });
        state.dry = traffic.dry;
        let moved = moved || was_alive && state.dead.is_some();
        let undriven = state.has_work() && !std::mem::replace(&mut state.driven, true);
        drop(state);
        if traffic.received > 0 {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        if undriven {
            self.spawn_driver();
        }
        Tried { done, moved, traffic }
    }

    /// Notes something that has to be done, however soon.
    pub(super) fn note(self: &Arc<Self>, note: impl FnOnce(&mut State)) {
        let undriven = {
            let mut state = self.lock();
            note(&mut state);
            state.has_work() && !std::mem::replace(&mut state.driven, true)
        };
        if undriven {
            self.spawn_driver();
        } else {
            self.wakers.wake_all();
        }
    }

    fn spawn_driver(self: &Arc<Self>) {
        let (weak, key) = (Arc::downgrade(self), self.key());
        self.runtime.spawn(poll_fn(move |cx| Self::poll_driver(&weak, key, cx)));
    }

    fn poll_driver(weak: &Weak<Self>, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        // Without anyone left the session is over, and its end has woken this task.
        let Some(shared) = weak.upgrade() else { return Poll::Ready(()) };
        shared.poll(key, cx, |state, _| {
            if state.has_work() {
                return Poll::Pending;
            }
            state.driven = false;
            Poll::Ready(())
        })
    }

    /// Opens a channel, and starts a command on it. Dropping the future closes it again.
    ///
    /// The session may end meanwhile, if nobody else holds it.
    pub(super) async fn open(weak: Weak<Self>, way: Way, turn: Option<Turn>) -> Result<u64, Error> {
        let opened = Arc::<Opened>::default();
        let mut ask = {
            let shared = weak.upgrade().ok_or_else(over)?;
            shared.lock().alive()?;
            let mut id = 0;
            shared.note(|state| id = state.open(way, Arc::clone(&opened), turn));
            Ask { shared: weak, id, key: shared.key(), wanted: true }
        };
        poll_fn(|cx| {
            let Some(shared) = ask.shared.upgrade() else { return Poll::Ready(Err(over())) };
            shared.poll(ask.key, cx, |state, _| match (opened.take(), state.alive()) {
                (Some(result), _) => Poll::Ready(result),
                (None, Ok(())) => Poll::Pending,
                (None, Err(error)) => Poll::Ready(Err(error)),
            })
        })
        .await?;
        ask.wanted = false;
        Ok(ask.id)
    }
}

/// What came of one try.
struct Tried<T> {
    done: Poll<T>,
    /// Whether anything happened that others may wait for.
    moved: bool,
    traffic: Traffic,
}

fn over() -> Error {
    Error::new(ErrorKind::Closed, "the ssh session is over").with_origin(Origin::Library)
}

/// Someone who waits for a channel to open.
struct Ask {
    shared: Weak<Shared>,
    id: u64,
    key: u64,
    wanted: bool,
}

impl Drop for Ask {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.forget(self.key);
        if self.wanted {
            shared.note(|state| state.close(self.id));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.keepalive.get() {
            task.abort();
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(wire) = self.wire.take() {
            state.part(&wire);
            wire.hang_up();
            if let Some(mut socket) = wire.into_fd() {
                let _ = state.bury(&mut socket);
                self.buried = Some(socket);
            }
        }
        self.wakers.wake_all();
    }
}

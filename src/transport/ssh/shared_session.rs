//! A session that many channels share.
//!
//! libssh2 has one outgoing packet at a time. One that is sent in part has to be finished by the
//! very operation that began it, with the same memory, before anything else can go out; and a
//! session opens one channel at a time. So none of it is left to callers, which may be
//! cancelled: their requests are noted in the [`SessionState`], and the next user of the session
//! carries them out, or else a driver task, which exists while there is work.

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
    opening::{ChannelKind, OpenPermit, OpenResult},
    session_state::SessionState,
    socket::SshSocket,
    wakers::Wakers,
};
use crate::{Error, ErrorKind, Origin, sync::lock};

/// The number of attempts in a row on a socket that stays ready.
const ATTEMPTS: u32 = 4;

/// An authenticated session. Dropping the last reference closes it.
pub(super) struct SharedSession {
    /// The hop as the target has it, for errors and logs.
    hop: Arc<str>,
    state: Mutex<SessionState>,
    /// `Some` until the session is dropped.
    socket: Option<SshSocket>,
    // The descriptor of `socket`, to be closed after `state` has freed the session.
    closing: Option<OwnedFd>,
    wakers: Arc<Wakers>,
    /// `wakers` as the waker of the socket.
    socket_waker: Waker,
    runtime: tokio::runtime::Handle,
    keepalive: OnceLock<AbortHandle>,
    /// Counts the rounds in which data arrived.
    receptions: AtomicU64,
    /// Ends the copying of a tunnel when dropped.
    _tunnel: Option<oneshot::Sender<()>>,
}

impl SharedSession {
    pub(super) fn new(
        hop: Arc<str>,
        session: ssh2::Session,
        socket: SshSocket,
        tunnel: Option<oneshot::Sender<()>>,
    ) -> Arc<Self> {
        let wakers = Arc::<Wakers>::default();
        Arc::new(Self {
            hop,
            state: Mutex::new(SessionState::new(session)),
            socket: Some(socket),
            closing: None,
            socket_waker: Waker::from(Arc::clone(&wakers)),
            wakers,
            runtime: tokio::runtime::Handle::current(),
            keepalive: OnceLock::new(),
            receptions: AtomicU64::new(0),
            _tunnel: tunnel,
        })
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        lock(&self.state)
    }

    pub(super) fn hop(&self) -> &str {
        &self.hop
    }

    /// A key for a new waiter.
    pub(super) fn new_key(&self) -> u64 {
        self.wakers.new_key()
    }

    /// Removes a waiter.
    pub(super) fn forget(&self, key: u64) {
        self.wakers.remove(key);
    }

    /// Sets the keepalive task, which ends with the session.
    pub(super) fn set_keepalive(&self, task: AbortHandle) {
        if let Err(second) = self.keepalive.set(task) {
            second.abort();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| !socket.is_closed()) && !self.has_failed()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// A number that changes whenever data arrives.
    pub(super) fn receptions(&self) -> u64 {
        self.receptions.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().is_full
    }

    /// Ends the session: every waiter gets this error.
    pub(super) fn fail(&self, error: Error) {
        tracing::debug!(hop = self.hop(), %error, "ssh session lost");
        self.lock().failure.get_or_insert(error);
        if let Some(socket) = &self.socket {
            socket.hang_up();
        }
        self.wakers.wake_all();
    }

    /// Repeats an attempt until it is ready, or until the socket has to be waited for.
    pub(super) fn poll<T>(
        self: &Arc<Self>,
        key: u64,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut SessionState, &SshSocket) -> Poll<T>,
    ) -> Poll<T> {
        let Some(socket) = &self.socket else { return Poll::Pending };
        let mut socket_cx = Context::from_waker(&self.socket_waker);
        let (mut awaits_space, mut is_idle) = (false, false);
        for _ in 0..ATTEMPTS {
            // Registered and cleared before the attempt, so that no event from here on is lost.
            self.wakers.register(key, cx.waker());
            let has_event = socket.poll_readable(&mut socket_cx).is_ready();
            if has_event {
                socket.clear_ready(Interest::READABLE);
            }
            let Round { result, changed, traffic } =
                self.run_round(socket, has_event, &mut attempt);
            if result.is_ready() {
                self.wakers.remove(key);
            }
            // Received data may be any waiter's, and raises no further event: the runtime asks the
            // kernel only later, and hears of what is in the socket then. The same holds for what a
            // finished attempt leaves in the socket; and the driver has to register for the buffer
            // space that the attempt found missing.
            let has_news = changed || traffic.received > 0;
            if has_news || result.is_ready() && (!traffic.drained || traffic.send_blocked) {
                self.wakers.wake_others(key);
            }
            if result.is_ready() {
                return result;
            }
            // Without a recv that drained the socket, there may be more in it.
            let mut again = has_news || has_event || !traffic.drained && socket.is_readable();
            if traffic.send_blocked && !awaits_space {
                socket.clear_ready(Interest::WRITABLE);
                // Ready at once means that no waker was registered.
                awaits_space = socket.poll_writable(&mut socket_cx).is_pending();
                again = true;
            }
            if !again {
                return Poll::Pending;
            }
            is_idle = !has_news;
        }
        // A socket that stays ready without giving anything is closed, or about to be.
        if is_idle && socket.is_closed() {
            self.fail(fault::connection_closed());
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// One attempt, and the outstanding work before and after it.
    fn run_round<T>(
        self: &Arc<Self>,
        socket: &SshSocket,
        has_event: bool,
        attempt: &mut impl FnMut(&mut SessionState, &SshSocket) -> Poll<T>,
    ) -> Round<T> {
        let mut state = self.lock();
        let was_alive = state.failure.is_none();
        state.is_drained &= !has_event;
        let ((result, changed), traffic) = callbacks::observe(state.is_drained, || {
            let changed = state.drive(socket);
            let result = attempt(&mut state, socket);
            // libssh2 may stop in the midst of a packet, with data left in the socket.
            if result.is_pending() && !callbacks::is_drained() {
                state.receive();
            }
            // The attempt may have left work.
            (result, changed | state.drive(socket))
        });
        state.is_drained = traffic.drained;
        let failure = state.failure.clone().filter(|_| was_alive);
        let needs_driver = state.has_work() && !std::mem::replace(&mut state.has_driver, true);
        drop(state);
        let changed = changed || failure.is_some();
        if let Some(error) = failure {
            tracing::debug!(hop = self.hop(), %error, "ssh session lost");
        }
        if traffic.received > 0 {
            self.receptions.fetch_add(1, Ordering::Relaxed);
        }
        if needs_driver {
            self.spawn_driver();
        }
        Round { result, changed, traffic }
    }

    /// Notes a request, for the next user of the session or a driver task to carry out.
    pub(super) fn request(self: &Arc<Self>, request: impl FnOnce(&mut SessionState)) {
        let needs_driver = {
            let mut state = self.lock();
            request(&mut state);
            state.has_work() && !std::mem::replace(&mut state.has_driver, true)
        };
        if needs_driver {
            self.spawn_driver();
        } else {
            self.wakers.wake_all();
        }
    }

    fn spawn_driver(self: &Arc<Self>) {
        let (weak, key) = (Arc::downgrade(self), self.new_key());
        self.runtime.spawn(poll_fn(move |cx| Self::poll_driver(&weak, key, cx)));
    }

    fn poll_driver(weak: &Weak<Self>, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        // A session without users is closed, and closing it has woken this task.
        let Some(shared) = weak.upgrade() else { return Poll::Ready(()) };
        shared.poll(key, cx, |state, _| {
            if state.has_work() {
                return Poll::Pending;
            }
            state.has_driver = false;
            Poll::Ready(())
        })
    }

    /// Opens a channel, and starts its command. Dropping the future closes the channel again.
    ///
    /// Takes a weak reference: the session may end meanwhile, if nothing else holds it.
    pub(super) async fn open(
        weak: Weak<Self>,
        kind: ChannelKind,
        permit: Option<OpenPermit>,
    ) -> Result<u64, Error> {
        let opened = Arc::<OpenResult>::default();
        let mut waiter = {
            let shared = weak.upgrade().ok_or_else(closed)?;
            shared.lock().check()?;
            let mut id = 0;
            shared.request(|state| id = state.open(kind, Arc::clone(&opened), permit));
            OpenWaiter { shared: weak, id, key: shared.new_key(), is_waiting: true }
        };
        poll_fn(|cx| {
            let Some(shared) = waiter.shared.upgrade() else { return Poll::Ready(Err(closed())) };
            shared.poll(waiter.key, cx, |state, _| match (opened.take(), state.check()) {
                (Some(result), _) => Poll::Ready(result),
                (None, Ok(())) => Poll::Pending,
                (None, Err(error)) => Poll::Ready(Err(error)),
            })
        })
        .await?;
        waiter.is_waiting = false;
        Ok(waiter.id)
    }
}

/// The outcome of one round of [`SharedSession::poll`].
struct Round<T> {
    result: Poll<T>,
    /// Whether the state changed, for which others may wait.
    changed: bool,
    traffic: Traffic,
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the ssh session is over").with_origin(Origin::Library)
}

/// Waits for a channel to open, and closes it if dropped before.
struct OpenWaiter {
    shared: Weak<SharedSession>,
    id: u64,
    key: u64,
    is_waiting: bool,
}

impl Drop for OpenWaiter {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.forget(self.key);
        if self.is_waiting {
            shared.request(|state| state.close(self.id));
        }
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        tracing::debug!(hop = self.hop(), "ssh session closed");
        if let Some(task) = self.keepalive.get() {
            task.abort();
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = self.socket.take() {
            state.disconnect(&socket);
            socket.hang_up();
            if let Some(mut descriptor) = socket.into_fd() {
                let _ = state.prepare_free(&mut descriptor);
                self.closing = Some(descriptor);
            }
        }
        self.wakers.wake_all();
    }
}

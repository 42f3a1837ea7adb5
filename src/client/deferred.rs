//! Work for after the connection's lock is released, and the means of waiting for it.
//!
//! A waker may run any code, and so may a tracing subscriber: neither runs under the lock.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use tokio::sync::{Notify, Semaphore};

use super::trace::Note;

/// Waits until `check` gives a value, which it may after each notification of `notify`.
///
/// The first check comes before the registration, since mostly there is a value; the second one
/// after it, since a notification in between would be missed.
pub(super) async fn until<T>(notify: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    if let Some(found) = check() {
        return found;
    }
    let mut notified = pin!(notify.notified());
    loop {
        notified.as_mut().enable();
        if let Some(found) = check() {
            return found;
        }
        notified.as_mut().await;
        notified.set(notify.notified());
    }
}

/// Keeps the waker of the task that polled last. Gives the waker that was kept before, if it was
/// another task's.
pub(super) fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match waker {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        other => other.replace(cx.waker().clone()),
    }
}

/// Notifications of one socket, for any number of tasks.
///
/// A task that stops waiting leaves nothing in them. A `poll_` function has no such end: there
/// the socket keeps one waker, that of the last poll.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// A delivery was queued. Each notification wakes one task.
    pub(super) received: Notify,
    /// Credit or room may have come.
    pub(super) sendable: Notify,
    /// The socket was opened or closed, or its large datagrams are written.
    pub(super) state: Notify,
}

/// Actions gathered under the lock, to be run after its release. Without actions it takes no
/// memory; after [`run`](Self::run) it keeps the memory it has.
#[derive(Debug, Default)]
pub(super) struct Deferred(Vec<Action>);

#[derive(Debug)]
enum Action {
    /// Wakes a task.
    Wake(Waker),
    /// Wakes as many receivers of a socket.
    Receivers(Arc<Signals>, usize),
    /// Wakes the senders of a socket.
    Senders(Arc<Signals>),
    /// Wakes the tasks that wait for a socket's state.
    State(Arc<Signals>),
    /// Wakes every task that waits on a socket.
    Socket(Arc<Signals>),
    /// Lets one more request be made.
    Permit(Arc<Semaphore>),
    /// Fails the tasks that wait to make a request.
    NoPermits(Arc<Semaphore>),
    /// Wakes every task of a notification.
    All(Arc<Notify>),
    /// Emits a tracing event.
    Trace(Note),
}

impl Deferred {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.0.extend(waker.map(Action::Wake));
    }

    /// Wakes one more receiver of a socket.
    pub(super) fn wake_receiver(&mut self, signals: &Arc<Signals>) {
        match self.0.last_mut() {
            Some(Action::Receivers(last, count)) if Arc::ptr_eq(last, signals) => *count += 1,
            _ => self.0.push(Action::Receivers(Arc::clone(signals), 1)),
        }
    }

    pub(super) fn wake_senders(&mut self, signals: &Arc<Signals>) {
        self.0.push(Action::Senders(Arc::clone(signals)));
    }

    pub(super) fn wake_state(&mut self, signals: &Arc<Signals>) {
        self.0.push(Action::State(Arc::clone(signals)));
    }

    pub(super) fn wake_socket(&mut self, signals: &Arc<Signals>) {
        self.0.push(Action::Socket(Arc::clone(signals)));
    }

    pub(super) fn add_permit(&mut self, permits: &Arc<Semaphore>) {
        self.0.push(Action::Permit(Arc::clone(permits)));
    }

    pub(super) fn close_permits(&mut self, permits: &Arc<Semaphore>) {
        self.0.push(Action::NoPermits(Arc::clone(permits)));
    }

    pub(super) fn notify_all(&mut self, notify: &Arc<Notify>) {
        self.0.push(Action::All(Arc::clone(notify)));
    }

    pub(super) fn trace(&mut self, note: Note) {
        self.0.push(Action::Trace(note));
    }

    /// Runs the actions, in order. The connection's lock must not be held.
    pub(super) fn run(&mut self) {
        self.0.drain(..).for_each(Action::run);
    }
}

impl Action {
    fn run(self) {
        match self {
            Action::Wake(waker) => waker.wake(),
            Action::Receivers(signals, count) => {
                (0..count).for_each(|_| signals.received.notify_one());
            }
            Action::Senders(signals) => signals.sendable.notify_waiters(),
            Action::State(signals) => signals.state.notify_waiters(),
            Action::Socket(signals) => {
                signals.received.notify_waiters();
                signals.sendable.notify_waiters();
                signals.state.notify_waiters();
            }
            Action::Permit(permits) => permits.add_permits(1),
            Action::NoPermits(permits) => permits.close(),
            Action::All(notify) => notify.notify_waiters(),
            Action::Trace(note) => note.emit(),
        }
    }
}

//! The progress of connecting, on a terminal: the hop, the step, and the bytes of a stub that is sent.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use super::super::{progress::Bar, table::shortened};
use netlink_remote::{Step, prompter::Progress, text::one_line};

/// The time of connecting before anything is shown.
const DELAY: Duration = Duration::from_secs(1);

/// The time between two looks at the progress.
const PAUSE: Duration = Duration::from_millis(100);

/// A line on the terminal while a connection is made. It goes when this is dropped.
pub(super) struct Connecting(Arc<Mutex<State>>);

/// Reports to a [`Connecting`], and does nothing once that is gone.
#[derive(Clone)]
pub(super) struct Reporter(Weak<Mutex<State>>);

#[derive(Default)]
struct State {
    progress: Option<Progress>,
    /// The begin of the attempt, and of the step.
    since: Option<(Instant, Instant)>,
    /// A question is on the terminal.
    is_asking: bool,
    bar: Option<Bar>,
}

impl Connecting {
    /// Shows nothing where standard error is no terminal.
    pub(super) fn new() -> Self {
        let state = Arc::<Mutex<State>>::default();
        if io::stderr().is_terminal() {
            let shown = Arc::downgrade(&state);
            // Without it nothing is shown.
            let _ = thread::Builder::new().name("progress".to_owned()).spawn(move || {
                while let Some(state) = shown.upgrade() {
                    lock(&state).show();
                    drop(state);
                    thread::sleep(PAUSE);
                }
            });
        }
        Self(state)
    }

    pub(super) fn reporter(&self) -> Reporter {
        Reporter(Arc::downgrade(&self.0))
    }

    /// Ends the line: the connection is up.
    pub(super) fn done(&self) {
        *lock(&self.0) = State::default();
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.done();
    }
}

impl Reporter {
    pub(super) fn report(&self, progress: &Progress) {
        let Some(state) = self.0.upgrade() else { return };
        let mut state = lock(&state);
        let now = Instant::now();
        let same = |old: &Progress| old.step == progress.step && old.target == progress.target;
        let step = match (&state.progress, state.since) {
            (Some(old), Some((_, step))) if same(old) => step,
            _ => now,
        };
        state.since = Some((state.since.map_or(now, |(begin, _)| begin), step));
        state.progress = Some(progress.clone());
    }

    /// Keeps the line off the terminal while a question is asked.
    pub(super) fn asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.set_asking(true);
        let answer = ask();
        self.set_asking(false);
        answer
    }

    fn set_asking(&self, is_asking: bool) {
        let Some(state) = self.0.upgrade() else { return };
        let mut state = lock(&state);
        state.is_asking = is_asking;
        state.bar = None;
        // What a user takes to answer is no time of the host's.
        let now = Instant::now();
        state.since = state.since.map(|_| (now, now));
    }
}

impl State {
    fn show(&mut self) {
        let (Some(progress), Some((begin, step))) = (&self.progress, self.since) else { return };
        if self.is_asking || begin.elapsed() < DELAY {
            return;
        }
        let text = line(progress, step.elapsed());
        self.bar.get_or_insert_with(|| Bar::new(1, "{msg}")).set_message(text);
    }
}

/// A line that fits 80 columns: on two lines it flickers.
fn line(progress: &Progress, elapsed: Duration) -> String {
    let Progress { step, target, sent, total, .. } = progress;
    let target = shortened(&one_line(target), 36);
    let seconds = elapsed.as_secs();
    if *total > 0 {
        let (sent, total) = (sent.div_ceil(1024), total.div_ceil(1024));
        return format!("{target}: sending the stub, {sent} of {total} KiB, {seconds} s");
    }
    let doing = match step {
        Step::Connect => "connecting",
        Step::HostKey => "waiting for the ssh server",
        Step::Authentication => "logging in",
        Step::Privilege => "waiting for sudo or su",
        Step::Bootstrap => "starting the stub",
        Step::Hello => "waiting for the stub",
        _ => "opening a socket",
    };
    format!("{target}: {doing}, {seconds} s")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

//! SIGINT (Ctrl-C) and SIGTERM.
//!
//! A thread of its own waits for them: the end must come even where the thread of the work is
//! blocked, such as by a standard error that nobody reads. They are handled, and not blocked for
//! sigwait(3), because programs that std starts inherit the mask of blocked signals.

use std::{
    io, process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{failure::Failure, prompt};

/// The time from the first signal to the end of the tool, whatever it is doing.
const PATIENCE: Duration = Duration::from_millis(900);

/// Whether a program has the terminal, and its own ways with signals.
static LEFT_TO_PROGRAM: AtomicBool = AtomicBool::new(false);

/// The signals so far.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    count: u32,
    last: Option<Signal>,
}

/// The signals that come from when this is made on. Clones begin anew.
#[derive(Debug)]
pub(crate) struct Signals {
    received: watch::Receiver<Received>,
    seen: u32,
}

impl Clone for Signals {
    fn clone(&self) -> Self {
        Self { received: self.received.clone(), seen: self.received.borrow().count }
    }
}

impl Signals {
    /// Takes SIGINT and SIGTERM from now on.
    pub(crate) fn take() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (sender, received) = watch::channel(Received::default());
        let wait = async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Signal::SIGINT,
                    _ = terminate.recv() => Signal::SIGTERM,
                };
                let count = sender.borrow().count;
                sender
                    .send_replace(Received { count: count.saturating_add(1), last: Some(signal) });
                if count == 0 && !LEFT_TO_PROGRAM.load(Ordering::Relaxed) {
                    // Fails where no thread can be had; then the tool ends in its own time.
                    let thread = thread::Builder::new().name("end".to_owned());
                    let _ = thread.spawn(move || end(signal));
                }
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(wait))?;
        Ok(Self { received, seen: 0 })
    }

    /// Has no signal end the tool from now on: a program that it runs decides.
    pub(crate) fn leave_to_program() {
        LEFT_TO_PROGRAM.store(true, Ordering::Relaxed);
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        let seen = self.seen;
        match self.received.wait_for(|received| received.count > seen).await {
            Ok(received) => {
                self.seen = seen.saturating_add(1);
                received.last.unwrap_or(Signal::SIGINT)
            }
            // Its thread never ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until there has been a signal, be it before this was made.
    pub(crate) async fn any(&mut self) {
        if self.received.wait_for(|received| received.count > 0).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Ends the tool after [`PATIENCE`].
fn end(signal: Signal) {
    thread::sleep(PATIENCE);
    prompt::end_question();
    process::exit(Failure::interrupted(signal).code().into());
}

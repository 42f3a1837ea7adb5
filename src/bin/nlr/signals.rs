//! SIGINT (Ctrl-C) and SIGTERM.
//!
//! A thread of its own waits for them: the end must come even where the thread of the work is
//! blocked, such as by a standard error that nobody reads.

use std::{process, thread, time::Duration};

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;

use super::{failure::Failure, prompt};
use netlink_remote::errno::words;

/// The time from the first signal to the end of the tool, whatever it is doing.
const PATIENCE: Duration = Duration::from_millis(900);

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
    /// Takes SIGINT and SIGTERM from now on. To be called once, before any other thread starts:
    /// threads inherit the mask of signals. (Programs that std starts do not.)
    pub(crate) fn take() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::request(format_args!("taking signals: {}", words(&error)))
        };
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        signals.thread_block().map_err(|errno| failed(errno.into()))?;
        let (sender, received) = watch::channel(Received::default());
        let waiter = move || {
            while let Ok(signal) = signals.wait() {
                let count = sender.borrow().count;
                sender
                    .send_replace(Received { count: count.saturating_add(1), last: Some(signal) });
                if count == 0 {
                    // Fails where no thread can be had; then the tool ends in its own time.
                    let _ =
                        thread::Builder::new().name("end".to_owned()).spawn(move || end(signal));
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(waiter).map_err(failed)?;
        Ok(Self { received, seen: 0 })
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

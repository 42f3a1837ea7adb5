//! The watcher: sees to it that a slow send holds up nothing but its own socket.
//!
//! The I/O thread unlocks the engine for each `sendmsg` and puts the send's number into a slot.
//! While sends are being made, the watcher looks at the slot now and then. When it finds the same
//! number twice it starts another I/O thread, which begins by emptying the slot: that is to take
//! the engine away from the first, and nothing is taken before there is one to go on. The first finds its slot emptied when its send returns:
//! then it leaves the result where the engine will find it, and ends.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Config, Exit, Shutdown,
    engine::{Engine, Next},
    work::{Completion, Completions},
};

/// How often the watcher looks while sends are being made. A send is slow after one to two.
const TICK: Duration = Duration::from_millis(2);

/// Looks without any send after which the watcher sleeps until there is one again.
const QUIET: u32 = 50;

/// Between the I/O threads and the watcher.
struct Shared {
    engine: Mutex<Engine>,
    completions: Arc<Completions>,
    /// Number of the send being made, 0 if none is. The thread that makes it owns the engine for
    /// as long as its number is in here.
    slot: AtomicU64,
    sends: AtomicU64,
    watching: AtomicBool,
}

enum Notice {
    /// A send is being made and nobody watches.
    Sending,
    /// Serving has ended.
    Ended(Exit),
}

pub(super) fn run(input: OwnedFd, output: OwnedFd, config: Config, shutdown: &Shutdown) -> Exit {
    let setup = || {
        let completions = Arc::new(Completions::new()?);
        let theirs = Arc::clone(&completions);
        let engine = Engine::new(input, output, config, shutdown.clone(), theirs)?;
        Ok::<_, nix::errno::Errno>(Shared {
            engine: Mutex::new(engine),
            completions,
            slot: AtomicU64::new(0),
            sends: AtomicU64::new(0),
            watching: AtomicBool::new(false),
        })
    };
    let shared = match setup() {
        Ok(shared) => Arc::new(shared),
        Err(errno) => return Exit::Io(format!("starting: {}", errno.desc())),
    };
    let (notify, notices) = channel();
    match start(&shared, &notify, None) {
        Ok(()) => watch(&shared, &notify, &notices),
        Err(error) => Exit::Io(format!("starting a thread: {error}")),
    }
}

/// Starts an I/O thread; one that is to take the engine away from the thread that makes the send
/// of this number does so only if that is still under way.
fn start(
    shared: &Arc<Shared>,
    notify: &Sender<Notice>,
    take_from: Option<u64>,
) -> std::io::Result<()> {
    let (shared, notify) = (Arc::clone(shared), notify.clone());
    let io_thread = move || {
        let taken = |number| shared.slot.compare_exchange(number, 0, SeqCst, SeqCst).is_ok();
        if take_from.is_none_or(taken) {
            lead(&shared, &notify);
        }
    };
    thread::Builder::new().name("nlr-io".to_owned()).stack_size(256 * 1024).spawn(io_thread)?;
    Ok(())
}

/// An I/O thread: runs the engine until it ends or is taken away.
fn lead(shared: &Shared, notify: &Sender<Notice>) {
    let mut scratch = Vec::new();
    loop {
        let next = shared.engine.lock().unwrap_or_else(PoisonError::into_inner).next(&mut scratch);
        match next {
            Next::Exit(exit) => {
                let _ = notify.send(Notice::Ended(exit));
                return;
            }
            Next::Send(job) => {
                let number = shared.sends.fetch_add(1, SeqCst) + 1;
                shared.slot.store(number, SeqCst);
                if !shared.watching.load(SeqCst) && !shared.watching.swap(true, SeqCst) {
                    let _ = notify.send(Notice::Sending);
                }
                let began = Instant::now();
                let result = job.socket.send(&scratch, job.destination);
                let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                if shared.slot.compare_exchange(number, 0, SeqCst, SeqCst).is_err() {
                    shared.completions.push(Completion::Sent(job, result, nanoseconds));
                    return;
                }
                let mut engine = shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
                engine.sent(&job, result, nanoseconds);
                if scratch.capacity() > 1 << 20 {
                    scratch = Vec::new();
                }
            }
        }
    }
}

/// The watcher, until serving ends.
fn watch(shared: &Arc<Shared>, notify: &Sender<Notice>, notices: &Receiver<Notice>) -> Exit {
    let lost = || Exit::Io("the I/O thread ended unexpectedly".to_owned());
    loop {
        match notices.recv() {
            Ok(Notice::Sending) => {}
            Ok(Notice::Ended(exit)) => return exit,
            Err(_) => return lost(),
        }
        let (mut seen, mut quiet) = (0, 0);
        loop {
            match notices.recv_timeout(TICK) {
                Ok(Notice::Ended(exit)) => return exit,
                Ok(Notice::Sending) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return lost(),
            }
            let number = shared.slot.load(SeqCst);
            if number != 0 && number == seen {
                // Where no thread can be had, all wait for this send.
                let _ = start(shared, notify, Some(number));
            }
            let sends = shared.sends.load(SeqCst);
            quiet = if number == 0 && sends == seen { quiet + 1 } else { 0 };
            seen = if number != 0 { number } else { sends };
            if quiet > QUIET {
                shared.watching.store(false, SeqCst);
                if shared.slot.load(SeqCst) == 0 {
                    break;
                }
                // A send began just before the flag fell: it has not told, so go on watching.
                shared.watching.store(true, SeqCst);
                quiet = 0;
            }
        }
    }
}

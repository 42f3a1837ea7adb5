//! The watcher: sees to it that a slow system call holds up nothing but its own socket.
//!
//! The I/O thread unlocks the engine for each call and puts the call's number into a slot. While
//! calls are being made, the watcher looks at the slot now and then. When it finds the same number
//! twice it starts another I/O thread, which begins by emptying the slot: that is to take the engine
//! away from the first, and nothing is taken before there is one to go on. The first finds its slot
//! emptied when its call returns: then it leaves the result where the engine will find it, and is
//! the one that takes over next time; or it ends, where one waits for that already. On a busy host a
//! call is often slow for no other reason than that, and a new thread each time, with buffers of its
//! own, would make it busier.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, RecvError, Sender, channel},
    },
    thread,
    time::Duration,
};

use nix::errno::Errno;

use super::{
    budget::{Account, Resource},
    buffers::IoBuffers,
    completions::Completions,
    config::Config,
    engine::{Engine, Next},
    exit::Exit,
    place::Place,
    shutdown::Shutdown,
    streams::Streams,
};

/// How often the watcher looks while calls are being made. A call is slow after one to two looks.
const TICK: Duration = Duration::from_millis(2);

/// Looks without a call after which the watcher sleeps until there is one again.
const QUIET: u32 = 50;

/// The state that the I/O threads and the watcher share.
struct Shared {
    /// `None` once serving has ended: sockets and streams are closed with it.
    engine: Mutex<Option<Engine>>,
    completions: Arc<Completions>,
    account: Account,
    /// Number of the call being made, 0 if none is. The thread that makes it owns the engine for
    /// as long as its number is in here.
    slot: AtomicU64,
    /// Calls so far.
    calls: AtomicU64,
    watching: AtomicBool,
    standby: Mutex<Standby>,
    called: Condvar,
}

/// The I/O thread that waits to take over.
#[derive(Debug, Default)]
enum Standby {
    #[default]
    Nobody,
    Waiting,
    /// It is to take the engine away from the thread that makes the call of this number.
    Called(u64),
    /// Serving has ended, and nobody waits any more.
    Ended,
}

enum Notice {
    /// A call is being made and nobody watches.
    Working,
    /// Serving has ended.
    Ended(Exit),
}

/// Serves one client. `streams` may have the client's hello.
pub(super) fn run(streams: Streams, config: Config, place: Place, shutdown: &Shutdown) -> Exit {
    let account = place.account.clone();
    let setup = || {
        let completions = Arc::new(Completions::new()?);
        let theirs = Arc::clone(&completions);
        let engine = Engine::new(streams, config, place, shutdown.clone(), theirs)?;
        Ok::<_, Errno>(Shared {
            engine: Mutex::new(Some(engine)),
            completions,
            account,
            slot: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            watching: AtomicBool::new(false),
            standby: Mutex::default(),
            called: Condvar::new(),
        })
    };
    let shared = match setup() {
        Ok(shared) => Arc::new(shared),
        Err(errno) => return Exit::Io(format!("starting: {}", errno.desc())),
    };
    let (notify, notices) = channel();
    match start(&shared, &notify, None) {
        Ok(()) => watch(&shared, &notify, &notices),
        Err(error) => {
            let text = format!("starting a thread: {error}");
            if let Some(engine) = &mut *shared.lock() {
                engine.give_up(&text);
            }
            Exit::Io(text)
        }
    }
}

/// Starts an I/O thread; one that is to take the engine away from the thread that makes the call of
/// this number does so only if that call has not returned.
fn start(shared: &Arc<Shared>, notify: &Sender<Notice>, take_from: Option<u64>) -> io::Result<()> {
    // The first comes with the connection.
    let held = take_from.map(|_| shared.account.hold(Resource::Threads, 1)).transpose();
    let held = held.map_err(|refused| io::Error::other(refused.to_string()))?;
    let (shared, notify) = (Arc::clone(shared), notify.clone());
    let io_thread = move || {
        let _held = held;
        if take_from.is_none_or(|number| shared.take_from(number)) {
            lead(&shared, &notify);
        }
    };
    thread::Builder::new().name("nlr-io".to_owned()).stack_size(256 * 1024).spawn(io_thread)?;
    Ok(())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the engine away from the thread that makes the call of this number; false if that has
    /// returned.
    fn take_from(&self, number: u64) -> bool {
        let taken = self.slot.compare_exchange(number, 0, SeqCst, SeqCst).is_ok();
        if taken && let Some(engine) = &mut *self.lock() {
            engine.look_first();
        }
        taken
    }

    fn standby(&self) -> MutexGuard<'_, Standby> {
        self.standby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is an engine to be taken over, and takes it; false where another thread
    /// waits already, and once serving has ended.
    fn stand_by(&self) -> bool {
        let mut standby = self.standby();
        if !matches!(*standby, Standby::Nobody) {
            return false;
        }
        loop {
            *standby = Standby::Waiting;
            let waits = |standby: &mut Standby| matches!(standby, Standby::Waiting);
            standby =
                self.called.wait_while(standby, waits).unwrap_or_else(PoisonError::into_inner);
            let Standby::Called(number) = *standby else { return false };
            if self.take_from(number) {
                *standby = Standby::Nobody;
                return true;
            }
        }
    }

    /// Has the waiting thread take over; false if none waits.
    fn call(&self, number: u64) -> bool {
        let mut standby = self.standby();
        if !matches!(*standby, Standby::Waiting | Standby::Called(_)) {
            return false;
        }
        *standby = Standby::Called(number);
        self.called.notify_one();
        true
    }

    /// Drops everything, also what other threads complete from now on.
    fn end(&self) {
        let engine = self.lock().take();
        drop(engine);
        self.completions.close();
        *self.standby() = Standby::Ended;
        self.called.notify_one();
    }
}

/// Ends serving if the thread panics: no other would go on.
struct EndGuard<'a> {
    shared: &'a Shared,
    notify: &'a Sender<Notice>,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.end();
            let exit = Exit::Io("the I/O thread ended unexpectedly".to_owned());
            let _ = self.notify.send(Notice::Ended(exit));
        }
    }
}

/// An I/O thread: runs the engine until serving ends, or until the engine is taken away while
/// another thread waits to take over.
fn lead(shared: &Shared, notify: &Sender<Notice>) {
    let _guard = EndGuard { shared, notify };
    let mut buffers = IoBuffers::default();
    let confined = match &*shared.lock() {
        Some(engine) => engine.confine_thread(),
        None => return,
    };
    if let Err(exit) = confined {
        shared.end();
        let _ = notify.send(Notice::Ended(exit));
        return;
    }
    loop {
        let next = match &mut *shared.lock() {
            Some(engine) => engine.next(&mut buffers),
            None => return,
        };
        match next {
            Next::Exit(exit) => {
                // The streams get their mode back before the end is reported.
                shared.end();
                let _ = notify.send(Notice::Ended(exit));
                return;
            }
            Next::Syscall(syscall) => {
                let number = shared.calls.fetch_add(1, SeqCst) + 1;
                shared.slot.store(number, SeqCst);
                if !shared.watching.load(SeqCst) && !shared.watching.swap(true, SeqCst) {
                    let _ = notify.send(Notice::Working);
                }
                let result = syscall.run(&mut buffers);
                if shared.slot.compare_exchange(number, 0, SeqCst, SeqCst).is_err() {
                    shared.completions.push_syscall(result, &mut buffers.results);
                    if !shared.stand_by() {
                        return;
                    }
                    continue;
                }
                if let Some(engine) = &mut *shared.lock() {
                    engine.returned(result, &buffers.results);
                }
                buffers.trim();
            }
        }
    }
}

/// The watcher, until serving ends.
fn watch(shared: &Arc<Shared>, notify: &Sender<Notice>, notices: &Receiver<Notice>) -> Exit {
    loop {
        match notices.recv() {
            Ok(Notice::Working) => {}
            Ok(Notice::Ended(exit)) => return exit,
            // This function itself holds a sender.
            Err(RecvError) => return Exit::Io("nobody is left to serve".to_owned()),
        }
        let (mut seen, mut quiet) = (0, 0);
        loop {
            match notices.recv_timeout(TICK) {
                Ok(Notice::Ended(exit)) => return exit,
                Ok(Notice::Working) | Err(_) => {}
            }
            let number = shared.slot.load(SeqCst);
            if number != 0 && number == seen && !shared.call(number) {
                // Where no thread can be had, all wait for this call.
                let _ = start(shared, notify, Some(number));
            }
            let calls = shared.calls.load(SeqCst);
            quiet = if number == 0 && calls == seen { quiet + 1 } else { 0 };
            seen = if number != 0 { number } else { calls };
            if quiet > QUIET {
                shared.watching.store(false, SeqCst);
                if shared.slot.load(SeqCst) == 0 {
                    break;
                }
                // A call began just before the flag fell, and has sent no notice.
                shared.watching.store(true, SeqCst);
                quiet = 0;
            }
        }
    }
}

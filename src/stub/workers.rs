//! Slow things done beside the I/O thread: entering namespaces, creating and deleting them, and
//! asking for those of containers.

use std::{
    collections::VecDeque,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use nix::errno::Errno;

use crate::{
    kernel::{KernelSocket, failure, netns},
    wire::{
        Failure, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, Open, Opened, SocketId,
    },
};

use super::{
    event::Event,
    syscall::{Batch, Done},
};

/// Threads doing slow things at a time; more wait for their turn.
const AT_A_TIME: usize = 8;

/// Of these, those that wait for an engine of containers. One that does not answer takes seconds,
/// and others go on meanwhile.
const ASKING_AT_A_TIME: usize = 4;

/// Something that was finished on another thread.
#[derive(Debug)]
pub(super) enum Completion {
    /// A socket was created, or not.
    Opened(SocketId, Result<(KernelSocket, Opened), Failure>),
    /// A request on namespaces: the reply's value, and a namespace to keep open.
    Netns { request: u32, result: Result<(Vec<u8>, Option<OwnedFd>), Failure> },
    /// A slow job, with what it received.
    Done(Done, Batch),
}

/// Where other threads put what they finished, with a descriptor that tells the I/O thread.
#[derive(Debug)]
pub(super) struct Completions {
    /// `None` once nobody takes them any more.
    done: Mutex<Option<Vec<Completion>>>,
    /// A batch to be used again.
    spare: Mutex<Batch>,
    event: Event,
}

impl Completions {
    pub(super) fn new() -> Result<Self, Errno> {
        let done = Mutex::new(Some(Vec::new()));
        Ok(Self { done, spare: Mutex::default(), event: Event::new()? })
    }

    pub(super) fn push(&self, completion: Completion) {
        match &mut *self.lock() {
            Some(done) => done.push(completion),
            // What it holds is closed here and now.
            None => return,
        }
        self.event.set();
    }

    /// [`push`](Self::push) of a slow job's outcome, with its batch; gives another in its place.
    pub(super) fn push_job(&self, done: Done, batch: &mut Batch) {
        let spare = std::mem::take(&mut *self.spare());
        self.push(Completion::Done(done, std::mem::replace(batch, spare)));
    }

    /// Keeps a batch to be used again.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.trim();
        *self.spare() = batch;
    }

    pub(super) fn take_into(&self, arrived: &mut VecDeque<Completion>) {
        self.event.clear();
        if let Some(done) = &mut *self.lock() {
            arrived.extend(done.drain(..));
        }
    }

    /// Nobody takes them any more: those there are, and those to come, are dropped.
    pub(super) fn close(&self) {
        let left = self.lock().take();
        drop(left);
    }

    fn spare(&self) -> MutexGuard<'_, Batch> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Completion>>> {
        // What is in there stays whole: a push cannot end half-way.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Completions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A slow thing to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Open a socket in a namespace; the descriptor is that of a [`Netns::Handle`].
    Open(SocketId, Open, Option<OwnedFd>),
    /// A request on namespaces; the descriptor likewise.
    Netns(u32, NetnsRequest, Option<OwnedFd>),
}

impl Task {
    /// Whether an engine of containers is asked.
    fn asks(&self) -> bool {
        let netns = match self {
            Task::Open(_, open, _) => &open.netns,
            Task::Netns(_, NetnsRequest::Open(netns, _), _) => netns,
            Task::Netns(..) => return false,
        };
        matches!(netns, Netns::Container { .. })
    }

    fn run(self) -> Completion {
        match self {
            Task::Open(id, open, handle) => Completion::Opened(id, open_socket(&open, handle)),
            Task::Netns(request, operation, handle) => {
                Completion::Netns { request, result: netns_request(operation, handle) }
            }
        }
    }

    fn failed(self, failure: Failure) -> Completion {
        match self {
            Task::Open(id, ..) => Completion::Opened(id, Err(failure)),
            Task::Netns(request, ..) => Completion::Netns { request, result: Err(failure) },
        }
    }
}

fn open_socket(open: &Open, handle: Option<OwnedFd>) -> Result<(KernelSocket, Opened), Failure> {
    let namespace = match handle {
        Some(fd) => Some(File::from(fd)),
        None => netns::open(&open.netns, open.mode)?,
    };
    KernelSocket::open(open, namespace.as_ref().map(AsFd::as_fd)).map_err(|mut failure| {
        if open.netns != Netns::Current {
            failure.text = format!("{}: {}", open.netns, failure.text);
        }
        failure
    })
}

fn netns_request(
    operation: NetnsRequest,
    handle: Option<OwnedFd>,
) -> Result<(Vec<u8>, Option<OwnedFd>), Failure> {
    match operation {
        NetnsRequest::Open(netns, mode) => {
            let own = Netns::Path("/proc/self/ns/net".to_owned());
            let netns = if netns == Netns::Current { own } else { netns };
            let file = match handle {
                Some(fd) if mode == NetnsMode::Existing => File::from(fd),
                _ => netns::open(&netns, mode)?.ok_or_else(|| failure(Errno::EINVAL, &netns))?,
            };
            let id =
                netns::identify(&file).map_err(|_| failure(Errno::EIO, "reading its identity"))?;
            let fd = netns::handle(file)?;
            let number = u32::try_from(fd.as_raw_fd()).unwrap_or_default();
            Ok((NetnsOpened { fd: number, id }.encode(), Some(fd)))
        }
        NetnsRequest::List => {
            let mut value = Vec::new();
            netns::list()?.iter().for_each(|entry: &NetnsEntry| entry.encode(&mut value));
            Ok((value, None))
        }
        NetnsRequest::Add(name) => netns::add(&name).map(|()| (Vec::new(), None)),
        NetnsRequest::Delete(name) => netns::delete(&name).map(|()| (Vec::new(), None)),
        // Answered by the engine, which holds the handles.
        NetnsRequest::Close(_) => Err(failure(Errno::EINVAL, "closing a namespace")),
    }
}

/// Counts a task that asks an engine, until it is dropped.
#[derive(Debug)]
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs tasks on threads that are used once, a few at a time.
#[derive(Debug)]
pub(super) struct Workers {
    completions: Arc<Completions>,
    waiting: VecDeque<Task>,
    running: usize,
    /// How many of those running ask an engine.
    asking: Arc<AtomicUsize>,
}

impl Workers {
    pub(super) fn new(completions: Arc<Completions>) -> Self {
        Self { completions, waiting: VecDeque::new(), running: 0, asking: Arc::default() }
    }

    pub(super) fn start(&mut self, task: Task) {
        self.waiting.push_back(task);
        self.advance();
    }

    /// Has to be called once for each completion of a task.
    pub(super) fn finished(&mut self) {
        self.running -= 1;
        self.advance();
    }

    fn advance(&mut self) {
        while self.running < AT_A_TIME {
            let may_ask = self.asking.load(SeqCst) < ASKING_AT_A_TIME;
            let next = self.waiting.iter().position(|task| may_ask || !task.asks());
            let Some(task) = next.and_then(|next| self.waiting.remove(next)) else { return };
            self.running += 1;
            let asks = task.asks().then(|| Asking::new(&self.asking));
            let slot = Arc::new(Mutex::new(Some(task)));
            let (theirs, completions) = (Arc::clone(&slot), Arc::clone(&self.completions));
            let take = |slot: &Mutex<Option<Task>>| {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take()
            };
            let spawned = thread::Builder::new()
                .name("nlr-work".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || {
                    if let Some(task) = take(&theirs) {
                        let completion = task.run();
                        // Before it is told of, which is when the next may have its turn.
                        drop(asks);
                        completions.push(completion);
                    }
                });
            // Only where there is no thread to take it may the task be taken back.
            if let Err(error) = spawned
                && let Some(task) = take(&slot)
            {
                let errno = error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw);
                self.completions.push(task.failed(failure(errno, "starting a thread")));
            }
        }
    }
}

/// What opening by name needs no thread for: the stub's own namespace, with nothing to create.
pub(super) fn is_quick(open: &Open) -> bool {
    open.netns == Netns::Current && open.mode == NetnsMode::Existing
}

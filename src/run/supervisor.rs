//! The supervisor: receives the calls of a program, and answers each.

use std::{
    collections::HashMap,
    future::Future,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    arch,
    descriptors::Descriptors,
    filter,
    handle::Handle,
    listing::Listing,
    memory::Memory,
    notices::Notices,
    outcome::{Outcome, number},
    spaces::{Spaces, process_of},
    sys::{self, Call, Listener, Next, Path},
};
use crate::{Client, sync::lock};
use nix::errno::Errno;

/// `ERESTARTSYS`: the kernel ends the call with EINTR, or makes it again, as the signal's handler says.
pub(super) const RESTART: i32 = 512;

/// Time for a caller that was answered to make its next call.
const SPIN: Duration = Duration::from_micros(20);

/// Time for the last sends of a program that has ended.
const LAST_SENDS: Duration = Duration::from_secs(5);

/// What is left once calls were answered.
enum Drained {
    Nothing,
    More,
    Over,
}

/// Whether a call waits for readiness.
fn is_wait(number: i64) -> bool {
    filter::WAITS.contains(&number) || arch::WAITS.contains(&number)
}

/// Whether a call's first argument is a descriptor that may be a handle.
fn is_on_descriptor(number: i64) -> bool {
    let others = [
        libc::SYS_socket,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_bpf,
    ];
    let is_old = [arch::OPEN, arch::MKDIR, arch::UNLINK].contains(&Some(number));
    !is_old && !is_wait(number) && !others.contains(&number)
}

/// An answer to a call.
pub(super) enum Answer {
    /// A value or an errno.
    Is(Outcome),
    /// The kernel makes the call.
    GoOn,
    /// A copy of a descriptor.
    Descriptor {
        descriptor: Arc<OwnedFd>,
        /// Whether its number is to be one of those whose calls are all told.
        at_handles: bool,
        /// The entries of a folder.
        names: Option<Vec<String>>,
        close_on_exec: bool,
    },
    /// Later.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Answer {
    pub(super) fn error(errno: i32) -> Self {
        Answer::Is(Err(errno))
    }

    pub(super) fn later(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Answer::Later(Box::pin(answer))
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Answer::Is(outcome)
    }
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Answer::error(number(errno))
    }
}

/// What a program may do besides netlink.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Permits {
    pub(super) local: bool,
}

pub(super) struct Supervisor {
    listener: Listener,
    pub(super) client: Client,
    pub(super) spaces: Arc<Spaces>,
    pub(super) permits: Permits,
    pub(super) notices: Notices,
    /// The numbers of handles.
    range: Range<u32>,
    /// The first process under the filter.
    pub(super) first: i32,
    /// By the inode of the program's end.
    pub(super) sockets: Mutex<HashMap<u64, Arc<Handle>>>,
    descriptors: Mutex<Descriptors>,
    /// Whether a program has waited for readiness.
    pub(super) shown: Arc<AtomicBool>,
    pub(super) listings: Mutex<HashMap<(i32, i32), Listing>>,
}

impl Supervisor {
    pub(super) fn new(
        listener: OwnedFd,
        (client, spaces): (Client, Spaces),
        permits: Permits,
        notices: Notices,
        range: Range<u32>,
        first: i32,
    ) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self {
            listener: Listener::new(listener)?,
            client,
            spaces: Arc::new(spaces),
            permits,
            notices,
            range,
            first,
            sockets: Mutex::default(),
            descriptors: Mutex::default(),
            shown: Arc::new(AtomicBool::new(false)),
            listings: Mutex::default(),
        }))
    }

    /// Answers calls until no process is left under the filter.
    pub(super) async fn serve(self: &Arc<Self>) -> Result<(), Errno> {
        loop {
            let mut ready = self.listener.readable().await?;
            match self.drain(false)? {
                Drained::Over => return Ok(()),
                Drained::Nothing => ready.clear_ready(),
                // Other tasks must have their turn in a storm of calls.
                Drained::More => {}
            }
            tokio::task::yield_now().await;
        }
    }

    /// Answers the calls that wait, or come in a moment if one was `answered`: a caller that goes on makes its next
    /// call sooner than this thread would have slept and woken. It spins and does not yield: sched_yield(2) would give
    /// up a whole time slice where others are busy.
    fn drain(self: &Arc<Self>, answered: bool) -> Result<Drained, Errno> {
        let mut answered = answered.then(Instant::now);
        for _ in 0..64 {
            loop {
                match self.listener.next() {
                    Ok(Next::Call(call)) => {
                        answered = self.take(call).then(Instant::now);
                        break;
                    }
                    Ok(Next::Over) => return Ok(Drained::Over),
                    Ok(Next::Nothing) => match answered {
                        Some(answered) if answered.elapsed() < SPIN => std::hint::spin_loop(),
                        _ => return Ok(Drained::Nothing),
                    },
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(Drained::More)
    }

    /// Answers a call; gives whether that is done.
    fn take(self: &Arc<Self>, call: Call) -> bool {
        let own = match is_on_descriptor(call.number) {
            true => self.handle(call.tid, call.int(0)),
            false => None,
        };
        let answer = match self.unsettled(own.as_ref()) {
            Some(others) => {
                let this = Arc::clone(self);
                Answer::later(async move {
                    for other in others {
                        other.settle().await;
                    }
                    this.answer(&call, own)
                })
            }
            None => self.answer(&call, own),
        };
        match answer {
            Answer::Later(answer) => {
                let this = Arc::clone(self);
                tokio::spawn(async move {
                    let mut answer = answer.await;
                    while let Answer::Later(later) = answer {
                        answer = later.await;
                    }
                    this.give(&call, answer);
                    // What is left, and errors, are for the task that serves.
                    let _ = this.drain(true);
                });
                false
            }
            answer => {
                self.give(&call, answer);
                true
            }
        }
    }

    /// The sockets whose sends a call has to come after, because a kernel would have made them by then. Only calls on
    /// the same socket come in their order by themselves.
    fn unsettled(&self, own: Option<&Arc<Handle>>) -> Option<Vec<Arc<Handle>>> {
        let sockets = lock(&self.sockets);
        let others = sockets.values().filter(|handle| {
            let is_own = own.is_some_and(|own| own.inode == handle.inode);
            !handle.is_settled() && !is_own
        });
        let others: Vec<_> = others.cloned().collect();
        (!others.is_empty()).then_some(others)
    }

    /// Shows the readiness of all handles, from now on: a program waits for it.
    fn show(&self) -> Answer {
        if !self.shown.swap(true, Ordering::Relaxed) {
            lock(&self.sockets).values().for_each(|handle| handle.show_now());
        }
        Answer::GoOn
    }

    fn give(&self, call: &Call, answer: Answer) {
        let listener = &self.listener;
        match answer {
            Answer::Is(outcome) => listener.answer(call, outcome),
            Answer::GoOn | Answer::Later(_) => listener.go_on(call),
            Answer::Descriptor { descriptor, at_handles, names, close_on_exec } => {
                let at = match at_handles.then(|| self.free_number(call.tid)) {
                    Some(None) => return listener.answer(call, Err(libc::EMFILE)),
                    at => at.flatten(),
                };
                if let (Some(names), Some(at)) = (names, at) {
                    let process = process_of(call.tid).unwrap_or(call.tid);
                    let listing = Listing::new(names);
                    lock(&self.listings).insert((process, at as i32), listing);
                }
                if let Err(errno) = listener.give(call, descriptor.as_fd(), at, close_on_exec) {
                    // EBADF: the number is beyond the program's limit.
                    let errno = if errno == Errno::EBADF { Errno::EMFILE } else { errno };
                    listener.answer(call, Err(number(errno)));
                }
            }
        }
    }

    /// The lowest number for a handle that a thread's process has not in use.
    fn free_number(&self, tid: i32) -> Option<u32> {
        self.range.clone().find(|number| {
            let path = format!("/proc/{tid}/fd/{number}");
            nix::sys::stat::lstat(path.as_str()).is_err()
        })
    }

    /// Whether a thread's memory is still that of the call.
    pub(super) fn waits(&self, call: &Call) -> bool {
        self.listener.waits(call)
    }

    pub(super) fn add(self: &Arc<Self>, handle: Arc<Handle>) {
        let inode = handle.inode;
        lock(&self.sockets).insert(inode, Arc::clone(&handle));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            handle.closed().await;
            handle.settle().await;
            lock(&this.sockets).remove(&inode);
        });
    }

    /// Whether no process is left under the filter.
    pub(super) fn is_over(&self) -> bool {
        self.listener.is_over()
    }

    /// Waits for what the program has sent, some seconds at most.
    pub(super) async fn settle(&self) {
        let all: Vec<_> = lock(&self.sockets).values().cloned().collect();
        let settle = async {
            for handle in all {
                handle.settle().await;
            }
        };
        let _ = tokio::time::timeout(LAST_SENDS, settle).await;
    }

    /// Closes every far socket.
    pub(super) fn end(&self) {
        lock(&self.sockets).clear();
    }

    /// The handle that a thread's descriptor is.
    pub(super) fn handle(&self, tid: i32, fd: i32) -> Option<Arc<Handle>> {
        let sockets = lock(&self.sockets);
        if sockets.is_empty() {
            return None;
        }
        let inode = lock(&self.descriptors).inode(tid, fd)?;
        sockets.get(&inode).cloned()
    }

    /// A copy of a thread's descriptor.
    pub(super) fn copy(&self, tid: i32, fd: i32) -> Option<OwnedFd> {
        // Most threads are the first of their processes.
        let process = sys::open_process(tid).or_else(|errno| match process_of(tid) {
            Some(process) if process != tid => sys::open_process(process),
            _ => Err(errno),
        });
        sys::copy_descriptor(process.ok()?.as_fd(), fd).ok()
    }

    fn answer(self: &Arc<Self>, call: &Call, own: Option<Arc<Handle>>) -> Answer {
        let memory = Memory::of(call.tid);
        match call.number {
            libc::SYS_socket => self.socket(call),
            number if is_wait(number) => self.show(),
            libc::SYS_openat => self.open(call, Path::of(call, 1), call.int(2)),
            libc::SYS_openat2 => match memory.u32(call.argument(2)) {
                Ok(flags) => self.open(call, Path::of(call, 1), flags as i32),
                Err(errno) => errno.into(),
            },
            libc::SYS_mkdirat => self.make_folder(call, Path::of(call, 1)),
            libc::SYS_unlinkat => self.unlink(call, Path::of(call, 1)),
            libc::SYS_setns => self.set_namespace(call),
            libc::SYS_unshare => self.unshare(call),
            libc::SYS_mount => self.mount(call),
            libc::SYS_umount2 => self.unmount(call),
            libc::SYS_ioctl => self.control(call),
            libc::SYS_getdents64 => self.list(call),
            libc::SYS_bpf => {
                self.notices.refused(call.tid, "bpf(2) acts on this host's kernel");
                Answer::error(libc::EPERM)
            }
            other if Some(other) == arch::OPEN => self.open(call, Path::of(call, 0), call.int(1)),
            other if Some(other) == arch::MKDIR => self.make_folder(call, Path::of(call, 0)),
            other if Some(other) == arch::UNLINK => self.unlink(call, Path::of(call, 0)),
            _ => match own {
                Some(handle) => self.on_handle(call, handle),
                None => Answer::GoOn,
            },
        }
    }

    fn on_handle(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        match call.number {
            libc::SYS_bind => self.bind(call, handle),
            libc::SYS_connect => self.connect(call, handle),
            libc::SYS_getsockname => self.name(call, &handle, false),
            libc::SYS_getpeername => self.name(call, &handle, true),
            libc::SYS_setsockopt => self.set_option(call, handle),
            libc::SYS_getsockopt => self.get_option(call, handle),
            libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_write | libc::SYS_writev => {
                self.send(call, handle)
            }
            libc::SYS_sendmmsg => self.send_many(call, handle),
            libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_read | libc::SYS_readv => {
                self.receive(call, handle)
            }
            libc::SYS_recvmmsg => self.receive_many(call, handle),
            libc::SYS_fcntl if call.int(1) == libc::F_SETFL => {
                handle.set_nonblocking(call.int(2) & libc::O_NONBLOCK != 0);
                Answer::GoOn
            }
            libc::SYS_dup | libc::SYS_fcntl => self.duplicate(call),
            // What a netlink socket answers.
            libc::SYS_shutdown | libc::SYS_listen | libc::SYS_accept | libc::SYS_accept4 => {
                Answer::error(libc::EOPNOTSUPP)
            }
            _ => Answer::GoOn,
        }
    }
}

//! Results of work on other threads, on their way to the I/O thread.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;

use super::{
    buffers::ExchangeResults, created::Created, open_socket::OpenSocket, syscall::SyscallResult,
    wake_fd::WakeFd,
};
use crate::wire::{Failure, Opened, SocketId};

/// The result of a request on namespaces.
#[derive(Debug)]
pub(super) struct NetnsDone {
    /// The reply's value.
    pub(super) value: Vec<u8>,
    /// A namespace to keep open.
    pub(super) handle: Option<OwnedFd>,
    pub(super) created: Option<Created>,
}

/// The result of work on another thread.
#[derive(Debug)]
pub(super) enum Completion {
    /// A socket was created, or not.
    Opened { id: SocketId, result: Result<(OpenSocket, Opened), Failure>, created: Option<Created> },
    /// A request on namespaces.
    Netns { request: u32, result: Result<NetnsDone, Failure> },
    /// A slow system call.
    Syscall(SyscallResult, ExchangeResults),
}

impl Completion {
    /// Bytes of memory that it takes while it waits, besides what its request is counted for.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Completion::Syscall(_, results) => results.data.capacity() as u64,
            Completion::Opened { .. } | Completion::Netns { .. } => 0,
        }
    }
}

/// A queue of completions, with a descriptor that is readable while it holds some.
#[derive(Debug)]
pub(super) struct Completions {
    /// `None` once serving has ended.
    queue: Mutex<Option<Vec<Completion>>>,
    /// Results whose memory is to be used again.
    spare: Mutex<ExchangeResults>,
    wake: WakeFd,
}

impl Completions {
    pub(super) fn new() -> Result<Self, Errno> {
        let queue = Mutex::new(Some(Vec::new()));
        Ok(Self { queue, spare: Mutex::default(), wake: WakeFd::new()? })
    }

    pub(super) fn push(&self, completion: Completion) {
        match &mut *self.queue() {
            Some(queue) => queue.push(completion),
            // Dropping it here closes the sockets in it.
            None => return,
        }
        self.wake.set();
    }

    /// [`push`](Self::push) of a slow system call's result; `results` are exchanged for others, to
    /// be used next.
    pub(super) fn push_syscall(&self, result: SyscallResult, results: &mut ExchangeResults) {
        let spare = std::mem::take(&mut *self.spare());
        self.push(Completion::Syscall(result, std::mem::replace(results, spare)));
    }

    /// Keeps results whose memory is to be used again.
    pub(super) fn give_back(&self, mut results: ExchangeResults) {
        results.trim();
        *self.spare() = results;
    }

    /// Moves everything in the queue to the end of `arrived`.
    pub(super) fn take_into(&self, arrived: &mut VecDeque<Completion>) {
        self.wake.clear();
        if let Some(queue) = &mut *self.queue() {
            arrived.extend(queue.drain(..));
        }
    }

    /// Drops every completion in the queue, and those that are pushed later.
    pub(super) fn close(&self) {
        let left = self.queue().take();
        drop(left);
    }

    fn spare(&self) -> MutexGuard<'_, ExchangeResults> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Option<Vec<Completion>>> {
        // A thread that panics leaves the queue whole: a push cannot end half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Completions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

//! A kernel socket, and what it holds of the budget for as long as it is open: also where its
//! connection has ended, and a thread in a system call still has it.

use std::{
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
};

use super::budget::{Held, Resource};
use crate::{
    kernel::{BufferAccount, KernelSocket},
    wire::{Failure, Open, Opened},
};

#[derive(Debug)]
pub(super) struct OpenSocket {
    // Dropped, and so closed, before what it holds is given back.
    kernel: KernelSocket,
    _descriptor: Held,
}

impl OpenSocket {
    /// [`KernelSocket::open`], with the descriptor that it takes; the account of the descriptor is that
    /// of the buffers, too.
    pub(super) fn open(
        open: &Open,
        namespace: Option<BorrowedFd<'_>>,
        descriptor: Held,
    ) -> Result<(Self, Opened), Failure> {
        let memory = BufferMemory(descriptor.account().nothing(Resource::KernelMemory));
        let (kernel, opened) = KernelSocket::open(open, namespace, Box::new(memory))?;
        Ok((Self { kernel, _descriptor: descriptor }, opened))
    }
}

/// What the buffers of a socket hold of the budget.
#[derive(Debug)]
struct BufferMemory(Held);

impl BufferAccount for BufferMemory {
    /// A quarter of what is left, so that many sockets may wish for large buffers: each gets less than
    /// the one before.
    fn offer(&self, bytes: u64) -> u64 {
        bytes.min(self.0.left() / 4)
    }

    fn set(&mut self, bytes: u64) -> Result<(), Failure> {
        self.0.set(bytes).map_err(|refused| refused.failure("setting the size of a kernel buffer"))
    }
}

impl Deref for OpenSocket {
    type Target = KernelSocket;

    fn deref(&self) -> &KernelSocket {
        &self.kernel
    }
}

impl AsFd for OpenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

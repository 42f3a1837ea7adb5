//! A kernel socket, and what it holds of the budget for as long as it is open: also where its
//! connection has ended, and a thread in a system call still has it.

use std::{
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
};

use super::budget::Held;
use crate::{
    kernel::KernelSocket,
    wire::{Failure, Open, Opened},
};

#[derive(Debug)]
pub(super) struct OpenSocket {
    // Dropped, and so closed, before what it holds is given back.
    kernel: KernelSocket,
    _descriptor: Held,
}

impl OpenSocket {
    /// [`KernelSocket::open`], with the descriptor that it takes.
    pub(super) fn open(
        open: &Open,
        namespace: Option<BorrowedFd<'_>>,
        descriptor: Held,
    ) -> Result<(Self, Opened), Failure> {
        let (kernel, opened) = KernelSocket::open(open, namespace)?;
        Ok((Self { kernel, _descriptor: descriptor }, opened))
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

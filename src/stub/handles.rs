//! The namespaces that a client has had opened, and kept open, by descriptor number.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::errno::Errno;

use super::budget::{Account, Held, Resource};
use crate::{
    kernel::{errno_of, failure},
    wire::{Failure, Netns},
};

#[derive(Debug)]
pub(super) struct NetnsHandles {
    open: HashMap<u32, (OwnedFd, Held)>,
    /// How many may be open at a time.
    limit: usize,
    account: Account,
}

impl NetnsHandles {
    pub(super) fn new(limit: u32, account: Account) -> Self {
        Self { open: HashMap::new(), limit: limit as usize, account }
    }

    /// Keeps a namespace open.
    ///
    /// # Errors
    /// EMFILE at the limit, or where the budget has no descriptor; it is closed then.
    pub(super) fn keep(&mut self, namespace: OwnedFd) -> Result<(), Failure> {
        if self.open.len() >= self.limit {
            let step = format_args!("more than {} namespaces kept open", self.limit);
            return Err(failure(Errno::EMFILE, step));
        }
        let held = self.account.hold(Resource::Descriptors, 1);
        let held = held.map_err(|refused| refused.failure("keeping a namespace open"))?;
        let number = u32::try_from(namespace.as_raw_fd()).unwrap_or_default();
        self.open.insert(number, (namespace, held));
        Ok(())
    }

    /// Closes one.
    ///
    /// # Errors
    /// EBADF for a number that is none of them.
    pub(super) fn close(&mut self, number: u32) -> Result<(), Failure> {
        match self.open.remove(&number) {
            Some(_) => Ok(()),
            None => Err(failure(Errno::EBADF, Netns::Handle(number))),
        }
    }

    /// A copy of the descriptor that a [`Netns::Handle`] names; `None` for all other namespaces.
    ///
    /// # Errors
    /// EBADF for a number that is none of them, EMFILE.
    pub(super) fn resolve(&self, netns: &Netns) -> Result<Option<OwnedFd>, Failure> {
        let Netns::Handle(number) = netns else { return Ok(None) };
        let namespace = self.open.get(number).ok_or(Errno::EBADF);
        let copy = namespace.and_then(|(fd, _)| fd.try_clone().map_err(|error| errno_of(&error)));
        copy.map(Some).map_err(|errno| failure(errno, netns))
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

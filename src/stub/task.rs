//! Requests that need a thread of their own: entering namespaces, creating, listing and deleting
//! them, and asking container engines for them.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::errno::Errno;

use super::completions::Completion;
use crate::{
    kernel::{KernelSocket, failure, netns},
    wire::{
        Failure, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, Open, Opened, SocketId,
    },
};

#[derive(Debug)]
pub(super) enum Task {
    /// Open a socket in a namespace; the descriptor is that of a [`Netns::Handle`].
    Open(SocketId, Open, Option<OwnedFd>),
    /// A numbered request on namespaces; the descriptor likewise.
    Netns(u32, NetnsRequest, Option<OwnedFd>),
}

impl Task {
    /// Whether a container engine is asked, which may take seconds.
    pub(super) fn asks_engine(&self) -> bool {
        let netns = match self {
            Task::Open(_, open, _) => &open.netns,
            Task::Netns(_, NetnsRequest::Open(netns, _), _) => netns,
            Task::Netns(..) => return false,
        };
        matches!(netns, Netns::Container { .. })
    }

    pub(super) fn run(self) -> Completion {
        match self {
            Task::Open(id, open, handle) => Completion::Opened(id, open_socket(&open, handle)),
            Task::Netns(request, operation, handle) => {
                Completion::Netns { request, result: netns_request(operation, handle) }
            }
        }
    }

    /// The completion of a task that could not be run.
    pub(super) fn failed(self, failure: Failure) -> Completion {
        match self {
            Task::Open(id, ..) => Completion::Opened(id, Err(failure)),
            Task::Netns(request, ..) => Completion::Netns { request, result: Err(failure) },
        }
    }
}

/// Whether opening a socket needs no thread: in the stub's own namespace.
pub(super) fn is_quick(open: &Open) -> bool {
    open.netns == Netns::Current && open.mode == NetnsMode::Existing
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
            let file = match handle {
                Some(fd) if mode == NetnsMode::Existing => File::from(fd),
                _ => netns::open(&netns, mode)?.map_or_else(netns::open_current, Ok)?,
            };
            let id = netns::identify(&file)
                .map_err(|_| failure(Errno::EIO, "reading the namespace's identity"))?;
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
        // Answered by the I/O thread, which has the handles.
        NetnsRequest::Close(_) => Err(failure(Errno::EINVAL, "closing a namespace")),
    }
}

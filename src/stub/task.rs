//! Requests that need a thread of their own: entering namespaces, creating, listing and deleting
//! them, and asking container engines for them.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::errno::Errno;

use super::{
    access::Access,
    budget::Held,
    completions::{Completion, NetnsDone},
    created::Created,
    open_socket::OpenSocket,
};
use crate::{
    kernel::{Cancel, failure, netns, only_look},
    wire::{
        Failure, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, Open, Opened, SocketId,
    },
};

#[derive(Debug)]
pub(super) enum Task {
    /// Open a socket in a namespace; the descriptor is that of a [`Netns::Handle`].
    Open(SocketId, Open, Option<OwnedFd>, Held),
    /// A numbered request on namespaces; the descriptor likewise.
    Netns(u32, NetnsRequest, Option<OwnedFd>),
}

impl Task {
    /// Whether a container engine is asked, which may take seconds.
    pub(super) fn asks_engine(&self) -> bool {
        let netns = match self {
            Task::Open(_, open, ..) => &open.netns,
            Task::Netns(_, NetnsRequest::Open(netns, _), _) => netns,
            Task::Netns(..) => return false,
        };
        matches!(netns, Netns::Container { .. })
    }

    /// Runs it on a thread that is used for nothing else, unless its client has gone. What it made is undone where the client goes before it
    /// gets to know.
    pub(super) fn run(self, access: &Access, cancel: &Cancel) -> Completion {
        let confined = if access.read_only { only_look() } else { Ok(()) };
        if let Err(failure) = confined.and_then(|()| cancel.check()) {
            return self.failed(failure);
        }
        match self {
            Task::Open(id, open, handle, descriptor) => {
                let opened = open_socket(&open, handle, descriptor, access, cancel);
                let (result, created) = match opened {
                    Ok((socket, opened, created)) => (Ok((socket, opened)), created),
                    Err(failure) => (Err(failure), None),
                };
                Completion::Opened { id, result, created }
            }
            Task::Netns(request, operation, handle) => {
                let result = netns_request(operation, handle, access, cancel);
                Completion::Netns { request, result }
            }
        }
    }

    /// The completion of a task that could not be run.
    pub(super) fn failed(self, failure: Failure) -> Completion {
        match self {
            Task::Open(id, ..) => Completion::Opened { id, result: Err(failure), created: None },
            Task::Netns(request, ..) => Completion::Netns { request, result: Err(failure) },
        }
    }
}

/// Creates the namespace that is to be opened, where `mode` asks for that and it does not exist.
fn create(netns: &Netns, mode: NetnsMode, cancel: &Cancel) -> Result<Option<Created>, Failure> {
    let Netns::Name(name) = netns else {
        return match mode {
            NetnsMode::Existing => Ok(None),
            _ => {
                let text = format!("{netns} cannot be created: only a name can");
                Err(Failure { errno: Errno::EINVAL as i32, text })
            }
        };
    };
    if mode == NetnsMode::Existing {
        return Ok(None);
    }
    match Created::new(name.clone(), cancel) {
        Err(exists) if exists.errno == Errno::EEXIST as i32 && mode == NetnsMode::Create => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Whether opening a socket needs no thread: in the stub's own namespace.
pub(super) fn is_quick(open: &Open) -> bool {
    open.netns == Netns::Current && open.mode == NetnsMode::Existing
}

fn open_socket(
    open: &Open,
    handle: Option<OwnedFd>,
    descriptor: Held,
    access: &Access,
    cancel: &Cancel,
) -> Result<(OpenSocket, Opened, Option<Created>), Failure> {
    let created = create(&open.netns, open.mode, cancel)?;
    let namespace = match handle {
        Some(fd) => Some(File::from(fd)),
        None => netns::open(&open.netns, cancel)?,
    };
    if access.read_only {
        netns::check_owner(namespace.as_ref())?;
    }
    let namespace = namespace.as_ref().map(AsFd::as_fd);
    let result = OpenSocket::open(open, namespace, descriptor);
    let result = result.map_err(|mut failure| {
        if open.netns != Netns::Current {
            failure.text = format!("{}: {}", open.netns, failure.text);
        }
        failure
    });
    result.map(|(socket, opened)| (socket, opened, created))
}

fn netns_request(
    operation: NetnsRequest,
    handle: Option<OwnedFd>,
    access: &Access,
    cancel: &Cancel,
) -> Result<NetnsDone, Failure> {
    let done = |value, created| NetnsDone { value, handle: None, created };
    match operation {
        NetnsRequest::Open(netns, mode) => {
            let created = create(&netns, mode, cancel)?;
            let file = match handle {
                Some(fd) if mode == NetnsMode::Existing => File::from(fd),
                _ => netns::open(&netns, cancel)?.map_or_else(netns::open_current, Ok)?,
            };
            let id = netns::identify(&file)
                .map_err(|_| failure(Errno::EIO, "reading the namespace's identity"))?;
            let fd = netns::handle(file)?;
            let number = u32::try_from(fd.as_raw_fd()).unwrap_or_default();
            let value = NetnsOpened { fd: number, id }.encode();
            Ok(NetnsDone { value, handle: Some(fd), created })
        }
        NetnsRequest::List => {
            let mut value = Vec::new();
            let list = netns::list(cancel)?;
            let told = |entry: &NetnsEntry| access.allows(&Netns::Name(entry.name.clone()));
            list.into_iter().filter(told).for_each(|entry| entry.encode(&mut value));
            Ok(done(value, None))
        }
        NetnsRequest::Add(name) => {
            Created::new(name, cancel).map(|created| done(Vec::new(), Some(created)))
        }
        NetnsRequest::Delete(name) => netns::delete(&name).map(|()| done(Vec::new(), None)),
        // Answered by the I/O thread, which has the handles.
        NetnsRequest::Close(_) => Err(failure(Errno::EINVAL, "closing a namespace")),
    }
}

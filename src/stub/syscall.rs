//! System calls that may take long: netlink runs a request inside `sendmsg`, makes the next part of
//! a dump inside `recvmsg`, and may have to wait for a lock to close a socket. They are made by a
//! thread that has unlocked the engine meanwhile, and that the watcher watches.

use std::sync::Arc;

use super::{
    budget::Held,
    buffers::IoBuffers,
    exchange::{Drained, Exchange},
    open_socket::OpenSocket,
    option_request::OptionRequest,
};
use crate::wire::{Failure, Open, Opened, SocketId};

#[derive(Debug)]
pub(super) enum Syscall {
    /// Send, receive, or one after the other.
    Exchange(Exchange),
    /// Read or set an option, or join or leave a group.
    Option(OptionRequest),
    /// Create a socket in the stub's own namespace.
    Open(SocketId, Box<Open>, Held),
    /// Close one.
    Close(SocketId, Arc<OpenSocket>),
}

/// The result of a [`Syscall`]; that of sends and receives is in the buffers.
#[derive(Debug)]
pub(super) enum SyscallResult {
    Exchange(Exchange, Drained),
    Option(OptionRequest, Result<Vec<u8>, Failure>),
    Open(SocketId, Result<(OpenSocket, Opened), Failure>),
    /// With the kernel's count of dropped datagrams.
    Close(SocketId, u64),
}

impl Syscall {
    /// Makes it.
    pub(super) fn run(self, buffers: &mut IoBuffers) -> SyscallResult {
        buffers.results.clear();
        match self {
            Syscall::Exchange(mut exchange) => {
                let drained = exchange.run(buffers);
                SyscallResult::Exchange(exchange, drained)
            }
            Syscall::Option(request) => {
                let result = request.run();
                SyscallResult::Option(request, result)
            }
            Syscall::Open(id, open, descriptor) => {
                SyscallResult::Open(id, OpenSocket::open(&open, None, descriptor))
            }
            Syscall::Close(id, socket) => {
                let drops = socket.drops_and_queued().map_or(0, |(drops, _)| drops.into());
                drop(socket);
                SyscallResult::Close(id, drops)
            }
        }
    }
}

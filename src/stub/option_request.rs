//! Requests on a socket's options and multicast groups.

use std::sync::Arc;

use super::open_socket::OpenSocket;
use crate::{
    kernel::{failure, option_name},
    wire::{Failure, SocketId},
};

/// A numbered request on a socket.
#[derive(Debug)]
pub(super) struct OptionRequest {
    pub(super) id: SocketId,
    pub(super) socket: Arc<OpenSocket>,
    pub(super) number: u32,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum Operation {
    Get {
        level: i32,
        name: i32,
        capacity: usize,
    },
    Set {
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    Join(u32),
    Leave(u32),
    /// Read how many bytes are queued.
    Drained,
}

impl OptionRequest {
    /// Makes the system call; gives the reply's value.
    pub(super) fn run(&self) -> Result<Vec<u8>, Failure> {
        let socket = &self.socket;
        let nothing = |()| Vec::new();
        match &self.operation {
            Operation::Get { level, name, capacity } => {
                socket.option(*level, *name, *capacity).map_err(|errno| {
                    failure(errno, format_args!("reading {}", option_name(*level, *name)))
                })
            }
            Operation::Set { level, name, value } => {
                socket.set_option(*level, *name, value).map(nothing)
            }
            Operation::Join(group) => socket
                .join(*group)
                .map(nothing)
                .map_err(|errno| failure(errno, format_args!("joining multicast group {group}"))),
            // Where the kernel cannot say how much it is, as much as any is.
            Operation::Drained => {
                let queued = socket.drops_and_queued().map_or(u32::MAX, |(_, queued)| queued);
                Ok(u64::from(queued).to_ne_bytes().to_vec())
            }
            Operation::Leave(group) => socket
                .leave(*group)
                .map(nothing)
                .map_err(|errno| failure(errno, format_args!("leaving multicast group {group}"))),
        }
    }
}

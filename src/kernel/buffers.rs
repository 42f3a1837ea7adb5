//! The memory that the kernel may take for a socket's datagrams.

use std::{fmt, os::fd::BorrowedFd};

use nix::errno::Errno;

use super::{
    failure::{failure, option_name},
    sys,
};
use crate::wire::Failure;

/// The account of a socket's buffers: what they have, as SO_RCVBUF and SO_SNDBUF report it, beyond
/// what the host gives every socket (`net.core.rmem_default`, `wmem_default`). So much any user of
/// the host may have of as many sockets.
pub trait BufferAccount: fmt::Debug + Send {
    /// How much of `bytes` a socket that is being opened may take besides what it has.
    fn offer(&self, bytes: u64) -> u64;

    /// Changes the amount, which stays as it was where that is refused.
    ///
    /// # Errors
    /// ENOBUFS, with a text that says the limit.
    fn set(&mut self, bytes: u64) -> Result<(), Failure>;
}

/// One of a socket's two buffers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Buffer {
    Receive,
    Send,
}

impl Buffer {
    /// The buffer whose size this option sets.
    pub(super) fn of_option(level: i32, name: i32) -> Option<Self> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => Some(Buffer::Receive),
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => Some(Buffer::Send),
            _ => None,
        }
    }

    /// The options that set its size: the first beyond the host's maximum too, which needs
    /// CAP_NET_ADMIN. The second is also read.
    fn options(self) -> (i32, i32) {
        match self {
            Buffer::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            Buffer::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        }
    }

    /// Its size as the kernel reports it.
    pub(super) fn size(self, fd: BorrowedFd<'_>) -> Result<u32, Errno> {
        let mut value = [0; 4];
        sys::option(fd, libc::SOL_SOCKET, self.options().1, &mut value)?;
        Ok(u32::from_ne_bytes(value))
    }

    /// Sets the size that is reported, as far as the process may.
    fn resize(self, fd: BorrowedFd<'_>, size: u64) -> Result<(), Errno> {
        // The kernel doubles what it is given.
        let value = i32::try_from(size / 2).unwrap_or(i32::MAX).to_ne_bytes();
        let (forced, plain) = self.options();
        let set = |name| sys::set_option(fd, libc::SOL_SOCKET, name, &value);
        set(forced).or_else(|_| set(plain))
    }
}

/// The buffers of a socket, with their account.
#[derive(Debug)]
pub(super) struct Buffers {
    account: Box<dyn BufferAccount>,
    /// Their sizes by the host's default.
    defaults: [(Buffer, u32); 2],
}

impl Buffers {
    /// Those of a new socket.
    pub(super) fn new(fd: BorrowedFd<'_>, account: Box<dyn BufferAccount>) -> Result<Self, Errno> {
        let of = |buffer: Buffer| Ok::<_, Errno>((buffer, buffer.size(fd)?));
        Ok(Self { account, defaults: [of(Buffer::Receive)?, of(Buffer::Send)?] })
    }

    /// Sets the size of one as a client wishes that opens a socket: half of the size that is reported.
    /// It gets less where the account has less.
    pub(super) fn wish(
        &mut self,
        fd: BorrowedFd<'_>,
        buffer: Buffer,
        size: u32,
    ) -> Result<(), Errno> {
        let (default, wished) = (u64::from(buffer.size(fd)?), 2 * u64::from(size));
        let more = wished.saturating_sub(default);
        let size = if more > 0 { default + self.account.offer(more) } else { wished };
        buffer.resize(fd, size)?;
        match self.account.set(self.beyond_defaults(fd)) {
            Ok(()) => Ok(()),
            // Other sockets have taken it meanwhile.
            Err(_) => buffer.resize(fd, default),
        }
    }

    /// Sets the size of one by an option of this name.
    ///
    /// # Errors
    /// That of setsockopt(2), or of the account; then the size is as before.
    pub(super) fn set(
        &mut self,
        fd: BorrowedFd<'_>,
        buffer: Buffer,
        name: i32,
        value: &[u8],
    ) -> Result<(), Failure> {
        let level = libc::SOL_SOCKET;
        let step = |errno| failure(errno, format_args!("setting {}", option_name(level, name)));
        let before = buffer.size(fd).map_err(step)?;
        sys::set_option(fd, level, name, value).map_err(step)?;
        self.account.set(self.beyond_defaults(fd)).inspect_err(|_| {
            let _ = buffer.resize(fd, before.into());
        })
    }

    fn beyond_defaults(&self, fd: BorrowedFd<'_>) -> u64 {
        let beyond = |&(buffer, default): &(Buffer, u32)| {
            u64::from(buffer.size(fd).unwrap_or_default().saturating_sub(default))
        };
        self.defaults.iter().map(beyond).sum()
    }
}

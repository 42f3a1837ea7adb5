//! A netlink socket of the kernel.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use nix::errno::Errno;

use super::{
    buffers::{Buffer, BufferAccount, Buffers},
    descriptors,
    failure::{explained, failure, option_name},
    netns,
    network_file::NetworkFile,
    sys,
};
use crate::wire::{
    DatagramInfo, Destination, FILE, FILTER, Failure, FilterInstruction, OWN_LEVEL, Open, Opened,
    TIMES,
};

/// Bytes of room that a receive should offer: a dump's datagrams have up to 32 KiB, and the kernel
/// sizes them after the largest room it has seen.
pub const RECEIVE_ROOM: usize = 64 * 1024;

/// `SK_MEMINFO_DROPS` of `<linux/sock_diag.h>`: index of the drop counter in `SO_MEMINFO`.
const MEMINFO_DROPS: usize = 8;

/// `SK_MEMINFO_RMEM_ALLOC`: index of the bytes in the receive queue.
const MEMINFO_RMEM_ALLOC: usize = 0;

/// The result of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A datagram of this length; the part that did not fit the buffer is in the spill.
    Datagram(DatagramInfo, usize),
    /// A datagram of this length, for which even the spill had no room. It is lost.
    TooLarge(usize),
    /// Nothing is queued.
    Empty,
    /// ENOBUFS: the kernel has dropped datagrams because the receive buffer was full. Those queued
    /// before are still to be read.
    Overrun,
    /// Another errno of recvmsg(2).
    Failed(Errno),
}

/// A netlink socket, bound, non-blocking, at a high descriptor number.
///
/// Dropping it closes it.
#[derive(Debug)]
pub struct KernelSocket {
    fd: OwnedFd,
    /// Whether overruns give no ENOBUFS (`NETLINK_NO_ENOBUFS`) and show in the drop counter alone.
    silent_overruns: AtomicBool,
    /// Whether the client wants to know when datagrams were received.
    is_timed: AtomicBool,
    /// Bytes of the receive buffer, of which a datagram takes more than its length.
    receive_buffer: AtomicU32,
    /// A file that the client reads ([`FILE`]).
    file: Option<NetworkFile>,
    // Given back once the descriptor is closed.
    buffers: Mutex<Buffers>,
}

impl KernelSocket {
    /// Creates a socket in `namespace`, or in the current one, as `open` asks.
    ///
    /// `NETLINK_EXT_ACK` is switched on first, where the kernel has it, and can be switched off
    /// by an option of `open`. Groups switch `NETLINK_PKTINFO` on, which gives each datagram's group.
    ///
    /// The buffers are as large as `open` wishes and `account` offers.
    ///
    /// # Errors
    /// The errno of the step that failed, named in the text: EPROTONOSUPPORT for a protocol the
    /// kernel lacks, EPERM for a group or a namespace that needs privileges, EADDRINUSE for a
    /// port id that is taken, ENOBUFS for an option that makes a buffer larger than `account` permits.
    pub fn open(
        open: &Open,
        namespace: Option<BorrowedFd<'_>>,
        account: Box<dyn BufferAccount>,
    ) -> Result<(Self, Opened), Failure> {
        match namespace {
            Some(namespace) => netns::inside(namespace, || Self::create(open, account)),
            None => Self::create(open, account),
        }
    }

    fn create(open: &Open, account: Box<dyn BufferAccount>) -> Result<(Self, Opened), Failure> {
        let step = |text: String| move |errno| failure(errno, text);
        let fd = sys::socket(open.protocol).map_err(|errno| match errno {
            Errno::EPROTONOSUPPORT => {
                explained(errno, format!("the kernel has no netlink protocol {}", open.protocol))
            }
            _ => failure(errno, format_args!("creating a socket of protocol {}", open.protocol)),
        })?;
        let fd = descriptors::raise(fd);
        let buffers = Buffers::new(fd.as_fd(), account);
        let mut socket = Self {
            file: None,
            silent_overruns: AtomicBool::new(false),
            is_timed: AtomicBool::new(false),
            receive_buffer: AtomicU32::new(0),
            buffers: Mutex::new(buffers.map_err(step("reading the size of buffers".into()))?),
            fd,
        };
        // Kernels before 4.12 lack it; their errors come without words.
        let _ = socket.set_flag(libc::NETLINK_EXT_ACK);
        let wishes = [
            (open.receive_buffer, Buffer::Receive, "receive"),
            (open.send_buffer, Buffer::Send, "send"),
        ];
        for (size, buffer, name) in wishes.into_iter().filter(|(size, ..)| *size > 0) {
            let wished = socket.buffers().wish(socket.fd.as_fd(), buffer, size);
            wished.map_err(step(format!("setting the {name} buffer")))?;
        }
        for option in &open.options {
            match (option.level, option.name) {
                // Here this thread is in the socket's namespace.
                (OWN_LEVEL, FILE) => socket.file = Some(NetworkFile::open(&option.value)?),
                (level, name) => socket.set_option(level, name, &option.value)?,
            }
        }
        sys::bind(socket.fd.as_fd(), open.portid)
            .map_err(step(format!("binding to port id {}", open.portid)))?;
        for &group in &open.groups {
            socket.join(group).map_err(step(format!("joining multicast group {group}")))?;
        }
        let opened = Opened {
            portid: sys::portid(socket.fd.as_fd()).map_err(step("reading the port id".into()))?,
            receive_buffer: socket.note_receive_buffer(),
            send_buffer: Buffer::Send.size(socket.fd.as_fd()).unwrap_or_default(),
            ..Opened::default()
        };
        Ok((socket, opened))
    }

    fn set_flag(&self, name: i32) -> Result<(), Errno> {
        self.set_netlink_option(name, 1)
    }

    fn set_netlink_option(&self, name: i32, value: u32) -> Result<(), Errno> {
        sys::set_option(self.fd.as_fd(), libc::SOL_NETLINK, name, &value.to_ne_bytes())
    }

    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        // A panic inside leaves a size that is counted by the next change.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_receive_buffer(&self) -> u32 {
        let size = Buffer::Receive.size(self.fd.as_fd()).unwrap_or_default();
        self.receive_buffer.store(size, Ordering::Relaxed);
        size
    }

    /// setsockopt(2), or an option of the protocol's own level: see [`OWN_LEVEL`].
    ///
    /// # Errors
    /// Its errno; ENOBUFS for a buffer larger than the account of the socket permits.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Failure> {
        let fd = self.fd.as_fd();
        if let Some(buffer) = Buffer::of_option(level, name) {
            self.buffers().set(fd, buffer, name, value)?;
            self.note_receive_buffer();
            return Ok(());
        }
        let set = match (level, name) {
            (OWN_LEVEL, TIMES) if value == [1] => {
                self.is_timed.store(true, Ordering::Relaxed);
                Ok(())
            }
            (OWN_LEVEL, TIMES) => Err(Errno::EINVAL),
            (OWN_LEVEL, FILTER) => FilterInstruction::decode_all(value)
                .map_err(|_| Errno::EINVAL)
                .and_then(|filter| sys::attach_filter(fd, &filter)),
            _ => sys::set_option(fd, level, name, value),
        };
        set.map_err(|errno| failure(errno, format_args!("setting {}", option_name(level, name))))?;
        if (level, name) == (libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS) {
            let on = value.iter().take(size_of::<libc::c_int>()).any(|byte| *byte != 0);
            self.silent_overruns.store(on, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the client wants to know when datagrams were received ([`TIMES`]).
    pub fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    /// getsockopt(2) with room for `capacity` bytes. For `NETLINK_LIST_MEMBERSHIPS` the kernel
    /// reports the length that it would need, and the value ends where the room did.
    ///
    /// # Errors
    /// Its errno.
    pub fn option(&self, level: i32, name: i32, capacity: usize) -> Result<Vec<u8>, Errno> {
        if let ((OWN_LEVEL, FILE), Some(file)) = ((level, name), &self.file) {
            return file.read(capacity);
        }
        let mut value = vec![0; capacity];
        let length = sys::option(self.fd.as_fd(), level, name, &mut value)?;
        value.truncate(length);
        Ok(value)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// The errno of setsockopt(2): EINVAL for a group the protocol does not have, EPERM.
    pub fn join(&self, group: u32) -> Result<(), Errno> {
        // A datagram's address has no groups past 32.
        let _ = self.set_flag(libc::NETLINK_PKTINFO);
        self.set_netlink_option(libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// The errno of setsockopt(2).
    pub fn leave(&self, group: u32) -> Result<(), Errno> {
        self.set_netlink_option(libc::NETLINK_DROP_MEMBERSHIP, group)
    }

    /// Sends one datagram: sendmsg(2), which for rtnetlink, nfnetlink and generic netlink
    /// returns once the request is done and its answer is queued.
    ///
    /// # Errors
    /// Its errno.
    pub fn send(&self, datagram: &[u8], destination: Destination) -> Result<(), Errno> {
        sys::send(self.fd.as_fd(), datagram, destination)
    }

    /// Sends several datagrams, of `lengths` in `data`, to the kernel: sendmmsg(2). Gives the number
    /// that it took: fewer than there are if it refused the next, or if one call takes no more.
    pub fn send_many(&self, data: &[u8], lengths: impl Iterator<Item = usize>) -> usize {
        sys::send_many(self.fd.as_fd(), data, lengths).unwrap_or_default()
    }

    /// The number of sends that may be made before the answer of the first is received: the receive
    /// buffer has room for an answer of each, as the kernel counts it.
    pub fn sends_at_once(&self) -> u32 {
        let buffer = self.receive_buffer.load(Ordering::Relaxed);
        (buffer / (2 * RECEIVE_ROOM as u32)).clamp(1, sys::AT_ONCE as u32)
    }

    /// Receives one datagram without waiting. It is appended to `out`, which should have
    /// [`RECEIVE_ROOM`] to spare; a longer datagram's end replaces the content of `spill`, up to its
    /// capacity.
    pub fn receive(&self, out: &mut Vec<u8>, spill: &mut Vec<u8>) -> Received {
        let start = out.len();
        loop {
            return match sys::receive(self.fd.as_fd(), out, spill) {
                Ok(taken) if taken.length > out.len() - start + spill.len() => {
                    out.truncate(start);
                    Received::TooLarge(taken.length)
                }
                Ok(taken) => Received::Datagram(taken.info, taken.length),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Received::Empty,
                Err(Errno::ENOBUFS) => Received::Overrun,
                Err(errno) => Received::Failed(errno),
            };
        }
    }

    /// The kernel's count of dropped datagrams, and the bytes in the receive queue by its own
    /// accounting (`SO_MEMINFO`).
    ///
    /// # Errors
    /// The errno of getsockopt(2).
    pub fn drops_and_queued(&self) -> Result<(u32, u32), Errno> {
        let mut value = [0; 4 * 16];
        let length = sys::option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, &mut value)?;
        let field = |index: usize| {
            let bytes = value.get(..length)?.get(4 * index..4 * index + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        Ok((
            field(MEMINFO_DROPS).ok_or(Errno::EINVAL)?,
            field(MEMINFO_RMEM_ALLOC).ok_or(Errno::EINVAL)?,
        ))
    }

    /// Whether overruns give no error and show only in the counter (`NETLINK_NO_ENOBUFS`).
    pub fn has_silent_overruns(&self) -> bool {
        self.silent_overruns.load(Ordering::Relaxed)
    }
}

impl AsFd for KernelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

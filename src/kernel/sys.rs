//! System calls that no crate wraps the way a proxy needs them: netlink sockets of any protocol,
//! options of any level, receives that append to a buffer without clearing it first, and programs
//! that do not outlive who started them.

use std::{
    fs,
    io::IoSliceMut,
    mem::{MaybeUninit, size_of, zeroed},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr::null_mut,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
    },
    unistd::{ForkResult, fork, getpid, getppid},
};

use seccompiler::sock_filter;

use super::plain_option;
use crate::wire::{DatagramInfo, Destination, FilterInstruction};

/// Largest control data asked for: a packet info and an nsid need 40 bytes.
const CONTROL_LEN: usize = 128;

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    Errno::result(result)
}

/// Has the kernel kill a program when the thread that starts it ends: at the latest with this
/// process, however that ends.
pub(super) fn end_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let tie = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: this runs between fork and exec, where only what a signal handler may do is allowed:
    // it makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(tie) };
}

/// A copy of a descriptor of this process, by its number.
pub(super) fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes integers only; a number that is no descriptor gives EBADF.
    let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has execve(2) close a descriptor of this process.
pub(super) fn close_on_exec(number: i32) -> Result<(), Errno> {
    // SAFETY: takes integers only; a number that is no descriptor gives EBADF.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// mallopt(3): has glibc keep little of the memory that is freed. Two arenas for all threads replace
/// eight for each processor, and each large buffer has a mapping of its own, which ends with it; by
/// default glibc stops to do so as soon as a large buffer has been freed.
#[cfg(target_env = "gnu")]
pub(super) fn keep_little_memory() {
    /// glibc's first choice.
    const LARGE: libc::c_int = 128 << 10;
    let options =
        [(libc::M_ARENA_MAX, 2), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)];
    for (name, value) in options {
        // SAFETY: takes integers only, and may be called at any time by any thread.
        unsafe { libc::mallopt(name, value) };
    }
}

/// malloc_trim(3): gives the free pages of the heap to the kernel.
#[cfg(target_env = "gnu")]
pub(super) fn trim_heap() {
    // SAFETY: takes an integer only, and may be called at any time by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// `ioctl(NS_GET_NSTYPE)`: the kind of a namespace, as the flag of clone(2) that makes one.
pub(super) fn namespace_kind(namespace: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    // SAFETY: this request takes no argument and touches no memory; a descriptor that is no
    // namespace gives ENOTTY.
    check(unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_NSTYPE) })
}

/// `ioctl(NS_GET_USERNS)`: the user namespace that owns a namespace.
pub(super) fn owner_of_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    opened_by(namespace, libc::NS_GET_USERNS)
}

/// `ioctl(NS_GET_PARENT)`: the user namespace in which a user namespace was made.
pub(super) fn parent_of_user_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    opened_by(namespace, libc::NS_GET_PARENT)
}

fn opened_by(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> Result<OwnedFd, Errno> {
    // SAFETY: these requests take no argument and touch no memory; a descriptor that is no namespace
    // gives ENOTTY.
    let fd = check(unsafe { libc::ioctl(namespace.as_raw_fd(), request) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `ioctl(NS_GET_OWNER_UID)`: the user who made a user namespace.
pub(super) fn uid_of_user_namespace(namespace: BorrowedFd<'_>) -> Result<libc::uid_t, Errno> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one uid_t, into a local that outlives the call.
    check(unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) })?;
    Ok(uid)
}

/// Closes every descriptor from `first` on. To be called before this process opens any.
pub(super) fn close_from(first: libc::c_uint) -> Result<(), Errno> {
    let (first, last, flags) =
        (libc::c_long::from(first), libc::c_long::from(libc::c_uint::MAX), 0 as libc::c_long);
    // SAFETY: takes integers only. The callers' documentation has them call first in `main`, when no
    // value of this process owns one of these descriptors.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// The threads of this process; 0 where /proc does not tell.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// fork(2) of a process that has one thread.
///
/// # Errors
/// EBUSY where it has several, or /proc does not tell.
pub(super) fn fork_alone() -> Result<ForkResult, Errno> {
    if threads() != 1 {
        return Err(Errno::EBUSY);
    }
    // SAFETY: no other thread exists that could hold a lock which the child would wait for, so the
    // child may do whatever the parent may.
    unsafe { fork() }
}

/// Receives a message that carries one descriptor; `None` at the end.
pub(super) fn receive_descriptor(
    socket: BorrowedFd<'_>,
    text: &mut [u8],
) -> Result<Option<(usize, OwnedFd)>, Errno> {
    let mut room = nix::cmsg_space!(RawFd);
    let mut pieces = [IoSliceMut::new(text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut room), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control
            && let Some(number) = numbers.first()
        {
            // SAFETY: the kernel has just made this descriptor, and nothing else owns it. There is
            // room for one.
            return Ok(Some((message.bytes, unsafe { OwnedFd::from_raw_fd(*number) })));
        }
    }
    Ok(None)
}

/// Has the kernel run a filter before each system call of every thread of this process, and `log` what
/// it refuses.
pub(super) fn install_filter(program: &[sock_filter], log: bool) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: libc::c_ushort::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        // The kernel only reads from it.
        filter: program.as_ptr().cast_mut().cast(),
    };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies the instructions, which outlive the call and are as many as the
        // length says. seccompiler's type has the layout of the kernel's `struct sock_filter`.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
                flags,
                &raw const program,
            )
        }
    };
    let log = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    match Errno::result(install(libc::SECCOMP_FILTER_FLAG_TSYNC | log)) {
        // Linux before 4.14 has no log.
        Err(Errno::EINVAL) => Errno::result(install(libc::SECCOMP_FILTER_FLAG_TSYNC)).map(drop),
        // The id of a thread that has a filter of its own.
        Ok(1..) => Err(Errno::EBUSY),
        other => other.map(drop),
    }
}

fn address(portid: u32, groups: u32) -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is plain integers, for which all zeros is a value.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_pid = portid;
    address.nl_groups = groups;
    address
}

const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;

/// `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)`.
pub(super) fn socket(protocol: u32) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let protocol = libc::c_int::try_from(protocol).map_err(|_| Errno::EPROTONOSUPPORT)?;
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn bind(fd: BorrowedFd<'_>, portid: u32) -> Result<(), Errno> {
    let address = address(portid, 0);
    // SAFETY: the pointer is to a sockaddr_nl that outlives the call; the length is that type's.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) })?;
    Ok(())
}

/// The port id that the socket is bound to.
pub(super) fn portid(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut address = address(0, 0);
    let mut length = ADDRESS_LEN;
    // SAFETY: both pointers are to locals that outlive the call; the length says how much room
    // there is.
    check(unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    })?;
    Ok(address.nl_pid)
}

pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let size = plain_option::value(level, name)?.to_set();
    // The kernel ignores the rest of a longer value. Netlink takes a shorter one for zero.
    let value = value.get(..size).ok_or(Errno::EINVAL)?;
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads at most `length` bytes from the slice; the list lets only options
    // through whose value is that many plain bytes, and holds no pointer.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) })?;
    Ok(())
}

/// Attaches a filter: SO_ATTACH_FILTER.
///
/// # Errors
/// That of setsockopt(2): EINVAL for no instruction, for too many, and for a filter that could load
/// or jump out of bounds; EPERM where the filter is locked (SO_LOCK_FILTER).
pub(super) fn attach_filter(
    fd: BorrowedFd<'_>,
    instructions: &[FilterInstruction],
) -> Result<(), Errno> {
    let copy = |&FilterInstruction { code, jt, jf, k }: &FilterInstruction| libc::sock_filter {
        code,
        jt,
        jf,
        k,
    };
    let mut instructions: Vec<_> = instructions.iter().map(copy).collect();
    let len = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel reads a sock_fprog, whose pointer is to `len` instructions of a vector; both
    // outlive the call, and the kernel keeps a copy of its own.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const program).cast(), length)
    })?;
    Ok(())
}

/// Reads an option into `value`; gives the length that the kernel reports.
pub(super) fn option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> Result<usize, Errno> {
    plain_option::value(level, name)?;
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` bytes into the slice, since the list lets only
    // options through whose size is counted in bytes, and the new length into the local.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    })?;
    Ok(length as usize)
}

/// Sends one datagram without waiting; for the kernel as receiver that makes no difference.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    datagram: &[u8],
    destination: Destination,
) -> Result<(), Errno> {
    let address = address(destination.portid, destination.groups);
    // SAFETY: the kernel reads the slice and the address, which both outlive the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            datagram.as_ptr().cast(),
            datagram.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const address).cast(),
            ADDRESS_LEN,
        )
    };
    match usize::try_from(sent) {
        Ok(length) if length == datagram.len() => Ok(()),
        Ok(_) => Err(Errno::EMSGSIZE),
        Err(_) => Err(Errno::last()),
    }
}

/// Datagrams of one [`send_many`], at most.
pub(super) const AT_ONCE: usize = 16;

/// Sends up to [`AT_ONCE`] datagrams, of `lengths` in `data`, to the kernel without waiting; gives the
/// number that it took.
///
/// # Errors
/// The errno of the first. A later one that is refused ends the call without an error: sent again, it
/// gives its errno.
pub(super) fn send_many(
    fd: BorrowedFd<'_>,
    data: &[u8],
    lengths: impl Iterator<Item = usize>,
) -> Result<usize, Errno> {
    let mut address = address(0, 0);
    let mut pieces = [libc::iovec { iov_base: null_mut(), iov_len: 0 }; AT_ONCE];
    // SAFETY: mmsghdr is integers and pointers, for which all zeros is a value.
    let mut headers: [libc::mmsghdr; AT_ONCE] = unsafe { zeroed() };
    let (mut left, mut count): (_, libc::c_long) = (data, 0);
    for ((header, piece), length) in headers.iter_mut().zip(&mut pieces).zip(lengths) {
        let (datagram, others) = left.split_at_checked(length).ok_or(Errno::EINVAL)?;
        // The kernel only reads from these.
        *piece = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: length };
        header.msg_hdr.msg_name = (&raw mut address).cast();
        header.msg_hdr.msg_namelen = ADDRESS_LEN;
        header.msg_hdr.msg_iov = piece;
        header.msg_hdr.msg_iovlen = 1;
        (left, count) = (others, count + 1);
    }
    let (socket, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    let (socket, flags) = (libc::c_long::from(socket), libc::c_long::from(flags));
    // SAFETY: the first `count` headers point to the address and to one piece each, and the pieces to
    // slices of `data`; all of these outlive the call and have the lengths in the headers.
    // musl's own sendmmsg is a loop around sendmsg, because the kernel's headers have wider fields
    // than POSIX's: the padding of those is zero here.
    let sent =
        unsafe { libc::syscall(libc::SYS_sendmmsg, socket, headers.as_mut_ptr(), count, flags) };
    usize::try_from(sent).map_err(|_| Errno::last())
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) info: DatagramInfo,
    /// Bytes of the whole datagram, even if not all of it had room.
    pub(super) length: usize,
}

/// Receives one datagram without waiting: appends as much of it as `out` has spare room for, and
/// replaces the content of `spill` by the rest, as far as that has capacity.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    out: &mut Vec<u8>,
    spill: &mut Vec<u8>,
) -> Result<Taken, Errno> {
    let mut address = address(0, 0);
    let mut control = MaybeUninit::<[u64; CONTROL_LEN / 8]>::uninit();
    let room = out.spare_capacity_mut();
    let room_len = room.len();
    spill.clear();
    let more = spill.spare_capacity_mut();
    let more_len = more.len();
    let mut pieces = [
        libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room_len },
        libc::iovec { iov_base: more.as_mut_ptr().cast(), iov_len: more_len },
    ];
    // SAFETY: msghdr is integers and pointers, for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = ADDRESS_LEN;
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len() as _;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
    // MSG_TRUNC makes the kernel give the datagram's whole length.
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: every pointer in the header is to memory of the given length that outlives the
    // call and that nothing else refers to; the kernel only writes there.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    let length = usize::try_from(received).map_err(|_| Errno::last())?;
    let direct = length.min(room_len);
    let filled = out.len() + direct;
    // SAFETY: the kernel has written `length` bytes, or as many as the first piece holds, into
    // the spare capacity that begins at `out.len()`.
    unsafe { out.set_len(filled) };
    // SAFETY: the kernel has written the rest of `length` bytes, or as many as the second piece
    // holds, into the spare capacity of the empty spill.
    unsafe { spill.set_len((length - direct).min(more_len)) };
    let mut info = DatagramInfo {
        portid: address.nl_pid,
        // Of groups 1 to 32 the address has a mask with one bit, that of the datagram's group.
        group: if address.nl_groups == 0 { 0 } else { address.nl_groups.trailing_zeros() + 1 },
        nsid: None,
    };
    // SAFETY: the kernel has filled in msg_control and msg_controllen; CMSG_FIRSTHDR and
    // CMSG_NXTHDR give null or a header that lies wholly within them, and its data is read
    // unaligned and only as far as cmsg_len says it reaches.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(cmsg) = entry.as_ref() {
            #[allow(clippy::unnecessary_cast, reason = "musl's length is narrower than glibc's")]
            let length = cmsg.cmsg_len as usize;
            let has = |bytes: usize| length >= libc::CMSG_LEN(bytes as u32) as usize;
            let data = libc::CMSG_DATA(entry);
            match (cmsg.cmsg_level, cmsg.cmsg_type) {
                (libc::SOL_NETLINK, libc::NETLINK_PKTINFO) if has(size_of::<u32>()) => {
                    info.group = data.cast::<u32>().read_unaligned();
                }
                (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID) if has(size_of::<i32>()) => {
                    info.nsid = Some(data.cast::<i32>().read_unaligned()).filter(|n| *n >= 0);
                }
                _ => {}
            }
            entry = libc::CMSG_NXTHDR(&raw const header, entry);
        }
    }
    Ok(Taken { info, length })
}

/// `fcntl(F_DUPFD_CLOEXEC)`: a copy at the lowest free number from `base` on.
pub(super) fn duplicate_from(fd: BorrowedFd<'_>, base: i32) -> Result<OwnedFd, Errno> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(base))?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests;

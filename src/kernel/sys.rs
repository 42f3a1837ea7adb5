//! System calls that no crate wraps the way a proxy needs them: netlink sockets of any protocol,
//! options of any level, receives that append to a buffer without clearing it first, and programs
//! that do not outlive who started them.

use std::{
    mem::{MaybeUninit, size_of, zeroed},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr::null_mut,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getpid, getppid},
};

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
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// An RTM_GETLINK dump, 20 bytes of ifinfomsg behind the header.
    fn dump_request() -> Vec<u8> {
        let mut request = vec![0; 32];
        request[..4].copy_from_slice(&32_u32.to_ne_bytes());
        request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
        request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
        request
    }

    #[test]
    fn receive_appends_behind_what_is_there_and_spills_the_rest() {
        let fd = socket(0).unwrap();
        bind(fd.as_fd(), 0).unwrap();
        assert_ne!(portid(fd.as_fd()).unwrap(), 0);
        send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
        let mut out = Vec::with_capacity(19);
        out.extend_from_slice(b"abc");
        let room = out.capacity() - 3;
        let mut spill = Vec::with_capacity(4096);
        spill.extend_from_slice(b"of before");
        let taken = receive(fd.as_fd(), &mut out, &mut spill).unwrap();
        assert!(taken.length > room, "a link needs more than {room} bytes");
        assert_eq!(out.len(), 3 + room);
        assert_eq!(&out[..3], b"abc");
        // The first message is as long as its header says: both parts together are the datagram.
        let first = u32::from_ne_bytes(out[3..7].try_into().unwrap()) as usize;
        assert!(first <= taken.length);
        assert_eq!(taken.info.portid, 0);
        assert_eq!(spill.len(), taken.length - room);
        out.extend_from_slice(&spill);
        let mut whole = Vec::with_capacity(64 << 10);
        let again = socket(0).unwrap();
        send(again.as_fd(), &dump_request(), Destination::default()).unwrap();
        receive(again.as_fd(), &mut whole, &mut Vec::new()).unwrap();
        assert_eq!(out.len() - 3, whole.len());
    }

    #[test]
    fn receive_tells_the_whole_length_of_what_had_no_room() {
        let fd = socket(0).unwrap();
        bind(fd.as_fd(), 0).unwrap();
        send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
        let (mut out, mut spill) = (Vec::with_capacity(16), Vec::with_capacity(16));
        let room = out.capacity();
        let taken = receive(fd.as_fd(), &mut out, &mut spill).unwrap();
        assert!(taken.length > room + spill.len());
        assert_eq!(out.len(), room);
    }

    #[test]
    fn many_sends_stop_at_one_that_the_kernel_refuses() {
        let fd = socket(0).unwrap();
        bind(fd.as_fd(), 0).unwrap();
        // It accepts three bytes, says nothing, and wants at least one.
        let lengths = [3, 3, 0, 3];
        let many =
            |data: &[u8], lengths: &[usize]| send_many(fd.as_fd(), data, lengths.iter().copied());
        assert_eq!(many(&[0; 9], &lengths), Ok(2));
        assert_eq!(many(&[0; 3], &lengths[2..]), Err(Errno::ENODATA));
        assert_eq!(many(&[0; 3], &lengths[3..]), Ok(1));
        assert_eq!(many(&[0; 5], &lengths), Err(Errno::EINVAL), "and reads nothing beyond them");
        assert_eq!(many(&[0; 3 * 20], &[3; 20]), Ok(AT_ONCE));
        let requests = [dump_request(), dump_request()].concat();
        assert_eq!(many(&requests, &[32, 32]), Ok(2));
        let mut out = Vec::with_capacity(64 << 10);
        let taken = receive(fd.as_fd(), &mut out, &mut Vec::new()).unwrap();
        assert_eq!(taken.info.portid, 0);
    }

    #[test]
    fn options_of_any_length_and_errors_as_they_are() {
        let fd = socket(0).unwrap();
        let mut value = [0; 4];
        assert_eq!(option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &mut value), Ok(4));
        assert_eq!(
            set_option(fd.as_fd(), libc::SOL_NETLINK, 9999, &[0; 4]),
            Err(Errno::ENOPROTOOPT)
        );
        // SO_ATTACH_FILTER with a `struct sock_fprog`, SO_GET_FILTER, SO_ATTACH_BPF, and levels
        // whose options a netlink socket does not have.
        for (level, name) in [(libc::SOL_SOCKET, 26), (libc::SOL_SOCKET, 50), (0, 64), (6, 1)] {
            let mut value = [1; 16];
            assert_eq!(set_option(fd.as_fd(), level, name, &value), Err(Errno::ENOPROTOOPT));
            assert_eq!(option(fd.as_fd(), level, name, &mut value), Err(Errno::ENOPROTOOPT));
            assert_eq!(value, [1; 16], "option {name} of level {level}");
        }
        assert_eq!(socket(1 << 20).unwrap_err(), Errno::EPROTONOSUPPORT);
        assert_eq!(socket(u32::MAX).unwrap_err(), Errno::EPROTONOSUPPORT);
    }

    #[test]
    fn options_have_their_kernel_s_sizes() {
        let fd = socket(0).unwrap();
        let flag = (libc::SOL_NETLINK, libc::NETLINK_CAP_ACK);
        let read = |(level, name), room: usize| {
            let mut value = vec![0xee; room];
            option(fd.as_fd(), level, name, &mut value).map(|length| (length, value))
        };
        // Netlink alone would take the shorter value for zero.
        for (level, name) in [flag, (libc::SOL_SOCKET, libc::SO_RCVBUF)] {
            for length in 0..4 {
                let short = vec![1; length];
                assert_eq!(set_option(fd.as_fd(), level, name, &short), Err(Errno::EINVAL));
            }
        }
        let long = [1_i32.to_ne_bytes(), [0xff; 4]].concat();
        set_option(fd.as_fd(), flag.0, flag.1, &long).unwrap();
        let set = [1_i32.to_ne_bytes(), [0xee; 4]].concat();
        assert_eq!(read(flag, 8), Ok((4, set)), "and no byte beyond it is written");
        // What has more than an int: a cookie, and arrays, which end where the room does.
        let sizes = [(libc::SO_COOKIE, 8), (libc::SO_MEMINFO, 9 * 4)];
        for (name, size) in sizes {
            let (length, value) = read((libc::SOL_SOCKET, name), 64).unwrap();
            assert!(length >= size && value[length..].iter().all(|byte| *byte == 0xee), "{name}");
        }
        assert_eq!(read((libc::SOL_SOCKET, libc::SO_MEMINFO), 4).unwrap().0, 4);
        let (level, add) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
        set_option(fd.as_fd(), level, add, &1_i32.to_ne_bytes()).unwrap();
        let groups = (level, libc::NETLINK_LIST_MEMBERSHIPS);
        let (needed, value) = read(groups, 3).unwrap();
        assert!(needed >= 4 && value == [0xee; 3], "no part of a word: {value:?}");
        // Those that are read alone.
        for name in [libc::SO_TYPE, libc::SO_COOKIE, libc::SO_MEMINFO] {
            let refused = set_option(fd.as_fd(), libc::SOL_SOCKET, name, &[0; 64]);
            assert_eq!(refused, Err(Errno::ENOPROTOOPT));
        }
    }

    #[test]
    fn a_filter_is_the_kernel_s_to_judge() {
        let fd = socket(0).unwrap();
        let attach = |filter: &[FilterInstruction]| attach_filter(fd.as_fd(), filter);
        let all = FilterInstruction::stmt(0x06, u32::MAX);
        assert_eq!(attach(&[all]), Ok(()));
        assert_eq!(attach(&[all; 4096]), Ok(()));
        assert_eq!(attach(&[]), Err(Errno::EINVAL));
        for many in [4097, 65_535, 65_536, 65_537] {
            assert_eq!(attach(&vec![all; many]), Err(Errno::EINVAL), "{many} instructions");
        }
        // A jump beyond the end.
        assert_eq!(attach(&[FilterInstruction::jump(0x15, 0, 9, 9), all]), Err(Errno::EINVAL));
        let on = 1_i32.to_ne_bytes();
        let set = |name| set_option(fd.as_fd(), libc::SOL_SOCKET, name, &on);
        assert_eq!(set(libc::SO_DETACH_FILTER), Ok(()));
        assert_eq!(set(libc::SO_DETACH_FILTER), Err(Errno::ENOENT));
        assert_eq!(attach(&[all]), Ok(()));
        assert_eq!(set(libc::SO_LOCK_FILTER), Ok(()));
        assert_eq!(attach(&[all]), Err(Errno::EPERM));
    }

    #[test]
    fn the_group_comes_with_the_datagram() {
        let fd = socket(0).unwrap();
        bind(fd.as_fd(), 0).unwrap();
        let on = 1_i32.to_ne_bytes();
        set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_PKTINFO, &on).unwrap();
        send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
        let mut out = Vec::with_capacity(65536);
        let taken = receive(fd.as_fd(), &mut out, &mut Vec::new()).unwrap();
        assert_eq!(taken.info, DatagramInfo { portid: 0, group: 0, nsid: None });
    }
}

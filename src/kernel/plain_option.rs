//! The socket options that a client may read and set.

use nix::errno::Errno;

/// Checks that the value of a socket option is plain bytes.
///
/// A client names options by number, and the stub hands the value's bytes to the kernel. That is
/// sound only for options whose value holds no pointer and whose size is counted in bytes.
/// SO_ATTACH_FILTER holds a pointer, which the kernel would follow in this process; SO_GET_FILTER
/// counts in instructions of 8 bytes, so that the kernel would write beyond the buffer. So options
/// are allowed by a list: those of netlink(7), and those of socket(7) that mean something on a
/// netlink socket.
///
/// # Errors
/// ENOPROTOOPT, as for an option that the kernel does not have.
pub(super) fn check(level: i32, name: i32) -> Result<(), Errno> {
    match (level, name) {
        (
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP
            | libc::NETLINK_DROP_MEMBERSHIP
            | libc::NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_LISTEN_ALL_NSID
            | libc::NETLINK_LIST_MEMBERSHIPS
            | libc::NETLINK_CAP_ACK
            | libc::NETLINK_EXT_ACK
            | libc::NETLINK_GET_STRICT_CHK,
        )
        | (
            libc::SOL_SOCKET,
            libc::SO_TYPE
            | libc::SO_ERROR
            | libc::SO_SNDBUF
            | libc::SO_RCVBUF
            | libc::SO_SNDBUFFORCE
            | libc::SO_RCVBUFFORCE
            | libc::SO_PRIORITY
            | libc::SO_PASSCRED
            | libc::SO_RCVLOWAT
            | libc::SO_DETACH_FILTER
            | libc::SO_LOCK_FILTER
            | libc::SO_TIMESTAMP
            | libc::SO_ACCEPTCONN
            | libc::SO_MARK
            | libc::SO_PROTOCOL
            | libc::SO_DOMAIN
            | libc::SO_RXQ_OVFL
            | libc::SO_MEMINFO
            | libc::SO_COOKIE,
        ) => Ok(()),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

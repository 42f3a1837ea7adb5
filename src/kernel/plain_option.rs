//! The socket options that a client may read and set.

use nix::errno::Errno;

/// The value of an option, as the kernel reads and writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A C int.
    Int,
    /// A u64; read alone.
    Long,
    /// An array of u32, as many as the kernel has and the room takes; read alone.
    Words,
}

impl Value {
    /// The bytes that the kernel reads to set the option. It looks at an int of every option before it
    /// refuses those that are read alone.
    pub(super) fn to_set(self) -> usize {
        match self {
            Value::Int | Value::Long | Value::Words => size_of::<libc::c_int>(),
        }
    }
}

/// The value of an option that is plain bytes.
///
/// A client names options by number, and the stub hands the value's bytes to the kernel. That is
/// sound only for options whose value holds no pointer and whose size is counted in bytes.
/// SO_ATTACH_FILTER holds a pointer, which the kernel would follow in this process; SO_GET_FILTER
/// counts in instructions of 8 bytes, so that the kernel would write beyond the buffer. So options
/// are allowed by a list, which has their true sizes: those of netlink(7), and those of socket(7)
/// that mean something on a netlink socket.
///
/// Left out, though their values are plain: SO_RCVTIMEO and SO_SNDTIMEO, because the stub never
/// waits inside a call; SO_BINDTODEVICE, SO_REUSEADDR, SO_KEEPALIVE and the like, which netlink does
/// not look at; SO_BUSY_POLL, which would have the stub's thread spin for the client;
/// SO_TIMESTAMPNS and SO_TIMESTAMPING, whose control messages no frame carries; SO_PEEK_OFF, which
/// netlink refuses; NETLINK_RX_RING and NETLINK_TX_RING, which Linux no longer has.
///
/// # Errors
/// ENOPROTOOPT, as for an option that the kernel does not have.
pub(super) fn value(level: i32, name: i32) -> Result<Value, Errno> {
    Ok(match (level, name) {
        (
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP
            | libc::NETLINK_DROP_MEMBERSHIP
            | libc::NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_LISTEN_ALL_NSID
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
            | libc::SO_RXQ_OVFL,
        ) => Value::Int,
        (libc::SOL_SOCKET, libc::SO_COOKIE) => Value::Long,
        (libc::SOL_SOCKET, libc::SO_MEMINFO)
        | (libc::SOL_NETLINK, libc::NETLINK_LIST_MEMBERSHIPS) => Value::Words,
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

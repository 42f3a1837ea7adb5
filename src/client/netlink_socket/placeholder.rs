//! The local socket that [`AsyncSocket::socket_ref`](netlink_sys::AsyncSocket::socket_ref) has to
//! give.
#![allow(unsafe_code)]

use std::os::fd::FromRawFd;

use netlink_sys::Socket;

/// A netlink socket without a descriptor: every call on it fails with EBADF.
///
/// netlink-sys has no safe constructor of one. A real local socket would let `bind` and
/// `add_membership` succeed on the wrong host.
pub(super) fn socket() -> Socket {
    // SAFETY: `Socket` of netlink-sys 0.9 holds a `RawFd`, of which any number is a valid value.
    // -1 is never a descriptor, so it has no other owner; the system calls that `Socket` makes
    // with it, close(2) on drop included, fail with EBADF and touch nothing. (An `OwnedFd` may
    // not be -1: a netlink-sys that holds one needs another placeholder.)
    unsafe { Socket::from_raw_fd(-1) }
}

#[cfg(test)]
mod tests {
    use netlink_sys::SocketAddr;

    use super::*;

    #[test]
    fn every_call_on_it_fails() {
        let mut socket = socket();
        let error = socket.bind(&SocketAddr::new(0, 0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9));
        assert_eq!(socket.add_membership(1).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(socket.send(&[0; 16], 0).unwrap_err().raw_os_error(), Some(9));
    }
}

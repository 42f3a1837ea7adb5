//! What `AsyncSocket::socket_ref` gives where there is no local socket.
#![allow(unsafe_code)]

use std::os::fd::FromRawFd;

use netlink_sys::Socket;

/// A netlink socket without a descriptor: every call on it fails with EBADF.
///
/// netlink-sys offers no other way to a `Socket` that is no real one, and a real local one would
/// let `bind` and `add_membership` succeed on the wrong host.
pub(super) fn socket() -> Socket {
    // SAFETY: -1 is never a descriptor, so no other owner of it can exist; the system calls that
    // `Socket` makes with it, close(2) on drop included, fail with EBADF and touch nothing.
    unsafe { Socket::from_raw_fd(-1) }
}

#[cfg(test)]
mod tests {
    use netlink_sys::SocketAddr;

    use super::*;

    #[test]
    fn whatever_is_called_on_it_fails() {
        let mut socket = socket();
        let error = socket.bind(&SocketAddr::new(0, 0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9));
        assert_eq!(socket.add_membership(1).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(socket.send(&[0; 16], 0).unwrap_err().raw_os_error(), Some(9));
    }
}

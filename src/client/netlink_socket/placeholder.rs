//! The local socket that [`AsyncSocket::socket_ref`](netlink_sys::AsyncSocket::socket_ref) has to
//! give.
#![allow(unsafe_code)]

use std::{
    fs::OpenOptions,
    os::{
        fd::{FromRawFd, IntoRawFd},
        unix::fs::OpenOptionsExt,
    },
    sync::OnceLock,
};

use netlink_sys::Socket;
use nix::fcntl::OFlag;

/// A socket on which every call fails with EBADF. It takes a descriptor from when it is first asked
/// for, which libraries that only send and receive never do.
///
/// A real local socket would let `bind` and `add_membership` succeed on the wrong host.
#[derive(Debug, Default)]
pub(super) struct Placeholder(OnceLock<Socket>);

impl Placeholder {
    /// # Panics
    /// The first time, where the process has no descriptor left.
    pub(super) fn get(&self) -> &Socket {
        self.0.get_or_init(open)
    }

    /// # Panics
    /// As [`get`](Self::get).
    #[allow(clippy::expect_used, reason = "it is set in the line before")]
    pub(super) fn get_mut(&mut self) -> &mut Socket {
        self.get();
        self.0.get_mut().expect("set")
    }
}

/// Opens the root folder as a mere path (O_PATH of open(2)): the kernel knows such a descriptor only
/// in calls that take paths, and says EBADF to read(2), bind(2), setsockopt(2) and the like.
#[allow(clippy::expect_used, reason = "the trait leaves no place for an error")]
fn open() -> Socket {
    let path = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open("/");
    let file = path.expect("a descriptor for the placeholder of a remote socket");
    // SAFETY: the descriptor is open, and `into_raw_fd` gives up its only owner. `Socket` becomes
    // the owner, and closes it on drop; a system call on it that is for sockets alone fails.
    unsafe { Socket::from_raw_fd(file.into_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use netlink_sys::SocketAddr;

    use super::*;

    #[test]
    fn every_call_on_it_fails() {
        let mut placeholder = Placeholder::default();
        let socket = placeholder.get_mut();
        let error = socket.bind(&SocketAddr::new(0, 0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9));
        assert_eq!(socket.add_membership(1).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(socket.send(&[0; 16], 0).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(socket.set_non_blocking(true).unwrap_err().raw_os_error(), Some(9));
    }

    #[test]
    fn it_owns_an_open_descriptor_that_it_closes() {
        use std::os::fd::{AsFd, AsRawFd};
        let placeholder = Placeholder::default();
        let number = placeholder.get().as_raw_fd();
        assert_eq!(placeholder.get().as_raw_fd(), number, "one descriptor");
        // With a number of -1 there would be nothing to duplicate.
        placeholder.get().as_fd().try_clone_to_owned().unwrap();
        let link = format!("/proc/self/fd/{number}");
        assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some("/"));
    }
}

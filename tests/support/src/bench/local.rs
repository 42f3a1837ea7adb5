//! A netlink socket of this process.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::netlink::{ROOM, ends_with_done};

/// A blocking route socket, connected to the kernel.
pub struct Local {
    /// The socket.
    pub socket: Socket,
    buffer: Vec<u8>,
}

impl Local {
    /// One with the kernel's default buffers.
    #[allow(clippy::new_without_default, reason = "opening a socket is no default")]
    pub fn new() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        Self { socket, buffer: Vec::with_capacity(ROOM) }
    }

    /// One with the receive buffer of a remote socket.
    pub fn with_large_buffer() -> Self {
        let local = Self::new();
        setsockopt(&local.socket, RcvBufForce, &(32 << 20)).unwrap();
        local
    }

    /// Sends a request.
    pub fn send(&self, request: &[u8]) {
        assert_eq!(self.socket.send(request, 0).unwrap(), request.len());
    }

    /// Receives one datagram.
    pub fn recv(&mut self) -> &[u8] {
        self.buffer.clear();
        let length = self.socket.recv(&mut self.buffer, 0).unwrap();
        &self.buffer[..length]
    }

    /// Sends a request and receives its whole dump; gives the number of bytes received.
    pub fn dump(&mut self, request: &[u8]) -> usize {
        self.send(request);
        let mut bytes = 0;
        loop {
            let datagram = self.recv();
            bytes += datagram.len();
            if ends_with_done(datagram) {
                return bytes;
            }
        }
    }
}

//! A netlink socket of this process, as plain as can be.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::netlink::{ROOM, is_done};

pub struct Local {
    pub socket: Socket,
    pub buffer: Vec<u8>,
}

impl Local {
    pub fn new() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        Self { socket, buffer: Vec::with_capacity(ROOM) }
    }

    /// With the receive buffer that our sockets have by default.
    pub fn with_large_buffer() -> Self {
        let local = Self::new();
        setsockopt(&local.socket, RcvBufForce, &(32 << 20)).unwrap();
        local
    }

    pub fn send(&self, request: &[u8]) {
        assert_eq!(self.socket.send(request, 0).unwrap(), request.len());
    }

    pub fn recv(&mut self) -> &[u8] {
        self.buffer.clear();
        let length = self.socket.recv(&mut self.buffer, 0).unwrap();
        &self.buffer[..length]
    }

    /// Sends and receives until the dump is done; bytes received.
    pub fn dump(&mut self, request: &[u8]) -> usize {
        self.send(request);
        let mut bytes = 0;
        loop {
            let datagram = self.recv();
            bytes += datagram.len();
            if is_done(datagram) {
                return bytes;
            }
        }
    }
}

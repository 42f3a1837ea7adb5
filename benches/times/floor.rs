//! The tightest relay that can be written: blocking, with one system call for each message on each
//! side, the reply read straight after the send, and no protocol but a length before each message.

use std::{
    io::{Read, Write, stdin},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use testing::{
    Running,
    bench::{local::Local, world::in_role},
    netlink::{ROOM, ends_with_done, is_part},
};

const PREFIX: usize = 4;

/// The role of the process that runs [`relay`].
pub(crate) const ROLE: &str = "relay";

/// The relay, whose stdin is one end of a socket pair.
pub(crate) fn relay() {
    let stream = stdin().as_fd().try_clone_to_owned().unwrap();
    let mut stream = UnixStream::from(stream);
    let local = Local::new();
    let mut buffer = vec![0; PREFIX + ROOM];
    loop {
        // A whole request in one read: nothing else is under way.
        let length = stream.read(&mut buffer).unwrap();
        let Some(request) = buffer[..length].get(PREFIX..) else { return };
        local.send(request);
        loop {
            let length = local.socket.recv(&mut &mut buffer[PREFIX..], 0).unwrap();
            let end = PREFIX + length;
            buffer[..PREFIX].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            stream.write_all(&buffer[..end]).unwrap();
            let datagram = &buffer[PREFIX..end];
            if !is_part(datagram) || ends_with_done(datagram) {
                break;
            }
        }
    }
}

/// The client of the relay.
pub(crate) struct Floor {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// The begin and end of the bytes in the buffer that are still to be returned.
    start: usize,
    end: usize,
    _relay: Running,
}

impl Floor {
    pub(crate) fn new() -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let mut command = in_role(ROLE);
        command.stdin(OwnedFd::from(theirs));
        let _relay = Running(command.spawn().unwrap());
        Self { stream, buffer: vec![0; 2 * (PREFIX + ROOM)], start: 0, end: 0, _relay }
    }

    /// A request after its length.
    pub(crate) fn framed(request: &[u8]) -> Vec<u8> {
        let length = u32::try_from(request.len()).unwrap();
        [&length.to_ne_bytes(), request].concat()
    }

    pub(crate) fn send(&mut self, framed: &[u8]) {
        self.stream.write_all(framed).unwrap();
    }

    pub(crate) fn recv(&mut self) -> &[u8] {
        loop {
            let waiting = &self.buffer[self.start..self.end];
            if let Some((prefix, rest)) = waiting.split_first_chunk::<PREFIX>() {
                let length = u32::from_ne_bytes(*prefix) as usize;
                if rest.len() >= length {
                    let begin = self.start + PREFIX;
                    self.start = begin + length;
                    return &self.buffer[begin..begin + length];
                }
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let length = self.stream.read(&mut self.buffer[self.end..]).unwrap();
            assert_ne!(length, 0, "the relay ended");
            self.end += length;
        }
    }

    /// Sends a request and receives its whole dump; gives the number of bytes received.
    pub(crate) fn dump(&mut self, framed: &[u8]) -> usize {
        self.send(framed);
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

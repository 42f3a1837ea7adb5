//! The tightest relay that one can write: blocking, one system call per message on each side, the
//! reply read straight after the send, a length in front and no other protocol.

use std::{
    io::{Read, Write, stdin},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use super::{
    local::Local,
    netlink::{ROOM, is_done, is_part},
    world::{Helper, in_role},
};

const PREFIX: usize = 4;

pub const ROLE: &str = "relay";

/// The relay's side: its stdin is one end of a socket pair.
pub fn relay() {
    let stream = stdin().as_fd().try_clone_to_owned().unwrap();
    let mut stream = UnixStream::from(stream);
    let local = Local::new();
    let mut buffer = vec![0; PREFIX + ROOM];
    loop {
        // Whole, as it is written: nothing else is under way.
        let length = stream.read(&mut buffer).unwrap();
        let Some(request) = buffer[..length].get(PREFIX..) else { return };
        local.send(request);
        loop {
            let length = local.socket.recv(&mut &mut buffer[PREFIX..], 0).unwrap();
            let end = PREFIX + length;
            buffer[..PREFIX].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            stream.write_all(&buffer[..end]).unwrap();
            let datagram = &buffer[PREFIX..end];
            if !is_part(datagram) || is_done(datagram) {
                break;
            }
        }
    }
}

/// The client's side.
pub struct Floor {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Where in the buffer what was read, and is still to be given out, begins and ends.
    start: usize,
    end: usize,
    _relay: Helper,
}

impl Floor {
    pub fn new() -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let mut command = in_role(ROLE);
        command.stdin(OwnedFd::from(theirs));
        let _relay = Helper::spawn(command);
        Self { stream, buffer: vec![0; 2 * (PREFIX + ROOM)], start: 0, end: 0, _relay }
    }

    /// A request with its length in front.
    pub fn framed(request: &[u8]) -> Vec<u8> {
        let length = u32::try_from(request.len()).unwrap();
        [&length.to_ne_bytes(), request].concat()
    }

    pub fn send(&mut self, framed: &[u8]) {
        self.stream.write_all(framed).unwrap();
    }

    pub fn recv(&mut self) -> &[u8] {
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

    /// Sends and receives until the dump is done; bytes received.
    pub fn dump(&mut self, framed: &[u8]) -> usize {
        self.send(framed);
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

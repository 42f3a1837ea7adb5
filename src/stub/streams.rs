//! Both directions of the stream to a client, from the stub's hello on.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::errno::Errno;

use super::{config::Config, exit::Exit, output::Output, reader::FrameReader};
use crate::{
    kernel::{host_info, looking_part},
    wire::{Failure, Flags, Hello, MARKER, Message, SocketId, hello::Role},
};

/// Reads of a stream until others have their turn.
const AT_A_TIME: usize = 16;

#[derive(Debug)]
pub(super) struct Streams {
    // Made non-blocking after the reader and dropped before it, so that the mode comes back even if
    // both are one and the same socket or terminal.
    pub(super) output: Output,
    pub(super) reader: FrameReader,
}

impl Streams {
    /// Both directions, with the stub's hello in the output.
    pub(super) fn new(input: OwnedFd, output: OwnedFd, config: &Config) -> Result<Self, Errno> {
        let mut host = host_info();
        if config.access.read_only {
            host.capabilities = looking_part(host.capabilities);
        }
        let hello = Hello::new(Role::Stub, config.limits, Some(host));
        let mut greeting = MARKER.to_vec();
        hello.encode(&mut greeting);
        let reader = FrameReader::new(input, hello, config.hello_timeout)?;
        let mut output = Output::new(output, config)?;
        output.buffer = greeting;
        Ok(Self { output, reader })
    }

    /// Sends the hello, and takes in as much of the client's as is there; gives whether all of it is.
    ///
    /// # Errors
    /// The exit of a client that has gone, or whose hello is none.
    pub(super) fn greet(&mut self) -> Result<bool, Exit> {
        self.output.flush()?;
        for _ in 0..AT_A_TIME {
            self.reader.greet()?;
            if self.reader.is_greeted() {
                return Ok(true);
            }
            self.reader.set_readable();
            if !self.reader.fill()? {
                break;
            }
        }
        self.reader.greet()?;
        Ok(self.reader.is_greeted())
    }

    /// The time that is left for the client's hello.
    ///
    /// # Errors
    /// The exit of a client that has used it up.
    pub(super) fn time_left(&mut self) -> Result<Duration, Exit> {
        self.reader.time_left(false).map(Option::unwrap_or_default)
    }

    /// Ends the connection with a reason in words. Waits for nothing, so that a client that does not
    /// read keeps no other from being served.
    pub(super) fn refuse(mut self, errno: Errno, text: &str) {
        let fault = Message::Fault(Failure { errno: errno as i32, text: text.to_owned() });
        fault.encode(SocketId::CONNECTION, Flags::NONE, &mut self.output.buffer);
        self.output.flush_last();
    }
}

impl AsFd for Streams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

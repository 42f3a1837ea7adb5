//! The client's hello, its frames, and the time that it has for each.

use std::{
    mem::take,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    exit::Exit,
    input::{Input, ReadOutcome},
    poller::{Poller, Source},
};
use crate::{
    proto::Violation,
    wire::{Flags, FrameType, Header, Hello, SocketId, WireError},
};

#[derive(Debug)]
enum Stage {
    /// Before the end of the client's hello.
    Hello { marker_found: bool, deadline: Instant },
    /// Behind it.
    Frames {
        terms: Terms,
        /// How long the client may be silent.
        max_silence: Option<Duration>,
    },
}

/// What two hellos agree on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The limit on frames.
    pub(super) max_frame: u32,
    /// Whether the client asks to be refused every change.
    pub(super) read_only: bool,
}

/// Reads marker, hello and frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    input: Input,
    stage: Stage,
    /// This side's hello.
    hello: Hello,
    /// When bytes last came, or when the client was last not listened to.
    last_heard: Instant,
    /// Whether the poller has found the input readable.
    readable: bool,
    /// Whether the input cannot be polled (a file, /dev/null): it counts as readable at any time.
    unpollable: bool,
    /// Whether the poller watches it.
    watched: bool,
}

impl FrameReader {
    pub(super) fn new(fd: OwnedFd, hello: Hello, timeout: Duration) -> Result<Self, Errno> {
        let now = Instant::now();
        Ok(Self {
            input: Input::new(fd)?,
            stage: Stage::Hello { marker_found: false, deadline: now + timeout },
            hello,
            last_heard: now,
            readable: false,
            unpollable: false,
            watched: false,
        })
    }

    /// Has the poller watch for readability, or not.
    pub(super) fn watch(&mut self, wanted: bool, poller: &Poller) -> Result<(), Errno> {
        if self.unpollable || wanted == self.watched {
            return Ok(());
        }
        let result = match wanted {
            true => poller.watch_readable(&*self, Source::Input),
            false => poller.unwatch(&*self),
        };
        if result == Err(Errno::EPERM) {
            self.unpollable = true;
            return Ok(());
        }
        self.watched = wanted;
        result
    }

    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Whether bytes may be there at any time, without the poller's word.
    pub(super) fn is_unpollable(&self) -> bool {
        self.unpollable
    }

    /// Reads once, if bytes may be there; gives whether some were.
    ///
    /// # Errors
    /// The exit that the end of the stream, or its failure, means.
    pub(super) fn fill(&mut self) -> Result<bool, Exit> {
        if !take(&mut self.readable) && !self.unpollable {
            return Ok(false);
        }
        match self.input.fill().map_err(|errno| Exit::io("reading", errno))? {
            ReadOutcome::Progress => {
                self.last_heard = Instant::now();
                Ok(true)
            }
            ReadOutcome::Blocked => Ok(false),
            ReadOutcome::End => Err(self.end()),
        }
    }

    fn end(&self) -> Exit {
        match self.stage {
            Stage::Hello { .. } if !self.input.noise().is_empty() => Exit::Handshake(format!(
                "the stream ended without the protocol's marker; what came was: {:?}",
                self.input.noise()
            )),
            Stage::Frames { .. } if self.input.is_midframe() => {
                Exit::Io("the stream ended in the middle of a frame".to_owned())
            }
            _ => Exit::ClientGone,
        }
    }

    /// Bytes of the buffer, once it has room for the next read.
    pub(super) fn memory(&self) -> usize {
        self.input.memory()
    }

    /// Whether the hello has come.
    pub(super) fn is_greeted(&self) -> bool {
        matches!(self.stage, Stage::Frames { .. })
    }

    /// Takes in the hello: gives the terms of the connection once, when it is complete.
    ///
    /// # Errors
    /// [`Exit::Handshake`].
    pub(super) fn greet(&mut self) -> Result<Option<Terms>, Exit> {
        let Stage::Hello { marker_found, .. } = &mut self.stage else { return Ok(None) };
        let handshake = |error: WireError| Exit::Handshake(error.to_string());
        let Some(hello) = self.input.hello(marker_found).map_err(handshake)? else {
            return Ok(None);
        };
        let (_, max_frame) = self.hello.agree(&hello).map_err(handshake)?;
        let terms = Terms { max_frame, read_only: hello.read_only };
        self.stage = Stage::Frames { terms, max_silence: hello.silence };
        Ok(Some(terms))
    }

    /// The terms of the connection, once the hello has come.
    pub(super) fn agreed(&self) -> Option<Terms> {
        match self.stage {
            Stage::Frames { terms, .. } => Some(terms),
            Stage::Hello { .. } => None,
        }
    }

    /// The next whole frame: header and payload; `None` while there is none.
    ///
    /// # Errors
    /// [`Exit::Violation`].
    pub(super) fn next_frame(&mut self) -> Result<Option<(Header, &[u8])>, Exit> {
        let Stage::Frames { terms, .. } = self.stage else { return Ok(None) };
        self.input.frame(terms.max_frame).map_err(|error| Violation::from(error).into())
    }

    /// The next whole frame, if it is a send on this socket that may be gathered with the send
    /// before it.
    ///
    /// # Errors
    /// [`Exit::Violation`].
    pub(super) fn next_gathered(&mut self, id: SocketId) -> Result<Option<(Header, &[u8])>, Exit> {
        let Stage::Frames { terms, .. } = self.stage else { return Ok(None) };
        let is_gathered = |next: Header| {
            (next.socket, next.frame_type) == (id, FrameType::Send)
                && next.flags.contains(Flags::GATHER)
                && !next.flags.contains(Flags::MORE)
        };
        match self.input.next_header(terms.max_frame) {
            Some(next) if is_gathered(next) => self.next_frame(),
            _ => Ok(None),
        }
    }

    /// The time that the client has left to say something; `None` where it has all the time. A
    /// client that is not listened to, for `paused`, loses none.
    ///
    /// # Errors
    /// The exit of a client that has used it up.
    pub(super) fn time_left(&mut self, paused: bool) -> Result<Option<Duration>, Exit> {
        let deadline = match self.stage {
            Stage::Hello { deadline, .. } => deadline,
            Stage::Frames { max_silence: None, .. } => return Ok(None),
            Stage::Frames { max_silence: Some(max_silence), .. } => {
                if paused {
                    self.last_heard = Instant::now();
                }
                self.last_heard + max_silence
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        if self.is_greeted() {
            // This side may just have had no time to listen.
            let mut input = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            return match poll(&mut input, PollTimeout::ZERO) {
                Ok(0) => Err(Exit::ClientSilent),
                _ => Ok(Some(Duration::ZERO)),
            };
        }
        let text = match self.input.noise().as_str() {
            "" => "the client said nothing in time".to_owned(),
            noise => format!("the client did not say hello in time; it said: {noise:?}"),
        };
        Err(Exit::Handshake(text))
    }
}

impl AsFd for FrameReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

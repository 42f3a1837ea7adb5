//! The bytes that the client has sent, in a buffer from which its hello and its frames are decoded
//! in place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{errno::Errno, unistd::read};

use super::nonblocking::NonBlocking;
use crate::{
    limits::stub::{GREETING, INPUT},
    wire::{Decoded, HEADER_LEN, Header, Hello, MAX_HELLO, MarkerScanner, Scan, WireError},
};

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// More bytes are in the buffer.
    Progress,
    /// Nothing is there to be read now.
    Blocked,
    /// The stream has ended.
    End,
}

#[derive(Debug)]
pub(crate) struct Input {
    fd: NonBlocking,
    buffer: Vec<u8>,
    /// Bytes from `start` to `end` of the buffer are read and not decoded.
    start: usize,
    end: usize,
    /// Bytes of the frame, or of the hello, that has begun at `start` and not ended.
    awaited: usize,
    /// Bytes of the buffer while no longer frame has come: few until the hello has.
    least: usize,
    /// Bytes of a skipped frame that are still to come.
    skip: usize,
    scanner: MarkerScanner,
}

impl Input {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let fd = NonBlocking::new(fd)?;
        let (buffer, scanner) = (Vec::new(), MarkerScanner::new());
        Ok(Self { fd, buffer, start: 0, end: 0, awaited: 0, least: GREETING, skip: 0, scanner })
    }

    /// Has a smaller buffer behind the hello, for tests with short frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn set_least(&mut self, bytes: usize) {
        self.least = bytes;
    }

    /// Reads once, as much as is there and has room.
    pub(crate) fn fill(&mut self) -> Result<ReadOutcome, Errno> {
        self.make_room()?;
        let Some(room) = self.buffer.get_mut(self.end..) else { return Err(Errno::EINVAL) };
        loop {
            return match read(&self.fd, room) {
                Ok(0) => Ok(ReadOutcome::End),
                Ok(n) => {
                    self.end += n;
                    Ok(ReadOutcome::Progress)
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(ReadOutcome::Blocked),
                // A closed pty, and a reset socket, give an error instead of an end.
                Err(Errno::EIO | Errno::ECONNRESET) => Ok(ReadOutcome::End),
                Err(errno) => Err(errno),
            };
        }
    }

    /// Bytes that the buffer is to have for the next read.
    fn room(&self) -> usize {
        let pending = self.end - self.start;
        // Whole frames are taken out before more is read: what is pending never fills the room.
        self.awaited.min(2 * pending).max(self.least).max(pending + HEADER_LEN)
    }

    /// Bytes of the buffer, once it has room for the next read.
    pub(super) fn memory(&self) -> usize {
        self.buffer.len().max(self.room())
    }

    /// Makes room behind `end`. A header alone takes no memory: the room for a long frame is at most
    /// twice what has come of it, and is given back behind the frame.
    ///
    /// # Errors
    /// ENOMEM, which ends this connection, and not the process with all others.
    fn make_room(&mut self) -> Result<(), Errno> {
        let (pending, length) = (self.end - self.start, self.room());
        if self.buffer.len() > length {
            let mut smaller = zeroed(length)?;
            if let (Some(head), Some(rest)) =
                (smaller.get_mut(..pending), self.buffer.get(self.start..self.end))
            {
                head.copy_from_slice(rest);
            }
            self.buffer = smaller;
        } else if pending == 0 || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            let more = length.saturating_sub(self.buffer.len());
            self.buffer.try_reserve_exact(more).map_err(|_| Errno::ENOMEM)?;
            self.buffer.resize(length, 0);
        } else {
            return Ok(());
        }
        (self.start, self.end) = (0, pending);
        Ok(())
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The client's hello; `None` while it is not complete. Sets `marker_found` once it has passed
    /// the marker.
    pub(crate) fn hello(&mut self, marker_found: &mut bool) -> Result<Option<Hello>, WireError> {
        if !*marker_found {
            let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
            match self.scanner.scan(pending) {
                Scan::Found { consumed } => {
                    self.start += consumed;
                    *marker_found = true;
                }
                Scan::NeedMore => {
                    self.start = self.end;
                    return Ok(None);
                }
                Scan::TooMuchNoise => return Err(WireError::NoMarker(self.scanner.noise_len())),
            }
        }
        let Some((hello, taken)) = Hello::decode(self.pending())? else {
            self.awaited = 4 + MAX_HELLO;
            return Ok(None);
        };
        self.start += taken;
        self.awaited = 0;
        self.least = INPUT;
        Ok(Some(hello))
    }

    /// The text that came instead of a marker, harmless to show.
    pub(super) fn noise(&self) -> String {
        self.scanner.noise()
    }

    /// The next whole frame: header and payload; `None` while there is none.
    pub(crate) fn frame(&mut self, max_frame: u32) -> Result<Option<(Header, &[u8])>, WireError> {
        loop {
            let skipped = self.skip.min(self.end - self.start);
            self.start += skipped;
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(None);
            }
            match Header::decode(self.pending(), max_frame)? {
                Decoded::NeedMore => return Ok(None),
                Decoded::Skip(length) => self.skip = length,
                Decoded::Known(header) => {
                    let whole = header.stream_len();
                    if self.end - self.start < whole {
                        self.awaited = whole;
                        return Ok(None);
                    }
                    let from = self.start + HEADER_LEN;
                    self.start += whole;
                    self.awaited = 0;
                    let payload = self.buffer.get(from..from + header.payload_len());
                    return Ok(Some((header, payload.unwrap_or_default())));
                }
            }
        }
    }

    /// The header of the frame that [`frame`](Self::frame) gives next, if that has come whole.
    pub(super) fn next_header(&self, max_frame: u32) -> Option<Header> {
        match Header::decode(self.pending(), max_frame) {
            Ok(Decoded::Known(header)) if self.skip == 0 => {
                (header.stream_len() <= self.end - self.start).then_some(header)
            }
            _ => None,
        }
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_midframe(&self) -> bool {
        self.start != self.end || self.skip > 0
    }
}

/// So many zeros, if there is memory for them.
fn zeroed(length: usize) -> Result<Vec<u8>, Errno> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    zeros.resize(length, 0);
    Ok(zeros)
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

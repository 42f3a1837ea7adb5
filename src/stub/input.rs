//! Reading the stream: marker, hello, frames.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::read,
};

use crate::wire::{Decoded, HEADER_LEN, Header, Hello, MarkerScanner, Scan, WireError, padded};

/// Size of the buffer while no frame needs a larger one.
const BUFFER: usize = 64 * 1024;

/// A descriptor that is non-blocking for as long as this lives.
///
/// The mode belongs to what is open, which a shell or an sshd may share; so it is put back.
#[derive(Debug)]
pub(super) struct NonBlocking {
    fd: OwnedFd,
    before: OFlag,
}

impl NonBlocking {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let before = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
        Ok(Self { fd, before })
    }
}

impl AsFd for NonBlocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for NonBlocking {
    fn drop(&mut self) {
        let _ = fcntl(&self.fd, FcntlArg::F_SETFL(self.before));
    }
}

/// Where a read left off.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There is something new in the buffer.
    Progress,
    /// Nothing to read now.
    Blocked,
    /// The stream has ended.
    End,
}

#[derive(Debug)]
pub(super) struct Input {
    fd: NonBlocking,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    skip: usize,
    scanner: MarkerScanner,
}

impl Input {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let fd = NonBlocking::new(fd)?;
        let buffer = vec![0; BUFFER];
        Ok(Self { fd, buffer, start: 0, end: 0, skip: 0, scanner: MarkerScanner::new() })
    }

    /// Reads once, whatever there is.
    pub(super) fn fill(&mut self) -> Result<ReadOutcome, Errno> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER {
                self.buffer = vec![0; BUFFER];
            }
        } else if self.end == self.buffer.len() {
            // `want` has made room for what is awaited, counted from the front.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
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
                // What a closed pty, or a reset socket, says instead of an end.
                Err(Errno::EIO | Errno::ECONNRESET) => Ok(ReadOutcome::End),
                Err(errno) => Err(errno),
            };
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Makes room for `length` bytes counted from the start of what is pending.
    fn want(&mut self, length: usize) {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
    }

    /// Looks for the client's hello; `None` while it is not complete.
    pub(super) fn hello(&mut self, found: &mut bool) -> Result<Option<Hello>, WireError> {
        if !*found {
            let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
            match self.scanner.scan(pending) {
                Scan::Found { consumed } => {
                    self.start += consumed;
                    *found = true;
                }
                Scan::NeedMore => {
                    self.start = self.end;
                    return Ok(None);
                }
                Scan::TooMuchNoise => return Err(WireError::NoMarker(self.scanner.noise_len())),
            }
        }
        let Some((hello, taken)) = Hello::decode(self.pending())? else {
            self.want(4 + crate::wire::MAX_HELLO);
            return Ok(None);
        };
        self.start += taken;
        Ok(Some(hello))
    }

    /// What came instead of a marker, to be shown.
    pub(super) fn noise(&self) -> String {
        self.scanner.noise()
    }

    /// The next whole frame: its header and where its payload lies; `None` while there is none.
    pub(super) fn frame(&mut self, max_frame: u32) -> Result<Option<(Header, &[u8])>, WireError> {
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
                        self.want(whole.min(padded(max_frame as usize)));
                        return Ok(None);
                    }
                    let from = self.start + HEADER_LEN;
                    self.start += whole;
                    let payload = self.buffer.get(from..from + header.payload_len());
                    return Ok(Some((header, payload.unwrap_or_default())));
                }
            }
        }
    }

    /// The header of what [`frame`](Self::frame) gives next, where that is here whole.
    pub(super) fn next_header(&self, max_frame: u32) -> Option<Header> {
        match Header::decode(self.pending(), max_frame) {
            Ok(Decoded::Known(header)) if self.skip == 0 => {
                (header.stream_len() <= self.end - self.start).then_some(header)
            }
            _ => None,
        }
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_midframe(&self) -> bool {
        self.start != self.end || self.skip > 0
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

//! One open channel, as the session's state has it.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use async_ssh2_lite::ssh2;
use tokio::io::ReadBuf;
use zeroize::{Zeroize, Zeroizing};

use super::{
    callbacks,
    fault::{self, code, would_block},
    wire::Wire,
};
use crate::transport::End;

/// What one packet carries.
const PACKET_DATA: usize = 32_700;

pub(super) struct Pipe {
    session: ssh2::Session,
    channel: ssh2::Channel,
    /// Taken from a writer, and not sent yet: at most a packet. Once libssh2 has seen it, no
    /// other may be sent in its place, even if the writer is gone.
    out: Zeroizing<Vec<u8>>,
    input: Input,
    closing: bool,
}

/// The command's stdin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    Ending,
    Ended,
}

/// What came of driving it on.
#[derive(PartialEq, Eq)]
pub(super) enum Moved {
    No,
    Yes,
    /// It is closed on both sides.
    Closed,
}

/// What came of an attempt.
pub(super) enum Tried<T> {
    Done(T),
    Wait,
    /// Try again at once.
    Again,
}

impl Pipe {
    pub(super) fn new(session: ssh2::Session, channel: ssh2::Channel) -> Self {
        Self { session, channel, out: Zeroizing::default(), input: Input::Open, closing: false }
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.end_input();
    }

    pub(super) fn end_input(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Ending;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.out.is_empty() || self.input == Input::Ending || self.closing
    }

    /// Whether libssh2 may hold a part of a packet of it.
    pub(super) fn is_in_flight(&self) -> bool {
        !self.out.is_empty()
    }

    /// Does what is to be done. An error is the session's end.
    pub(super) fn drive(&mut self, wire: &Wire) -> Result<Moved, ssh2::Error> {
        if !self.out.is_empty() {
            return self.drive_out();
        }
        // The packet is on libssh2's stack: it must go out whole, or not at all.
        if self.input == Input::Ending && has_room(wire) {
            return match self.channel.send_eof() {
                Err(error) if would_block(&error) => Ok(Moved::No),
                Err(error) if !fault::spares_session(&error) => Err(error),
                _ => {
                    self.input = Input::Ended;
                    Ok(Moved::Yes)
                }
            };
        }
        if self.closing && self.input == Input::Ended {
            return match self.channel.close() {
                Err(error) if would_block(&error) => Ok(Moved::No),
                Err(error) if !fault::spares_session(&error) => Err(error),
                _ => Ok(Moved::Closed),
            };
        }
        Ok(Moved::No)
    }

    fn drive_out(&mut self) -> Result<Moved, ssh2::Error> {
        match self.write_packet() {
            Ok(0) => {
                // Nothing of it is under way where the far end grants nothing.
                if self.closing && self.channel.write_window().remaining == 0 {
                    self.out.zeroize();
                    return Ok(Moved::Yes);
                }
                Ok(Moved::No)
            }
            Ok(sent) => {
                let sent = sent.min(self.out.len());
                self.out.drain(..sent);
                if self.out.is_empty() {
                    // It may have been a password.
                    self.out.zeroize();
                }
                Ok(Moved::Yes)
            }
            Err(error) if fault::spares_session(&error) => {
                self.out.zeroize();
                Ok(Moved::Yes)
            }
            Err(error) => Err(error),
        }
    }

    fn write_packet(&mut self) -> Result<usize, ssh2::Error> {
        match self.channel.write(&self.out) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(self.last_error()),
            Ok(sent) => Ok(sent),
        }
    }

    /// Sends the rest of a packet, for libssh2 to let go of it.
    pub(super) fn finish(&mut self) {
        if !self.out.is_empty() {
            let _ = self.channel.write(&self.out);
        }
    }

    /// Takes in what has arrived for the session; not where this channel's end has been seen.
    pub(super) fn take_in(&mut self) -> Option<Result<(), ssh2::Error>> {
        match self.channel.wait_eof() {
            Ok(()) => None,
            Err(error) if would_block(&error) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads stdout (stream 0) or stderr (1).
    pub(super) fn read(
        &mut self,
        stream: i32,
        buf: &mut ReadBuf<'_>,
        wire: &Wire,
    ) -> Result<Tried<()>, ssh2::Error> {
        if self.closing || buf.remaining() == 0 {
            return Ok(Tried::Done(()));
        }
        let mut ended = false;
        if self.channel.read_window().available == 0 {
            match self.channel.wait_eof() {
                Ok(()) => ended = true,
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // A read first grants what has become free, if that is much; see libssh2's channel.c.
        let window = self.channel.read_window();
        let room = window.window_size_initial / 4 * 3;
        let wanted = usize::try_from(window.available).unwrap_or(usize::MAX).min(buf.remaining());
        let granted = room.saturating_add(u32::try_from(wanted).unwrap_or(u32::MAX));
        if wanted == 0 {
            return Ok(if ended { Tried::Done(()) } else { Tried::Wait });
        }
        if window.remaining < granted && !has_room(wire) {
            return Ok(Tried::Wait);
        }
        // No more than there is: what is beyond it would be zeroed for nothing.
        match self.channel.stream(stream).read(buf.initialize_unfilled_to(wanted)) {
            Ok(0) => match self.channel.wait_eof() {
                Ok(()) => Ok(Tried::Done(())),
                Err(error) if would_block(&error) => Ok(Tried::Again),
                Err(error) => Err(error),
            },
            Ok(length) => {
                buf.advance(length);
                Ok(Tried::Done(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Tried::Wait),
            Err(_) => Err(self.last_error()),
        }
    }

    /// Takes bytes to send; none where nobody reads them any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Tried<usize>, ssh2::Error> {
        if bytes.is_empty() || self.input != Input::Open || self.is_closed() {
            return Ok(Tried::Done(0));
        }
        if !self.out.is_empty() {
            return Ok(Tried::Wait);
        }
        let packet = bytes.get(..PACKET_DATA).unwrap_or(bytes);
        match self.channel.write(packet) {
            Ok(sent @ 1..) => return Ok(Tried::Done(sent)),
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                let error = self.last_error();
                return if fault::spares_session(&error) { Ok(Tried::Done(0)) } else { Err(error) };
            }
        }
        self.out.extend_from_slice(packet);
        Ok(Tried::Done(packet.len()))
    }

    /// Whether all that was written has been sent, and the end of it too.
    pub(super) fn input_ended(&self) -> bool {
        self.input == Input::Ended && self.out.is_empty()
    }

    /// Whether the far end has closed it, and all that it sent has been read.
    fn is_closed(&mut self) -> bool {
        self.channel.eof() && self.channel.wait_close().is_ok()
    }

    /// How the command ended, once it has.
    pub(super) fn end(&mut self) -> Result<Tried<End>, ssh2::Error> {
        for waited in [self.channel.wait_eof(), self.channel.wait_close()] {
            match waited {
                Ok(()) => {}
                // There is no end yet of which a close could be waited for.
                Err(error) if would_block(&error) || fault::code_of(&error) == code::INVAL => {
                    return Ok(Tried::Wait);
                }
                Err(error) => return Err(error),
            }
        }
        let signal = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
        Ok(Tried::Done(match signal {
            Some(signal) => {
                End::Signal(signal.chars().filter(|letter| !letter.is_control()).collect())
            }
            None => End::Code(self.channel.exit_status()?),
        }))
    }

    /// The error behind one that `Read` and `Write` gave, who leave its code out.
    fn last_error(&self) -> ssh2::Error {
        let lost = || ssh2::Error::from_errno(ssh2::ErrorCode::Session(code::SOCKET_RECV));
        ssh2::Error::last_session_error(&self.session).unwrap_or_else(lost)
    }
}

/// Whether a small packet can go out whole. Where it can not, it is noted that room is waited for.
fn has_room(wire: &Wire) -> bool {
    let room = wire.is_writable();
    if !room {
        callbacks::note_full();
    }
    room
}

//! The state of one open channel.

use std::io::{self, Read, Write};

use async_ssh2_lite::ssh2;
use tokio::io::ReadBuf;
use zeroize::{Zeroize, Zeroizing};

use super::{
    callbacks,
    fault::{self, code, would_block},
    socket::SshSocket,
};
use crate::{text::one_line, transport::End};

/// The most bytes that libssh2 puts into one packet.
const PACKET_DATA: usize = 32_700;

pub(super) struct ChannelState {
    session: ssh2::Session,
    channel: ssh2::Channel,
    /// Accepted from a writer and not yet sent: at most a packet. Once libssh2 has seen it, no other
    /// bytes may be sent in its place, even if the writer is gone.
    unsent: Zeroizing<Vec<u8>>,
    stdin: StdinState,
    is_closing: bool,
}

/// The state of the command's stdin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StdinState {
    Open,
    /// To be ended once all is sent.
    Ending,
    /// The EOF has been sent.
    Ended,
}

/// The outcome of [`ChannelState::drive`].
#[derive(PartialEq, Eq)]
pub(super) enum DriveOutcome {
    Blocked,
    Progressed,
    /// Both sides have closed the channel.
    Closed,
}

/// The outcome of an operation on a channel.
pub(super) enum OpOutcome<T> {
    Done(T),
    Blocked,
    /// To be repeated at once.
    Retry,
}

impl ChannelState {
    pub(super) fn new(session: ssh2::Session, channel: ssh2::Channel) -> Self {
        let (unsent, stdin) = (Zeroizing::default(), StdinState::Open);
        Self { session, channel, unsent, stdin, is_closing: false }
    }

    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.end_stdin();
    }

    pub(super) fn end_stdin(&mut self) {
        if self.stdin == StdinState::Open {
            self.stdin = StdinState::Ending;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.unsent.is_empty() || self.stdin == StdinState::Ending || self.is_closing
    }

    /// Whether libssh2 may hold a part of one of the channel's packets.
    pub(super) fn may_hold_packet(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Does the next piece of outstanding work. An error ends the session.
    pub(super) fn drive(&mut self, socket: &SshSocket) -> Result<DriveOutcome, ssh2::Error> {
        if !self.unsent.is_empty() {
            return self.send_unsent();
        }
        // The EOF's packet is on libssh2's stack: it has to be sent whole, or not at all.
        if self.stdin == StdinState::Ending && has_send_space(socket) {
            return match self.channel.send_eof() {
                Err(error) if would_block(&error) => Ok(DriveOutcome::Blocked),
                Err(error) if !fault::spares_session(&error) => Err(error),
                _ => {
                    self.stdin = StdinState::Ended;
                    Ok(DriveOutcome::Progressed)
                }
            };
        }
        if self.is_closing && self.stdin == StdinState::Ended {
            return match self.channel.close() {
                Err(error) if would_block(&error) => Ok(DriveOutcome::Blocked),
                Err(error) if !fault::spares_session(&error) => Err(error),
                _ => Ok(DriveOutcome::Closed),
            };
        }
        Ok(DriveOutcome::Blocked)
    }

    fn send_unsent(&mut self) -> Result<DriveOutcome, ssh2::Error> {
        match self.write_packet() {
            Ok(0) => {
                // Without a window libssh2 has not begun the packet.
                if self.is_closing && self.channel.write_window().remaining == 0 {
                    self.unsent.zeroize();
                    return Ok(DriveOutcome::Progressed);
                }
                Ok(DriveOutcome::Blocked)
            }
            Ok(sent) => {
                let sent = sent.min(self.unsent.len());
                self.unsent.drain(..sent);
                if self.unsent.is_empty() {
                    // It may have been a password.
                    self.unsent.zeroize();
                }
                Ok(DriveOutcome::Progressed)
            }
            Err(error) if fault::spares_session(&error) => {
                self.unsent.zeroize();
                Ok(DriveOutcome::Progressed)
            }
            Err(error) => Err(error),
        }
    }

    fn write_packet(&mut self) -> Result<usize, ssh2::Error> {
        match self.channel.write(&self.unsent) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(self.last_error()),
            Ok(sent) => Ok(sent),
        }
    }

    /// Sends the rest of a packet, so that libssh2 can free the channel.
    pub(super) fn finish_packet(&mut self) {
        if !self.unsent.is_empty() {
            let _ = self.channel.write(&self.unsent);
        }
    }

    /// Receives data for all channels; `None` if this channel's EOF has come, at which libssh2 does
    /// not receive.
    pub(super) fn receive(&mut self) -> Option<Result<(), ssh2::Error>> {
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
        socket: &SshSocket,
    ) -> Result<OpOutcome<()>, ssh2::Error> {
        if self.is_closing || buf.remaining() == 0 {
            return Ok(OpOutcome::Done(()));
        }
        let mut is_at_eof = false;
        if self.channel.read_window().available == 0 {
            match self.channel.wait_eof() {
                Ok(()) => is_at_eof = true,
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // A read with little window left first sends a window adjustment; see libssh2's channel.c.
        let window = self.channel.read_window();
        let threshold = window.window_size_initial / 4 * 3;
        let wanted = usize::try_from(window.available).unwrap_or(usize::MAX).min(buf.remaining());
        let needed = threshold.saturating_add(u32::try_from(wanted).unwrap_or(u32::MAX));
        if wanted == 0 {
            return Ok(if is_at_eof { OpOutcome::Done(()) } else { OpOutcome::Blocked });
        }
        if window.remaining < needed && !has_send_space(socket) {
            return Ok(OpOutcome::Blocked);
        }
        // No more than has arrived: the buffer beyond it would be zeroed for nothing.
        match self.channel.stream(stream).read(buf.initialize_unfilled_to(wanted)) {
            Ok(0) => match self.channel.wait_eof() {
                Ok(()) => Ok(OpOutcome::Done(())),
                Err(error) if would_block(&error) => Ok(OpOutcome::Retry),
                Err(error) => Err(error),
            },
            Ok(length) => {
                buf.advance(length);
                Ok(OpOutcome::Done(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(OpOutcome::Blocked),
            Err(_) => Err(self.last_error()),
        }
    }

    /// Accepts bytes to send, a packet's worth at most; none once nothing reads them any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<OpOutcome<usize>, ssh2::Error> {
        if bytes.is_empty() || self.stdin != StdinState::Open || self.is_closed() {
            return Ok(OpOutcome::Done(0));
        }
        if !self.unsent.is_empty() {
            return Ok(OpOutcome::Blocked);
        }
        let packet = bytes.get(..PACKET_DATA).unwrap_or(bytes);
        match self.channel.write(packet) {
            Ok(sent @ 1..) => return Ok(OpOutcome::Done(sent)),
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                let error = self.last_error();
                return match fault::spares_session(&error) {
                    true => Ok(OpOutcome::Done(0)),
                    false => Err(error),
                };
            }
        }
        self.unsent.extend_from_slice(packet);
        Ok(OpOutcome::Done(packet.len()))
    }

    /// Whether all that was written has been sent, and the EOF after it.
    pub(super) fn has_ended_stdin(&self) -> bool {
        self.stdin == StdinState::Ended && self.unsent.is_empty()
    }

    /// Whether the far end has closed the channel, and all that it sent has been read.
    fn is_closed(&mut self) -> bool {
        self.channel.eof() && self.channel.wait_close().is_ok()
    }

    /// The command's end, once it has ended.
    pub(super) fn end(&mut self) -> Result<OpOutcome<End>, ssh2::Error> {
        for waited in [self.channel.wait_eof(), self.channel.wait_close()] {
            match waited {
                Ok(()) => {}
                // INVAL: libssh2 waits for a close only once the EOF has come.
                Err(error) if would_block(&error) || fault::code_of(&error) == code::INVAL => {
                    return Ok(OpOutcome::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        let signal = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
        Ok(OpOutcome::Done(match signal {
            Some(signal) => End::Signal(one_line(&signal).into_owned()),
            None => End::Code(self.channel.exit_status()?),
        }))
    }

    /// The session's last error, whose code the errors of `Read` and `Write` leave out.
    fn last_error(&self) -> ssh2::Error {
        ssh2::Error::last_session_error(&self.session).unwrap_or_else(fault::loss)
    }
}

/// Whether a small packet can be sent whole. If not, the wait for space is recorded.
fn has_send_space(socket: &SshSocket) -> bool {
    let has_space = socket.is_writable();
    if !has_space {
        callbacks::note_send_blocked();
    }
    has_space
}

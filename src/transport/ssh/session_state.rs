//! The state of a session that its users share, under one lock.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    task::Poll,
};

use async_ssh2_lite::ssh2;
use tokio::io::ReadBuf;

use super::{
    callbacks,
    channel_state::{ChannelState, DriveOutcome, OpOutcome},
    fault,
    opening::{ChannelKind, OpenPermit, OpenResult, OpenStep, Opening},
    socket::SshSocket,
};
use crate::{Error, transport::End};

pub(super) struct SessionState {
    session: ssh2::Session,
    channels: BTreeMap<u64, ChannelState>,
    /// Channels to open, one after the other; the first may be under way.
    openings: VecDeque<Opening>,
    /// The error that ended the session.
    pub(super) failure: Option<Error>,
    /// The server has refused a channel for a command.
    pub(super) is_full: bool,
    /// A driver task exists.
    pub(super) has_driver: bool,
    /// The socket had nothing more to receive, and the runtime has not reported more since.
    pub(super) is_drained: bool,
    next_id: u64,
}

impl SessionState {
    pub(super) fn new(session: ssh2::Session) -> Self {
        callbacks::install(&session);
        Self {
            session,
            channels: BTreeMap::new(),
            openings: VecDeque::new(),
            failure: None,
            is_full: false,
            has_driver: false,
            is_drained: false,
            next_id: 0,
        }
    }

    /// The error that ended the session, or `Ok`.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Queues the opening of a channel, and returns the channel's id.
    pub(super) fn open(
        &mut self,
        kind: ChannelKind,
        result: Arc<OpenResult>,
        permit: Option<OpenPermit>,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.openings.push_back(Opening::new(id, kind, result, permit));
        id
    }

    /// Marks a channel to be closed, or withdraws its opening.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.close();
        }
        self.openings.retain(|opening| opening.id != id || opening.has_begun);
        if let Some(opening) = self.openings.front_mut()
            && opening.id == id
        {
            opening.is_abandoned = true;
        }
    }

    pub(super) fn end_stdin(&mut self, id: u64) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.end_stdin();
        }
    }

    /// Whether there is work that may have no waiter.
    pub(super) fn has_work(&self) -> bool {
        self.failure.is_none()
            && (!self.openings.is_empty() || self.channels.values().any(ChannelState::has_work))
    }

    /// Whether libssh2 may hold a part of a packet, whose rest has to follow.
    fn may_hold_packet(&self) -> bool {
        !self.openings.is_empty() || self.channels.values().any(ChannelState::may_hold_packet)
    }

    fn fail(&mut self, error: &ssh2::Error) -> Error {
        self.failure.get_or_insert_with(|| fault::session_lost(error)).clone()
    }

    /// Does outstanding work until it blocks. Returns whether anything changed.
    pub(super) fn drive(&mut self, socket: &SshSocket) -> bool {
        let mut changed = false;
        while self.has_work() {
            match self.drive_once(socket) {
                Ok(true) => changed = true,
                Ok(false) => break,
                Err(error) => {
                    self.fail(&error);
                    changed = true;
                }
            }
        }
        changed
    }

    fn drive_once(&mut self, socket: &SshSocket) -> Result<bool, ssh2::Error> {
        let mut changed = false;
        let mut closed = Vec::new();
        for (id, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.has_work()) {
            match channel.drive(socket)? {
                DriveOutcome::Blocked => {}
                DriveOutcome::Progressed => changed = true,
                DriveOutcome::Closed => closed.push(*id),
            }
        }
        for id in closed {
            self.channels.remove(&id);
            changed = true;
        }
        if let Some(opening) = self.openings.front_mut() {
            let (channel, is_unwanted) = match opening.step(&self.session)? {
                OpenStep::Blocked => return Ok(changed),
                OpenStep::Advanced => return Ok(true),
                OpenStep::Open(channel) => (Some(channel), opening.is_unwanted()),
                OpenStep::Refused(channel) => {
                    self.is_full |= channel.is_none() && opening.is_for_command();
                    (channel, true)
                }
            };
            let id = opening.id;
            self.openings.pop_front();
            if let Some(channel) = channel {
                let mut channel = ChannelState::new(self.session.clone(), channel);
                if is_unwanted {
                    channel.close();
                }
                self.channels.insert(id, channel);
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Receives the data that has arrived, for whichever channels.
    pub(super) fn receive(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let received = self.channels.values_mut().find_map(ChannelState::receive);
        if let Some(Err(error)) = received {
            self.fail(&error);
        }
    }

    pub(super) fn poll_read(
        &mut self,
        id: u64,
        stream: i32,
        buf: &mut ReadBuf<'_>,
        socket: &SshSocket,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error.into()));
        }
        let Some(channel) = self.channels.get_mut(&id) else { return Poll::Ready(Ok(())) };
        loop {
            return match channel.read(stream, buf, socket) {
                Ok(OpOutcome::Retry) => continue,
                Ok(OpOutcome::Done(())) => Poll::Ready(Ok(())),
                Ok(OpOutcome::Blocked) => Poll::Pending,
                Err(error) => Poll::Ready(Err(self.fail(&error).into())),
            };
        }
    }

    pub(super) fn poll_write(&mut self, id: u64, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error.into()));
        }
        let attempt = match self.channels.get_mut(&id) {
            Some(channel) => channel.write(bytes),
            None => Ok(OpOutcome::Done(0)),
        };
        match attempt {
            Ok(OpOutcome::Done(0)) if !bytes.is_empty() => {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            Ok(OpOutcome::Done(taken)) => Poll::Ready(Ok(taken)),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Err(self.fail(&error).into())),
        }
    }

    /// Ready once the EOF of the command's stdin has been sent.
    pub(super) fn poll_end_stdin(&self, id: u64) -> Poll<io::Result<()>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error.into()));
        }
        match self.channels.get(&id) {
            Some(channel) if !channel.has_ended_stdin() => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready with the command's end.
    pub(super) fn poll_end(&mut self, id: u64) -> Poll<End> {
        let Some(channel) = self.channels.get_mut(&id) else { return Poll::Ready(End::Unknown) };
        match channel.end() {
            Ok(OpOutcome::Done(end)) => Poll::Ready(end),
            Ok(_) if self.failure.is_none() => Poll::Pending,
            Ok(_) => Poll::Ready(End::Unknown),
            Err(error) => {
                self.fail(&error);
                Poll::Ready(End::Unknown)
            }
        }
    }

    /// Sends the DISCONNECT message if that does not block; no operation is to follow it.
    pub(super) fn disconnect(&mut self, socket: &SshSocket) {
        self.drive(socket);
        if self.failure.is_none() && !self.may_hold_packet() && socket.is_writable() {
            let _ = self.session.disconnect(None, "", None);
        }
    }

    /// Makes the session ready to be freed, on a socket that nothing else uses any more.
    ///
    /// libssh2 cannot give a packet up that it has sent in part, and does not free a session with
    /// one. So the socket's descriptor is replaced by one that takes the rest and is at its end.
    pub(super) fn prepare_free(&mut self, socket: &mut OwnedFd) -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        nix::unistd::dup2(&near, socket)?;
        drop(near);
        // `far` only receives: its buffer holds all that may be left of a packet.
        far.shutdown(std::net::Shutdown::Write)?;
        for channel in self.channels.values_mut() {
            channel.finish_packet();
        }
        if let Some(opening) = self.openings.front_mut() {
            let _ = opening.step(&self.session);
        }
        self.channels.clear();
        self.openings.clear();
        Ok(())
    }
}

//! What a session's users share, under one lock.

#![forbid(unsafe_code)]

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
    channel_state::{Moved, Pipe, Tried},
    fault,
    opening::{Opened, Opening, Stage, Turn, Way},
    wire::Wire,
};
use crate::{Error, transport::End};

pub(super) struct State {
    session: ssh2::Session,
    pipes: BTreeMap<u64, Pipe>,
    /// Channels to open, one after the other; the first may be under way.
    openings: VecDeque<Opening>,
    pub(super) dead: Option<Error>,
    /// The server has refused a channel for a command.
    pub(super) full: bool,
    /// There is a task that drives.
    pub(super) driven: bool,
    /// Nothing was left in the socket, unless the runtime has said otherwise since.
    pub(super) dry: bool,
    next: u64,
}

impl State {
    pub(super) fn new(session: ssh2::Session) -> Self {
        callbacks::install(&session);
        Self {
            session,
            pipes: BTreeMap::new(),
            openings: VecDeque::new(),
            dead: None,
            full: false,
            driven: false,
            dry: false,
            next: 0,
        }
    }

    /// The error that ended the session, or `Ok`.
    pub(super) fn alive(&self) -> Result<(), Error> {
        self.dead.clone().map_or(Ok(()), Err)
    }

    /// Has a channel opened.
    pub(super) fn open(&mut self, way: Way, opened: Arc<Opened>, turn: Option<Turn>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.openings.push_back(Opening::new(id, way, opened, turn));
        id
    }

    /// Has a channel closed, or never opened.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.close();
        }
        self.openings.retain(|opening| opening.id != id || opening.begun);
        if let Some(opening) = self.openings.front_mut()
            && opening.id == id
        {
            opening.abandoned = true;
        }
    }

    pub(super) fn end_input(&mut self, id: u64) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.end_input();
        }
    }

    /// Whether there is something to do that nobody may be there to wait for.
    pub(super) fn has_work(&self) -> bool {
        self.dead.is_none()
            && (!self.openings.is_empty() || self.pipes.values().any(Pipe::has_work))
    }

    /// Whether libssh2 may hold a part of a packet, whose rest has to follow.
    fn is_in_flight(&self) -> bool {
        !self.openings.is_empty() || self.pipes.values().any(Pipe::is_in_flight)
    }

    fn fail(&mut self, error: &ssh2::Error) -> Error {
        self.dead.get_or_insert_with(|| fault::lost(error)).clone()
    }

    /// Does what there is to do, as far as it goes. Whether anything came of it.
    pub(super) fn drive(&mut self, wire: &Wire) -> bool {
        let mut moved = false;
        while self.has_work() {
            match self.drive_once(wire) {
                Ok(true) => moved = true,
                Ok(false) => break,
                Err(error) => {
                    self.fail(&error);
                    moved = true;
                }
            }
        }
        moved
    }

    fn drive_once(&mut self, wire: &Wire) -> Result<bool, ssh2::Error> {
        let mut moved = false;
        let mut closed = Vec::new();
        for (id, pipe) in self.pipes.iter_mut().filter(|(_, pipe)| pipe.has_work()) {
            match pipe.drive(wire)? {
                Moved::No => {}
                Moved::Yes => moved = true,
                Moved::Closed => closed.push(*id),
            }
        }
        for id in closed {
            self.pipes.remove(&id);
            moved = true;
        }
        if let Some(opening) = self.openings.front_mut() {
            let (channel, in_vain) = match opening.step(&self.session)? {
                Stage::Waiting => return Ok(moved),
                Stage::Further => return Ok(true),
                Stage::Open(channel) => (Some(channel), opening.is_in_vain()),
                Stage::Refused(channel) => {
                    self.full |= channel.is_none() && opening.is_for_command();
                    (channel, true)
                }
            };
            let id = opening.id;
            self.openings.pop_front();
            if let Some(channel) = channel {
                let mut pipe = Pipe::new(self.session.clone(), channel);
                if in_vain {
                    pipe.close();
                }
                self.pipes.insert(id, pipe);
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Takes in what has arrived, whomever it is for.
    pub(super) fn take_in(&mut self) {
        if self.dead.is_some() {
            return;
        }
        let taken = self.pipes.values_mut().find_map(Pipe::take_in);
        if let Some(Err(error)) = taken {
            self.fail(&error);
        }
    }

    pub(super) fn poll_read(
        &mut self,
        id: u64,
        stream: i32,
        buf: &mut ReadBuf<'_>,
        wire: &Wire,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.alive() {
            return Poll::Ready(Err(error.into()));
        }
        let Some(pipe) = self.pipes.get_mut(&id) else { return Poll::Ready(Ok(())) };
        loop {
            return match pipe.read(stream, buf, wire) {
                Ok(Tried::Again) => continue,
                Ok(Tried::Done(())) => Poll::Ready(Ok(())),
                Ok(Tried::Wait) => Poll::Pending,
                Err(error) => Poll::Ready(Err(self.fail(&error).into())),
            };
        }
    }

    pub(super) fn poll_write(&mut self, id: u64, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Err(error) = self.alive() {
            return Poll::Ready(Err(error.into()));
        }
        let tried = match self.pipes.get_mut(&id) {
            Some(pipe) => pipe.write(bytes),
            None => Ok(Tried::Done(0)),
        };
        match tried {
            Ok(Tried::Done(0)) if !bytes.is_empty() => {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            Ok(Tried::Done(taken)) => Poll::Ready(Ok(taken)),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Err(self.fail(&error).into())),
        }
    }

    /// Ready once the end of the input has been sent.
    pub(super) fn poll_end_input(&self, id: u64) -> Poll<io::Result<()>> {
        if let Err(error) = self.alive() {
            return Poll::Ready(Err(error.into()));
        }
        match self.pipes.get(&id) {
            Some(pipe) if !pipe.input_ended() => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready with a command's end.
    pub(super) fn poll_end(&mut self, id: u64) -> Poll<End> {
        let Some(pipe) = self.pipes.get_mut(&id) else { return Poll::Ready(End::Unknown) };
        match pipe.end() {
            Ok(Tried::Done(end)) => Poll::Ready(end),
            Ok(_) if self.dead.is_none() => Poll::Pending,
            Ok(_) => Poll::Ready(End::Unknown),
            Err(error) => {
                self.fail(&error);
                Poll::Ready(End::Unknown)
            }
        }
    }

    /// Says good-bye if that takes no waiting, since nothing of libssh2's waits for an answer now.
    pub(super) fn part(&mut self, wire: &Wire) {
        self.drive(wire);
        if self.dead.is_none() && !self.is_in_flight() && wire.is_writable() {
            let _ = self.session.disconnect(None, "", None);
        }
    }

    /// Makes the session ready to be freed, on a socket that nobody else uses any more.
    ///
    /// libssh2 does not free one that has a packet sent in part, as that cannot be given up. The
    /// socket's descriptor is given to another where the rest is taken, and whose end is there.
    pub(super) fn bury(&mut self, socket: &mut OwnedFd) -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        nix::unistd::dup2(&near, socket)?;
        drop(near);
        // `far` only ever takes: all that can be under way fits into its buffer.
        far.shutdown(std::net::Shutdown::Write)?;
        for pipe in self.pipes.values_mut() {
            pipe.finish();
        }
        if let Some(opening) = self.openings.front_mut() {
            let _ = opening.step(&self.session);
        }
        self.pipes.clear();
        self.openings.clear();
        Ok(())
    }
}

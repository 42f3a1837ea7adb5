//! Connections whose hello has not come. They cost no thread, and a bounded number of descriptors:
//! where that many wait already, the user who has most of them loses the oldest.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::errno::Errno;

use super::{
    budget::{Account, Held},
    events::Peer,
    exit::Exit,
    streams::Streams,
};

/// A connection without a hello.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) peer: Peer,
    pub(super) streams: Streams,
    pub(super) account: Account,
    /// Those of its streams.
    pub(super) descriptors: Held,
}

/// The strangers of a server, the oldest first.
#[derive(Debug)]
pub(super) struct Lobby {
    waiting: VecDeque<Stranger>,
    limit: usize,
}

impl Lobby {
    pub(super) fn new(limit: usize) -> Self {
        Self { waiting: VecDeque::new(), limit: limit.max(1) }
    }

    /// Takes in the newest. Gives the one that has to go for it.
    pub(super) fn enter(&mut self, stranger: Stranger) -> Option<Stranger> {
        self.waiting.push_back(stranger);
        if self.waiting.len() <= self.limit {
            return None;
        }
        let mut numbers = HashMap::new();
        for stranger in &self.waiting {
            *numbers.entry(stranger.peer.uid).or_insert(0_usize) += 1;
        }
        // Of several users with as many, the oldest of them all goes.
        let most = numbers.values().copied().max().unwrap_or_default();
        let has_most = |stranger: &Stranger| numbers.get(&stranger.peer.uid) == Some(&most);
        self.waiting.iter().position(has_most).and_then(|at| self.waiting.remove(at))
    }

    /// Takes out the oldest of a user.
    pub(super) fn oldest_of(&mut self, uid: u32) -> Option<Stranger> {
        let at = self.waiting.iter().position(|stranger| stranger.peer.uid == uid)?;
        self.waiting.remove(at)
    }

    /// The streams, for poll(2).
    pub(super) fn streams(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.waiting.iter().map(|stranger| stranger.streams.as_fd())
    }

    /// Takes in what has come from those whose stream is readable; takes out those whose hello is
    /// complete, or cannot be any more. `readable` has a value for each of
    /// [`streams`](Self::streams).
    pub(super) fn advance(&mut self, readable: &[bool]) -> Vec<(Stranger, Result<(), Exit>)> {
        let mut done = Vec::new();
        let mut at = 0;
        let mut readable = readable.iter();
        while let Some(stranger) = self.waiting.get_mut(at) {
            let greeted = match readable.next() {
                Some(true) => stranger.streams.greet(),
                _ => Ok(false),
            };
            let verdict = match greeted {
                Ok(true) => Some(Ok(())),
                Ok(false) => stranger.streams.time_left().err().map(Err),
                Err(exit) => Some(Err(exit)),
            };
            match verdict {
                None => at += 1,
                Some(verdict) => done.extend(self.waiting.remove(at).map(|one| (one, verdict))),
            }
        }
        done
    }

    /// The time until the next of them has had all of its time.
    pub(super) fn time_left(&mut self) -> Option<Duration> {
        self.waiting.iter_mut().map(|one| one.streams.time_left().unwrap_or_default()).min()
    }

    /// Ends all of them.
    pub(super) fn close(&mut self, errno: Errno, text: &str) {
        self.waiting.drain(..).for_each(|stranger| stranger.streams.refuse(errno, text));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Shutdown,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;
    use crate::stub::{
        budget::{Budget, Resource},
        config::Config,
    };

    fn stranger(number: u64, uid: u32) -> (Stranger, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = OwnedFd::from(ours.try_clone().unwrap());
        let streams = Streams::new(ours.into(), output, &Config::default()).unwrap();
        let account = Budget::alone(0).account(uid);
        let descriptors = account.nothing(Resource::Descriptors);
        let peer = Peer::new(number, uid, 0);
        (Stranger { peer, streams, account, descriptors }, theirs)
    }

    #[test]
    fn the_user_with_most_of_them_loses_the_oldest() {
        let mut lobby = Lobby::new(4);
        let mut ends = Vec::new();
        let mut enter = |lobby: &mut Lobby, number, uid| {
            let (stranger, end) = stranger(number, uid);
            ends.push(end);
            lobby.enter(stranger).map(|gone| gone.peer.number)
        };
        assert_eq!(enter(&mut lobby, 1, 7), None);
        for number in 2..=4 {
            assert_eq!(enter(&mut lobby, number, 1000), None);
        }
        // However often that user comes, and however many it had before.
        assert_eq!(enter(&mut lobby, 5, 1000), Some(2));
        assert_eq!(enter(&mut lobby, 6, 1000), Some(3));
        assert_eq!(enter(&mut lobby, 7, 0), Some(4));
        assert_eq!(lobby.oldest_of(7).unwrap().peer.number, 1);
        assert!(lobby.oldest_of(7).is_none());
    }

    #[test]
    fn those_whose_stream_has_ended_are_taken_out() {
        let mut lobby = Lobby::new(4);
        let (first, end) = stranger(1, 0);
        let (second, _end) = stranger(2, 0);
        assert!(lobby.enter(first).is_none() && lobby.enter(second).is_none());
        // A child that another test starts may hold a copy of the end for a moment: no drop ends it then.
        end.shutdown(Shutdown::Both).unwrap();
        let done = lobby.advance(&[true, true]);
        let [(gone, Err(Exit::ClientGone))] = done.as_slice() else { panic!("{done:?}") };
        assert_eq!(gone.peer.number, 1);
        assert!(lobby.time_left().unwrap() > Duration::from_secs(50));
    }
}

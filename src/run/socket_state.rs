//! The state of a program's socket: what it has set, and what has arrived.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::task::JoinHandle;

use super::outcome::errno_of;
use crate::{
    Error, ErrorKind, Event, RemoteSocket,
    client::{DatagramInfo, Destination, options},
    nlmsg::{self, flags, kind, messages},
};

/// Something to receive.
#[derive(Debug)]
pub(super) enum Item {
    Datagram { data: Bytes, info: DatagramInfo },
    Failure(i32),
}

/// What a receive has taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// As many bytes as there is room for.
    pub(super) data: Bytes,
    /// The length of the datagram, or of the part of it that fits.
    pub(super) whole: usize,
    pub(super) info: DatagramInfo,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) socket: Option<Arc<RemoteSocket>>,
    pub(super) pump: Option<JoinHandle<()>>,
    /// Options that the program has set, in order.
    pub(super) options: Vec<(i32, i32, Vec<u8>)>,
    /// Multicast groups, by number.
    pub(super) groups: BTreeSet<u32>,
    /// 0 until the program, or this side for it, has chosen one.
    pub(super) portid: u32,
    pub(super) is_bound: bool,
    pub(super) destination: Destination,
    pub(super) queue: VecDeque<Item>,
    /// Whether a dump has begun and not ended: a local kernel would have its next part at once.
    pub(super) in_dump: bool,
    /// Whether the program's end is readable.
    pub(super) is_readable: bool,
    /// The errno of every call from now on.
    pub(super) over: Option<i32>,
    /// Whether the far end has not opened the socket.
    pub(super) is_refused: bool,
    /// Sends that nobody waits for, and that have no result yet.
    pub(super) unsettled: usize,
    pub(super) receive_timeout: Option<Duration>,
}

impl State {
    pub(super) fn close(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.abort();
        }
        self.socket = None;
        self.is_refused = false;
        self.queue.clear();
        self.in_dump = false;
    }

    /// Binds the socket to a port id, of this side's choice where the program has none. The far kernel's choice
    /// would have to be waited for. Like the kernel's second choices it is none that a process has; a
    /// taken one is met once in a billion times, and told as EADDRINUSE.
    pub(super) fn bound(&mut self) {
        self.choose();
        self.is_bound = true;
    }

    pub(super) fn choose(&mut self) {
        if self.portid == 0 {
            let random = RandomState::new().build_hasher().finish() as u32;
            self.portid = 1 << 31 | random >> 2;
        }
    }

    pub(super) fn switch(&self, level: i32, name: i32) -> bool {
        let set = self.options.iter().find(|(of, known, _)| (*of, *known) == (level, name));
        set.is_some_and(|(_, _, value)| value.iter().any(|byte| *byte != 0))
    }

    pub(super) fn take_in(&mut self, event: Result<Event, Error>) {
        match event {
            // To the kernel, a socket without a port id is the sender of its events.
            Ok(Event::Datagram(datagram)) if datagram.info.group != 0 && !self.is_bound => {}
            Ok(Event::Datagram(datagram)) => {
                self.queue.push_back(Item::Datagram { data: datagram.data, info: datagram.info });
            }
            Ok(Event::Lost { .. }) => {
                if !self.switch(options::SOL_NETLINK, options::NO_ENOBUFS) {
                    self.queue.push_back(Item::Failure(libc::ENOBUFS));
                }
            }
            Err(error) if error.kind() == ErrorKind::Disconnected => {
                self.over = Some(errno_of(&error));
            }
            // Whoever opens or uses the socket gets the error; another bind(2) may succeed.
            Err(error) if error.kind() == ErrorKind::Open => self.is_refused = true,
            Err(error) => self.queue.push_back(Item::Failure(errno_of(&error))),
        }
    }

    /// Takes in the next that has arrived, if nothing is left of what was taken in before.
    pub(super) fn refill(&mut self) {
        while self.queue.is_empty() && self.over.is_none() && !self.is_refused {
            let Some(socket) = self.socket.clone() else { return };
            match socket.try_recv() {
                Ok(None) => return,
                Ok(Some(event)) => self.take_in(Ok(event)),
                Err(error) => self.take_in(Err(error)),
            }
        }
    }

    pub(super) fn take(&mut self, room: usize, peek: bool) -> Result<Option<Taken>, i32> {
        let (data, info) = match self.queue.front_mut() {
            None => return self.over.map_or(Ok(None), Err),
            Some(Item::Failure(errno)) => {
                let errno = *errno;
                if !peek {
                    self.queue.pop_front();
                }
                return Err(errno);
            }
            Some(Item::Datagram { data, info }) => (data, *info),
        };
        let whole = part(data, room);
        let taken = Taken { data: data.slice(..whole.min(room)), whole, info };
        if peek {
            return Ok(Some(taken));
        }
        let consumed = data.split_to(whole);
        if !data.has_remaining() {
            self.queue.pop_front();
        }
        let last = messages(&consumed).last().map(|message| message.header);
        if let Some(header) = last
            && info.group == 0
            && header.flags & flags::MULTI != 0
        {
            self.in_dump = header.kind != kind::DONE;
        }
        Ok(Some(taken))
    }
}

/// Bytes of a datagram that one receive with so much room takes: all, or as many whole messages of a dump as
/// fit. The stub offers the kernel more room than the program does, and the kernel makes the parts of a dump
/// after the largest room that it was offered.
fn part(datagram: &[u8], room: usize) -> usize {
    if datagram.len() <= room {
        return datagram.len();
    }
    let mut fits = 0;
    for message in messages(datagram) {
        if message.header.flags & flags::MULTI == 0 {
            return datagram.len();
        }
        let end = fits + nlmsg::aligned(message.header.length as usize);
        if end > room {
            break;
        }
        fits = end;
    }
    if fits == 0 { datagram.len() } else { fits.min(datagram.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nlmsg::Builder;

    fn message(multi: bool, bytes: usize) -> Vec<u8> {
        let flags = if multi { flags::MULTI } else { 0 };
        Builder::new(16, flags).put(&vec![0; bytes - 16]).finish()
    }

    #[test]
    fn parts_of_a_dump_are_whole_messages() {
        let dump = [message(true, 100), message(true, 200), message(true, 52)].concat();
        for (room, length) in [
            (1000, 352),
            (352, 352),
            (351, 300),
            (300, 300),
            (299, 100),
            (100, 100),
            (99, 352),
            (0, 352),
        ] {
            assert_eq!(part(&dump, room), length, "{room}");
        }
        let event = [message(false, 100), message(false, 200)].concat();
        assert_eq!(part(&event, 150), 300);
    }
}

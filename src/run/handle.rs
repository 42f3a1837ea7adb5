//! A netlink socket of a program: a local handle, and the far socket behind it.
//!
//! The program holds one end of a pair of unix sockets. Nothing but readiness passes through it: a byte is in
//! it while there is something to receive, so that poll(2), select(2) and epoll(7) work in the kernel. Every
//! other call on it is made here.

use std::{
    collections::{BTreeSet, VecDeque},
    os::fd::{AsRawFd, OwnedFd},
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use tokio::{io::unix::AsyncFd, sync::Notify, task::JoinHandle};

use super::sys;

use crate::{
    Error, ErrorKind, Event, RemoteSocket, SocketBuilder,
    client::{DatagramInfo, Destination, options},
    errno,
    nlmsg::{self, flags, kind, messages},
    sync::lock,
};

/// The result of a call: its value, or an errno.
pub(super) type Outcome = Result<i64, i32>;

pub(super) fn number(errno: Errno) -> i32 {
    errno as i32
}

/// The errno that a program gets for an error of the far end or of the connection.
pub(super) fn errno_of(error: &Error) -> i32 {
    match (error.kind(), error.errno()) {
        (ErrorKind::Disconnected, _) => libc::ECONNRESET,
        (_, Some(errno)) => errno,
        (ErrorKind::Timeout, None) => libc::ETIMEDOUT,
        (ErrorKind::Invalid, None) => libc::EINVAL,
        // The far end allows no more sockets.
        (ErrorKind::Open, None) => libc::EMFILE,
        _ => errno::EREMOTEIO,
    }
}

/// Something to receive.
#[derive(Debug)]
enum Item {
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

pub(super) struct Handle {
    pub(super) inode: u64,
    pub(super) protocol: u32,
    /// `SOCK_RAW` or `SOCK_DGRAM`.
    pub(super) kind: i32,
    /// This side's end of the pair.
    near: AsyncFd<OwnedFd>,
    /// The socket's namespace, and options that every socket of a program has.
    template: SocketBuilder,
    state: Mutex<State>,
    /// Told when something to receive has come.
    arrived: Notify,
    /// Told when all that had come was received.
    taken: Arc<Notify>,
    /// Whether the program's end is set to not block.
    nonblocking: AtomicBool,
    /// Whether a program waits for readiness: only then the handles show it.
    shown: Arc<AtomicBool>,
    /// Told when a send that nobody waits for has its result.
    settled: Notify,
}

#[derive(Default)]
struct State {
    socket: Option<Arc<RemoteSocket>>,
    pump: Option<JoinHandle<()>>,
    /// Options that the program has set, in order.
    options: Vec<(i32, i32, Vec<u8>)>,
    /// Multicast groups, by number.
    groups: BTreeSet<u32>,
    portid: u32,
    is_bound: bool,
    destination: Destination,
    queue: VecDeque<Item>,
    /// Whether a dump has begun and not ended: a local kernel would have its next part at once.
    in_dump: bool,
    /// Whether the program's end is readable.
    is_readable: bool,
    /// The errno of every call from now on.
    over: Option<i32>,
    /// Whether the far end has not opened the socket.
    is_refused: bool,
    /// Sends that nobody waits for, and that have no result yet.
    unsettled: usize,
    receive_timeout: Option<Duration>,
}

/// Options of SOL_NETLINK that are on or off, and that no kernel refuses.
const SWITCHES: [i32; 6] = [
    options::PKTINFO,
    options::BROADCAST_ERROR,
    options::NO_ENOBUFS,
    options::CAP_ACK,
    options::EXT_ACK,
    options::GET_STRICT_CHK,
];

impl Handle {
    /// A handle, and the program's end of it.
    pub(super) fn new(
        template: SocketBuilder,
        protocol: u32,
        kind: i32,
        is_nonblocking: bool,
        shown: Arc<AtomicBool>,
    ) -> Result<(Arc<Self>, OwnedFd), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        if !is_nonblocking {
            use nix::fcntl::{FcntlArg, OFlag, fcntl};
            fcntl(&far, FcntlArg::F_SETFL(OFlag::empty()))?;
        }
        let inode = nix::sys::stat::fstat(&far)?.st_ino;
        let near = sys::watched(near)?;
        let handle = Self {
            inode,
            protocol,
            kind,
            near,
            // The stub switches extended acks on by itself; the buffers are the kernel's.
            template: template.receive_buffer(0).netlink_option(options::EXT_ACK, false),
            state: Mutex::default(),
            arrived: Notify::new(),
            taken: Arc::new(Notify::new()),
            nonblocking: AtomicBool::new(is_nonblocking),
            shown,
            settled: Notify::new(),
        };
        Ok((Arc::new(handle), far))
    }

    /// Waits until no process has the program's end any more.
    pub(super) async fn closed(&self) {
        loop {
            let Ok(mut ready) = self.near.readable().await else { return };
            let mut polled =
                [PollFd::new(std::os::fd::AsFd::as_fd(self.near.get_ref()), PollFlags::POLLIN)];
            let _ = poll(&mut polled, PollTimeout::ZERO);
            let events = polled.iter().filter_map(|polled| polled.revents()).next();
            if events.is_none_or(|events| events.contains(PollFlags::POLLHUP)) {
                return;
            }
            ready.clear_ready();
        }
    }

    /// Begins to open the far socket, unless that has begun; does not wait for it.
    fn open(self: &Arc<Self>) -> Result<Arc<RemoteSocket>, i32> {
        let mut state = lock(&self.state);
        if let Some(errno) = state.over {
            return Err(errno);
        }
        if let Some(socket) = &state.socket {
            return Ok(Arc::clone(socket));
        }
        let mut builder = self.template.clone().portid(state.portid);
        for (level, name, value) in &state.options {
            builder = builder.option(*level, *name, value.clone());
        }
        for group in &state.groups {
            builder = builder.group(*group);
        }
        let socket = Arc::new(builder.begin().map_err(|error| errno_of(&error))?);
        state.socket = Some(Arc::clone(&socket));
        let pump = Self::pump(Arc::downgrade(self), Arc::clone(&socket), Arc::clone(&self.taken));
        state.pump = Some(tokio::spawn(pump));
        Ok(socket)
    }

    /// Opens the far socket and waits for it. What failed is as if it had not been tried.
    async fn opened(self: &Arc<Self>) -> Result<Arc<RemoteSocket>, i32> {
        let socket = self.open()?;
        match socket.opened().await {
            Ok(_) => Ok(socket),
            Err(error) => {
                let mut state = lock(&self.state);
                if error.kind() != ErrorKind::Disconnected {
                    state.close();
                }
                Err(errno_of(&error))
            }
        }
    }

    /// Waits until the far socket is open.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), i32> {
        self.opened().await.map(drop)
    }

    /// Takes in what arrives, so that the program's end becomes readable.
    async fn pump(handle: Weak<Self>, socket: Arc<RemoteSocket>, taken: Arc<Notify>) {
        loop {
            let arrival = std::future::poll_fn(|cx| match handle.upgrade() {
                Some(handle) => handle.poll_arrival(&socket, cx),
                None => Poll::Ready(false),
            });
            if !arrival.await {
                return;
            }
            // What arrives now waits in the socket, whose window is bounded.
            let has_items =
                || handle.upgrade().is_some_and(|handle| !lock(&handle.state).queue.is_empty());
            while has_items() {
                taken.notified().await;
            }
        }
    }

    /// Whether more may arrive, once something has.
    fn poll_arrival(&self, socket: &RemoteSocket, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.queue.is_empty() {
            match socket.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(event) => state.take_in(event),
            }
        }
        self.show(&mut state, || None);
        drop(state);
        self.arrived.notify_waiters();
        let state = lock(&self.state);
        Poll::Ready(state.over.is_none() && !state.is_refused)
    }

    /// Makes the program's end readable, or not, as it should be. `copy` gives a copy of that end, by which
    /// the byte is taken out.
    fn show(&self, state: &mut State, copy: impl FnOnce() -> Option<OwnedFd>) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let has_news = !state.queue.is_empty() || state.in_dump || state.over.is_some();
        let should = has_news && self.shown.load(Ordering::Relaxed);
        if should && !state.is_readable {
            state.is_readable = send(self.near.as_raw_fd(), &[0], flags).is_ok();
        } else if !should
            && state.is_readable
            && let Some(copy) = copy()
        {
            state.is_readable = recv(copy.as_raw_fd(), &mut [0; 8], flags).is_err();
        }
    }

    /// Sends a datagram, waits for the far kernel's result, and takes in what has come with it.
    pub(super) async fn send(
        self: &Arc<Self>,
        data: Vec<u8>,
        destination: Option<Destination>,
    ) -> Outcome {
        let socket = self.open()?;
        let destination = destination.unwrap_or_else(|| lock(&self.state).destination);
        let sent = socket.send_confirmed_to(&data, destination).await;
        let mut state = lock(&self.state);
        state.is_bound = true;
        state.refill();
        self.show(&mut state, || None);
        drop(state);
        match sent {
            Ok(_) => Ok(data.len() as i64),
            Err(error) => Err(errno_of(&error)),
        }
    }

    /// Sends a datagram, and does not wait for the result: a program that waits for the answer gets an error there.
    pub(super) fn send_unsettled(
        self: &Arc<Self>,
        data: Vec<u8>,
        destination: Option<Destination>,
    ) -> Outcome {
        self.open()?;
        let length = data.len() as i64;
        {
            let mut state = lock(&self.state);
            state.unsettled += 1;
            state.is_bound = true;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let sent = this.send(data, destination).await;
            let mut state = lock(&this.state);
            state.unsettled -= 1;
            if let Err(errno) = sent
                && state.over.is_none()
            {
                state.queue.push_back(Item::Failure(errno));
                this.show(&mut state, || None);
            }
            drop(state);
            this.arrived.notify_waiters();
            this.settled.notify_waiters();
        });
        Ok(length)
    }

    /// Waits until every send has its result, and what came with it has been taken in.
    pub(super) async fn settle(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            if lock(&self.state).unsettled == 0 {
                return;
            }
            settled.await;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        lock(&self.state).unsettled == 0
    }

    /// Shows readiness as it is now.
    pub(super) fn show_now(&self) {
        let mut state = lock(&self.state);
        state.refill();
        self.show(&mut state, || None);
    }

    /// Takes what a receive with so much room gets; `None` if there is nothing. `copy` is that of
    /// [`show`](Self::show).
    pub(super) fn take(
        &self,
        room: usize,
        peek: bool,
        copy: impl FnOnce() -> Option<OwnedFd>,
    ) -> Result<Option<Taken>, i32> {
        let mut state = lock(&self.state);
        state.refill();
        let result = state.take(room, peek);
        if !peek {
            state.refill();
        }
        self.show(&mut state, copy);
        if state.queue.is_empty() {
            self.taken.notify_one();
        }
        result
    }

    /// Waits until something may have arrived.
    pub(super) async fn arrival(self: &Arc<Self>) -> Result<(), i32> {
        let mut arrived = pin!(self.arrived.notified());
        arrived.as_mut().enable();
        self.open()?;
        {
            let mut state = lock(&self.state);
            state.refill();
            if !state.queue.is_empty() || state.over.is_some() {
                return Ok(());
            }
        }
        arrived.await;
        Ok(())
    }

    /// Takes in that the program sets whether the socket blocks, which the kernel does on the program's end, too.
    pub(super) fn set_nonblocking(&self, is_nonblocking: bool) {
        self.nonblocking.store(is_nonblocking, Ordering::Relaxed);
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Whether a dump has begun and not ended.
    pub(super) fn in_dump(&self) -> bool {
        lock(&self.state).in_dump
    }

    /// Takes in a SO_RCVTIMEO, which the kernel sets on the program's end, too.
    pub(super) fn set_receive_timeout(&self, value: &[u8]) {
        if let Some(timeout) = time_of(value) {
            lock(&self.state).receive_timeout = timeout;
        }
    }

    pub(super) fn receive_timeout(&self) -> Option<Duration> {
        lock(&self.state).receive_timeout
    }

    pub(super) fn is_on(&self, name: i32) -> bool {
        lock(&self.state).switch(options::SOL_NETLINK, name)
    }

    pub(super) fn has_credentials(&self) -> bool {
        lock(&self.state).switch(libc::SOL_SOCKET, libc::SO_PASSCRED)
    }

    /// bind(2).
    pub(super) async fn bind(self: &Arc<Self>, portid: u32, mask: u32) -> Outcome {
        // No socket that is bound has port id 0.
        if lock(&self.state).is_bound && (portid == 0 || self.opened().await?.portid() != portid) {
            return Err(libc::EINVAL);
        }
        let waits = {
            let mut state = lock(&self.state);
            if !state.is_bound && portid != 0 {
                // A socket that was opened for its options has another port id.
                state.close();
                state.portid = portid;
            }
            portid != 0 || mask != 0 || state.socket.is_some()
        };
        let before = lock(&self.state).groups.clone();
        let is_open = lock(&self.state).socket.is_some();
        for group in 1..=32 {
            let is_wanted = mask & (1 << (group - 1)) != 0;
            if is_wanted == before.contains(&group) {
                continue;
            }
            if is_open {
                self.member(group, is_wanted).await?;
            } else if is_wanted {
                // In the frame that opens the socket.
                lock(&self.state).groups.insert(group);
            } else {
                lock(&self.state).groups.remove(&group);
            }
        }
        let opened = if waits { self.opened().await.map(drop) } else { self.open().map(drop) };
        let mut state = lock(&self.state);
        if opened.is_err() {
            (state.portid, state.groups) = (0, before);
        }
        opened?;
        state.is_bound = true;
        Ok(0)
    }

    /// Joins or leaves a multicast group.
    async fn member(self: &Arc<Self>, group: u32, joins: bool) -> Outcome {
        let is_open = lock(&self.state).socket.is_some();
        let result = match (is_open, joins) {
            // In the frame that opens the socket.
            (false, true) => {
                lock(&self.state).groups.insert(group);
                let opened = self.opened().await;
                opened.map(drop).inspect_err(|_| {
                    lock(&self.state).groups.remove(&group);
                })
            }
            (_, true) => self.opened().await?.join(group).await.map_err(|error| errno_of(&error)),
            (_, false) => self.opened().await?.leave(group).await.map_err(|error| errno_of(&error)),
        };
        result?;
        let groups = &mut lock(&self.state).groups;
        if joins {
            groups.insert(group)
        } else {
            groups.remove(&group)
        };
        Ok(0)
    }

    /// connect(2).
    pub(super) fn connect(self: &Arc<Self>, destination: Destination) -> Outcome {
        self.open()?;
        let mut state = lock(&self.state);
        state.destination = destination;
        state.is_bound = true;
        Ok(0)
    }

    /// The port id and groups of the program's socket, and those that it is connected to.
    pub(super) async fn names(self: &Arc<Self>) -> Result<[(u32, u32); 2], i32> {
        let is_bound = lock(&self.state).is_bound;
        let portid = if is_bound { self.opened().await?.portid() } else { 0 };
        let state = lock(&self.state);
        let mask = state.groups.iter().filter(|group| **group <= 32);
        let mask = mask.fold(0, |mask, group| mask | 1 << (group - 1));
        Ok([(portid, mask), (state.destination.portid, state.destination.groups)])
    }

    /// setsockopt(2).
    pub(super) async fn set_option(
        self: &Arc<Self>,
        level: i32,
        name: i32,
        value: Vec<u8>,
    ) -> Outcome {
        // The kernel takes a short value of SOL_NETLINK for 0.
        let int = || match nlmsg::read_u32(&value, 0) {
            None if level == options::SOL_NETLINK => Ok(0),
            value => value.ok_or(libc::EINVAL),
        };
        match (level, name) {
            (options::SOL_NETLINK, options::ADD_MEMBERSHIP) => {
                return self.member(int()?, true).await;
            }
            (options::SOL_NETLINK, options::DROP_MEMBERSHIP) => {
                return self.member(int()?, false).await;
            }
            _ => {}
        }
        let value = int()?.to_ne_bytes().to_vec();
        let is_harmless = match level {
            options::SOL_NETLINK => SWITCHES.contains(&name),
            libc::SOL_SOCKET => matches!(name, libc::SO_SNDBUF | libc::SO_RCVBUF),
            _ => false,
        };
        let here = level == libc::SOL_SOCKET
            && matches!(name, libc::SO_PASSCRED | libc::SO_REUSEADDR | libc::SO_TIMESTAMP);
        let is_open = lock(&self.state).socket.is_some();
        // Options that nothing can refuse travel in the frame that opens the socket.
        if !here && (is_open || !is_harmless) {
            let set = self.opened().await?.set_option(level, name, &value).await;
            set.map_err(|error| errno_of(&error))?;
        }
        let options = &mut lock(&self.state).options;
        options.retain(|(of, known, _)| (*of, *known) != (level, name));
        options.push((level, name, value));
        Ok(0)
    }

    /// SO_ATTACH_FILTER.
    pub(super) async fn attach_filter(
        self: &Arc<Self>,
        instructions: &[crate::client::FilterInstruction],
    ) -> Outcome {
        let attached = self.opened().await?.attach_filter(instructions).await;
        attached.map(|()| 0).map_err(|error| errno_of(&error))
    }

    /// getsockopt(2), with room for so many bytes.
    pub(super) async fn option(
        self: &Arc<Self>,
        level: i32,
        name: i32,
        room: u32,
    ) -> Result<Vec<u8>, i32> {
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => int(self.kind),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(libc::AF_NETLINK),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(self.protocol as i32),
            (libc::SOL_SOCKET, libc::SO_ERROR | libc::SO_ACCEPTCONN) => int(0),
            (libc::SOL_SOCKET, libc::SO_PASSCRED | libc::SO_REUSEADDR | libc::SO_TIMESTAMP) => {
                int(lock(&self.state).switch(level, name).into())
            }
            (options::SOL_NETLINK, name) if SWITCHES.contains(&name) => {
                int(lock(&self.state).switch(level, name).into())
            }
            _ => {
                let value = self.opened().await?.option(level, name, room).await;
                value.map(|value| value.to_vec()).map_err(|error| errno_of(&error))
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.state).close();
    }
}

/// A `struct timeval`: `None` inside for no limit.
fn time_of(value: &[u8]) -> Option<Option<Duration>> {
    let long = |at: usize| value.get(at..at + 8)?.try_into().ok().map(i64::from_ne_bytes);
    let (seconds, micros) = (long(0)?, u32::try_from(long(8)?).ok()?);
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let time = Duration::new(seconds, micros.checked_mul(1000)?);
    Some((!time.is_zero()).then_some(time))
}

impl State {
    fn close(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.abort();
        }
        self.socket = None;
        self.is_refused = false;
        self.queue.clear();
        self.in_dump = false;
    }

    fn switch(&self, level: i32, name: i32) -> bool {
        let set = self.options.iter().find(|(of, known, _)| (*of, *known) == (level, name));
        set.is_some_and(|(_, _, value)| value.iter().any(|byte| *byte != 0))
    }

    fn take_in(&mut self, event: Result<Event, Error>) {
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
    fn refill(&mut self) {
        while self.queue.is_empty() && self.over.is_none() && !self.is_refused {
            let Some(socket) = self.socket.clone() else { return };
            match socket.try_recv() {
                Ok(None) => return,
                Ok(Some(event)) => self.take_in(Ok(event)),
                Err(error) => self.take_in(Err(error)),
            }
        }
    }

    fn take(&mut self, room: usize, peek: bool) -> Result<Option<Taken>, i32> {
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

    #[test]
    fn time_outs() {
        let time = |seconds: i64, micros: i64| {
            time_of(&[seconds.to_ne_bytes(), micros.to_ne_bytes()].concat())
        };
        assert_eq!(time(0, 0), Some(None));
        assert_eq!(time(1, 500_000), Some(Some(Duration::from_millis(1500))));
        assert_eq!(time(0, -1), None);
        assert_eq!(time_of(&[0; 8]), None);
    }
}

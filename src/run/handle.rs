//! A netlink socket of a program: a local handle, and the far socket behind it.
//!
//! The program holds one end of a pair of unix sockets. Nothing but readiness passes through it: a byte is in
//! it while there is something to receive, so that poll(2), select(2) and epoll(7) work in the kernel. Every
//! other call on it is made here.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use tokio::{io::unix::AsyncFd, sync::Notify};

use super::{
    outcome::{Outcome, errno_of},
    socket_state::{Item, State, Taken},
    sys,
};
use crate::{
    ErrorKind, RemoteSocket, SocketBuilder,
    client::{Destination, options},
    sync::lock,
};

pub(super) struct Handle {
    pub(super) inode: u64,
    pub(super) protocol: u32,
    /// `SOCK_RAW` or `SOCK_DGRAM`.
    pub(super) kind: i32,
    /// This side's end of the pair.
    near: AsyncFd<OwnedFd>,
    /// The socket's namespace, and options that every socket of a program has.
    template: SocketBuilder,
    pub(super) state: Mutex<State>,
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
            template,
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
    pub(super) fn open(self: &Arc<Self>) -> Result<Arc<RemoteSocket>, i32> {
        let mut state = lock(&self.state);
        if let Some(errno) = state.over {
            return Err(errno);
        }
        if let Some(socket) = &state.socket {
            return Ok(Arc::clone(socket));
        }
        state.choose();
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
    pub(super) async fn opened(self: &Arc<Self>) -> Result<Arc<RemoteSocket>, i32> {
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
        let destination = self.destination(destination);
        let sent = socket.send_confirmed_to(&data, destination).await;
        let mut state = lock(&self.state);
        state.bound();
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
            state.bound();
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

    /// Where a send goes, by its own address or by that of connect(2).
    pub(super) fn destination(&self, to: Option<Destination>) -> Destination {
        to.unwrap_or_else(|| lock(&self.state).destination)
    }

    pub(super) fn is_bound(&self) -> bool {
        lock(&self.state).is_bound
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

    pub(super) fn receive_timeout(&self) -> Option<Duration> {
        lock(&self.state).receive_timeout
    }

    pub(super) fn is_on(&self, name: i32) -> bool {
        lock(&self.state).switch(options::SOL_NETLINK, name)
    }

    pub(super) fn has_credentials(&self) -> bool {
        lock(&self.state).switch(libc::SOL_SOCKET, libc::SO_PASSCRED)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.state).close();
    }
}

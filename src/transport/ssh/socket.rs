//! The socket below a session, as libssh2 needs it: a plain descriptor that it reads and writes
//! by itself, and that is waited on here.

#![forbid(unsafe_code)]

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_ssh2_lite::{
    AsyncSessionStream,
    ssh2::{self, BlockDirections},
};
use async_trait::async_trait;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::Shutdown,
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

use super::fault::would_block;

/// A socket that libssh2 uses. Clones are the same socket.
///
/// As the stream of an [`AsyncSession`](async_ssh2_lite::AsyncSession) it serves one operation at
/// a time, which is all there is until a session is authenticated. Its readiness is cleared before
/// each further try; async-ssh2-lite's own streams never clear it, and sleep instead.
#[derive(Clone)]
pub(super) struct Wire(Arc<Inner>);

struct Inner {
    // Freed before its descriptor is closed.
    session: OnceLock<ssh2::Session>,
    socket: Socket,
}

/// Registered with the runtime, which neither reads nor writes it.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Self {
        Self(Arc::new(Inner { session: OnceLock::new(), socket }))
    }

    /// The session on it, once there was an operation. async-ssh2-lite hands it to its stream
    /// only, and has no agent of one's own choice, nor threads, nor a way to share it soundly.
    pub(super) fn session(&self) -> Option<ssh2::Session> {
        self.0.session.get().cloned()
    }

    /// Whether something may have arrived; clear it before looking.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.poll_write_ready(cx),
            Socket::Unix(socket) => socket.poll_write_ready(cx),
        }
    }

    /// Makes the runtime forget that it is ready, up to the next event.
    pub(super) fn clear(&self, interest: Interest) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match &self.0.socket {
            Socket::Tcp(socket) => socket.try_io(interest, nothing),
            Socket::Unix(socket) => socket.try_io(interest, nothing),
        };
    }

    fn asked_now(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.0.socket.as_fd(), flags)];
        matches!(nix::poll::poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Whether the far end has closed it, if in one direction only.
    pub(super) fn is_closed(&self) -> bool {
        self.asked_now(PollFlags::from_bits_retain(libc::POLLRDHUP))
    }

    /// Whether something has arrived that libssh2 has not taken.
    pub(super) fn is_readable(&self) -> bool {
        self.asked_now(PollFlags::POLLIN)
    }

    /// Whether a small packet goes out whole: a writable socket has a third of its buffer free.
    /// Asked afresh, since the runtime's readiness may be stale.
    pub(super) fn is_writable(&self) -> bool {
        self.asked_now(PollFlags::POLLOUT)
    }

    /// Ends both directions for everyone.
    pub(super) fn hang_up(&self) {
        let _ = nix::sys::socket::shutdown(self.as_raw_fd(), Shutdown::Both);
    }

    /// The descriptor, no longer waited on, if this is the last clone.
    pub(super) fn into_fd(self) -> Option<OwnedFd> {
        match Arc::into_inner(self.0)?.socket {
            Socket::Tcp(socket) => socket.into_std().map(OwnedFd::from).ok(),
            Socket::Unix(socket) => socket.into_std().map(OwnedFd::from).ok(),
        }
    }

    /// Waits until an operation that would block is worth another try.
    pub(super) async fn wait(&self, session: &ssh2::Session) -> io::Result<()> {
        poll_fn(|cx| self.poll_wait(cx, &session.block_directions())).await
    }

    fn poll_wait(
        &self,
        cx: &mut Context<'_>,
        directions: &BlockDirections,
    ) -> Poll<io::Result<()>> {
        let mut found = false;
        if *directions != BlockDirections::Inbound
            && let Poll::Ready(ready) = self.poll_writable(cx)
        {
            ready?;
            self.clear(Interest::WRITABLE);
            found = true;
        }
        if *directions != BlockDirections::Outbound
            && let Poll::Ready(ready) = self.poll_readable(cx)
        {
            ready?;
            self.clear(Interest::READABLE);
            found = true;
        }
        // libssh2 may stop short of the end of what has arrived, in the midst of a packet.
        found |= *directions != BlockDirections::Outbound && self.is_readable();
        if found { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.0.socket.as_fd().as_raw_fd()
    }
}

#[async_trait]
impl AsyncSessionStream for Wire {
    async fn x_with<R>(
        &self,
        mut op: impl FnMut() -> Result<R, ssh2::Error> + Send,
        session: &ssh2::Session,
        _: BlockDirections,
        _: Option<Duration>,
    ) -> Result<R, async_ssh2_lite::Error> {
        self.0.session.get_or_init(|| session.clone());
        loop {
            // What is not `Send` is gone before the wait.
            match op() {
                Err(error) if would_block(&error) => {}
                done => return Ok(done?),
            }
            self.wait(session).await?;
        }
    }

    fn poll_x_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut op: impl FnMut() -> Result<R, io::Error> + Send,
        session: &ssh2::Session,
        _: BlockDirections,
        _: Option<Duration>,
    ) -> Poll<Result<R, io::Error>> {
        loop {
            match op() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            ready!(self.poll_wait(cx, &session.block_directions()))?;
        }
    }
}

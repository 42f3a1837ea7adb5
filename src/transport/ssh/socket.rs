//! The socket below a session: libssh2 reads and writes its descriptor, this module waits for it.

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
/// a time, all that is needed until a session is authenticated. It clears its readiness before each
/// further try; async-ssh2-lite's own streams never clear it, and sleep instead.
#[derive(Clone)]
pub(super) struct SshSocket(Arc<SessionAndSocket>);

struct SessionAndSocket {
    // The first field: the session has to be freed before its descriptor is closed.
    session: OnceLock<ssh2::Session>,
    socket: StreamSocket,
}

/// A connected socket, registered with the runtime, which neither reads nor writes it.
pub(super) enum StreamSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl SshSocket {
    pub(super) fn new(socket: StreamSocket) -> Self {
        Self(Arc::new(SessionAndSocket { session: OnceLock::new(), socket }))
    }

    /// The session on this socket, after its first operation. async-ssh2-lite shows it to the stream
    /// alone; its own API has no choice of agent, no threads, and no sound sharing.
    pub(super) fn session(&self) -> Option<ssh2::Session> {
        self.0.session.get().cloned()
    }

    /// Ready when data may have arrived; to be cleared before libssh2 looks.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            StreamSocket::Tcp(socket) => socket.poll_read_ready(cx),
            StreamSocket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            StreamSocket::Tcp(socket) => socket.poll_write_ready(cx),
            StreamSocket::Unix(socket) => socket.poll_write_ready(cx),
        }
    }

    /// Makes the runtime forget the socket's readiness, up to the next event.
    pub(super) fn clear_ready(&self, interest: Interest) {
        let would_block = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match &self.0.socket {
            StreamSocket::Tcp(socket) => socket.try_io(interest, would_block),
            StreamSocket::Unix(socket) => socket.try_io(interest, would_block),
        };
    }

    fn polls_as(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.0.socket.as_fd(), flags)];
        matches!(nix::poll::poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Whether the far end has closed the connection, or its sending direction alone.
    pub(super) fn is_closed(&self) -> bool {
        self.polls_as(PollFlags::from_bits_retain(libc::POLLRDHUP))
    }

    /// Whether data has arrived that libssh2 has not read.
    pub(super) fn is_readable(&self) -> bool {
        self.polls_as(PollFlags::POLLIN)
    }

    /// Whether a small packet can be sent whole: a writable socket has a third of its buffer free.
    /// Asks the kernel, since the runtime's readiness may be stale.
    pub(super) fn is_writable(&self) -> bool {
        self.polls_as(PollFlags::POLLOUT)
    }

    /// Whether the other end is this machine's, by its address.
    pub(super) fn is_local(&self) -> bool {
        match &self.0.socket {
            StreamSocket::Tcp(socket) => {
                socket.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            StreamSocket::Unix(_) => false,
        }
    }

    /// Shuts both directions down, for all clones.
    pub(super) fn hang_up(&self) {
        let _ = nix::sys::socket::shutdown(self.as_raw_fd(), Shutdown::Both);
    }

    /// The descriptor, deregistered from the runtime, if this is the last clone.
    pub(super) fn into_fd(self) -> Option<OwnedFd> {
        match Arc::into_inner(self.0)?.socket {
            StreamSocket::Tcp(socket) => socket.into_std().map(OwnedFd::from).ok(),
            StreamSocket::Unix(socket) => socket.into_std().map(OwnedFd::from).ok(),
        }
    }

    /// Waits until an operation that would block is worth another try.
    pub(super) async fn wait_for(&self, session: &ssh2::Session) -> io::Result<()> {
        poll_fn(|cx| self.poll_wait(cx, &session.block_directions())).await
    }

    fn poll_wait(
        &self,
        cx: &mut Context<'_>,
        directions: &BlockDirections,
    ) -> Poll<io::Result<()>> {
        let mut is_ready = false;
        if *directions != BlockDirections::Inbound
            && let Poll::Ready(ready) = self.poll_writable(cx)
        {
            ready?;
            self.clear_ready(Interest::WRITABLE);
            is_ready = true;
        }
        if *directions != BlockDirections::Outbound
            && let Poll::Ready(ready) = self.poll_readable(cx)
        {
            ready?;
            self.clear_ready(Interest::READABLE);
            is_ready = true;
        }
        // libssh2 may stop in the midst of a packet, with data left in the socket.
        is_ready |= *directions != BlockDirections::Outbound && self.is_readable();
        if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsRawFd for SshSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.socket.as_fd().as_raw_fd()
    }
}

#[async_trait]
impl AsyncSessionStream for SshSocket {
    async fn x_with<R>(
        &self,
        mut op: impl FnMut() -> Result<R, ssh2::Error> + Send,
        session: &ssh2::Session,
        _: BlockDirections,
        _: Option<Duration>,
    ) -> Result<R, async_ssh2_lite::Error> {
        self.0.session.get_or_init(|| session.clone());
        loop {
            // An error is not `Send`: it has to be dropped before the wait.
            match op() {
                Err(error) if would_block(&error) => {}
                done => return Ok(done?),
            }
            self.wait_for(session).await?;
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

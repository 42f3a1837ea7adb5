//! A unix stream socket, on which `nlr serve` listens.

use std::{
    io::{self, ErrorKind as IoErrorKind, Read, Write},
    net::Shutdown,
    os::unix::{fs::FileTypeExt, net},
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    time::sleep,
};

use crate::{Error, ErrorKind};

/// A connected unix socket.
///
/// The stream registers for writability only while a write waits for buffer space. tokio's own stream
/// is always registered, and wakes its task twice for each request and reply, this stream once.
/// Flushing does nothing; dropping the stream closes the socket.
#[derive(Debug)]
pub struct UnixStream {
    socket: AsyncFd<net::UnixStream>,
    /// A duplicate registered for writability, while a write waits.
    write_waiter: Option<AsyncFd<net::UnixStream>>,
}

impl UnixStream {
    /// Takes over a connected socket, such as one of a pair, and makes it non-blocking.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(socket: net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: register(socket, Interest::READABLE)?, write_waiter: None })
    }
}

#[expect(
    deprecated,
    reason = "its replacement is an unsafe fn, for types whose descriptor may change"
)]
fn register(socket: net::UnixStream, interest: Interest) -> io::Result<AsyncFd<net::UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

/// How long a place in the queue of a listening socket is waited for.
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);

/// Time between two attempts.
const QUEUE_RETRY: Duration = Duration::from_millis(10);

/// Connects a socket to a stub that listens at `path`, for
/// [`Client::handshake`](crate::Client::handshake). The target `unix:PATH` does both. Cancel-safe: a
/// dropped future closes the socket.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT or ECONNREFUSED if no process listens, EACCES if
/// this user may not write to the socket file or enter its folder, EAGAIN if so many others connect
/// that none is accepted for 5 seconds.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub async fn dial(path: &Path) -> Result<UnixStream, Error> {
    let deadline = Instant::now() + QUEUE_PATIENCE;
    let connected = loop {
        match tokio::net::UnixStream::connect(path).await {
            // The queue of the listening socket is full (unix(7)): others connect at this time.
            Err(error) if error.kind() == IoErrorKind::WouldBlock && Instant::now() < deadline => {
                sleep(QUEUE_RETRY).await;
            }
            result => break result,
        }
    };
    let stream = connected.and_then(|stream| UnixStream::new(stream.into_std()?));
    stream.map_err(|error| {
        let shown = path.display();
        let remedy = match error.kind() {
            IoErrorKind::ConnectionRefused if is_no_socket(path) => "; it is no socket".to_owned(),
            IoErrorKind::NotFound | IoErrorKind::ConnectionRefused => {
                format!("; start `nlr serve unix:{shown}` there")
            }
            IoErrorKind::PermissionDenied => {
                "; this user may not write to the socket file, or may not enter its folder"
                    .to_owned()
            }
            _ => String::new(),
        };
        let text = format!("connecting to {shown}");
        Error::new(ErrorKind::Connect, text).with_source(error).with_note(&remedy)
    })
}

/// Whether a path leads to another kind of file, which refuses connections too.
fn is_no_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| !file.file_type().is_socket())
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match self.socket.get_ref().read(unfilled) {
                Ok(length) => {
                    // A read that did not fill its buffer left nothing in the socket, and epoll
                    // reports what arrives later (epoll(7)): no second read has to find out.
                    if 0 < length && length < unfilled.len() {
                        readable.clear_ready();
                    }
                    buf.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == IoErrorKind::WouldBlock => readable.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(waiter) = &self.write_waiter {
                let mut writable = ready!(waiter.poll_write_ready(cx))?;
                if let Ok(written) = writable.try_io(|waiter| waiter.get_ref().write(buf)) {
                    self.write_waiter = None;
                    return Poll::Ready(written);
                }
                continue;
            }
            match self.socket.get_ref().write(buf) {
                Err(error) if error.kind() == IoErrorKind::WouldBlock => {
                    let duplicate = self.socket.get_ref().try_clone()?;
                    self.write_waiter = Some(register(duplicate, Interest::WRITABLE)?);
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = net::UnixStream::pair().unwrap();
        (UnixStream::new(near).unwrap(), UnixStream::new(far).unwrap())
    }

    #[tokio::test]
    async fn writes_wait_for_buffer_space_and_everything_arrives() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
        let write = async {
            near.write_all(&sent).await.unwrap();
            assert!(near.write_waiter.is_none());
            near.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(write, far.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    }

    #[tokio::test]
    async fn a_waiting_write_fails_at_the_end() {
        let (mut near, far) = pair();
        let far_end = async move {
            tokio::task::yield_now().await;
            drop(far);
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 4 << 20]), far_end);
        assert_eq!(written.unwrap_err().kind(), IoErrorKind::BrokenPipe);
    }
}

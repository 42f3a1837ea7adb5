//! A unix socket on which `nlr serve` listens.

#![forbid(unsafe_code)]

use std::{
    io::{self, ErrorKind as IoErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

use crate::{Error, ErrorKind};

/// A connected unix socket.
///
/// Other than tokio's own, which is told each time the far end has read something, it asks for
/// word of room only while a write waits for some. For a request and its reply that is the
/// difference between waking once and waking twice.
#[derive(Debug)]
pub struct UnixStream {
    socket: AsyncFd<net::UnixStream>,
    /// A duplicate, while a write waits.
    room: Option<AsyncFd<net::UnixStream>>,
}

impl UnixStream {
    /// Takes over a connected socket, such as one of a pair.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(socket: net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: watched(socket, Interest::READABLE)?, room: None })
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe code, for types whose descriptor changes"
)]
fn watched(socket: net::UnixStream, interest: Interest) -> io::Result<AsyncFd<net::UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

/// Connects a unix socket to a listening stub; [`Client::handshake`](crate::Client::handshake) takes
/// it. The target `unix:PATH` does both.
///
/// # Errors
/// [`ErrorKind::Connect`] with the errno: ENOENT or ECONNREFUSED where nobody listens, EACCES
/// where the file's mode does not allow it.
pub async fn dial(path: &Path) -> Result<UnixStream, Error> {
    let connected = tokio::net::UnixStream::connect(path).await;
    let stream = connected.and_then(|stream| UnixStream::new(stream.into_std()?));
    stream.map_err(|error| {
        let path = path.display();
        let remedy = match error.kind() {
            IoErrorKind::NotFound | IoErrorKind::ConnectionRefused => {
                format!("; start `nlr serve unix:{path}` there")
            }
            IoErrorKind::PermissionDenied => "; only its owner may connect".to_owned(),
            _ => String::new(),
        };
        let text = format!("connecting to {path}");
        Error::new(ErrorKind::Connect, text).with_source(error).with_note(&remedy)
    })
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match self.socket.get_ref().read(room) {
                Ok(length) => {
                    // Nothing is left behind a read that did not fill its room, and epoll tells
                    // of what comes then: that spares finding out by another.
                    if 0 < length && length < room.len() {
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
            if let Some(room) = &self.room {
                let mut writable = ready!(room.poll_write_ready(cx))?;
                if let Ok(written) = writable.try_io(|room| room.get_ref().write(buf)) {
                    self.room = None;
                    return Poll::Ready(written);
                }
                continue;
            }
            match self.socket.get_ref().write(buf) {
                Err(error) if error.kind() == IoErrorKind::WouldBlock => {
                    let room = self.socket.get_ref().try_clone()?;
                    self.room = Some(watched(room, Interest::WRITABLE)?);
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
    async fn writes_wait_for_room_and_everything_arrives() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
        let write = async {
            near.write_all(&sent).await.unwrap();
            assert!(near.room.is_none());
            near.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(write, far.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    }

    #[tokio::test]
    async fn a_write_that_waits_is_told_of_the_end() {
        let (mut near, far) = pair();
        let goes = async move {
            tokio::task::yield_now().await;
            drop(far);
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 4 << 20]), goes);
        assert_eq!(written.unwrap_err().kind(), IoErrorKind::BrokenPipe);
    }
}

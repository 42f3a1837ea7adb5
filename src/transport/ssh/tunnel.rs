//! A connection through another host, or by a command: libssh2 needs a descriptor, so a task joins
//! the stream to one end of a socket pair.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
};

/// The most bytes copied at a time.
const PIECE: usize = 32 << 10;

/// The time in which the last packets of a session go out.
const LINGER: Duration = Duration::from_secs(1);

/// A socket joined to a stream. The copying ends with the stream, with the socket, or a second after
/// the returned sender is dropped; then the stream is dropped, and `held` with it.
pub(super) fn socket_of<T: Send + 'static>(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    held: T,
) -> io::Result<(UnixStream, oneshot::Sender<()>)> {
    let (near, far) = UnixStream::pair()?;
    let (keep, released) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let overdue = async {
            let _ = released.await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = join(stream, far) => {}
            () = overdue => {}
        }
        drop(held);
    });
    Ok((near, keep))
}

/// Copies both ways until the socket's other end is closed. The end of the stream is passed on, at
/// which the owner of the socket's other end closes it.
async fn join(stream: impl AsyncRead + AsyncWrite, socket: UnixStream) {
    let (from_stream, to_stream) = tokio::io::split(stream);
    let (from_socket, to_socket) = socket.into_split();
    let inward = async {
        let _ = copy(from_stream, to_socket).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = copy(from_socket, to_stream) => {}
        () = inward => {}
    }
}

/// Copies up to the end of `from`, then shuts `to` down. tokio's copy flushes, which neither a channel
/// nor a pipe needs.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        match piece.get(..length) {
            None | Some([]) => return to.shutdown().await,
            Some(bytes) => to.write_all(bytes).await?,
        }
    }
}

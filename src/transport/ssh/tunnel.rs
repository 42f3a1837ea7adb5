//! A connection through another host: libssh2 needs a descriptor, so a task joins the channel to one
//! end of a socket pair.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
};

use super::channel::ChannelStream;

/// The most bytes copied at a time.
const PIECE: usize = 32 << 10;

/// The time in which the last packets of a session go out.
const LINGER: Duration = Duration::from_secs(1);

/// A socket joined to the channel. The copying ends with the channel, with the socket, or a second
/// after the returned sender is dropped.
pub(super) fn socket_of(channel: ChannelStream) -> io::Result<(UnixStream, oneshot::Sender<()>)> {
    let (near, far) = UnixStream::pair()?;
    let (held, released) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let overdue = async {
            let _ = released.await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = join(channel, far) => {}
            () = overdue => {}
        }
    });
    Ok((near, held))
}

/// Copies both ways until the socket's other end is closed. The end of the channel is passed on, at
/// which the owner of the socket's other end closes it.
async fn join(channel: ChannelStream, socket: UnixStream) {
    let (from_channel, to_channel) = tokio::io::split(channel);
    let (from_socket, to_socket) = socket.into_split();
    let inward = async {
        let _ = copy(from_channel, to_socket).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = copy(from_socket, to_channel) => {}
        () = inward => {}
    }
}

/// Copies up to the end of `from`, then shuts `to` down. tokio's copy flushes, which a channel does
/// not need.
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

//! A connection through another host: libssh2 needs a descriptor, so one end of a socket pair is
//! joined to a channel.

#![forbid(unsafe_code)]

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
};

use super::channel::ChannelStream;

const PIECE: usize = 32 << 10;

/// What the last words of a session may take to go out.
const LINGER: Duration = Duration::from_secs(1);

/// A socket that is the channel. The copying between them ends with the channel, or with the
/// socket, or a second after what is returned with it is dropped.
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

/// Copies both ways until the socket's other end is closed. That the channel's far end has ended
/// is passed on, and the socket's other end then closes.
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

/// Not tokio's, which flushes; and this one ends the writer.
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

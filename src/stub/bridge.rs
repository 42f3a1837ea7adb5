//! Serving a stream that has no descriptor.

use std::{io, os::fd::OwnedFd, thread};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split},
    net::UnixStream,
    sync::oneshot,
    time::timeout,
};

use super::{config::Config, engine::LINGER, event::Shutdown, exit::Exit, serve::serve};

/// [`serve`] for any asynchronous stream, such as [`tokio::io::duplex`] gives: joined to a socket
/// pair, at the other end of which a stub runs on threads of its own.
///
/// Dropping the future ends the stub. Not cancel-safe otherwise: the stream is gone with it.
///
/// # Errors
/// When the socket pair or the thread cannot be had, or the stub's thread died.
pub async fn serve_stream<S>(io: S, config: Config, shutdown: &Shutdown) -> io::Result<Exit>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (ours, theirs) = UnixStream::pair()?;
    let input = OwnedFd::from(theirs.into_std()?);
    let output = input.try_clone()?;
    let (done, mut exit) = oneshot::channel();
    let shutdown = shutdown.clone();
    thread::Builder::new().name("nlr-watch".to_owned()).spawn(move || {
        let _ = done.send(serve(input, output, config, &shutdown));
    })?;
    let (mut from_client, mut to_client) = split(io);
    let (mut from_stub, mut to_stub) = ours.into_split();
    // Each owns its halves: what has ended is closed, and the stub sees that.
    let upwards = async move {
        // How this direction ends does not matter: the stub sees the end of its input.
        let _ = copy(&mut from_client, &mut to_stub).await;
        let _ = to_stub.shutdown().await;
        std::future::pending::<()>().await;
    };
    let downwards = async move {
        let _ = copy(&mut from_stub, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let mut downwards = std::pin::pin!(downwards);
    let exit = tokio::select! {
        () = upwards => (&mut exit).await,
        () = &mut downwards => (&mut exit).await,
        ended = &mut exit => {
            // What the stub said last is still to be read, by a client that cares to.
            let _ = timeout(LINGER, downwards).await;
            ended
        }
    };
    exit.map_err(|_| io::Error::other("the stub's thread ended without a word"))
}

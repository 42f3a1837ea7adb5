//! Serving an asynchronous stream.

use std::{io, os::fd::OwnedFd, thread};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split},
    net::UnixStream,
    runtime::Handle,
    sync::oneshot,
    time::timeout,
};

use super::{config::Config, exit::Exit, serve::serve, shutdown::Shutdown};
use crate::limits::stub::LINGER;

/// [`serve`] for any asynchronous stream, such as [`tokio::io::duplex`] gives. The stub runs on
/// threads of its own; the returned future copies between the stream and a socket pair whose other
/// end the stub serves.
///
/// A client has the privileges of this process.
///
/// Dropping the future ends the stub, and the stream with it: not cancel-safe. A thread inside a
/// system call ends when the call returns.
///
/// # Errors
/// Those of making a socket pair and a thread; an error without errno outside a tokio runtime, or if
/// the stub's thread panicked.
///
/// # Panics
/// In a tokio runtime without I/O or time.
pub async fn serve_stream<S>(io: S, config: Config, shutdown: &Shutdown) -> io::Result<Exit>
where
    S: AsyncRead + AsyncWrite + Send,
{
    Handle::try_current().map_err(io::Error::other)?;
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
    // Each owns its halves, and closes them at its end, which the stub notices.
    let upwards = async move {
        // Its error does not matter: the stub notices the end of its input.
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
            // The client has some time to read the stub's last frames.
            let _ = timeout(LINGER, downwards).await;
            ended
        }
    };
    exit.map_err(|_| io::Error::other("the stub's thread panicked"))
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn outside_a_runtime_it_fails() {
        let (near, _far) = tokio::io::duplex(64);
        let shutdown = Shutdown::new().unwrap();
        let serving = pin!(serve_stream(near, Config::default(), &shutdown));
        let Poll::Ready(Err(error)) = serving.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("serve_stream began")
        };
        assert!(error.to_string().contains("runtime"), "{error}");
    }
}

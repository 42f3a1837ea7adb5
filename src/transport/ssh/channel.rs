//! What a command's, or a connection's, user holds of a channel.

#![forbid(unsafe_code)]

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared::Shared;
use crate::transport::{End, Running};

/// How long a command may go on from when its end is first waited for, as with a child process.
const GRACE: Duration = Duration::from_millis(1500);

const STDOUT: i32 = 0;
const STDERR: i32 = 1;

/// A channel, closed when nobody holds it any more.
struct Channel {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.note(|state| state.close(self.id));
    }
}

/// What reads one of a channel's streams, or waits for its end.
struct Waiter {
    channel: Arc<Channel>,
    key: u64,
}

impl Waiter {
    fn new(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), key: channel.shared.key() }
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        stream: i32,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Channel { shared, id } = &*self.channel;
        shared.poll(self.key, cx, |state, wire| state.poll_read(*id, stream, buf, wire))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.channel.shared.forget(self.key);
    }
}

/// Reads stdout and writes stdin.
///
/// A write is done once its bytes are taken, a packet's worth at most: they are sent even if
/// nobody polls any more. Flushing does nothing, since there is nothing to do: libssh2's flush
/// throws away what has been received.
pub(super) struct ChannelStream {
    reader: Waiter,
    writer: Waiter,
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reader.poll_read(cx, STDOUT, buf)
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Channel { shared, id } = &*self.writer.channel;
        shared.poll(self.writer.key, cx, |state, _| state.poll_write(*id, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Channel { shared, id } = &*self.writer.channel;
        shared.poll(self.writer.key, cx, |state, _| {
            state.end_input(*id);
            state.poll_end_input(*id)
        })
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        let Channel { shared, id } = &*self.writer.channel;
        shared.note(|state| state.end_input(*id));
    }
}

struct Stderr(Waiter);

impl AsyncRead for Stderr {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, STDERR, buf)
    }
}

/// Closes the channel unless the command has ended.
struct Ending {
    waiter: Waiter,
    ended: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.ended {
            let Channel { shared, id } = &*self.waiter.channel;
            shared.note(|state| state.close(*id));
        }
    }
}

async fn end(mut ending: Ending) -> End {
    let natural = poll_fn(|cx| {
        let Channel { shared, id } = &*ending.waiter.channel;
        shared.poll(ending.waiter.key, cx, |state, _| state.poll_end(*id))
    });
    match tokio::time::timeout(GRACE, natural).await {
        Ok(end) => {
            ending.ended = true;
            end
        }
        Err(_) => End::Overdue,
    }
}

/// The stream of a channel that the session has opened under this number.
pub(super) fn stream(shared: Arc<Shared>, id: u64) -> ChannelStream {
    stream_of(&Arc::new(Channel { shared, id }))
}

fn stream_of(channel: &Arc<Channel>) -> ChannelStream {
    ChannelStream { reader: Waiter::new(channel), writer: Waiter::new(channel) }
}

/// The command that runs on a channel that the session has opened under this number.
pub(super) fn running(shared: Arc<Shared>, id: u64) -> Running {
    let channel = Arc::new(Channel { shared, id });
    Running {
        stdio: Box::new(stream_of(&channel)),
        stderr: Box::new(Stderr(Waiter::new(&channel))),
        end: Box::pin(end(Ending { waiter: Waiter::new(&channel), ended: false })),
    }
}

//! The handles of one channel's user: its streams, and the wait for its command's end.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared_session::SharedSession;
use crate::transport::{End, Running};

/// The grace period of a command from the first poll of its end, as for a child process.
const GRACE: Duration = Duration::from_millis(1500);

const STDOUT: i32 = 0;
const STDERR: i32 = 1;

/// Closes its channel when the last handle is dropped.
struct ChannelGuard {
    session: Arc<SharedSession>,
    id: u64,
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        tracing::debug!(hop = self.session.hop(), channel = self.id, "closing channel");
        self.session.request(|state| state.close(self.id));
    }
}

/// One waiter on a channel: a reader, a writer, or the wait for the end.
struct ChannelWaiter {
    channel: Arc<ChannelGuard>,
    key: u64,
}

impl ChannelWaiter {
    fn new(channel: &Arc<ChannelGuard>) -> Self {
        Self { channel: Arc::clone(channel), key: channel.session.new_key() }
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        stream: i32,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ChannelGuard { session, id } = &*self.channel;
        session.poll(self.key, cx, |state, socket| state.poll_read(*id, stream, buf, socket))
    }
}

impl Drop for ChannelWaiter {
    fn drop(&mut self) {
        self.channel.session.forget(self.key);
    }
}

/// Reads stdout and writes stdin.
///
/// A write is done once its bytes are accepted, a packet's worth at most: they are sent even if the
/// writer is never polled again. Flushing does nothing: libssh2's flush discards received data.
pub(super) struct ChannelStream {
    reader: ChannelWaiter,
    writer: ChannelWaiter,
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
        let ChannelGuard { session, id } = &*self.writer.channel;
        session.poll(self.writer.key, cx, |state, _| state.poll_write(*id, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ChannelGuard { session, id } = &*self.writer.channel;
        session.poll(self.writer.key, cx, |state, _| {
            state.end_stdin(*id);
            state.poll_end_stdin(*id)
        })
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        let ChannelGuard { session, id } = &*self.writer.channel;
        session.request(|state| state.end_stdin(*id));
    }
}

/// Reads stderr.
struct ChannelStderr(ChannelWaiter);

impl AsyncRead for ChannelStderr {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, STDERR, buf)
    }
}

/// Waits for a command's end; if dropped before, closes the channel.
struct EndWaiter {
    waiter: ChannelWaiter,
    has_ended: bool,
}

impl Drop for EndWaiter {
    fn drop(&mut self) {
        if !self.has_ended {
            let ChannelGuard { session, id } = &*self.waiter.channel;
            session.request(|state| state.close(*id));
        }
    }
}

async fn end(mut waiter: EndWaiter) -> End {
    let by_itself = poll_fn(|cx| {
        let ChannelGuard { session, id } = &*waiter.waiter.channel;
        session.poll(waiter.waiter.key, cx, |state, _| state.poll_end(*id))
    });
    let end = match tokio::time::timeout(GRACE, by_itself).await {
        Ok(end) => {
            waiter.has_ended = true;
            end
        }
        Err(_) => End::Overdue,
    };
    let ChannelGuard { session, id } = &*waiter.waiter.channel;
    tracing::debug!(hop = session.hop(), channel = id, "command {end}");
    end
}

/// The stream of an open channel.
pub(super) fn stream(session: Arc<SharedSession>, id: u64) -> ChannelStream {
    stream_of(&Arc::new(ChannelGuard { session, id }))
}

fn stream_of(channel: &Arc<ChannelGuard>) -> ChannelStream {
    ChannelStream { reader: ChannelWaiter::new(channel), writer: ChannelWaiter::new(channel) }
}

/// The command that runs on an open channel.
pub(super) fn running(session: Arc<SharedSession>, id: u64) -> Running {
    let channel = Arc::new(ChannelGuard { session, id });
    let waiter = EndWaiter { waiter: ChannelWaiter::new(&channel), has_ended: false };
    Running::new(stream_of(&channel))
        .with_stderr(ChannelStderr(ChannelWaiter::new(&channel)))
        .with_end(end(waiter))
}

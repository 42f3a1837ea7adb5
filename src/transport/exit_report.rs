//! The report on a far end's exit, for the error of a lost connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::running::{End, EndFuture};
use crate::{sync::lock, text::one_line_of};

/// Reports how the far end exited, once its connection has ended: `nlr-stub was killed by signal 9`.
///
/// A future, given to [`ClientOptions::exit_report`](crate::client::ClientOptions::exit_report).
/// The client polls it after the end of the stream, for two seconds at most, and puts the text into
/// the connection's error; `None` adds nothing. Dropping the report drops the future inside.
pub struct ExitReport(Pin<Box<dyn Future<Output = Option<String>> + Send>>);

impl ExitReport {
    /// The report of a future: one line of text. The future replaces harmful characters of the far
    /// end; see [`text::one_line`](crate::text::one_line).
    pub fn new(report: impl Future<Output = Option<String>> + Send + 'static) -> Self {
        Self(Box::pin(report))
    }

    /// The report on a command called `name`: the last 4 KiB of its stderr, and its end, unless it
    /// exited with code 0, did not end, or has an unknown end.
    ///
    /// Spawns a task that reads `stderr` until the report is dropped, so that the command never
    /// blocks on it. Dropping the report drops `end` too.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn of_command(
        name: impl Into<String>,
        stderr: impl AsyncRead + Send + Unpin + 'static,
        end: impl Future<Output = End> + Send + 'static,
    ) -> Self {
        Self::describe(name.into(), stderr, Box::pin(end))
    }

    fn describe(
        name: String,
        stderr: impl AsyncRead + Send + Unpin + 'static,
        end: EndFuture,
    ) -> Self {
        let tail = StderrTail::default();
        let reader_tail = tail.clone();
        // The reader ends with the report: its stderr may hold an ssh connection open.
        let mut reader = AbortOnDrop(tokio::spawn(async move { reader_tail.read(stderr).await }));
        Self::new(async move {
            let end = end.await;
            let _ = tokio::time::timeout(StderrTail::PATIENCE, &mut reader.0).await;
            // These three say nothing that the end of the stream does not.
            let is_plain = [End::Code(0), End::Unknown, End::Overdue].contains(&end);
            let end = (!is_plain).then_some(end);
            match (end, tail.text().as_str()) {
                (None, "") => None,
                (None, said) => Some(format!("{name} said: {said}")),
                (Some(end), "") => Some(format!("{name} {end}")),
                (Some(end), said) => Some(format!("{name} {end} and said: {said}")),
            }
        })
    }
}

impl Future for ExitReport {
    type Output = Option<String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitReport").finish_non_exhaustive()
    }
}

/// Aborts a task when dropped.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The last bytes of a command's stderr. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct StderrTail(Arc<Mutex<Vec<u8>>>);

impl StderrTail {
    /// The number of bytes kept.
    pub(crate) const KEPT: usize = 4096;

    /// The wait for the rest of stderr after the command's end: a grandchild may hold it open.
    const PATIENCE: Duration = Duration::from_millis(200);

    /// Appends bytes, and drops the oldest past [`Self::KEPT`].
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = lock(&self.0);
        kept.extend_from_slice(bytes);
        let excess = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..excess);
    }

    /// The kept bytes as one line of harmless text.
    pub(crate) fn text(&self) -> String {
        let kept = lock(&self.0);
        one_line_of(&kept).trim().to_owned()
    }

    /// Appends what a stream holds, up to its end.
    async fn read(&self, mut stderr: impl AsyncRead + Unpin) {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            self.push(piece.get(..length).unwrap_or_default());
        }
    }
}

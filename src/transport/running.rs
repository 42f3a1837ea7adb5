//! A command that runs somewhere, whichever way it was started.

#![forbid(unsafe_code)]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Something that says, once a connection has ended, what became of the far end: that a process
/// was killed by a signal, say. Polled for two seconds at most.
pub type ExitReport = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Both directions of a byte stream.
pub trait Stdio: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stdio for T {}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal, named as its host names it: `9`, `KILL`.
    Signal(String),
    /// It was still running when its time was over, and was ended.
    Overdue,
    /// Nothing is known: the connection to it went first.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::Overdue => f.write_str("did not end by itself"),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// Waits for a command's end; see [`Running::end`].
pub(crate) type Ending = Pin<Box<dyn Future<Output = End> + Send>>;

/// A running command's streams and its end.
pub struct Running {
    /// Reads its stdout and writes its stdin. Shutting it down, or dropping it, is the end of its
    /// stdin. Flushing it does nothing.
    pub stdio: Box<dyn Stdio>,
    /// Reads its stderr.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Waits for its end, which a little later than it is first polled is brought about. Dropping
    /// it ends the command too.
    pub end: Pin<Box<dyn Future<Output = End> + Send>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// A task that goes on no longer than this lives.
struct EndedOnDrop(tokio::task::JoinHandle<()>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a command said last on its stderr.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    /// Bytes that are kept.
    pub(crate) const KEPT: usize = 4096;

    /// How long to wait for the rest: grandchildren may hold a stderr open for long.
    const PATIENCE: Duration = Duration::from_millis(200);

    /// Adds what was said next.
    pub(crate) fn push(&self, said: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(said);
        let excess = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..excess);
    }

    /// What is kept, fit to be shown.
    pub(crate) fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        crate::text::one_line_of(&kept).trim().to_owned()
    }

    /// Reads on to the end.
    pub(crate) async fn fill(&self, mut stderr: impl AsyncRead + Unpin) {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            self.push(piece.get(..length).unwrap_or_default());
        }
    }

    /// Goes on reading `stderr` in a task of its own, and tells in the end what became of the
    /// command, called `name`.
    pub(crate) fn into_exit_report(
        self,
        name: String,
        stderr: impl AsyncRead + Send + Unpin + 'static,
        end: Ending,
    ) -> ExitReport {
        let filling = self.clone();
        // What is read has its end with who waits for it: it may hold an ssh connection open.
        let mut reader = EndedOnDrop(tokio::spawn(async move { filling.fill(stderr).await }));
        Box::pin(async move {
            let end = end.await;
            let _ = tokio::time::timeout(Self::PATIENCE, &mut reader.0).await;
            // Those say nothing that the end of the connection does not.
            let quiet = [End::Code(0), End::Unknown, End::Overdue].contains(&end);
            let end = (!quiet).then_some(end);
            match (end, self.text().as_str()) {
                (None, "") => None,
                (None, said) => Some(format!("{name} said: {said}")),
                (Some(end), "") => Some(format!("{name} {end}")),
                (Some(end), said) => Some(format!("{name} {end} and said: {said}")),
            }
        })
    }
}

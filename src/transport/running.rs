//! A command that has been started: its standard streams, and how it ended.

use std::{fmt, future::Future, pin::Pin};

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions. Every type with these four traits implements it.
pub trait Stdio: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stdio for T {}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The command exited with this code, 0 to 255.
    Code(i32),
    /// A signal killed it. A local process gives the signal's number (`9`), an ssh server its name
    /// (`KILL`, RFC 4254, section 6.10).
    Signal(String),
    /// The command was running at the end of its grace period, and was killed or disconnected.
    Overdue,
    /// The connection to the command was lost first.
    Unknown,
}

impl End {
    /// Whether another process ended the command by one of the signals for that: SIGKILL, SIGTERM,
    /// SIGHUP, SIGINT.
    pub(crate) fn is_kill(&self) -> bool {
        let signals = ["9", "KILL", "15", "TERM", "1", "HUP", "2", "INT"];
        matches!(self, Self::Signal(signal) if signals.contains(&signal.as_str()))
    }
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

/// Waits for a command's end: the type of [`Running::end`].
pub(crate) type EndFuture = Pin<Box<dyn Future<Output = End> + Send>>;

/// A command that has been started.
///
/// [`process::spawn`](super::process::spawn) makes one of a child process. A transport of one's own
/// starts with [`Running::new`] and adds stderr and end.
#[non_exhaustive]
pub struct Running {
    /// Reads the command's stdout and writes its stdin. Shutting it down, or dropping it, closes
    /// that stdin. Flushing it does nothing: a write hands its bytes on by itself.
    pub stdio: Box<dyn Stdio>,
    /// Reads the command's stderr.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Waits for the command's end. The first poll begins a grace period (1.5 seconds for the
    /// transports here), after which the command is ended by force. Dropping it ends the command at
    /// once.
    pub end: Pin<Box<dyn Future<Output = End> + Send>>,
}

impl Running {
    /// A command with this stream, an empty stderr, and the end [`End::Unknown`].
    pub fn new(stdio: impl Stdio + 'static) -> Self {
        Self {
            stdio: Box::new(stdio),
            stderr: Box::new(tokio::io::empty()),
            end: Box::pin(std::future::ready(End::Unknown)),
        }
    }

    /// Sets the stream that reads the command's stderr.
    #[must_use]
    pub fn with_stderr(mut self, stderr: impl AsyncRead + Send + Unpin + 'static) -> Self {
        self.stderr = Box::new(stderr);
        self
    }

    /// Sets the future that waits for the command's end; see [`Running::end`] for its duties.
    #[must_use]
    pub fn with_end(mut self, end: impl Future<Output = End> + Send + 'static) -> Self {
        self.end = Box::pin(end);
        self
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

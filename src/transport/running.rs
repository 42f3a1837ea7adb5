//! A command that runs somewhere, whichever way it was started.

#![forbid(unsafe_code)]

use std::{fmt, future::Future, pin::Pin};

use tokio::io::{AsyncRead, AsyncWrite};

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

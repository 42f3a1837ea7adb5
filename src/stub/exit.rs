//! The reason for the end of serving.

use std::fmt;

use nix::errno::Errno;

use crate::proto::Violation;

/// The reason for the end of serving. Every kernel socket is closed by then, except a socket in a
/// system call: it is closed when the call returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The client closed the stream, or a write to the client failed.
    ClientGone,
    /// The client was silent for longer than its hello promised.
    ClientSilent,
    /// [`Shutdown`](super::Shutdown) was triggered.
    Shutdown,
    /// The client ended the connection with a fault; its text.
    ClientFault(String),
    /// The bytes received are no hello, or the hello has no version or role that fits.
    Handshake(String),
    /// The client broke the protocol.
    Violation(String),
    /// The stream, or a resource of the stub itself, failed.
    Io(String),
}

impl Exit {
    /// The exit code of a stub process: 0, or as in `<sysexits.h>` 74 (`EX_IOERR`) and
    /// 76 (`EX_PROTOCOL`).
    pub fn code(&self) -> u8 {
        match self {
            Exit::ClientGone | Exit::ClientSilent | Exit::Shutdown => 0,
            Exit::Io(_) => 74,
            Exit::ClientFault(_) | Exit::Handshake(_) | Exit::Violation(_) => 76,
        }
    }

    /// A system call that failed, at a step.
    pub(super) fn io(step: &str, errno: Errno) -> Self {
        Exit::Io(format!("{step}: {}", errno.desc()))
    }
}

impl From<Violation> for Exit {
    fn from(violation: Violation) -> Self {
        Exit::Violation(violation.to_string())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::ClientGone => f.write_str("the client has gone"),
            Exit::ClientSilent => f.write_str("the client has been silent for too long"),
            Exit::Shutdown => f.write_str("asked to shut down"),
            Exit::ClientFault(text) => write!(f, "the client ended the connection: {text}"),
            Exit::Handshake(text) => write!(f, "handshake: {text}"),
            Exit::Violation(text) => write!(f, "the client broke the protocol: {text}"),
            Exit::Io(text) => f.write_str(text),
        }
    }
}

//! One error for everything that can go wrong: what kind it is, whose doing, and the errno.

use std::{fmt, io, sync::Arc};

#[cfg(feature = "client")]
use crate::wire::Failure;
use crate::{proto::Violation, wire::WireError};

/// What an operation on the way to or at the far end failed with.
///
/// Cheap to clone: when a connection ends, everyone who waits on it gets the same one.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    origin: Origin,
    errno: Option<i32>,
    step: Option<Step>,
    text: String,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The far end could not be reached or started.
    Connect,
    /// What answered does not speak the protocol, or not a version in common.
    Handshake,
    /// The connection is over: the far end ended, died, or broke the protocol.
    Disconnected,
    /// A socket could not be opened.
    Open,
    /// An operation on network namespaces failed.
    Namespace,
    /// The kernel refused a request: an option or a group.
    Request,
    /// The kernel's sendmsg failed, or the datagram is larger than the connection carries.
    Send,
    /// The kernel's recvmsg failed, or a datagram was too large to forward.
    Receive,
    /// A deadline passed.
    Timeout,
    /// The socket is closed.
    Closed,
    /// The caller asked for something that cannot be.
    Invalid,
}

/// A step on the way to a stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reaching a host, or starting the program that does.
    Connect,
    /// Agreeing with an ssh server on a way to talk, and checking that it is the right one.
    HostKey,
    /// Proving to an ssh server who one is.
    Authentication,
    /// Becoming another user by sudo, doas or su.
    Privilege,
    /// Starting the stub, which may have to be brought along.
    Bootstrap,
    /// The stub's hello.
    Hello,
    /// Opening a socket.
    Open,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::HostKey => "host key",
            Self::Authentication => "authentication",
            Self::Privilege => "privilege",
            Self::Bootstrap => "bootstrap",
            Self::Hello => "hello",
            Self::Open => "open",
        })
    }
}

/// Whose doing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The program that called.
    Caller,
    /// This side of the connection.
    Library,
    /// The far end, or the way there.
    Peer,
    /// The far end's kernel.
    Kernel,
}

impl Error {
    /// An error, for whoever brings a transport of their own. `errno` is a Linux number of this host.
    pub fn new(
        kind: ErrorKind,
        origin: Origin,
        errno: Option<i32>,
        text: impl Into<String>,
    ) -> Self {
        Self(Arc::new(Inner { kind, origin, errno, step: None, text: text.into() }))
    }

    /// What failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose doing it was.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The errno, where a system call failed: the far kernel's own for [`Origin::Kernel`].
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The same error, said about something in particular.
    #[must_use]
    pub fn context(&self, about: impl fmt::Display) -> Self {
        self.with_text(format!("{about}: {}", self.0.text))
    }

    /// Which step on the way to the far end failed, where it was one of them.
    pub fn step(&self) -> Option<Step> {
        self.0.step
    }

    fn with_text(&self, text: String) -> Self {
        let Inner { kind, origin, errno, step, .. } = *self.0;
        Self(Arc::new(Inner { kind, origin, errno, step, text }))
    }
}

#[cfg(feature = "client")]
impl Error {
    pub(crate) fn failure(kind: ErrorKind, failure: Failure) -> Self {
        Self::new(kind, Origin::Kernel, Some(failure.errno), failure.text)
    }

    pub(crate) fn io(kind: ErrorKind, about: impl fmt::Display, error: &io::Error) -> Self {
        // The system's words for an errno are enough; "(os error 2)" behind them helps nobody.
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        Self::new(kind, Origin::Peer, error.raw_os_error(), format!("{about}: {text}"))
    }

    /// The same error with a remedy behind it.
    pub(crate) fn followed_by(&self, remedy: &str) -> Self {
        self.with_text(format!("{}{remedy}", self.0.text))
    }

    /// The same error as that of a step which its text speaks of anyway.
    pub(crate) fn during(&self, step: Step) -> Self {
        let Inner { kind, origin, errno, ref text, .. } = *self.0;
        Self(Arc::new(Inner { kind, origin, errno, step: Some(step), text: text.clone() }))
    }

    /// The same error as that of a step, named in front, unless it names one already.
    pub(crate) fn at(&self, step: Step) -> Self {
        if self.0.step.is_some() {
            return self.clone();
        }
        let Inner { kind, origin, errno, .. } = *self.0;
        let text = format!("{step}: {}", self.0.text);
        Self(Arc::new(Inner { kind, origin, errno, step: Some(step), text }))
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Origin::Caller, None, text)
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, Origin::Caller, None, "the socket is closed")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, origin, errno, text, .. } = &*self.0;
        write!(f, "Error({kind:?}, {origin:?}, errno {errno:?}: {text})")
    }
}

impl std::error::Error for Error {}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Violation::from(error).into()
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let text = format!("the far end broke the protocol: {violation}");
        Self::new(ErrorKind::Disconnected, Origin::Peer, None, text)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error();
        Self::new(ErrorKind::Disconnected, Origin::Peer, errno, error.to_string())
    }
}

impl From<Error> for io::Error {
    /// An errno becomes a plain OS error, so that `raw_os_error` tells it; the text is lost then.
    fn from(error: Error) -> Self {
        match (error.origin(), error.errno()) {
            (Origin::Kernel, Some(errno)) => io::Error::from_raw_os_error(errno),
            _ => {
                let kind = match error.kind() {
                    ErrorKind::Timeout => io::ErrorKind::TimedOut,
                    ErrorKind::Disconnected => io::ErrorKind::ConnectionAborted,
                    ErrorKind::Closed => io::ErrorKind::NotConnected,
                    ErrorKind::Invalid => io::ErrorKind::InvalidInput,
                    _ => io::ErrorKind::Other,
                };
                io::Error::new(kind, error)
            }
        }
    }
}

//! The one error type of this crate: kind, origin, errno, step, text and cause.

#![forbid(unsafe_code)]

use std::{error::Error as StdError, fmt, io, sync::Arc};

#[cfg(feature = "client")]
use crate::wire::Failure;
use crate::{
    errno::{self, EACCES, EPERM, ETIMEDOUT},
    proto::Violation,
    wire::WireError,
};

/// The error of every fallible operation of this crate.
///
/// `{}` prints the error without its causes, as [`source`](StdError::source) gives them one by one.
/// `{:#}` prints everything on one line:
///
/// ```
/// use netlink_remote::{Error, ErrorKind};
///
/// let cause = std::io::Error::from_raw_os_error(netlink_remote::errno::ENOENT);
/// let error = Error::new(ErrorKind::Connect, "connecting to /run/nlr.sock").with_source(cause);
/// assert_eq!(error.to_string(), "connecting to /run/nlr.sock");
/// assert_eq!(format!("{error:#}"), "connecting to /run/nlr.sock: No such file or directory");
/// assert_eq!(error.errno(), Some(netlink_remote::errno::ENOENT));
/// ```
///
/// Cheap to clone: when a connection ends, each waiting task gets a clone of one error.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    origin: Origin,
    errno: Option<i32>,
    step: Option<Step>,
    text: String,
    /// Follows the causes: a remedy, or what the far end said. With its own punctuation.
    note: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    is_lasting: bool,
}

/// The kind of an [`Error`]: the operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The far end could not be reached or started.
    Connect,
    /// The far end does not speak the protocol, or has no version in common with this side.
    Handshake,
    /// The connection ended: by `Client::close` ([`Origin::Caller`]), by the far end, by a protocol
    /// violation, or by keepalive (ETIMEDOUT). Every other use of the same `Client` fails likewise.
    Disconnected,
    /// A socket could not be opened.
    Open,
    /// An operation on network namespaces failed.
    Namespace,
    /// A request failed: a netlink request, a socket option, a group membership, or the removal of a
    /// stub.
    Request,
    /// The far kernel's sendmsg(2) failed, or the datagram is larger than the connection carries.
    Send,
    /// The far kernel's recvmsg(2) failed, or a datagram was too large to forward.
    Receive,
    /// A deadline passed.
    Timeout,
    /// The socket is closed. A `RemoteSocket` is open until it is dropped or consumed: its methods do
    /// not return this kind.
    Closed,
    /// A program of this host cannot be started or supervised: `run`.
    Program,
    /// The caller passed an argument that no far end could accept.
    Invalid,
}

/// A step of connecting to a stub, or of opening a socket there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reaching a host, or starting the program that does.
    Connect,
    /// Agreeing with an ssh server on algorithms, and checking its host key.
    HostKey,
    /// Authenticating to an ssh server.
    Authentication,
    /// Becoming another user by sudo, doas or su.
    Privilege,
    /// Starting the stub, which may have to be sent first.
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

/// The party that caused an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The program that called.
    Caller,
    /// This side of the connection.
    Library,
    /// The far end, or the network or programs between.
    Peer,
    /// The far end's kernel.
    Kernel,
}

impl Error {
    /// An error, for authors of transports of their own. The text names the operation and its
    /// object: `connecting to wss://example`. Without further calls there is no errno, step or
    /// source, and the origin is [`Origin::Caller`] for [`ErrorKind::Invalid`] and
    /// [`ErrorKind::Closed`], and [`Origin::Peer`] for every other kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let origin = match kind {
            ErrorKind::Invalid | ErrorKind::Closed => Origin::Caller,
            _ => Origin::Peer,
        };
        Self(Arc::new(Inner {
            kind,
            origin,
            errno: None,
            step: None,
            text: text.into(),
            note: String::new(),
            source: None,
            is_lasting: kind == ErrorKind::Invalid,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets the party that caused the error.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        self.with(|inner| inner.origin = origin)
    }

    /// Sets the errno, as this host numbers it ([`errno`](crate::errno)).
    #[must_use]
    pub fn with_errno(self, errno: impl Into<Option<i32>>) -> Self {
        let errno = errno.into();
        self.with(|inner| inner.errno = errno)
    }

    /// Sets the step of connecting that failed.
    #[must_use]
    pub fn with_step(self, step: Step) -> Self {
        self.with(|inner| inner.step = Some(step))
    }

    /// Sets the cause, which the text should not repeat. The errno of an [`io::Error`] becomes that
    /// of this error, unless it has one.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        let errno = source.downcast_ref().and_then(io::Error::raw_os_error);
        self.with(|inner| {
            inner.errno = inner.errno.or(errno);
            inner.source = Some(source.into());
        })
    }

    /// Puts `about: ` in front of the text.
    #[must_use]
    pub fn context(self, about: impl fmt::Display) -> Self {
        self.with(|inner| inner.text = format!("{about}: {}", inner.text))
    }

    /// The operation that failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The party that caused the error.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The errno, where a system call failed: the far kernel's own for [`Origin::Kernel`], as this
    /// host numbers it ([`errno`](crate::errno)).
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The step that failed, where it was one of connecting or opening.
    pub fn step(&self) -> Option<Step> {
        self.0.step
    }

    /// Whether a time limit passed: one of this side ([`ErrorKind::Timeout`]), or one of the network
    /// or the far end (ETIMEDOUT).
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout || self.0.errno == Some(ETIMEDOUT)
    }

    /// Whether privileges are missing, here or at the far end (EPERM, EACCES).
    pub fn is_permission(&self) -> bool {
        matches!(self.0.errno, Some(EPERM | EACCES))
    }

    /// Whether the connection is over ([`ErrorKind::Disconnected`]): nothing else on it can
    /// succeed.
    pub fn is_disconnected(&self) -> bool {
        self.0.kind == ErrorKind::Disconnected
    }

    /// Whether the same call would fail again until somebody has changed something, here or at the far
    /// end: a host key, a login, sudo or the like was refused, there is no stub for the far host, or the
    /// caller's argument is at fault. A program that reconnects gives up on such an error.
    pub fn is_lasting(&self) -> bool {
        self.0.is_lasting
    }

    /// The causes, outermost first.
    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        std::iter::successors(self.source(), |cause| (*cause).source())
    }
}

#[cfg(feature = "client")]
impl Error {
    /// The error of an operation that the stub answered with a failure.
    pub(crate) fn failure(kind: ErrorKind, failure: Failure) -> Self {
        Self::new(kind, failure.text).with_origin(Origin::Kernel).with_errno(failure.errno)
    }

    /// Appends a text to the error and its causes: a remedy, or what the far end said. It brings
    /// its own punctuation.
    #[must_use]
    pub(crate) fn with_note(self, note: &str) -> Self {
        self.with(|inner| inner.note.push_str(note))
    }

    /// Sets the step and names it in front of the text, unless a step is set already.
    #[must_use]
    pub(crate) fn prefix_step(self, step: Step) -> Self {
        match self.0.step {
            Some(_) => self,
            None => self.with_step(step).context(step),
        }
    }

    /// Marks the error as [lasting](Self::is_lasting).
    #[must_use]
    pub(crate) fn lasting(self) -> Self {
        self.with(|inner| inner.is_lasting = true)
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, text)
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the socket is closed")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        if f.alternate() {
            for cause in self.causes() {
                match cause.downcast_ref() {
                    Some(cause) => write!(f, ": {}", errno::words(cause))?,
                    None => write!(f, ": {cause}")?,
                }
            }
        }
        f.write_str(&self.0.note)
    }
}

/// One line with everything: main functions that return an error print this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, origin, errno, step, .. } = &*self.0;
        write!(f, "Error({kind:?}, {origin:?}")?;
        if let Some(step) = step {
            write!(f, ", step {step:?}")?;
        }
        match errno.map(|errno| (errno, errno::name(errno))) {
            Some((_, Some(name))) => write!(f, ", {name}")?,
            Some((errno, None)) => write!(f, ", errno {errno}")?,
            None => {}
        }
        write!(f, ": {self:#})")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Violation::from(error).into()
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::new(ErrorKind::Disconnected, "the far end broke the protocol").with_source(violation)
    }
}

impl From<Error> for io::Error {
    /// The errno of the far kernel becomes a plain OS error, so that `raw_os_error` gives it; the
    /// text is lost then. Every other error is inside the result, which has a kind that fits.
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

#[cfg(all(test, feature = "client"))]
mod tests {
    use super::*;

    fn refused() -> io::Error {
        io::Error::from_raw_os_error(errno::ECONNREFUSED)
    }

    #[test]
    fn causes_are_apart_from_the_text() {
        let error = Error::new(ErrorKind::Connect, "connecting to a").with_source(refused());
        let error = error.with_note("; is it up?").prefix_step(Step::Connect).context("ssh://a");
        assert_eq!(error.to_string(), "ssh://a: connect: connecting to a; is it up?");
        let whole = "ssh://a: connect: connecting to a: Connection refused; is it up?";
        assert_eq!(format!("{error:#}"), whole);
        let debug = format!("Error(Connect, Peer, step Connect, ECONNREFUSED: {whole})");
        assert_eq!(format!("{error:?}"), debug);
        let source: &io::Error = error.source().unwrap().downcast_ref().unwrap();
        assert_eq!(source.raw_os_error(), Some(errno::ECONNREFUSED));
        // A step names itself once.
        assert_eq!(error.clone().prefix_step(Step::Hello).to_string(), error.to_string());
    }

    #[test]
    fn a_broken_protocol_is_the_source() {
        let error = Error::from(WireError::UnknownType(0x7f));
        assert_eq!(error.to_string(), "the far end broke the protocol");
        assert!(format!("{error:#}").ends_with("protocol: unknown frame type 0x7f"), "{error:#}");
        assert!(error.source().unwrap().is::<Violation>());
        assert!(error.is_disconnected());
    }

    #[test]
    fn questions() {
        let with = |kind, errno: i32| Error::new(kind, "").with_errno(errno);
        assert!(Error::new(ErrorKind::Timeout, "").is_timeout());
        assert!(with(ErrorKind::Disconnected, ETIMEDOUT).is_timeout());
        assert!(with(ErrorKind::Open, EPERM).is_permission());
        assert!(with(ErrorKind::Connect, EACCES).is_permission());
        let plain = with(ErrorKind::Open, errno::ENOENT);
        assert!(!plain.is_permission() && !plain.is_timeout() && !plain.is_disconnected());
    }

    #[test]
    fn an_errno_that_is_given_is_kept() {
        let error = Error::new(ErrorKind::Connect, "").with_errno(EPERM).with_source(refused());
        assert_eq!(error.errno(), Some(EPERM));
        assert_eq!(Error::new(ErrorKind::Connect, "").with_source("words").errno(), None);
    }

    #[test]
    fn io_errors_keep_the_kernels_errno() {
        let kernel = Error::new(ErrorKind::Open, "").with_origin(Origin::Kernel).with_errno(EPERM);
        assert_eq!(io::Error::from(kernel).raw_os_error(), Some(EPERM));
        let local = Error::new(ErrorKind::Timeout, "opening").with_errno(EPERM);
        let error = io::Error::from(local);
        assert_eq!((error.kind(), error.raw_os_error()), (io::ErrorKind::TimedOut, None));
        assert_eq!(error.to_string(), "opening");
    }
}

//! The errors of requests.

use std::{fmt, sync::Arc};

use super::raw_message::RawMessage;
use crate::{
    Error, ErrorKind, Origin,
    errno::{EINTR, ENOBUFS, EPROTONOSUPPORT, describe},
    nlmsg::Outcome,
    text::one_line,
};

/// A request without an answer, or with an incomplete one.
///
/// Cheap to clone. It becomes an [`Error`] by `?`, which keeps kind, errno and text.
#[derive(Clone)]
pub struct RequestError(Arc<Inner>);

struct Inner {
    kind: RequestErrorKind,
    errno: Option<i32>,
    /// The extended ack of a refusal.
    words: Option<String>,
    offset: Option<u32>,
    /// The refused message's place in its datagram, and the number of messages there.
    index: usize,
    count: usize,
    message: Option<RawMessage>,
    /// The error of the socket, or the text of an invalid request.
    source: Option<Error>,
}

/// Kinds of [`RequestError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestErrorKind {
    /// The far kernel refused the request, with an errno.
    Refused,
    /// Objects changed while they were dumped (`NLM_F_DUMP_INTR`): some may be missing from the
    /// messages of the answer, or there twice. Repeat the dump.
    Interrupted,
    /// The far kernel dropped datagrams of the socket while the answer was awaited. The request may
    /// have been carried out.
    Lost,
    /// More of the answer was left unread than
    /// [`Requests::max_unread`](super::Requests::max_unread) allows.
    Unread,
    /// The answer has no message.
    Empty,
    /// The datagram holds no valid request.
    Invalid,
    /// The socket failed: the connection ended, the far kernel's sendmsg(2) refused the datagram,
    /// or a datagram could not be forwarded.
    Socket,
}

impl RequestError {
    fn new(kind: RequestErrorKind, errno: Option<i32>) -> Self {
        Self(Arc::new(Inner {
            kind,
            errno,
            words: None,
            offset: None,
            index: 0,
            count: 1,
            message: None,
            source: None,
        }))
    }

    /// The kernel refused message `index` of the `count` in a datagram.
    pub(super) fn refused(
        outcome: Outcome,
        message: RawMessage,
        (index, count): (u32, u32),
    ) -> Self {
        let Outcome { errno, text, offset } = outcome;
        let place = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            kind: RequestErrorKind::Refused,
            errno: Some(errno),
            words: text.map(|text| one_line(&text).into_owned()),
            offset,
            index: place(index),
            count: place(count),
            message: Some(message),
            source: None,
        }))
    }

    pub(super) fn interrupted() -> Self {
        Self::new(RequestErrorKind::Interrupted, Some(EINTR))
    }

    pub(super) fn lost() -> Self {
        Self::new(RequestErrorKind::Lost, Some(ENOBUFS))
    }

    pub(super) fn unread() -> Self {
        Self::new(RequestErrorKind::Unread, None)
    }

    pub(super) fn empty() -> Self {
        Self::new(RequestErrorKind::Empty, None)
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::with_source(RequestErrorKind::Invalid, Error::invalid(text))
    }

    /// The far host's byte order differs from this host's.
    pub(super) fn foreign() -> Self {
        let text = "the far host has the other byte order, in which no request can be numbered";
        let error = Error::new(ErrorKind::Invalid, text).with_errno(EPROTONOSUPPORT);
        Self::with_source(RequestErrorKind::Invalid, error)
    }

    /// The socket failed.
    pub(super) fn socket(error: Error) -> Self {
        Self::with_source(RequestErrorKind::Socket, error)
    }

    fn with_source(kind: RequestErrorKind, source: Error) -> Self {
        Self(Arc::new(Inner {
            kind,
            errno: source.errno(),
            words: None,
            offset: None,
            index: 0,
            count: 1,
            message: None,
            source: Some(source),
        }))
    }

    /// The kind.
    pub fn kind(&self) -> RequestErrorKind {
        self.0.kind
    }

    /// The errno: the far kernel's of a refusal, EINTR of an interrupted dump, ENOBUFS of a lost
    /// answer, and that of the socket's error.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The kernel's own words about a refusal (`NLMSGERR_ATTR_MSG`), in one line and harmless on a
    /// terminal. Kernels have them for some refusals, of sockets with `NETLINK_EXT_ACK`, which is
    /// on by default.
    pub fn extended_ack(&self) -> Option<&str> {
        self.0.words.as_deref()
    }

    /// The offset of the offending attribute in the request, header included
    /// (`NLMSGERR_ATTR_OFFS`).
    pub fn offset(&self) -> Option<u32> {
        self.0.offset
    }

    /// The place of the refused message among those of its datagram, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The `NLMSG_ERROR` or `NLMSG_DONE` of a refusal, for further
    /// [attributes](crate::nlmsg::Message::extended_ack).
    pub fn message(&self) -> Option<&RawMessage> {
        self.0.message.as_ref()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, errno, words, offset, index, count, source, .. } = &*self.0;
        if let Some(source) = source {
            return source.fmt(f);
        }
        match kind {
            RequestErrorKind::Refused => {
                let errno = describe(errno.unwrap_or_default());
                match count {
                    1 => write!(f, "the kernel refused the request: {errno}")?,
                    _ => write!(f, "the kernel refused message {index} of {count}: {errno}")?,
                }
                match (words, offset) {
                    (Some(words), Some(offset)) => write!(f, " ({words}; at byte {offset})"),
                    (Some(words), None) => write!(f, " ({words})"),
                    (None, Some(offset)) => write!(f, " (at byte {offset})"),
                    (None, None) => Ok(()),
                }
            }
            RequestErrorKind::Interrupted => {
                f.write_str("objects changed while they were dumped: the dump may be incomplete")
            }
            RequestErrorKind::Lost => f.write_str(
                "the far kernel dropped datagrams for want of receive buffer, perhaps the answer",
            ),
            RequestErrorKind::Unread => f.write_str(
                "too much of the answer was left unread while others on its socket were awaited",
            ),
            RequestErrorKind::Empty => f.write_str("the answer has no message"),
            RequestErrorKind::Invalid | RequestErrorKind::Socket => {
                f.write_str("the request failed")
            }
        }
    }
}

impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestError({:?}, errno {:?}: {self})", self.0.kind, self.0.errno)
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The text is that of the socket's error.
        self.0.source.as_ref()?.source()
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        let Inner { kind, errno, source, .. } = &*error.0;
        if let Some(source) = source {
            return source.clone();
        }
        let (kind, origin) = match kind {
            RequestErrorKind::Lost => (ErrorKind::Receive, Origin::Kernel),
            RequestErrorKind::Unread => (ErrorKind::Receive, Origin::Caller),
            _ => (ErrorKind::Request, Origin::Kernel),
        };
        Error::new(kind, error.to_string()).with_origin(origin).with_errno(*errno)
    }
}

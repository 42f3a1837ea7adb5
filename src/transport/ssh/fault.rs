//! Errors of libssh2: which part of a session each one ends, and its words.

use async_ssh2_lite::ssh2::{self, ErrorCode};

use crate::{Error, ErrorKind, text::one_line};

/// libssh2's error codes that are handled apart, as libssh2.h has them.
pub(super) mod code {
    pub(in super::super) const SOCKET_SEND: i32 = -7;
    pub(in super::super) const SOCKET_DISCONNECT: i32 = -13;
    pub(in super::super) const PASSWORD_EXPIRED: i32 = -15;
    pub(in super::super) const FILE: i32 = -16;
    pub(in super::super) const AUTHENTICATION_FAILED: i32 = -18;
    pub(in super::super) const PUBLICKEY_UNVERIFIED: i32 = -19;
    pub(in super::super) const CHANNEL_FAILURE: i32 = -21;
    pub(in super::super) const CHANNEL_REQUEST_DENIED: i32 = -22;
    pub(in super::super) const CHANNEL_EOF_SENT: i32 = -27;
    pub(in super::super) const INVAL: i32 = -34;
    pub(in super::super) const EAGAIN: i32 = -37;
    pub(in super::super) const SOCKET_RECV: i32 = -43;
}

pub(super) fn code_of(error: &ssh2::Error) -> i32 {
    match error.code() {
        ErrorCode::Session(code) | ErrorCode::SFTP(code) => code,
    }
}

pub(super) fn would_block(error: &ssh2::Error) -> bool {
    code_of(error) == code::EAGAIN
}

/// Whether an error ends one channel only, and not the session.
pub(super) fn spares_session(error: &ssh2::Error) -> bool {
    matches!(code_of(error), code::CHANNEL_EOF_SENT..=code::CHANNEL_FAILURE | code::INVAL)
}

/// Whether an error means that the connection is gone.
pub(super) fn is_loss(error: &ssh2::Error) -> bool {
    matches!(code_of(error), code::SOCKET_SEND | code::SOCKET_DISCONNECT | code::SOCKET_RECV)
}

/// An error's words, made harmless: some of them are the server's.
pub(super) fn words(error: &ssh2::Error) -> String {
    one_line(error.message()).into_owned()
}

/// The ssh2 error for a connection that is gone.
pub(super) fn loss() -> ssh2::Error {
    ssh2::Error::from_errno(ErrorCode::Session(code::SOCKET_RECV))
}

/// The error of a session that libssh2 can no longer use.
pub(super) fn session_lost(error: &ssh2::Error) -> Error {
    if is_loss(error) {
        return connection_closed();
    }
    let text = format!("the ssh connection broke: {}", words(error));
    Error::new(ErrorKind::Disconnected, text)
}

/// The error of a session whose connection is closed.
pub(super) fn connection_closed() -> Error {
    let text = "the ssh connection is lost: the server, or something on the way, closed it";
    Error::new(ErrorKind::Disconnected, text)
}

/// The ssh2 error within one of async-ssh2-lite's; any other counts as a lost connection.
pub(super) fn ssh2_error(error: async_ssh2_lite::Error) -> ssh2::Error {
    match error {
        async_ssh2_lite::Error::Ssh2(error) => error,
        _ => loss(),
    }
}

/// An error of connecting, caused by the server.
pub(super) fn connect(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Connect, text)
}

/// An error of connecting that trying again does not cure.
pub(super) fn refused(text: impl Into<String>) -> Error {
    connect(text).lasting()
}

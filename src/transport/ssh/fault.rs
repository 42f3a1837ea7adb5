//! What libssh2 says went wrong, in words of use.

#![forbid(unsafe_code)]

use async_ssh2_lite::ssh2::{self, ErrorCode};

use crate::{Error, ErrorKind};

/// libssh2's error codes that tell apart what is done about them.
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

/// Whether it concerns one channel only, and the session goes on.
pub(super) fn spares_session(error: &ssh2::Error) -> bool {
    matches!(code_of(error), code::CHANNEL_EOF_SENT..=code::CHANNEL_FAILURE | code::INVAL)
}

/// Whether there is no connection any more.
pub(super) fn is_loss(error: &ssh2::Error) -> bool {
    matches!(code_of(error), code::SOCKET_SEND | code::SOCKET_DISCONNECT | code::SOCKET_RECV)
}

/// libssh2's words, without control characters: some are the server's.
pub(super) fn words(error: &ssh2::Error) -> String {
    error.message().chars().filter(|letter| !letter.is_control()).collect()
}

/// A session that is over.
pub(super) fn lost(error: &ssh2::Error) -> Error {
    if is_loss(error) {
        return closed();
    }
    let text = format!("the ssh connection broke: {}", words(error));
    Error::new(ErrorKind::Disconnected, text)
}

/// A session whose connection is closed.
pub(super) fn closed() -> Error {
    let text = "the ssh connection is lost: the server, or something on the way, closed it";
    Error::new(ErrorKind::Disconnected, text)
}

/// The ssh2 error inside one of async-ssh2-lite's, where there is one.
pub(super) fn inner(error: async_ssh2_lite::Error) -> ssh2::Error {
    match error {
        async_ssh2_lite::Error::Ssh2(error) => error,
        _ => ssh2::Error::from_errno(ErrorCode::Session(code::SOCKET_RECV)),
    }
}

pub(super) fn connect(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Connect, text)
}

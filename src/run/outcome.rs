//! Results of calls.

use nix::errno::Errno;

use crate::{Error, ErrorKind, errno};

/// The result of a call: its value, or an errno.
pub(super) type Outcome = Result<i64, i32>;

pub(super) fn number(errno: Errno) -> i32 {
    errno as i32
}

/// The errno that a program gets for an error of the far end or of the connection.
pub(super) fn errno_of(error: &Error) -> i32 {
    match (error.kind(), error.errno()) {
        (ErrorKind::Disconnected, _) => libc::ECONNRESET,
        (_, Some(errno)) => errno,
        (ErrorKind::Timeout, None) => libc::ETIMEDOUT,
        (ErrorKind::Invalid, None) => libc::EINVAL,
        // The far end allows no more sockets.
        (ErrorKind::Open, None) => libc::EMFILE,
        _ => errno::EREMOTEIO,
    }
}

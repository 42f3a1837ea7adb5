//! Failures of system calls, as the stub reports them.

use std::{fmt, io};

use nix::errno::Errno;

use crate::wire::{FILE, FILTER, Failure, OWN_LEVEL, TIMES};

/// A failure at a step: its errno, and a text that names the step and the errno in words.
pub(crate) fn failure(errno: Errno, step: impl fmt::Display) -> Failure {
    Failure { errno: errno as i32, text: format!("{step}: {}", errno.desc()) }
}

/// A failure whose text explains the errno itself.
pub(crate) fn explained(errno: Errno, text: impl Into<String>) -> Failure {
    Failure { errno: errno as i32, text: text.into() }
}

/// An option in an error's text.
pub(crate) fn option_name(level: i32, name: i32) -> String {
    match (level, name) {
        (OWN_LEVEL, FILTER) => "the filter".to_owned(),
        (OWN_LEVEL, FILE) => "a file".to_owned(),
        (OWN_LEVEL, TIMES) => "the times of datagrams".to_owned(),
        _ => format!("option {name} of level {level}"),
    }
}

/// [`failure`] of an I/O error; EIO where that has no errno.
pub(super) fn io_failure(error: &io::Error, step: impl fmt::Display) -> Failure {
    failure(errno_of(error), step)
}

/// The errno of an I/O error; EIO where that has none.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

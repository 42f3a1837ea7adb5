//! errno numbers: the words for one, and the numbers this crate makes itself.

use std::io;

/// `EMSGSIZE`, as this host numbers it.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64"
)))]
pub(crate) const EMSGSIZE: i32 = 90;
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
pub(crate) const EMSGSIZE: i32 = 97;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub(crate) const EMSGSIZE: i32 = 40;

/// The system's words for an errno, without the number that std puts behind them.
pub fn describe(errno: i32) -> String {
    words(&io::Error::from_raw_os_error(errno))
}

/// The words of an I/O error, without the number that std puts behind them: "(os error 2)" tells a
/// reader nothing that the words do not.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

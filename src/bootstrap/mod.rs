//! Brings a stub to where there is none, over any byte stream with a POSIX shell behind it.
//!
//! | module | what it is |
//! |---|---|
//! | `stubs`, `machine`, `digest` | which stubs there are on this side, and for which machines |
//! | `boot` | the script that starts one at the far end, or asks for it |
//! | `approach`, `near` | this side of that: secrets, sending, and what went wrong |
//! | `remedies` | what to do about what sudo, doas and su say |
//! | `clean` | removing what was brought |
//! | `quote` | words on a command line |

#![forbid(unsafe_code)]

mod arch;
pub(crate) mod bootstrap;
pub(crate) mod clean;
mod digest;
mod expect;
mod hints;
pub(crate) mod quote;
pub(crate) mod script;
pub(crate) mod stubs;
#[cfg(test)]
mod tests;

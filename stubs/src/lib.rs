#![doc = include_str!("../README.md")]
#![no_std]

use core::fmt;

/// A stub.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Stub {
    /// The target triple it was built for: `x86_64-unknown-linux-musl`.
    pub target: &'static str,
    /// The program, a static ELF executable.
    pub bytes: &'static [u8],
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub")
            .field("target", &self.target)
            .field("length", &self.bytes.len())
            .finish()
    }
}

/// The stubs, one for each architecture.
pub const STUBS: &[Stub] = include!(concat!(env!("OUT_DIR"), "/stubs.rs"));

/// The version of netlink-remote whose stubs these are. Its client starts no others.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The bytes of all stubs, as `TargetOptions::with_stubs` takes them.
pub fn all() -> impl ExactSizeIterator<Item = &'static [u8]> + Clone {
    STUBS.iter().map(|stub| stub.bytes)
}

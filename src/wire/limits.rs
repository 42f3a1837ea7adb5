//! Versions and lengths of the format.

/// The highest protocol version this crate speaks.
pub const VERSION: u16 = 1;

/// The lowest protocol version this crate speaks.
pub const OLDEST_VERSION: u16 = 1;

/// Bytes of a hello behind its length field, at most.
pub const MAX_HELLO: usize = 64 * 1024;

/// The longest datagram that [`Flags::GATHER`](super::Flags::GATHER) counts on: 16 KiB.
pub const MAX_GATHERED: usize = 16 * 1024;

/// The limit on a frame that a side announces by default: 16 MiB.
pub const DEFAULT_MAX_FRAME: u32 = 16 * 1024 * 1024;

/// The smallest limit on a frame that a side may announce: 64 KiB.
///
/// A dump's datagrams have up to 32 KiB, and the stub's replies must always fit.
pub const MIN_MAX_FRAME: u32 = 64 * 1024;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 12;

/// `length` rounded up to the multiple of four that a frame, or an option, occupies.
pub const fn padded(length: usize) -> usize {
    (length + 3) & !3
}

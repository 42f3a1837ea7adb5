//! Versions and lengths of the format.

pub use crate::limits::wire::{
    DEFAULT_MAX_FRAME, MAX_GATHERED, MAX_HELLO, MAX_NOISE, MAX_OPTION, MAX_REQUEST, MAX_TEXT,
    MIN_MAX_FRAME,
};

/// The highest protocol version this crate speaks.
pub const VERSION: u16 = 1;

/// The lowest protocol version this crate speaks.
pub const OLDEST_VERSION: u16 = 1;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 12;

/// `length` rounded up to the multiple of four that a frame, or an option, occupies.
pub const fn padded(length: usize) -> usize {
    (length + 3) & !3
}

//! Errors in the bytes of a peer.

use super::limits::{HEADER_LEN, MAX_HELLO, OLDEST_VERSION, VERSION};

/// The peer's bytes do not follow the specification.
///
/// Every one of these ends the connection: after it the stream has no known position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A frame's length field is smaller than the frame's own header.
    #[error("frame length {0} is shorter than the {header}-byte header", header = HEADER_LEN)]
    BadLength(u32),
    /// A frame is longer than the negotiated limit.
    #[error("frame of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The length field's value, in bytes.
        length: u32,
        /// The limit in force, in bytes.
        limit: u32,
    },
    /// The type is unknown and the frame is not marked skippable.
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
    /// A payload ends before its last field.
    #[error("payload ends before its last field")]
    ShortPayload,
    /// A hello's length field is out of bounds.
    #[error("hello of {0} bytes (4 to {max} are allowed)", max = MAX_HELLO)]
    BadHello(u32),
    /// An option marked critical is not known here.
    #[error(
        "unknown critical option {0:#06x}: the peer needs something this side does not know; use the same version on both sides"
    )]
    UnknownCritical(u16),
    /// A namespace is named by a kind that is not known here.
    #[error(
        "unknown kind of namespace {0}: the peer asks for something this side does not know; use the same version on both sides"
    )]
    UnknownNetns(u32),
    /// A value is outside the range of its field.
    #[error("invalid {field}: {value}")]
    BadValue {
        /// The field's name.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// The versions do not overlap.
    #[error(
        "no common protocol version: the peer speaks {theirs_old} to {theirs}, this side {} to {}; use the same version on both sides",
        OLDEST_VERSION,
        VERSION
    )]
    Version {
        /// The peer's highest version.
        theirs: u16,
        /// The peer's lowest version.
        theirs_old: u16,
    },
    /// The peer has the same role as this side, as when one's own bytes are echoed.
    #[error("the peer is a {0} too: are this side's own bytes being echoed?")]
    SameRole(&'static str),
    /// The marker did not come within the bound.
    #[error("no protocol marker in the first {0} bytes")]
    NoMarker(usize),
}

//! The memory of what waits at a stub.

use crate::{limits::stub::QUEUED_EACH, wire::FrameType};

/// Bytes of memory that a send, an open or a request is counted for until it is made.
pub(crate) fn cost(frame: FrameType, payload: usize) -> u64 {
    // Decoded, an option without a value takes three times its bytes, in a vector that may have
    // just doubled.
    let times = if frame == FrameType::Open { 6 } else { 1 };
    QUEUED_EACH + times * payload as u64
}

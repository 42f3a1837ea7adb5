//! The refusal of a hello, which both sides understand whatever versions they speak.

use super::{
    failure::Failure,
    header::{Decoded, Header},
    limits::{HEADER_LEN, MIN_MAX_FRAME},
    message::Message,
};

/// The peer's refusal of this side's hello, behind a hello that this side may have to refuse as well:
/// `bytes` begin with that hello. `None` for other frames, and for one that has not come whole.
pub fn refusal(bytes: &[u8]) -> Option<Failure> {
    let (length, rest) = bytes.split_first_chunk()?;
    let frame = rest.get(u32::from_le_bytes(*length) as usize..)?;
    let Ok(Decoded::Known(header)) = Header::decode(frame, MIN_MAX_FRAME) else { return None };
    let payload = frame.get(HEADER_LEN..header.length as usize)?;
    match Message::decode(header.frame_type, payload) {
        Ok(Message::Fault(failure)) => Some(failure),
        _ => None,
    }
}

//! Options: kind, length, value, padding. The hello and the open frame are made of them.

use bytes::BufMut;

use super::{cursor::Cursor, error::WireError, limits::padded};

/// Set in a kind: a receiver that does not know the option must refuse.
pub const CRITICAL: u16 = 0x8000;

/// Appends one option to `out`. `kind` may carry [`CRITICAL`].
///
/// A value of more than 65,535 bytes is cut; no caller has one.
pub fn put(out: &mut impl BufMut, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..usize::from(length)).unwrap_or_default();
    out.put_u16_le(kind);
    out.put_u16_le(length);
    out.put_slice(value);
    out.put_bytes(0, padded(value.len()) - value.len());
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The kind without [`CRITICAL`].
    pub kind: u16,
    /// Whether [`CRITICAL`] was set.
    pub critical: bool,
    /// The value without padding.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// Skips an option of an unknown kind.
    ///
    /// # Errors
    /// [`WireError::UnknownCritical`] if the option must not be skipped.
    pub fn unknown(&self) -> Result<(), WireError> {
        if self.critical { Err(WireError::UnknownCritical(self.kind)) } else { Ok(()) }
    }
}

/// The options in `bytes`, in order. Stops after the first error.
pub fn iter(bytes: &[u8]) -> impl Iterator<Item = Result<Tlv<'_>, WireError>> {
    let mut cursor = Cursor::new(bytes);
    std::iter::from_fn(move || {
        if cursor.is_empty() {
            return None;
        }
        let next = next(&mut cursor);
        if next.is_err() {
            cursor.remainder();
        }
        Some(next)
    })
}

fn next<'a>(cursor: &mut Cursor<'a>) -> Result<Tlv<'a>, WireError> {
    let kind = cursor.u16()?;
    let length = usize::from(cursor.u16()?);
    let value = cursor.take(length)?;
    cursor.take(padded(length) - length)?;
    Ok(Tlv { kind: kind & !CRITICAL, critical: kind & CRITICAL != 0, value })
}

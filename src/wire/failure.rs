//! Failures in messages.

use super::{cursor::Cursor, error::WireError};
use crate::text::one_line_of;

/// Bytes of a failure's text that are kept. The sender chooses the length, and a terminal shows the
/// text on one line.
const LONGEST_TEXT: usize = 4096;

/// A failure at the sender: the errno, as the sender's architecture numbers it, and a text that
/// names the step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The errno, never 0.
    pub errno: i32,
    /// The step, its object, and the errno in words; decoded, it is fit for one line on a terminal.
    pub text: String,
}

impl Failure {
    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let errno = c.i32()?;
        if errno == 0 {
            return Err(WireError::BadValue { field: "errno of a failure", value: 0 });
        }
        Ok(Self { errno, text: Self::text_of(c.remainder()) })
    }

    /// The text of a failure in a message: its beginning where it is longer than anything that is
    /// said of one step.
    pub(crate) fn text_of(bytes: &[u8]) -> String {
        match bytes.get(..LONGEST_TEXT) {
            Some(beginning) if beginning.len() < bytes.len() => one_line_of(beginning) + "…",
            _ => one_line_of(bytes),
        }
    }
}

//! Failures in messages.

use bytes::BufMut;

use super::{
    cursor::Cursor,
    error::WireError,
    limits::{MAX_OPTION, MAX_TEXT},
};
use crate::errno::EMSGSIZE;
use crate::text::one_line_of;

/// A failure at the sender: the errno, as the sender's architecture numbers it, and a text that
/// names the step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The errno, never 0.
    pub errno: i32,
    /// The step, its object, and the errno in words; decoded, it is fit for one line on a terminal.
    /// Of more than [`MAX_TEXT`] bytes, the beginning and a mark are sent.
    pub text: String,
}

impl Failure {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_i32_le(self.errno);
        put_text(out, self.text.as_bytes());
    }

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let errno = c.i32()?;
        if errno == 0 {
            return Err(WireError::BadValue { field: "errno of a failure", value: 0 });
        }
        Ok(Self::of_peer(errno, c.remainder()))
    }

    /// That of setting an option whose value is longer than any may be.
    pub(crate) fn long_option(length: usize) -> Self {
        let text = format!("an option's value of {length} bytes: {MAX_OPTION} are allowed");
        Self { errno: EMSGSIZE, text }
    }

    /// A peer's failure: the text is made fit for one line on a terminal, and cut as
    /// [`put_text`] cuts it.
    pub(crate) fn of_peer(errno: i32, text: &[u8]) -> Self {
        let (mut kept, mut fit) = (Vec::new(), Vec::new());
        put_text(&mut kept, text);
        // What stands for a harmful character may be longer than that.
        put_text(&mut fit, one_line_of(&kept).as_bytes());
        Self { errno, text: String::from_utf8_lossy(&fit).into_owned() }
    }
}

/// Stands for the rest of a text that is cut.
const MARK: &str = "…";

/// Appends an error's text, which may repeat paths and names of any length: its beginning and a mark
/// if it has more than [`MAX_TEXT`] bytes.
pub(super) fn put_text(out: &mut impl BufMut, text: &[u8]) {
    if text.len() <= MAX_TEXT {
        return out.put_slice(text);
    }
    out.put_slice(beginning(text, MAX_TEXT - MARK.len()));
    out.put_slice(MARK.as_bytes());
}

/// The beginning of a text, cut between two letters if it has more bytes.
pub(super) fn beginning(text: &[u8], most: usize) -> &[u8] {
    let begins_letter = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=most.min(text.len())).rev().find(begins_letter).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str) -> String {
        let mut out = Vec::new();
        put_text(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_text_is_cut_between_letters_and_marked() {
        let longest = "x".repeat(MAX_TEXT);
        assert_eq!(put(&longest), longest);
        let cut = put(&format!("{longest}x"));
        assert_eq!((cut.len(), &cut[MAX_TEXT - 6..]), (MAX_TEXT, "xxx…"));
        // Letters of two, three and four bytes, at every offset to the cut.
        for letter in ["ä", "€", "🦀"] {
            for before in 0..8 {
                let cut = put(&format!("{}{}", "x".repeat(before), letter.repeat(MAX_TEXT)));
                assert!(cut.len() <= MAX_TEXT && cut.len() > MAX_TEXT - 8, "{}", cut.len());
                assert!(cut.ends_with(&format!("{letter}…")));
            }
        }
    }

    #[test]
    fn a_peer_s_long_text_is_cut_too() {
        let mut payload = 1_i32.to_le_bytes().to_vec();
        payload.resize(1 << 20, 0x1b);
        let failure = Failure::decode(&mut Cursor::new(&payload)).unwrap();
        assert!((MAX_TEXT - 3..=MAX_TEXT).contains(&failure.text.len()), "{}", failure.text.len());
        // Sent on, it stays as it is.
        let mut again = Vec::new();
        failure.encode(&mut again);
        assert_eq!(Failure::decode(&mut Cursor::new(&again)), Ok(failure));
    }
}

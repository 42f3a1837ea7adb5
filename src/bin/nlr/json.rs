//! JSON, in which characters that a terminal does not show as themselves are escaped.
//!
//! JSON itself asks for that below U+0020 only. DEL, C1 controls, bidirectional controls and
//! invisible characters become `\uXXXX` as well: the same text for a parser, and harmless on a
//! terminal.

use std::{borrow::Cow, fmt::Write};

use netlink_remote::text::is_harmful;
use serde_json::Value;

/// A value as JSON on one line.
pub(crate) fn text(value: &Value) -> String {
    // Fails for keys that are no text, which `Value` does not have.
    let text = serde_json::to_string(value).unwrap_or_default();
    match escape(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

/// Escapes the harmful characters of JSON on one line: they can only be inside its strings.
fn escape(json: &str) -> Cow<'_, str> {
    // Most JSON is ASCII, in which DEL alone is harmful.
    let is_plain = json.is_ascii() && !json.as_bytes().contains(&0x7f);
    if is_plain || !json.contains(is_harmful) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_harmful(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to memory does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_characters_are_escaped_and_parse_to_themselves() {
        let far = "a\u{1b}\u{7f}\u{9b}\u{202e}\u{200b}\u{e0041}\"Größe 名前";
        let value = serde_json::json!({ far: [far, 7] });
        let text = text(&value);
        let escapes = r"a\u001b\u007f\u009b\u202e\u200b\udb40\udc41";
        assert!(text.contains(escapes) && text.contains("Größe 名前"), "{text}");
        assert!(!text.contains(is_harmful), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn other_text_stays() {
        for plain in [r#"{"a":"b\n","c":[1,null]}"#, "\"Größe\""] {
            assert!(matches!(escape(plain), Cow::Borrowed(_)));
        }
    }
}

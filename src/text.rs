//! Text from a far end, made harmless before it is shown.
//!
//! A far end chooses what its banners, error texts, interface names and host names hold. Shown as
//! they are, control characters command the terminal, bidirectional overrides reorder a line,
//! zero-width characters make two names look alike, and line separators forge a second message.
//! [`is_harmful`] names these characters once; the functions differ in what stands in their place.
//! Names of a kernel are bytes, of any encoding: [`name`] makes text of them.

#![forbid(unsafe_code)]

use std::borrow::Cow;

/// Whether a character, shown on a terminal, does something else than take up its own place:
/// control characters (Unicode's Cc), line and paragraph separators (Zl, Zp), the bidirectional
/// controls, and the invisible ones (zero-width, fillers, tags, interlinear annotations).
///
/// Source: Unicode 16, `DerivedCoreProperties.txt` (`Default_Ignorable_Code_Point` without the
/// variation selectors, which emoji need) and `PropList.txt` (`Bidi_Control`).
pub fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e00ff}'
                | '\u{e01f0}'..='\u{e0fff}'
        )
}

/// Text for one line: line ends and tabs become spaces, other harmful characters U+FFFD.
pub fn one_line(text: &str) -> Cow<'_, str> {
    replace(text, |letter| if letter.is_whitespace() { ' ' } else { char::REPLACEMENT_CHARACTER })
}

/// [`one_line`] of bytes, which are UTF-8 if all is well: what is not becomes U+FFFD.
pub fn one_line_of(bytes: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(bytes)).into_owned()
}

/// Text of several lines: newlines and tabs stay, other harmful characters become U+FFFD.
pub fn lines(text: &str) -> Cow<'_, str> {
    replace(text, |letter| match letter {
        '\n' | '\t' => letter,
        _ => char::REPLACEMENT_CHARACTER,
    })
}

/// Text in which every harmful character is written as its escape, `\u{202e}` or `\n`. A backslash that
/// would begin such an escape is written as `\u{5c}`: two names that differ stay different.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !has_harmful(text) && !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        let seems_escape = || ["n", "r", "t", "u{"].iter().any(|e| rest.as_str().starts_with(e));
        match letter {
            '\\' if seems_escape() => shown.push_str("\\u{5c}"),
            letter if is_harmful(letter) => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// Bytes as text, such as the name of a link: each byte that is no UTF-8 is written as `\xff`, and a
/// backslash before an `x` as `\x5c`. Two names that differ stay different. Harmful characters stay:
/// [`escaped`] is for them.
///
/// ```
/// use netlink_remote::text::name;
///
/// assert_eq!(name(b"eth0"), "eth0");
/// assert_eq!(name(b"a\xff"), r"a\xff");
/// assert_eq!(name(br"a\xff"), r"a\x5cxff");
/// ```
pub fn name(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // A byte that is no UTF-8 is written with an `x` as well, but not taken for the name's own.
        shown.push_str(&chunk.valid().replace(r"\x", r"\x5cx"));
        for byte in chunk.invalid() {
            shown.push_str(&format!(r"\x{byte:02x}"));
        }
    }
    shown
}

/// Whether a text holds a harmful character. Printable ASCII, the common case, needs no decoding.
fn has_harmful(text: &str) -> bool {
    !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.contains(is_harmful)
}

fn replace(text: &str, mut with: impl FnMut(char) -> char) -> Cow<'_, str> {
    if !has_harmful(text) {
        return Cow::Borrowed(text);
    }
    let harmless = |letter| if is_harmful(letter) { with(letter) } else { letter };
    Cow::Owned(text.chars().map(harmless).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let far = "a\u{1b}[2Jb\u{9b}c\r\nd\u{202e}e\u{200b}f\u{2028}g\u{2066}h\u{feff}i\u{e0041}";
        for shown in [one_line(far), escaped(far), lines(far)] {
            assert!(!shown.contains(|c| is_harmful(c) && c != '\n'), "{shown:?}");
        }
        assert_eq!(one_line("a\tb\nc"), "a b c");
        assert_eq!(lines("a\tb\r\nc\u{7}"), "a\tb\u{fffd}\nc\u{fffd}");
        assert_eq!(escaped("x\u{202e}\n\u{7f}"), "x\\u{202e}\\n\\u{7f}");
        assert_eq!(one_line_of(b"a\xffb\0"), "a\u{fffd}b\u{fffd}");
    }

    /// All short names of the letters that escapes are made of are shown differently.
    #[test]
    fn names_that_differ_stay_different() {
        let letters = [b'\\', b'x', b'u', b'{', b'}', b'5', b'c', b'n', b'\n', 0xff, 0xc3, 0xa9];
        let mut names = vec![Vec::new()];
        let mut all = names.clone();
        for _ in 0..5 {
            let longer = |name: &Vec<u8>| letters.map(|letter| [&name[..], &[letter]].concat());
            names = names.iter().flat_map(longer).collect();
            all.extend(names.iter().cloned());
        }
        let mut texts: Vec<_> = all.iter().map(|bytes| name(bytes)).collect();
        let mut shown: Vec<_> = texts.iter().map(|text| escaped(text).into_owned()).collect();
        for texts in [&mut texts, &mut shown] {
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len(), all.len());
        }
        for (bytes, text) in [
            (&b"caf\xc3\xa9"[..], "café"),
            (b"a\xe9", r"a\xe9"),
            (br"C:\temp\x", r"C:\u{5c}temp\x5cx"),
            (br"a\b", r"a\b"),
        ] {
            assert_eq!(escaped(&name(bytes)), text);
        }
    }

    #[test]
    fn what_is_written_in_any_language_stays() {
        for text in ["Größe 名前 اسم שם", "a b", "👍\u{fe0f}", "eth0@if2"] {
            assert!(matches!(one_line(text), Cow::Borrowed(_)), "{text}");
            assert_eq!(escaped(text), text);
        }
    }
}

//! Texts that are expected but for numbers.

/// Whether a text is the expected one, in which `*` stands for digits, and `…` at the end for a list
/// that depends on the machine.
pub fn is_text(expected: &str, text: &str) -> bool {
    let (expected, is_open) = match expected.strip_suffix('…') {
        Some(expected) => (expected, true),
        None => (expected, false),
    };
    let mut parts = expected.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match (digits, rest[digits..].strip_prefix(part)) {
            (1.., Some(behind)) => rest = behind,
            _ => return false,
        }
    }
    is_open || rest.is_empty()
}

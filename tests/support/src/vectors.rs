//! The test vectors of the wire format: header lines, a blank line, commented hex.
//!
//! ```text
//! expect: ok
//! kind: frame
//! message: #1 0x00 Close
//! # The reason for this vector.
//!
//! 0c 00 00 00  13 00 00 00  # bytes in hex
//! 00*4                      # a byte, repeated
//! ```
//!
//! A header line that begins with a space continues the line before it.

use std::fs;

use crate::programs;

/// A vector.
pub struct Vector {
    /// The file's name without its extension.
    pub name: String,
    fields: Vec<(String, String)>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Vector {
    fn parse(name: &str, text: &str) -> Self {
        let (head, body) =
            text.split_once("\n\n").unwrap_or_else(|| panic!("{name}: no blank line"));
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut explained = false;
        for line in head.lines() {
            if line.starts_with('#') {
                explained = true;
            } else if line.starts_with(' ') {
                let (_, value) =
                    fields.last_mut().unwrap_or_else(|| panic!("{name}: continues no line"));
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (key, value) =
                    line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line:?}"));
                fields.push((key.to_owned(), value.to_owned()));
            }
        }
        assert!(explained, "{name}: no comment gives its reason");
        let mut bytes = Vec::new();
        for line in body.lines() {
            for token in line.split('#').next().unwrap_or_default().split_whitespace() {
                let (byte, count) = token.split_once('*').unwrap_or((token, "1"));
                assert_eq!(byte.len(), 2, "{name}: {token:?}");
                let byte =
                    u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{name}: {token:?}"));
                let count = count.parse().unwrap_or_else(|_| panic!("{name}: {token:?}"));
                bytes.extend(std::iter::repeat_n(byte, count));
            }
        }
        Self { name: name.to_owned(), fields, bytes }
    }

    /// The values of all header lines of this key, in order.
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.fields.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of the one header line of this key.
    pub fn one(&self, key: &str) -> Option<&str> {
        let all = self.all(key);
        assert!(all.len() <= 1, "{}: {key} comes {} times", self.name, all.len());
        all.first().copied()
    }

    /// The keys of all header lines.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(key, _)| key.as_str())
    }
}

/// All vectors, by name.
///
/// # Panics
/// Where a file is malformed, or there is none.
pub fn load() -> Vec<Vector> {
    let folder = programs::repository().join("tests/vectors");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut vectors = Vec::new();
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            vectors.push(Vector::parse(&name, &text));
        }
    }
    assert!(!vectors.is_empty(), "no vectors in {}", folder.display());
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

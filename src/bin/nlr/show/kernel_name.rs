//! Names that a kernel gives its objects, as text.
//!
//! A kernel bounds their lengths and not their bytes, and a hostile far end keeps to no bound. A
//! longer name is shown as invalid, by its beginning and its length: shown in full, one of 60,000
//! bytes would be repeated by each route through its link.

use netlink_remote::{nlmsg::Attributes, text};

/// Bytes of the name of a link, at most (`IFNAMSIZ` with the NUL). Kinds of qdiscs, labels of
/// addresses and names of physical ports are as long.
pub(crate) const LINK: usize = 15;

/// Of an alternative name (`ALTIFNAMSIZ`).
pub(crate) const ALTERNATIVE: usize = 127;

/// Of an alias (`IFALIASZ`).
pub(crate) const ALIAS: usize = 255;

/// Of the kind of a link, which is the name of a module (`MODULE_NAME_LEN`).
pub(crate) const KIND: usize = 55;

/// Of an algorithm of congestion control (`TCP_CA_NAME_MAX`).
pub(crate) const CONGESTION: usize = 15;

/// Of the device behind a link, and of its bus: as long as a file's (`NAME_MAX`), since sysfs has
/// folders of these names.
pub(crate) const DEVICE: usize = 255;

/// Of a file, such as a named namespace.
pub(crate) const FILE: usize = 255;

/// Bytes that are shown of what is longer than anything a kernel has.
const SHOWN: usize = 32;

/// Names among attributes.
pub(crate) trait Named {
    /// The name in an attribute, of up to `longest` bytes.
    fn name(self, kind: u16, longest: usize) -> Option<String>;
}

impl Named for Attributes<'_> {
    fn name(self, kind: u16, longest: usize) -> Option<String> {
        self.bytes(kind).map(|bytes| name(bytes, longest))
    }
}

/// A name of up to `longest` bytes, which ends with its first NUL. Bytes that are no UTF-8 are written
/// as [`text::name`] does.
pub(crate) fn name(bytes: &[u8], longest: usize) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    cut(bytes, longest, text::name)
}

/// Bytes of any kind as `shown` writes them; those of more than `longest` as invalid.
pub(crate) fn cut(bytes: &[u8], longest: usize, shown: impl Fn(&[u8]) -> String) -> String {
    if bytes.len() <= longest {
        return shown(bytes);
    }
    let beginning = bytes.get(..SHOWN.min(longest)).unwrap_or_default();
    format!("{}… (invalid: {} bytes)", shown(beginning), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_whole_or_as_invalid() {
        assert_eq!(name(b"eth0\0rest", LINK), "eth0");
        assert_eq!(name(b"123456789012345", LINK), "123456789012345");
        assert_eq!(name(b"1234567890123456", LINK), "123456789012345… (invalid: 16 bytes)");
        assert_eq!(name(b"a\xff\0", LINK), r"a\xff");
        let long = name(&[b'x'; 60_000], ALIAS);
        assert_eq!(long, format!("{}… (invalid: 60000 bytes)", "x".repeat(32)));
    }
}

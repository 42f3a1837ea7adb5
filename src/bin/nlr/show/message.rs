//! Messages and attributes, as they stand in a datagram.
//!
//! Rendering works on bytes and not on decoded messages for two reasons. A decoder that knows every attribute
//! refuses the whole message when one attribute is of a length or an encoding it does not expect (an alias that is
//! not UTF-8, a bond newer than the decoder), while `ip` prints the rest; and it has no name for message types it
//! does not know, which a monitor must still report.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;

/// Length of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// The bits of an attribute's type that hold the type (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// One netlink message: what its header says, and its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// The message type, such as `RTM_NEWLINK` (16).
    pub(crate) kind: u16,
    /// The `NLM_F_*` flags.
    pub(crate) flags: u16,
    /// The sequence number, which an answer has of its request.
    pub(crate) sequence: u32,
    /// The payload: a header that depends on the type, then attributes.
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram, in order. A message that claims to be longer than what is left ends the iteration.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(read_u32(rest, 0)?).ok()?;
        let message = Message {
            kind: read_u16(rest, 4)?,
            flags: read_u16(rest, 6)?,
            sequence: read_u32(rest, 8)?,
            body: rest.get(HEADER..length)?,
        };
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// A request for all objects of a kind.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The message type, such as `RTM_GETLINK` (18).
    kind: u16,
    /// The payload.
    body: Vec<u8>,
}

impl Request {
    /// A request whose header has `header` bytes, zeros but for the family in the first.
    pub(crate) fn new(kind: u16, header: usize, family: u8) -> Self {
        let mut body = vec![0; aligned(header)];
        if let Some(first) = body.first_mut() {
            *first = family;
        }
        Self { kind, body }
    }

    /// Appends an attribute.
    pub(crate) fn with_u32(mut self, kind: u16, value: u32) -> Self {
        self.body.extend(8_u16.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value.to_ne_bytes());
        self
    }

    /// The request as a datagram.
    pub(crate) fn datagram(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(REQUEST_DUMP.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        // The port id is the kernel's to fill in.
        bytes.extend([0; 4]);
        bytes.extend(&self.body);
        bytes
    }
}

impl<'a> Message<'a> {
    /// A byte of the payload.
    pub(crate) fn u8(&self, at: usize) -> Option<u8> {
        self.body.get(at).copied()
    }

    /// Two bytes of the payload, in host order.
    pub(crate) fn u16(&self, at: usize) -> Option<u16> {
        read_u16(self.body, at)
    }

    /// Four bytes of the payload, in host order.
    pub(crate) fn u32(&self, at: usize) -> Option<u32> {
        read_u32(self.body, at)
    }

    /// The attributes, which begin after a header of `header` bytes.
    pub(crate) fn attributes(&self, header: usize) -> Attributes<'a> {
        Attributes(self.body.get(aligned(header)..).unwrap_or_default())
    }
}

/// A list of attributes. Looking one up walks the list and gives the first of its type, as `ip` does; an attribute
/// that is too short for what is asked counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// All attributes as (type, value).
    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(read_u16(rest, 0)?);
            let item = (read_u16(rest, 2)? & TYPE_MASK, rest.get(ATTRIBUTE_HEADER..length)?);
            rest = rest.get(aligned(length)..).unwrap_or_default();
            Some(item)
        })
    }

    /// The value of an attribute.
    pub(crate) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// Whether the attribute is there.
    pub(crate) fn has(self, kind: u16) -> bool {
        self.bytes(kind).is_some()
    }

    /// A `u8` attribute.
    pub(crate) fn u8(self, kind: u16) -> Option<u8> {
        self.bytes(kind)?.first().copied()
    }

    /// A `u16` attribute, in host order.
    pub(crate) fn u16(self, kind: u16) -> Option<u16> {
        read_u16(self.bytes(kind)?, 0)
    }

    /// A `u16` attribute, in network order.
    pub(crate) fn be16(self, kind: u16) -> Option<u16> {
        self.u16(kind).map(u16::from_be)
    }

    /// A `u32` attribute, in host order.
    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        read_u32(self.bytes(kind)?, 0)
    }

    /// An `i32` attribute, in host order.
    pub(crate) fn i32(self, kind: u16) -> Option<i32> {
        self.u32(kind).map(u32::cast_signed)
    }

    /// A `u64` attribute, in host order.
    pub(crate) fn u64(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// A text attribute, up to its NUL. The kernel does not promise UTF-8: what is not becomes U+FFFD.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        self.bytes(kind).map(text)
    }

    /// The attributes inside an attribute.
    pub(crate) fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.bytes(kind).map(Attributes)
    }
}

/// Bytes up to the first NUL, as text.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Two bytes in host order.
pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Four bytes in host order.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Rounded up to the four bytes everything in netlink is aligned to.
pub(super) fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::{Attributes, messages};

    #[test]
    fn a_message_cut_short_ends_the_datagram() {
        let mut datagram = vec![20, 0, 0, 0, 16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(messages(&datagram).map(|message| message.body.len()).collect::<Vec<_>>(), [4]);
        datagram.pop();
        assert_eq!(messages(&datagram).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0, "a length of zero must not loop");
    }

    #[test]
    fn attributes_that_lie_about_their_length_are_absent() {
        assert_eq!(Attributes(&[0, 0, 1, 0, 9]).iter().count(), 0);
        assert_eq!(Attributes(&[5, 0, 1, 0, 9]).u8(1), Some(9), "the last one needs no padding");
        assert_eq!(Attributes(&[5, 0, 1, 0, 9]).u32(1), None);
        assert_eq!(Attributes(&[6, 0, 1, 0x80, 0xff, 0]).text(1).as_deref(), Some("\u{fffd}"));
    }
}

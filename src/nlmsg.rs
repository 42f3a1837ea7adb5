//! Netlink messages in a datagram: headers, attributes, and the errors that end an answer.
//!
//! All of it works on bytes and knows no family: the meaning of a message type is the caller's.
//! Numbers are in the byte order of this host; a far host whose
//! [`HostInfo::big_endian`](crate::client::HostInfo::big_endian) differs needs another parser.
//!
//! Sources: netlink(7), `linux/netlink.h`.

#![forbid(unsafe_code)]

/// Bytes of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;

/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// The bits of an attribute's type that hold the type (`NLA_TYPE_MASK`).
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// Message types that every family shares (`NLMSG_*`).
pub mod kind {
    /// `NLMSG_NOOP`.
    pub const NOOP: u16 = 1;
    /// `NLMSG_ERROR`: an error, or with errno 0 an acknowledgement.
    pub const ERROR: u16 = 2;
    /// `NLMSG_DONE`: the end of a dump, with its error code.
    pub const DONE: u16 = 3;
    /// `NLMSG_OVERRUN`.
    pub const OVERRUN: u16 = 4;
}

/// Flags of a message (`NLM_F_*`).
pub mod flags {
    /// `NLM_F_REQUEST`.
    pub const REQUEST: u16 = 0x1;
    /// `NLM_F_MULTI`: one of several messages, the last of which is [`DONE`](super::kind::DONE).
    pub const MULTI: u16 = 0x2;
    /// `NLM_F_ACK`.
    pub const ACK: u16 = 0x4;
    /// `NLM_F_ECHO`.
    pub const ECHO: u16 = 0x8;
    /// `NLM_F_DUMP_INTR`: objects changed while they were dumped.
    pub const DUMP_INTR: u16 = 0x10;
    /// `NLM_F_DUMP_FILTERED`.
    pub const DUMP_FILTERED: u16 = 0x20;
    /// `NLM_F_ROOT`, of a get request.
    pub const ROOT: u16 = 0x100;
    /// `NLM_F_MATCH`, of a get request.
    pub const MATCH: u16 = 0x200;
    /// `NLM_F_DUMP`, of a get request.
    pub const DUMP: u16 = ROOT | MATCH;
    /// `NLM_F_REPLACE`, of a new request.
    pub const REPLACE: u16 = 0x100;
    /// `NLM_F_EXCL`, of a new request.
    pub const EXCL: u16 = 0x200;
    /// `NLM_F_CREATE`, of a new request.
    pub const CREATE: u16 = 0x400;
    /// `NLM_F_APPEND`, of a new request.
    pub const APPEND: u16 = 0x800;
    /// `NLM_F_CAPPED`, of an error: it repeats the header of the request alone.
    pub const CAPPED: u16 = 0x100;
    /// `NLM_F_ACK_TLVS`, of an error or a DONE: attributes of extended ack follow.
    pub const ACK_TLVS: u16 = 0x200;
}

/// Types of the attributes of an extended ack (`NLMSGERR_ATTR_*`).
pub mod extended_ack {
    /// `NLMSGERR_ATTR_MSG`: the kernel's words, a string.
    pub const MSG: u16 = 1;
    /// `NLMSGERR_ATTR_OFFS`: the offset of the offending attribute in the request, a `u32`.
    pub const OFFS: u16 = 2;
    /// `NLMSGERR_ATTR_COOKIE`: a subsystem's own bytes, of an acknowledgement.
    pub const COOKIE: u16 = 3;
    /// `NLMSGERR_ATTR_POLICY`: the policy that the attribute violates, nested.
    pub const POLICY: u16 = 4;
    /// `NLMSGERR_ATTR_MISS_TYPE`: the type of a missing attribute, a `u32`.
    pub const MISS_TYPE: u16 = 5;
    /// `NLMSGERR_ATTR_MISS_NEST`: the offset of the nest that lacks it, a `u32`.
    pub const MISS_NEST: u16 = 6;
}

/// The fields of `struct nlmsghdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes of the message, header included, padding not.
    pub length: u32,
    /// The message type: one of [`kind`], or the family's own from 16 on.
    pub kind: u16,
    /// [`flags`].
    pub flags: u16,
    /// The sequence number, which an answer takes from its request.
    pub sequence: u32,
    /// The port id of the socket that asked, in an answer and in an event alike; 0 for none.
    pub portid: u32,
}

impl Header {
    /// The header at the start of `bytes`, with its length unchecked; `None` below 16 bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            length: read_u32(bytes, 0)?,
            kind: read_u16(bytes, 4)?,
            flags: read_u16(bytes, 6)?,
            sequence: read_u32(bytes, 8)?,
            portid: read_u32(bytes, 12)?,
        })
    }
}

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// The bytes after the header: a header of the family, then attributes.
    pub payload: &'a [u8],
    /// Bytes of the datagram before the message.
    pub offset: usize,
}

/// The messages of one datagram, in order. A message whose length is more than the datagram has
/// left, or less than a header, ends the iteration.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = datagram.get(offset..)?;
        let header = Header::parse(rest)?;
        let length = usize::try_from(header.length).ok()?;
        let message = Message { header, payload: rest.get(HEADER_LEN..length)?, offset };
        offset = offset.saturating_add(aligned(length));
        Some(message)
    })
}

impl<'a> Message<'a> {
    /// A byte of the payload.
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.payload.get(at).copied()
    }

    /// Two bytes of the payload.
    pub fn u16(&self, at: usize) -> Option<u16> {
        read_u16(self.payload, at)
    }

    /// Four bytes of the payload.
    pub fn u32(&self, at: usize) -> Option<u32> {
        read_u32(self.payload, at)
    }

    /// The attributes after a family's header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        Attributes(self.payload.get(aligned(header)..).unwrap_or_default())
    }

    /// The outcome in an [`ERROR`](kind::ERROR) or a [`DONE`](kind::DONE); `None` for other messages.
    pub fn outcome(&self) -> Option<Outcome> {
        if !matches!(self.header.kind, kind::ERROR | kind::DONE) {
            return None;
        }
        // A DONE without a number is one of success.
        let errno = self.u32(0).unwrap_or_default().cast_signed().saturating_neg();
        let attributes = self.extended_ack();
        Some(Outcome {
            errno,
            text: attributes.text(extended_ack::MSG).filter(|text| !text.is_empty()),
            offset: attributes.u32(extended_ack::OFFS),
        })
    }

    /// The attributes of an extended ack, as [`extended_ack`] numbers them; none for messages
    /// without [`ACK_TLVS`](flags::ACK_TLVS) or of other types.
    pub fn extended_ack(&self) -> Attributes<'a> {
        let before = match (self.header.flags & flags::ACK_TLVS, self.header.kind) {
            (0, _) => return Attributes::default(),
            // The errno, then the request: its header at least.
            (_, kind::ERROR) if self.header.flags & flags::CAPPED != 0 => 4 + HEADER_LEN,
            (_, kind::ERROR) => match self.u32(4).map(usize::try_from) {
                Some(Ok(length)) => length.max(HEADER_LEN).saturating_add(4),
                _ => return Attributes::default(),
            },
            (_, kind::DONE) => 4,
            _ => return Attributes::default(),
        };
        self.attributes(before)
    }
}

/// The end of an answer: success, or an errno with the kernel's own words (extended ack).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// The errno, as a positive number of the far architecture; 0 is success.
    pub errno: i32,
    /// The kernel's words (`NLMSGERR_ATTR_MSG`), as the kernel wrote them.
    pub text: Option<String>,
    /// The offset of the offending attribute in the request, header included
    /// (`NLMSGERR_ATTR_OFFS`).
    pub offset: Option<u32>,
}

impl Outcome {
    /// The outcome with the errno as this host numbers it, from a host of an architecture
    /// ([`errno::translate`](crate::errno::translate)).
    #[must_use]
    pub fn numbered_as_here(self, architecture: &str) -> Self {
        Self { errno: crate::errno::translate(self.errno, architecture), ..self }
    }
}

/// A list of attributes. A look-up walks the list and gives the first of its type; an attribute
/// shorter than the value asked for counts as absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a>(
    /// The bytes, from the first attribute's header on.
    pub &'a [u8],
);

impl<'a> Attributes<'a> {
    /// All attributes, as type (without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`) and value.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(read_u16(rest, 0)?);
            let kind = read_u16(rest, 2)? & ATTRIBUTE_TYPE_MASK;
            let value = rest.get(ATTRIBUTE_HEADER_LEN..length)?;
            rest = rest.get(aligned(length)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    /// The value of an attribute.
    pub fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// Whether the attribute is there.
    pub fn has(self, kind: u16) -> bool {
        self.bytes(kind).is_some()
    }

    /// A `u8` attribute.
    pub fn u8(self, kind: u16) -> Option<u8> {
        self.bytes(kind)?.first().copied()
    }

    /// A `u16` attribute.
    pub fn u16(self, kind: u16) -> Option<u16> {
        read_u16(self.bytes(kind)?, 0)
    }

    /// A `u16` attribute in network order.
    pub fn be16(self, kind: u16) -> Option<u16> {
        self.u16(kind).map(u16::from_be)
    }

    /// A `u32` attribute.
    pub fn u32(self, kind: u16) -> Option<u32> {
        read_u32(self.bytes(kind)?, 0)
    }

    /// An `i32` attribute.
    pub fn i32(self, kind: u16) -> Option<i32> {
        self.u32(kind).map(u32::cast_signed)
    }

    /// A `u64` attribute.
    pub fn u64(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// A text attribute, up to its NUL. Bytes that are no UTF-8, of which the kernel makes no
    /// promise, become U+FFFD. The text is not yet fit for a terminal: see [`text`](crate::text).
    pub fn text(self, kind: u16) -> Option<String> {
        self.bytes(kind).map(text)
    }

    /// The attributes inside an attribute.
    pub fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.bytes(kind).map(Attributes)
    }
}

/// A message being built. [`finish`](Self::finish) writes its length.
///
/// ```
/// use netlink_remote::nlmsg::{Builder, flags, messages};
///
/// // RTM_GETLINK with an empty ifinfomsg and IFLA_EXT_MASK.
/// let request = Builder::new(18, flags::REQUEST | flags::DUMP)
///     .sequence(7)
///     .put(&[0; 16])
///     .attribute(29, &1_u32.to_ne_bytes())
///     .finish();
/// assert_eq!(messages(&request).count(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    bytes: Vec<u8>,
    /// Whether an attribute's value was longer than its length field can say.
    is_overlong: bool,
}

impl Builder {
    /// A message of a type and with [`flags`], without payload. Sequence number and port id are 0:
    /// the kernel takes a port id of 0 for that of the sending socket.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes, is_overlong: false }
    }

    /// Sets the sequence number.
    #[must_use]
    pub fn sequence(mut self, sequence: u32) -> Self {
        set_sequence(&mut self.bytes, sequence);
        self
    }

    /// Sets [`flags`], beside those that are set.
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        add_flags(&mut self.bytes, flags);
        self
    }

    /// Appends bytes of the payload, padded to four: the family's header.
    #[must_use]
    pub fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// Appends an attribute, padded to four bytes.
    ///
    /// An attribute's length field holds values of up to 65,531 bytes. A longer value is left out,
    /// and makes the whole message invalid; see [`finish`](Self::finish).
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(length) = u16::try_from(ATTRIBUTE_HEADER_LEN.saturating_add(value.len())) else {
            // With a wrong length, the kernel would parse the value's end as attributes.
            self.is_overlong = true;
            return self;
        };
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// The message.
    ///
    /// The length in its header is 0 if an attribute's value has more than 65,531 bytes, or the
    /// message more than 4 GiB: `Requests` then refuses it
    /// ([`RequestErrorKind::Invalid`](crate::client::RequestErrorKind::Invalid)), and the kernel
    /// ignores it and the messages after it in its datagram.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).ok().filter(|_| !self.is_overlong);
        let length = length.unwrap_or_default();
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = length.to_ne_bytes();
        }
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

impl From<Builder> for Vec<u8> {
    /// As [`Builder::finish`].
    fn from(builder: Builder) -> Self {
        builder.finish()
    }
}

/// Writes a sequence number into the header at the start of `message`, if there is one.
pub fn set_sequence(message: &mut [u8], sequence: u32) {
    if let Some(place) = message.get_mut(8..12) {
        place.copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// Sets flags in the header at the start of `message`, if there is one, beside those that are set.
pub fn add_flags(message: &mut [u8], flags: u16) {
    if let Some(present) = read_u16(message, 6)
        && let Some(place) = message.get_mut(6..8)
    {
        place.copy_from_slice(&(present | flags).to_ne_bytes());
    }
}

/// Bytes up to the first NUL, as text.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Two bytes at an offset.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Four bytes at an offset.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A length rounded up to a multiple of four, to which messages and attributes are aligned.
pub fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cut_short_ends_the_datagram() {
        let mut datagram = Builder::new(16, flags::MULTI).put(&[1, 2, 3, 4]).finish();
        let lengths = |datagram: &[u8]| messages(datagram).map(|m| m.payload.len()).collect();
        let found: Vec<usize> = lengths(&datagram);
        assert_eq!(found, [4]);
        datagram.pop();
        assert_eq!(messages(&datagram).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0, "a length of zero must not loop");
    }

    #[test]
    fn a_message_with_an_overlong_value_is_invalid() {
        let built =
            |length| Builder::new(16, 0).attribute(1, &vec![0xee; length]).attribute(2, &[]);
        let fits = built(65_531).finish();
        let attributes = messages(&fits).next().unwrap().attributes(0);
        assert_eq!(attributes.bytes(1).unwrap().len(), 65_531);
        assert!(attributes.has(2));
        let overlong = built(65_532).finish();
        assert_eq!(Header::parse(&overlong).unwrap().length, 0);
        assert_eq!(messages(&overlong).count(), 0);
    }

    #[test]
    fn several_messages_tell_where_they_are() {
        let one = Builder::new(16, 0).put(&[1]).finish();
        let two = Builder::new(17, 0).sequence(9).finish();
        let datagram = [one.as_slice(), &two].concat();
        let found: Vec<_> = messages(&datagram).map(|m| (m.offset, m.header.sequence)).collect();
        assert_eq!(found, [(0, 0), (20, 9)]);
    }

    #[test]
    fn attributes_that_lie_about_their_length_are_absent() {
        assert_eq!(Attributes(&[0, 0, 1, 0, 9]).iter().count(), 0);
        let last = 5_u16.to_ne_bytes();
        let last = [last[0], last[1], 0, 0, 9];
        assert_eq!(Attributes(&last).u8(0), Some(9), "the last one needs no padding");
        assert_eq!(Attributes(&last).u32(0), None);
    }

    /// An error or DONE: an errno, `shown` bytes of a request that says it has `request`, and an
    /// extended ack.
    fn outcome(kind: u16, flags: u16, errno: i32, request: u32, shown: usize) -> Outcome {
        let mut payload = (-errno).to_ne_bytes().to_vec();
        if request > 0 {
            payload.extend(request.to_ne_bytes());
            payload.resize(4 + shown, 0xee);
        }
        let message = Builder::new(kind, flags).put(&payload);
        let message = message.attribute(2, &16_u32.to_ne_bytes()).attribute(1, b"bad table\0");
        messages(&message.finish()).next().unwrap().outcome().unwrap()
    }

    #[test]
    fn the_kernels_words_are_found() {
        let said = |errno| Outcome { errno, text: Some("bad table".to_owned()), offset: Some(16) };
        let silent = |errno| Outcome { errno, text: None, offset: None };
        let (error, done, tlvs) = (kind::ERROR, kind::DONE, flags::ACK_TLVS);
        assert_eq!(outcome(done, tlvs, 22, 0, 0), said(22));
        assert_eq!(outcome(error, tlvs, 22, 29, 32), said(22));
        assert_eq!(outcome(error, tlvs | flags::CAPPED, 22, 29, HEADER_LEN), said(22));
        assert_eq!(outcome(error, 0, 1, 29, 32), silent(1));
        assert_eq!(outcome(error, tlvs, 1, u32::MAX, 32), silent(1));
    }

    #[test]
    fn any_number_is_an_errno() {
        let message = Builder::new(kind::ERROR, 0).put(&i32::MIN.to_ne_bytes()).finish();
        assert_eq!(messages(&message).next().unwrap().outcome().unwrap().errno, i32::MAX);
        let done = Builder::new(kind::DONE, 0).finish();
        assert_eq!(messages(&done).next().unwrap().outcome().unwrap().errno, 0);
    }
}

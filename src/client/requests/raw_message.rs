//! A netlink message with memory of its own.

use bytes::Bytes;

use crate::nlmsg::{Attributes, Header, Message};

/// A netlink message, exactly as the far kernel wrote it: header and payload, without padding.
///
/// Cheap to clone. Messages of one datagram share its memory: copy a message that is kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    bytes: Bytes,
    header: Header,
    /// Bytes of the datagram before the message.
    offset: usize,
}

impl RawMessage {
    /// A message of a datagram.
    pub(super) fn of(datagram: &Bytes, message: &Message<'_>) -> Self {
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let end = message.offset.saturating_add(length).min(datagram.len());
        let bytes = datagram.slice(message.offset.min(end)..end);
        Self { bytes, header: message.header, offset: message.offset }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The message type.
    pub fn kind(&self) -> u16 {
        self.header.kind
    }

    /// The flags, as [`nlmsg::flags`](crate::nlmsg::flags) names them.
    pub fn flags(&self) -> u16 {
        self.header.flags
    }

    /// The bytes after the header: a header of the family, then attributes.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(crate::nlmsg::HEADER_LEN..).unwrap_or_default()
    }

    /// The attributes after a family's header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        self.message().attributes(header)
    }

    /// The message for [`nlmsg`](crate::nlmsg), which reads its payload.
    pub fn message(&self) -> Message<'_> {
        Message { header: self.header, payload: self.payload(), offset: self.offset }
    }

    /// The whole message, header included.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole message, header included.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl AsRef<[u8]> for RawMessage {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

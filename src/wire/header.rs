//! The 12-byte header of every frame.

use std::fmt;

use bytes::BufMut;

use super::{
    error::WireError,
    limits::{HEADER_LEN, padded},
};

/// A socket's number on one connection, chosen by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The connection itself, which is no socket.
    pub const CONNECTION: SocketId = SocketId(0);
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The flags byte of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// A receiver that does not know the type skips the frame.
    pub const SKIPPABLE: Flags = Flags(0x01);
    /// The datagram goes on in the socket's next frame of this type.
    pub const MORE: Flags = Flags(0x02);
    /// On a send: answered with a sent frame in any case, behind every datagram that was readable
    /// when the send was made.
    pub const CONFIRM: Flags = Flags(0x04);
    /// On a send: it may be made in one system call with the send before it on the same socket.
    pub const GATHER: Flags = Flags(0x08);

    /// Flags from a header's byte; unknown bits are kept and mean nothing.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The header's byte.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of flags.
    #[must_use]
    pub const fn with(self, other: Flags) -> Self {
        Self(self.0 | other.0)
    }
}

/// Declares [`FrameType`] with its numbers in one place.
macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// Every frame number, retired ones included (none so far).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum FrameType { $($(#[$doc])* $name = $number,)* }

        impl FrameType {
            /// Every type that this version knows.
            pub const ALL: &[FrameType] = &[$(FrameType::$name,)*];

            /// The type of this number, if this version knows it.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(FrameType::$name),)* _ => None }
            }
        }
    };
}

frame_types! {
    /// Either side: the connection ends, for a reason in words. Nothing follows it.
    Fault = 0x01,
    /// Either side: answer with a pong of the same token.
    Ping = 0x02,
    /// Either side: the answer to a ping.
    Pong = 0x03,
    /// Client: create a kernel socket.
    Open = 0x10,
    /// Stub: the socket is open.
    Opened = 0x11,
    /// Stub: the socket could not be opened. The id stays taken until it is closed.
    OpenFailed = 0x12,
    /// Client: close the socket. Answered by closed in any case.
    Close = 0x13,
    /// Stub: the socket is closed; the id may be used again.
    Closed = 0x14,
    /// Client: a datagram to send.
    Send = 0x20,
    /// Stub: the result of a send.
    Sent = 0x21,
    /// Stub: a datagram received.
    Datagram = 0x22,
    /// Stub: at this place in the stream, the kernel dropped datagrams.
    Lost = 0x23,
    /// Stub: receiving failed at this place in the stream; the socket goes on.
    ReceiveError = 0x24,
    /// Either side: absolute credit.
    Credit = 0x25,
    /// Stub: when it received the datagrams that follow on this socket; always skippable.
    Time = 0x26,
    /// Client: getsockopt.
    OptionGet = 0x30,
    /// Client: setsockopt.
    OptionSet = 0x31,
    /// Client: join a multicast group.
    Join = 0x32,
    /// Client: leave a multicast group.
    Leave = 0x33,
    /// Client: an operation on network namespaces.
    Netns = 0x40,
    /// Stub: the answer to a numbered request.
    Reply = 0x41,
}

impl FrameType {
    /// Whether it is a request with contents of any length, of which the frame has
    /// [`MAX_REQUEST`](super::MAX_REQUEST) bytes at most.
    pub const fn is_request(self) -> bool {
        matches!(self, FrameType::Open | FrameType::OptionSet | FrameType::Netns)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of header and payload, without padding.
    pub length: u32,
    /// The frame's type.
    pub frame_type: FrameType,
    /// The frame's flags.
    pub flags: Flags,
    /// The socket, or [`SocketId::CONNECTION`].
    pub socket: SocketId,
}

/// The result of [`Header::decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A header of a known type.
    Known(Header),
    /// A frame of an unknown type that may be skipped; it takes this many bytes of the stream.
    Skip(usize),
    /// Fewer bytes than a header has.
    NeedMore,
}

impl Header {
    /// Decodes the header at the start of `bytes` and checks its length against `max_frame`.
    ///
    /// # Errors
    /// [`WireError::BadLength`], [`WireError::TooLong`] or [`WireError::UnknownType`].
    pub fn decode(bytes: &[u8], max_frame: u32) -> Result<Decoded, WireError> {
        // The length is judged as soon as it has come: a peer that does not speak the protocol is
        // refused before bytes are awaited that will not come.
        let Some((length, rest)) =
            bytes.split_first_chunk().map(|(l, r)| (u32::from_le_bytes(*l), r))
        else {
            return Ok(Decoded::NeedMore);
        };
        if (length as usize) < HEADER_LEN {
            return Err(WireError::BadLength(length));
        }
        if length > max_frame {
            return Err(WireError::TooLong { length, limit: max_frame });
        }
        let Some(&[number, flags, _, _, s0, s1, s2, s3]) = rest.first_chunk() else {
            return Ok(Decoded::NeedMore);
        };
        let flags = Flags::from_bits(flags);
        match FrameType::from_number(number) {
            Some(frame_type) => Ok(Decoded::Known(Header {
                length,
                frame_type,
                flags,
                socket: SocketId(u32::from_le_bytes([s0, s1, s2, s3])),
            })),
            None if flags.contains(Flags::SKIPPABLE) => Ok(Decoded::Skip(padded(length as usize))),
            None => Err(WireError::UnknownType(number)),
        }
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.length);
        out.put_u8(self.frame_type as u8);
        out.put_u8(self.flags.bits());
        out.put_u16_le(0);
        out.put_u32_le(self.socket.0);
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        (self.length as usize).saturating_sub(HEADER_LEN)
    }

    /// Bytes that the frame takes in the stream, padding included.
    pub fn stream_len(&self) -> usize {
        padded(self.length as usize)
    }
}

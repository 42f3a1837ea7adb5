//! Messages: the decoded payload of each frame type.

use bytes::BufMut;

use super::{
    credit::Credit,
    cursor::Cursor,
    datagram::{DatagramInfo, Destination},
    error::WireError,
    failure::{Failure, beginning, put_text},
    header::{Flags, FrameType, Header, SocketId},
    limits::{MAX_TEXT, padded},
    netns::NetnsRequest,
    open::{Open, Opened},
};

/// A socket's totals when it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Datagrams forwarded to the client.
    pub received_datagrams: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub dropped: u64,
}

/// A frame's decoded payload. Byte slices borrow from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// u32 errno-like code, then UTF-8 text of at most [`MAX_TEXT`](super::MAX_TEXT) bytes.
    Fault(Failure),
    /// u64 token.
    Ping(u64),
    /// u64 token.
    Pong(u64),
    /// u32 protocol, u32 portid, u64 bytes and u64 datagrams of credit, then options. Critical
    /// ones: 1 namespace (u8 mode: 0 existing, 1 create, 2 create exclusively; three zeros; then
    /// as in a netns frame: u32 kind, and for kind 0 current nothing, for 1 name and 2 path UTF-8
    /// text, for 3 pid and 4 handle a u32, for 5 container a u32 engine, 1 docker or 2 podman, and
    /// its name: 1 to 255 of the bytes `a-zA-Z0-9_.-`, of which the last three do not come first;
    /// a stub refuses a kind that it does not know, and says so), 2 socket option (i32 level, i32
    /// name, the value), 3 group (u32). Others: 4 receive buffer (u32), 5 send buffer (u32), as wishes of
    /// which the stub may grant less. 2 and
    /// 3 may come more than once.
    Open(Open),
    /// u32 portid, u32 receive buffer, u32 send buffer, u32 zero, u64 bytes, u64 datagrams.
    Opened(Opened),
    /// u32 errno, UTF-8 text of at most [`MAX_TEXT`](super::MAX_TEXT) bytes.
    OpenFailed(Failure),
    /// Empty.
    Close,
    /// Five u64, in the order of [`Counters`].
    Closed(Counters),
    /// u32 serial, u32 portid, u32 groups, then the datagram.
    Send {
        /// A number of the client's choice, which the sent frame repeats.
        serial: u32,
        /// The datagram's receiver.
        destination: Destination,
        /// The datagram, or a piece of it.
        data: &'a [u8],
    },
    /// u32 serial, u32 errno (0 for success), u64 nanoseconds. Sent for each confirmed send,
    /// and for any send that failed.
    Sent {
        /// The send's serial.
        serial: u32,
        /// 0, or the errno of sendmsg(2).
        errno: i32,
        /// How long the kernel's sendmsg(2) took.
        nanoseconds: u64,
    },
    /// u32 portid, u32 group, i32 nsid (-1 for none), then the datagram.
    Datagram {
        /// Sender, group and namespace.
        info: DatagramInfo,
        /// The datagram, or a piece of it.
        data: &'a [u8],
    },
    /// u64 nanoseconds since 1970-01-01 00:00 UTC, by the clock of the stub's host
    /// (`CLOCK_REALTIME`): of the datagrams that follow on the socket, up to the next such frame. A
    /// stub sends it only where the client has asked for it, with [`Flags::SKIPPABLE`].
    Time(u64),
    /// u64 dropped here, u64 dropped since the socket was opened.
    Lost {
        /// Datagrams dropped at this place. Zero where the kernel reports a loss without counting
        /// it, as when it failed to make an event.
        dropped: u64,
        /// Datagrams dropped in all.
        total: u64,
    },
    /// u32 errno, u32 zero, u64 length.
    ReceiveError {
        /// Errno of recvmsg(2); EMSGSIZE for a datagram too large to forward.
        errno: i32,
        /// Length of that datagram, or 0.
        length: u64,
    },
    /// u64 bytes, u64 datagrams.
    Credit(Credit),
    /// u32 request, i32 level, i32 name, u32 capacity.
    OptionGet {
        /// Number of the request.
        request: u32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// Bytes of room for the value.
        capacity: u32,
    },
    /// u32 request, i32 level, i32 name, then the value.
    OptionSet {
        /// Number of the request.
        request: u32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// The value.
        value: &'a [u8],
    },
    /// u32 request, u32 group.
    Join {
        /// Number of the request.
        request: u32,
        /// Multicast group, from 1.
        group: u32,
    },
    /// u32 request, u32 group.
    Leave {
        /// Number of the request.
        request: u32,
        /// Multicast group, from 1.
        group: u32,
    },
    /// u32 request, u8 operation (1 open, 2 close, 3 list, 4 add, 5 delete), u8 mode, u16 zero,
    /// then a namespace (open), a descriptor's number (close) or a name (add, delete).
    Netns {
        /// Number of the request.
        request: u32,
        /// The operation.
        operation: NetnsRequest,
    },
    /// u32 request, u32 errno, then the value, or a UTF-8 text of at most
    /// [`MAX_TEXT`](super::MAX_TEXT) bytes if the errno is not 0.
    Reply {
        /// Number of the request.
        request: u32,
        /// 0 for success.
        errno: i32,
        /// The value, or the error's text.
        value: &'a [u8],
    },
}

impl Message<'_> {
    /// The frame type that carries this message.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Message::Fault(_) => FrameType::Fault,
            Message::Ping(_) => FrameType::Ping,
            Message::Pong(_) => FrameType::Pong,
            Message::Open(_) => FrameType::Open,
            Message::Opened(_) => FrameType::Opened,
            Message::OpenFailed(_) => FrameType::OpenFailed,
            Message::Close => FrameType::Close,
            Message::Closed(_) => FrameType::Closed,
            Message::Send { .. } => FrameType::Send,
            Message::Sent { .. } => FrameType::Sent,
            Message::Datagram { .. } => FrameType::Datagram,
            Message::Time(_) => FrameType::Time,
            Message::Lost { .. } => FrameType::Lost,
            Message::ReceiveError { .. } => FrameType::ReceiveError,
            Message::Credit(_) => FrameType::Credit,
            Message::OptionGet { .. } => FrameType::OptionGet,
            Message::OptionSet { .. } => FrameType::OptionSet,
            Message::Join { .. } => FrameType::Join,
            Message::Leave { .. } => FrameType::Leave,
            Message::Netns { .. } => FrameType::Netns,
            Message::Reply { .. } => FrameType::Reply,
        }
    }

    /// Appends the whole frame, padding included, to `out`.
    pub fn encode<B>(&self, socket: SocketId, flags: Flags, out: &mut B)
    where
        B: BufMut + AsMut<[u8]>,
    {
        let start = out.as_mut().len();
        let frame_type = self.frame_type();
        Header { length: 0, frame_type, flags, socket }.encode(out);
        self.encode_payload(out);
        // The length is known only behind the payload.
        let length = out.as_mut().len() - start;
        if let Some(field) = out.as_mut().get_mut(start..start + 4) {
            field.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.put_bytes(0, padded(length) - length);
    }

    fn encode_payload(&self, out: &mut impl BufMut) {
        match self {
            Message::Fault(failure) | Message::OpenFailed(failure) => failure.encode(out),
            Message::Ping(number) | Message::Pong(number) | Message::Time(number) => {
                out.put_u64_le(*number);
            }
            Message::Open(open) => open.encode(out),
            Message::Opened(opened) => {
                out.put_u32_le(opened.portid);
                out.put_u32_le(opened.receive_buffer);
                out.put_u32_le(opened.send_buffer);
                out.put_u32_le(0);
                opened.credit.encode(out);
            }
            Message::Close => {}
            Message::Closed(counters) => {
                out.put_u64_le(counters.sent_datagrams);
                out.put_u64_le(counters.sent_bytes);
                out.put_u64_le(counters.received_datagrams);
                out.put_u64_le(counters.received_bytes);
                out.put_u64_le(counters.dropped);
            }
            Message::Send { serial, destination, data } => {
                out.put_u32_le(*serial);
                out.put_u32_le(destination.portid);
                out.put_u32_le(destination.groups);
                out.put_slice(data);
            }
            Message::Sent { serial, errno, nanoseconds } => {
                out.put_u32_le(*serial);
                out.put_i32_le(*errno);
                out.put_u64_le(*nanoseconds);
            }
            Message::Datagram { info, data } => {
                info.encode(out);
                out.put_slice(data);
            }
            Message::Lost { dropped, total } => {
                out.put_u64_le(*dropped);
                out.put_u64_le(*total);
            }
            Message::ReceiveError { errno, length } => {
                out.put_i32_le(*errno);
                out.put_u32_le(0);
                out.put_u64_le(*length);
            }
            Message::Credit(credit) => credit.encode(out),
            Message::OptionGet { request, level, name, capacity } => {
                out.put_u32_le(*request);
                out.put_i32_le(*level);
                out.put_i32_le(*name);
                out.put_u32_le(*capacity);
            }
            Message::OptionSet { request, level, name, value } => {
                out.put_u32_le(*request);
                out.put_i32_le(*level);
                out.put_i32_le(*name);
                out.put_slice(value);
            }
            Message::Join { request, group } | Message::Leave { request, group } => {
                out.put_u32_le(*request);
                out.put_u32_le(*group);
            }
            Message::Netns { request, operation } => {
                out.put_u32_le(*request);
                operation.encode(out);
            }
            Message::Reply { request, errno, value } => {
                out.put_u32_le(*request);
                out.put_i32_le(*errno);
                match errno {
                    0 => out.put_slice(value),
                    _ => put_text(out, value),
                }
            }
        }
    }
}

impl<'a> Message<'a> {
    /// Decodes the payload of a frame of this type.
    ///
    /// # Errors
    /// [`WireError::ShortPayload`], [`WireError::BadValue`] or [`WireError::UnknownCritical`].
    pub fn decode(frame_type: FrameType, payload: &'a [u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(payload);
        Ok(match frame_type {
            FrameType::Fault => Message::Fault(Failure::decode(&mut c)?),
            FrameType::Ping => Message::Ping(c.u64()?),
            FrameType::Pong => Message::Pong(c.u64()?),
            FrameType::Open => Message::Open(Open::decode(&mut c)?),
            FrameType::Opened => {
                let (portid, receive_buffer, send_buffer) = (c.u32()?, c.u32()?, c.u32()?);
                c.u32()?;
                let credit = Credit::decode(&mut c)?;
                Message::Opened(Opened { portid, receive_buffer, send_buffer, credit })
            }
            FrameType::OpenFailed => Message::OpenFailed(Failure::decode(&mut c)?),
            FrameType::Close => Message::Close,
            FrameType::Closed => Message::Closed(Counters {
                sent_datagrams: c.u64()?,
                sent_bytes: c.u64()?,
                received_datagrams: c.u64()?,
                received_bytes: c.u64()?,
                dropped: c.u64()?,
            }),
            FrameType::Send => Message::Send {
                serial: c.u32()?,
                destination: Destination { portid: c.u32()?, groups: c.u32()? },
                data: c.remainder(),
            },
            FrameType::Sent => {
                Message::Sent { serial: c.u32()?, errno: c.i32()?, nanoseconds: c.u64()? }
            }
            FrameType::Datagram => {
                Message::Datagram { info: DatagramInfo::decode(&mut c)?, data: c.remainder() }
            }
            FrameType::Time => Message::Time(c.u64()?),
            FrameType::Lost => Message::Lost { dropped: c.u64()?, total: c.u64()? },
            FrameType::ReceiveError => {
                let errno = c.i32()?;
                c.u32()?;
                Message::ReceiveError { errno, length: c.u64()? }
            }
            FrameType::Credit => Message::Credit(Credit::decode(&mut c)?),
            FrameType::OptionGet => Message::OptionGet {
                request: c.u32()?,
                level: c.i32()?,
                name: c.i32()?,
                capacity: c.u32()?,
            },
            FrameType::OptionSet => Message::OptionSet {
                request: c.u32()?,
                level: c.i32()?,
                name: c.i32()?,
                value: c.remainder(),
            },
            FrameType::Join => Message::Join { request: c.u32()?, group: c.u32()? },
            FrameType::Leave => Message::Leave { request: c.u32()?, group: c.u32()? },
            FrameType::Netns => {
                Message::Netns { request: c.u32()?, operation: NetnsRequest::decode(&mut c)? }
            }
            FrameType::Reply => {
                let (request, errno, value) = (c.u32()?, c.i32()?, c.remainder());
                let value = if errno == 0 { value } else { beginning(value, MAX_TEXT) };
                Message::Reply { request, errno, value }
            }
        })
    }
}

//! The payload of each frame.

use std::fmt;

use bytes::BufMut;

use super::{
    FrameType, Header, WireError,
    cursor::Cursor,
    hello::NetnsId,
    padded,
    tlv::{self, CRITICAL},
};

/// A socket's number on one connection, chosen by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// Not a socket: the connection itself.
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
    /// On a send: always answer with a sent frame, behind every datagram readable by then.
    pub const CONFIRM: Flags = Flags(0x04);

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

/// Absolute credit: totals since the socket was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credit {
    /// Bytes of netlink datagrams.
    pub bytes: u64,
    /// Datagrams.
    pub datagrams: u64,
}

/// What the client asks for in an open frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Open {
    /// Netlink protocol number, as in `<linux/netlink.h>`.
    pub protocol: u32,
    /// Port id to bind to; 0 lets the kernel choose.
    pub portid: u32,
    /// Credit granted to the stub for datagrams.
    pub credit: Credit,
    /// The namespace to create the socket in.
    pub netns: Netns,
    /// What to do when a namespace given by name does not exist.
    pub mode: NetnsMode,
    /// Bytes of receive buffer to ask for; 0 leaves the kernel's default. The stub tries
    /// `SO_RCVBUFFORCE` and falls back to `SO_RCVBUF`.
    pub receive_buffer: u32,
    /// Likewise for the send buffer.
    pub send_buffer: u32,
    /// Options to set before binding, in order; the first that fails fails the open.
    pub options: Vec<SocketOption>,
    /// Multicast groups to join after binding, in order.
    pub groups: Vec<u32>,
}

/// A socket option for setsockopt(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOption {
    /// `SOL_SOCKET`, `SOL_NETLINK`, ...
    pub level: i32,
    /// The option's number.
    pub name: i32,
    /// The value in the byte order of the stub's host.
    pub value: Vec<u8>,
}

/// A network namespace, as a client names it. Names, paths and pids are the stub's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Netns {
    /// The one the stub runs in.
    #[default]
    Current,
    /// By name, in `/run/netns` as ip-netns(8) has it.
    Name(String),
    /// By the path of an nsfs file.
    Path(String),
    /// The one a process is in.
    Pid(u32),
    /// One opened before on this connection; the number is that of the stub's descriptor.
    Handle(u32),
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Netns::Current => write!(f, "the current namespace"),
            Netns::Name(name) => write!(f, "namespace {name:?}"),
            Netns::Path(path) => write!(f, "namespace file {path:?}"),
            Netns::Pid(pid) => write!(f, "the namespace of process {pid}"),
            Netns::Handle(fd) => write!(f, "the namespace opened as descriptor {fd}"),
        }
    }
}

/// What opening a namespace by name does about its existence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetnsMode {
    /// It must exist.
    #[default]
    Existing,
    /// It is created if it does not exist.
    Create,
    /// It is created; that it exists is an error (EEXIST).
    CreateExclusive,
}

const TLV_NETNS: u16 = 1;
const TLV_OPTION: u16 = 2;
const TLV_GROUP: u16 = 3;
const TLV_RECEIVE_BUFFER: u16 = 4;
const TLV_SEND_BUFFER: u16 = 5;

/// What the kernel socket turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// The port id it is bound to.
    pub portid: u32,
    /// `SO_RCVBUF` as the kernel reports it, in bytes of its own accounting.
    pub receive_buffer: u32,
    /// `SO_SNDBUF` likewise.
    pub send_buffer: u32,
    /// Credit granted to the client for sends.
    pub credit: Credit,
}

/// What failed and how: an errno of the stub's host and a text that says at what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The errno, never 0.
    pub errno: i32,
    /// The step that failed and on what.
    pub text: String,
}

/// A socket's totals when it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams passed on to the client.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub dropped: u64,
}

/// Where a datagram goes. The kernel is port id 0 and no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Destination {
    /// Port id.
    pub portid: u32,
    /// Bit mask of multicast groups 1 to 32, as in `sockaddr_nl`.
    pub groups: u32,
}

/// What the kernel says about a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatagramInfo {
    /// Port id of the sender; 0 is the kernel.
    pub portid: u32,
    /// The multicast group it was sent to; 0 if to this socket alone.
    pub group: u32,
    /// The namespace it comes from, on sockets that listen to all (`NETLINK_LISTEN_ALL_NSID`).
    pub nsid: Option<i32>,
}

/// An operation on network namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetnsRequest {
    /// Open one and keep it open; the reply is the descriptor's number (u32), device and inode
    /// (u64 each).
    Open(Netns, NetnsMode),
    /// Close one opened before, by its descriptor's number.
    Close(u32),
    /// Names in `/run/netns`; the reply is an option of kind 1 for each name, holding device and
    /// inode (u64 each, 0 if it is no namespace) and the name.
    List,
    /// Create one as `ip netns add` does.
    Add(String),
    /// Delete one as `ip netns delete` does.
    Delete(String),
}

/// A frame's decoded payload. Byte slices borrow from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// u32 errno-like code, then UTF-8 text.
    Fault(Failure),
    /// u64 token.
    Ping(u64),
    /// u64 token.
    Pong(u64),
    /// u32 protocol, u32 portid, u64 bytes and u64 datagrams of credit, then options. Critical
    /// ones: 1 namespace (u8 mode: 0 existing, 1 create, 2 create exclusively; three zeros; then
    /// as in a netns frame: u32 kind, and for kind 0 current nothing, for 1 name and 2 path UTF-8
    /// text, for 3 pid and 4 handle a u32), 2 socket option (i32 level, i32 name, the value),
    /// 3 group (u32). Others: 4 receive buffer (u32), 5 send buffer (u32). 2 and 3 may come more
    /// than once.
    Open(Open),
    /// u32 portid, u32 receive buffer, u32 send buffer, u32 zero, u64 bytes, u64 datagrams.
    Opened(Opened),
    /// u32 errno, UTF-8 text.
    OpenFailed(Failure),
    /// Empty.
    Close,
    /// Five u64, in the order of [`Counters`].
    Closed(Counters),
    /// u32 serial, u32 portid, u32 groups, then the datagram.
    Send {
        /// Chosen by the client; comes back in the sent frame.
        serial: u32,
        /// Where the datagram goes.
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
        /// What the kernel says about it.
        info: DatagramInfo,
        /// The datagram, or a piece of it.
        data: &'a [u8],
    },
    /// u64 dropped here, u64 dropped since the socket was opened.
    Lost {
        /// Datagrams dropped at this place.
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
        /// Bytes of value to allow for.
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
        /// What to do.
        operation: NetnsRequest,
    },
    /// u32 request, u32 errno, then the value, or a UTF-8 text where the errno is not 0.
    Reply {
        /// Number of the request.
        request: u32,
        /// 0 for success.
        errno: i32,
        /// The value, or the error's text.
        value: &'a [u8],
    },
}

/// Bytes in front of the datagram in send and datagram payloads.
pub(crate) const DATAGRAM_PREFIX: usize = 12;

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
        finish_frame(out, start);
    }

    fn encode_payload(&self, out: &mut impl BufMut) {
        match self {
            Message::Fault(failure) | Message::OpenFailed(failure) => {
                out.put_i32_le(failure.errno);
                out.put_slice(failure.text.as_bytes());
            }
            Message::Ping(token) | Message::Pong(token) => out.put_u64_le(*token),
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
                out.put_slice(value);
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
                Message::Reply { request: c.u32()?, errno: c.i32()?, value: c.remainder() }
            }
        })
    }
}

/// Begins a datagram frame in `out`, to which the caller then appends the datagram itself, as a
/// receive from the kernel does. Gives the frame's start for [`finish_frame`].
#[cfg(feature = "stub")]
pub(crate) fn begin_datagram<B: BufMut + AsMut<[u8]>>(socket: SocketId, out: &mut B) -> usize {
    let start = out.as_mut().len();
    let frame_type = FrameType::Datagram;
    Header { length: 0, frame_type, flags: Flags::NONE, socket }.encode(out);
    DatagramInfo::default().encode(out);
    start
}

/// Fills in what is known once the datagram begun by [`begin_datagram`] is there.
#[cfg(feature = "stub")]
pub(crate) fn describe_datagram(out: &mut [u8], start: usize, info: &DatagramInfo) {
    let at = start + super::HEADER_LEN;
    if let Some(mut prefix) = out.get_mut(at..at + DATAGRAM_PREFIX) {
        info.encode(&mut prefix);
    }
}

/// Writes the length of the frame that begins at `start` and ends with `out`, and pads it.
pub(crate) fn finish_frame<B: BufMut + AsMut<[u8]>>(out: &mut B, start: usize) {
    let end = out.as_mut().len();
    let length = end - start;
    if let Some(field) = out.as_mut().get_mut(start..start + 4) {
        field.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.put_bytes(0, padded(length) - length);
}

impl Credit {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.datagrams);
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(Self { bytes: c.u64()?, datagrams: c.u64()? })
    }
}

impl DatagramInfo {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.portid);
        out.put_u32_le(self.group);
        out.put_i32_le(self.nsid.unwrap_or(-1));
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let (portid, group, nsid) = (c.u32()?, c.u32()?, c.i32()?);
        Ok(Self { portid, group, nsid: (nsid >= 0).then_some(nsid) })
    }
}

impl Failure {
    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let errno = c.i32()?;
        if errno == 0 {
            return Err(WireError::BadValue { field: "errno of a failure", value: 0 });
        }
        Ok(Self { errno, text: printable(c.remainder()) })
    }
}

/// An error's text from a peer, fit for one line on a terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl Open {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.protocol);
        out.put_u32_le(self.portid);
        self.credit.encode(out);
        if (&self.netns, self.mode) != (&Netns::Current, NetnsMode::Existing) {
            let mut value = vec![self.mode.number(), 0, 0, 0];
            self.netns.encode(&mut value);
            tlv::put(out, TLV_NETNS | CRITICAL, &value);
        }
        for option in &self.options {
            let mut value = Vec::with_capacity(8 + option.value.len());
            value.put_i32_le(option.level);
            value.put_i32_le(option.name);
            value.put_slice(&option.value);
            tlv::put(out, TLV_OPTION | CRITICAL, &value);
        }
        for group in &self.groups {
            tlv::put(out, TLV_GROUP | CRITICAL, &group.to_le_bytes());
        }
        for (kind, size) in
            [(TLV_RECEIVE_BUFFER, self.receive_buffer), (TLV_SEND_BUFFER, self.send_buffer)]
        {
            if size != 0 {
                tlv::put(out, kind, &size.to_le_bytes());
            }
        }
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut open = Open {
            protocol: c.u32()?,
            portid: c.u32()?,
            credit: Credit::decode(c)?,
            ..Open::default()
        };
        for option in tlv::iter(c.remainder()) {
            let option = option?;
            let mut value = Cursor::new(option.value);
            match option.kind {
                TLV_NETNS => {
                    open.mode = NetnsMode::from_number(value.u8()?)?;
                    value.take(3)?;
                    open.netns = Netns::decode(&mut value)?;
                }
                TLV_OPTION => open.options.push(SocketOption {
                    level: value.i32()?,
                    name: value.i32()?,
                    value: value.remainder().to_vec(),
                }),
                TLV_GROUP => open.groups.push(value.u32()?),
                TLV_RECEIVE_BUFFER => open.receive_buffer = value.u32()?,
                TLV_SEND_BUFFER => open.send_buffer = value.u32()?,
                _ => option.unknown()?,
            }
        }
        Ok(open)
    }
}

impl NetnsMode {
    fn number(self) -> u8 {
        match self {
            NetnsMode::Existing => 0,
            NetnsMode::Create => 1,
            NetnsMode::CreateExclusive => 2,
        }
    }

    fn from_number(number: u8) -> Result<Self, WireError> {
        match number {
            0 => Ok(NetnsMode::Existing),
            1 => Ok(NetnsMode::Create),
            2 => Ok(NetnsMode::CreateExclusive),
            _ => Err(WireError::BadValue { field: "namespace mode", value: number.into() }),
        }
    }
}

impl Netns {
    /// u32 kind, then the rest: 0 current, 1 name, 2 path, 3 pid (u32), 4 handle (u32).
    fn encode(&self, out: &mut impl BufMut) {
        match self {
            Netns::Current => out.put_u32_le(0),
            Netns::Name(name) => {
                out.put_u32_le(1);
                out.put_slice(name.as_bytes());
            }
            Netns::Path(path) => {
                out.put_u32_le(2);
                out.put_slice(path.as_bytes());
            }
            Netns::Pid(pid) => {
                out.put_u32_le(3);
                out.put_u32_le(*pid);
            }
            Netns::Handle(fd) => {
                out.put_u32_le(4);
                out.put_u32_le(*fd);
            }
        }
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(match c.u32()? {
            0 => Netns::Current,
            1 => Netns::Name(utf8("namespace name", c.remainder())?),
            2 => Netns::Path(utf8("namespace path", c.remainder())?),
            3 => Netns::Pid(c.u32()?),
            4 => Netns::Handle(c.u32()?),
            kind => return Err(WireError::BadValue { field: "namespace kind", value: kind.into() }),
        })
    }
}

fn utf8(field: &'static str, bytes: &[u8]) -> Result<String, WireError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(WireError::BadValue { field, value: error.valid_up_to() as u64 }),
    }
}

impl NetnsRequest {
    fn encode(&self, out: &mut impl BufMut) {
        let (number, mode) = match self {
            NetnsRequest::Open(_, mode) => (1, mode.number()),
            NetnsRequest::Close(_) => (2, 0),
            NetnsRequest::List => (3, 0),
            NetnsRequest::Add(_) => (4, 0),
            NetnsRequest::Delete(_) => (5, 0),
        };
        out.put_u8(number);
        out.put_u8(mode);
        out.put_u16_le(0);
        match self {
            NetnsRequest::Open(netns, _) => netns.encode(out),
            NetnsRequest::Close(fd) => out.put_u32_le(*fd),
            NetnsRequest::List => {}
            NetnsRequest::Add(name) | NetnsRequest::Delete(name) => out.put_slice(name.as_bytes()),
        }
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let (number, mode) = (c.u8()?, c.u8()?);
        c.u16()?;
        Ok(match number {
            1 => NetnsRequest::Open(Netns::decode(c)?, NetnsMode::from_number(mode)?),
            2 => NetnsRequest::Close(c.u32()?),
            3 => NetnsRequest::List,
            4 => NetnsRequest::Add(utf8("namespace name", c.remainder())?),
            5 => NetnsRequest::Delete(utf8("namespace name", c.remainder())?),
            _ => {
                let value = number.into();
                return Err(WireError::BadValue { field: "namespace operation", value });
            }
        })
    }
}

/// A name in `/run/netns` and the namespace it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsEntry {
    /// The name.
    pub name: String,
    /// The namespace; zeros when the file is none.
    pub id: NetnsId,
}

impl NetnsEntry {
    /// Appends one entry of the reply to [`NetnsRequest::List`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut value = Vec::with_capacity(16 + self.name.len());
        value.put_u64_le(self.id.device);
        value.put_u64_le(self.id.inode);
        value.put_slice(self.name.as_bytes());
        tlv::put(out, 1, &value);
    }

    /// Decodes the reply to [`NetnsRequest::List`].
    ///
    /// # Errors
    /// Any [`WireError`] of a malformed reply.
    pub fn decode_list(value: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut entries = Vec::new();
        for option in tlv::iter(value) {
            let option = option?;
            let mut c = Cursor::new(option.value);
            match option.kind {
                1 => entries.push(Self {
                    id: NetnsId { device: c.u64()?, inode: c.u64()? },
                    name: printable(c.remainder()),
                }),
                _ => option.unknown()?,
            }
        }
        Ok(entries)
    }
}

/// The reply to [`NetnsRequest::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetnsOpened {
    /// Number of the stub's descriptor.
    pub fd: u32,
    /// The namespace behind it.
    pub id: NetnsId,
}

impl NetnsOpened {
    /// Encodes the reply's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(20);
        value.put_u32_le(self.fd);
        value.put_u64_le(self.id.device);
        value.put_u64_le(self.id.inode);
        value
    }

    /// Decodes the reply's value.
    ///
    /// # Errors
    /// [`WireError::ShortPayload`].
    pub fn decode(value: &[u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(value);
        Ok(Self { fd: c.u32()?, id: NetnsId { device: c.u64()?, inode: c.u64()? } })
    }
}

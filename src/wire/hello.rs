//! The hello: version, role, limits and host, announced by each side before the first frame.
//!
//! | kind | name | value |
//! |---|---|---|
//! | 1 | role (critical) | u8: 0 client, 1 stub |
//! | 2 | limits | u32 largest frame accepted, u32 sockets at most, u32 requests in flight at most |
//! | 3 | software | UTF-8 text, name and version |
//! | 4 | kernel release | UTF-8 text, as `uname -r` |
//! | 5 | architecture | UTF-8 text, as `uname -m` |
//! | 6 | byte order | u8: 1 little-endian, 2 big-endian |
//! | 7 | page size | u32 bytes |
//! | 8 | clock ticks | u32 per second (`sysconf(_SC_CLK_TCK)`) |
//! | 9 | psched | four u32, the hexadecimal numbers of `/proc/net/psched` |
//! | 10 | uid | u32, effective |
//! | 11 | capabilities | u64, the effective set (capabilities(7)) |
//! | 12 | netns | u64 device and u64 inode of the network namespace the sender runs in |
//! | 13 | pid | u32 in the sender's own pid namespace |
//! | 14 | host name | UTF-8 text, as `uname -n` |
//! | 15 | silence | u32 milliseconds, not 0: the sender sends something at least this often |
//! | 16 | read-only (critical) | empty: the client asks to be refused every change |
//!
//! Both sides send the first three. Kinds 4 to 14 are a stub's, and describe the host whose kernel
//! answers: tools need its ticks, page size and byte order to read the answers. Kind 15 is a
//! client's promise, which it keeps by pings: a stub that receives nothing for longer knows that
//! the stream is cut, which the stream itself may not report for hours. Kind 16 is a client's, for its
//! own protection: a stub that knows the option gives up what changes take before it acts on a frame,
//! and one that does not know it ends.
//!
//! Texts are decoded for display: [`text`](crate::text) says which characters are replaced.

use std::time::Duration;

use bytes::BufMut;

use super::{
    cursor::Cursor,
    error::WireError,
    limits::{DEFAULT_MAX_FRAME, MAX_HELLO, MAX_OPTION, MIN_MAX_FRAME, OLDEST_VERSION, VERSION},
    tlv::{self, CRITICAL},
};
use crate::{
    limits::stub::{MAX_REQUESTS, MAX_SOCKETS},
    text::one_line_of,
};

/// A side of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that opens sockets.
    Client,
    /// The side that has the kernel.
    Stub,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Stub => "stub",
        }
    }
}

/// The limits that one side of a connection announces to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLimits {
    /// Bytes of a frame, header included: 16 MiB, and 64 KiB at least. The smaller limit of both
    /// sides counts.
    pub max_frame: u32,
    /// Sockets open at a time: 4096.
    pub max_sockets: u32,
    /// Numbered requests (options, groups, namespaces) in flight at a time: 256.
    pub max_requests: u32,
    /// Bytes of the one send that may follow an open before the answer to the open: 32 KiB, and 0 for
    /// none. Only a stub sets it.
    pub max_early_send: u32,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_sockets: MAX_SOCKETS,
            max_requests: MAX_REQUESTS,
            max_early_send: MAX_OPTION as u32,
        }
    }
}

/// A namespace's identity: two with equal numbers on one host are the same namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct NetnsId {
    /// Device number of the nsfs.
    pub device: u64,
    /// Inode number in it.
    pub inode: u64,
}

impl NetnsId {
    /// The identity that stat(2) gives for the namespace's file.
    pub const fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

/// A stub's description of its host, whose kernel answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HostInfo {
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub architecture: String,
    /// `uname -n`.
    pub host_name: String,
    /// Whether the host is big-endian.
    pub big_endian: bool,
    /// Bytes of a page.
    pub page_size: u32,
    /// Clock ticks per second, `sysconf(_SC_CLK_TCK)`.
    pub clock_ticks: u32,
    /// The four numbers of `/proc/net/psched`, which `tc` needs to convert its ticks.
    pub psched: [u32; 4],
    /// Effective user id of the stub.
    pub uid: u32,
    /// Effective capabilities of the stub, a bit each as in capabilities(7).
    pub capabilities: u64,
    /// The network namespace the stub runs in.
    pub netns: NetnsId,
    /// The stub's process id in its own pid namespace.
    pub pid: u32,
}

/// A side's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The highest version that the sender speaks.
    pub version: u16,
    /// The lowest version that the sender speaks.
    pub oldest: u16,
    /// The sender's role.
    pub role: Role,
    /// The limits that the sender sets its peer.
    pub limits: PeerLimits,
    /// Name and version of the sender's software.
    pub software: String,
    /// The sender's host; a client leaves it out.
    pub host: Option<HostInfo>,
    /// The sender promises to send something at least this often, in whole milliseconds, at least
    /// one. A peer that receives nothing for longer may take it for gone. `None` promises nothing.
    pub silence: Option<Duration>,
    /// A client asks to be refused every change; a stub leaves it out.
    pub read_only: bool,
}

const ROLE: u16 = 1;
const LIMITS: u16 = 2;
const SOFTWARE: u16 = 3;
const KERNEL_RELEASE: u16 = 4;
const ARCHITECTURE: u16 = 5;
const BYTE_ORDER: u16 = 6;
const PAGE_SIZE: u16 = 7;
const CLOCK_TICKS: u16 = 8;
const PSCHED: u16 = 9;
const UID: u16 = 10;
const CAPABILITIES: u16 = 11;
const NETNS: u16 = 12;
const PID: u16 = 13;
const HOST_NAME: u16 = 14;
const SILENCE: u16 = 15;
const READ_ONLY: u16 = 16;
const EARLY_SEND: u16 = 17;

impl Hello {
    /// This crate's hello for one role.
    pub fn new(role: Role, mut limits: PeerLimits, host: Option<HostInfo>) -> Self {
        if role == Role::Client {
            limits.max_early_send = 0;
        }
        Self {
            version: VERSION,
            oldest: OLDEST_VERSION,
            role,
            limits,
            software: concat!("netlink-remote ", env!("CARGO_PKG_VERSION")).to_owned(),
            host,
            silence: None,
            read_only: false,
        }
    }

    /// Appends the hello to `out`, without the marker.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        body.put_u16_le(self.version);
        body.put_u16_le(self.oldest);
        tlv::put(&mut body, ROLE | CRITICAL, &[u8::from(self.role == Role::Stub)]);
        let mut limits = Vec::with_capacity(12);
        limits.put_u32_le(self.limits.max_frame);
        limits.put_u32_le(self.limits.max_sockets);
        limits.put_u32_le(self.limits.max_requests);
        tlv::put(&mut body, LIMITS, &limits);
        tlv::put(&mut body, SOFTWARE, self.software.as_bytes());
        if let Some(host) = &self.host {
            host.encode(&mut body);
        }
        if let Some(silence) = self.silence {
            let millis = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX).max(1);
            tlv::put(&mut body, SILENCE, &millis.to_le_bytes());
        }
        if self.role == Role::Stub && self.limits.max_early_send > 0 {
            tlv::put(&mut body, EARLY_SEND, &self.limits.max_early_send.to_le_bytes());
        }
        if self.read_only {
            tlv::put(&mut body, READ_ONLY | CRITICAL, &[]);
        }
        out.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&body);
    }

    /// Decodes a hello from the start of `bytes`, which begin behind the marker. Gives the hello
    /// and the bytes it took, or `None` when more are needed.
    ///
    /// # Errors
    /// Any [`WireError`] of a malformed hello; [`WireError::Version`] before anything behind the
    /// versions is looked at.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length);
        let wanted = length as usize;
        if !(4..=MAX_HELLO).contains(&wanted) {
            return Err(WireError::BadHello(length));
        }
        let Some(body) = rest.get(..wanted) else { return Ok(None) };
        Ok(Some((Self::decode_body(body)?, 4 + wanted)))
    }

    fn decode_body(body: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16()?;
        let oldest = cursor.u16()?;
        // Versions first: a peer from the future may well send critical options unknown here,
        // and then the version is to be reported.
        if oldest > VERSION || version < OLDEST_VERSION || oldest > version {
            return Err(WireError::Version { theirs: version, theirs_old: oldest });
        }
        let mut role = None;
        let mut limits = PeerLimits { max_early_send: 0, ..PeerLimits::default() };
        let mut software = String::new();
        let mut host = HostInfo::default();
        let mut described = false;
        let (mut silence, mut read_only) = (None, false);
        for option in tlv::iter(cursor.remainder()) {
            let option = option?;
            let mut value = Cursor::new(option.value);
            match option.kind {
                ROLE => {
                    role = Some(match value.u8()? {
                        0 => Role::Client,
                        1 => Role::Stub,
                        other => {
                            return Err(WireError::BadValue { field: "role", value: other.into() });
                        }
                    });
                }
                LIMITS => {
                    limits.max_frame = value.u32()?;
                    limits.max_sockets = value.u32()?;
                    limits.max_requests = value.u32()?;
                    if limits.max_frame < MIN_MAX_FRAME {
                        let value = limits.max_frame.into();
                        return Err(WireError::BadValue { field: "frame limit", value });
                    }
                }
                SOFTWARE => software = one_line_of(option.value),
                READ_ONLY => read_only = true,
                EARLY_SEND => limits.max_early_send = value.u32()?,
                SILENCE => {
                    silence = match value.u32()? {
                        0 => return Err(WireError::BadValue { field: "silence", value: 0 }),
                        millis => Some(Duration::from_millis(millis.into())),
                    }
                }
                _ => described |= host.decode_option(&option)?,
            }
        }
        let Some(role) = role else { return Err(WireError::ShortPayload) };
        if role == Role::Client {
            // A client takes no sends, whatever its hello says.
            limits.max_early_send = 0;
        }
        Ok(Self {
            version,
            oldest,
            role,
            limits,
            software,
            host: described.then_some(host),
            silence,
            read_only,
        })
    }

    /// The version and the limit on frames, for both directions, on which two hellos agree.
    ///
    /// # Errors
    /// [`WireError::SameRole`].
    pub fn agree(&self, peer: &Hello) -> Result<(u16, u32), WireError> {
        if self.role == peer.role {
            return Err(WireError::SameRole(peer.role.name()));
        }
        let version = self.version.min(peer.version);
        if version < self.oldest || version < peer.oldest {
            return Err(WireError::Version { theirs: peer.version, theirs_old: peer.oldest });
        }
        Ok((version, self.limits.max_frame.min(peer.limits.max_frame)))
    }
}

impl HostInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        tlv::put(out, KERNEL_RELEASE, self.kernel_release.as_bytes());
        tlv::put(out, ARCHITECTURE, self.architecture.as_bytes());
        tlv::put(out, BYTE_ORDER, &[if self.big_endian { 2 } else { 1 }]);
        tlv::put(out, PAGE_SIZE, &self.page_size.to_le_bytes());
        tlv::put(out, CLOCK_TICKS, &self.clock_ticks.to_le_bytes());
        let psched: Vec<u8> = self.psched.iter().flat_map(|n| n.to_le_bytes()).collect();
        tlv::put(out, PSCHED, &psched);
        tlv::put(out, UID, &self.uid.to_le_bytes());
        tlv::put(out, CAPABILITIES, &self.capabilities.to_le_bytes());
        let mut netns = self.netns.device.to_le_bytes().to_vec();
        netns.extend_from_slice(&self.netns.inode.to_le_bytes());
        tlv::put(out, NETNS, &netns);
        tlv::put(out, PID, &self.pid.to_le_bytes());
        tlv::put(out, HOST_NAME, self.host_name.as_bytes());
    }

    /// Takes one option in; false if it was an unknown one to skip.
    fn decode_option(&mut self, option: &tlv::Tlv<'_>) -> Result<bool, WireError> {
        let mut value = Cursor::new(option.value);
        match option.kind {
            KERNEL_RELEASE => self.kernel_release = one_line_of(option.value),
            ARCHITECTURE => self.architecture = one_line_of(option.value),
            HOST_NAME => self.host_name = one_line_of(option.value),
            BYTE_ORDER => {
                self.big_endian = match value.u8()? {
                    1 => false,
                    2 => true,
                    other => {
                        let value = other.into();
                        return Err(WireError::BadValue { field: "byte order", value });
                    }
                }
            }
            PAGE_SIZE => self.page_size = value.u32()?,
            CLOCK_TICKS => self.clock_ticks = value.u32()?,
            PSCHED => {
                for number in &mut self.psched {
                    *number = value.u32()?;
                }
            }
            UID => self.uid = value.u32()?,
            CAPABILITIES => self.capabilities = value.u64()?,
            NETNS => self.netns = NetnsId { device: value.u64()?, inode: value.u64()? },
            PID => self.pid = value.u32()?,
            _ => {
                option.unknown()?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

//! Network namespaces in messages.

use std::fmt;

use bytes::BufMut;

use super::{cursor::Cursor, error::WireError, hello::NetnsId, tlv};
use crate::text::one_line_of;

/// A network namespace, as a client names it. Names, paths and pids are the stub's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Netns {
    /// The namespace that the stub runs in.
    #[default]
    Current,
    /// By name, in `/run/netns` as ip-netns(8) has it.
    Name(String),
    /// By the path of an nsfs file.
    Path(String),
    /// The namespace that a process is in.
    Pid(u32),
    /// A namespace opened before on this connection, by the number of the stub's descriptor. A client
    /// uses `SocketBuilder::netns_handle` instead, which keeps the namespace open.
    Handle(u32),
    /// The namespace of a running container on the stub's host. The container's engine is asked for
    /// a process in it; nothing is executed inside the container.
    Container {
        /// The program that runs the container.
        engine: ContainerEngine,
        /// Its name or id, by the engines' own rule: a letter or digit, then letters, digits,
        /// `_`, `.` and `-`; 255 bytes at most.
        name: String,
    },
}

/// A program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContainerEngine {
    /// `docker`, docker(1).
    Docker,
    /// `podman`, podman(1).
    Podman,
}

impl ContainerEngine {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            ContainerEngine::Docker => "docker",
            ContainerEngine::Podman => "podman",
        }
    }

    fn number(self) -> u32 {
        match self {
            ContainerEngine::Docker => 1,
            ContainerEngine::Podman => 2,
        }
    }

    fn from_number(number: u32) -> Result<Self, WireError> {
        match number {
            1 => Ok(ContainerEngine::Docker),
            2 => Ok(ContainerEngine::Podman),
            _ => Err(WireError::BadValue { field: "container engine", value: number.into() }),
        }
    }
}

impl fmt::Display for ContainerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// Bytes of a container's name before the first that breaks the engines' rule; `None` for a name
/// that keeps it, which never looks like an option of their programs.
fn bad_container_name(name: &[u8]) -> Option<usize> {
    let fits = |(at, byte): (usize, &u8)| match byte {
        b'_' | b'.' | b'-' => at > 0,
        byte => byte.is_ascii_alphanumeric(),
    };
    match name.iter().enumerate().position(|letter| !fits(letter)) {
        None if name.is_empty() => Some(0),
        None if name.len() > MAX_CONTAINER_NAME => Some(MAX_CONTAINER_NAME),
        position => position,
    }
}

/// Bytes of a container's name, at most.
const MAX_CONTAINER_NAME: usize = 255;

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Netns::Current => write!(f, "the current namespace"),
            Netns::Name(name) => write!(f, "namespace {name:?}"),
            Netns::Path(path) => write!(f, "namespace file {path:?}"),
            Netns::Pid(pid) => write!(f, "the namespace of process {pid}"),
            Netns::Handle(fd) => write!(f, "the namespace opened as descriptor {fd}"),
            Netns::Container { engine, name } => write!(f, "{engine} container {name:?}"),
        }
    }
}

/// Whether opening a namespace by name creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NetnsMode {
    /// The namespace has to exist (ENOENT).
    #[default]
    Existing,
    /// The namespace is created if it does not exist.
    Create,
    /// The namespace is created, and must not exist (EEXIST).
    CreateExclusive,
}

/// An operation on network namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetnsRequest {
    /// Open a namespace and keep it open; the reply is the descriptor's number (u32), device and
    /// inode (u64 each).
    Open(Netns, NetnsMode),
    /// Close a namespace opened before, by its descriptor's number.
    Close(u32),
    /// List the names in `/run/netns`; the reply is an option of kind 1 for each name, with device
    /// and inode (u64 each, 0 for a file that is no namespace) and the name.
    List,
    /// Create a namespace as `ip netns add` does.
    Add(String),
    /// Delete a namespace as `ip netns delete` does.
    Delete(String),
}

impl NetnsMode {
    pub(super) fn number(self) -> u8 {
        match self {
            NetnsMode::Existing => 0,
            NetnsMode::Create => 1,
            NetnsMode::CreateExclusive => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Result<Self, WireError> {
        match number {
            0 => Ok(NetnsMode::Existing),
            1 => Ok(NetnsMode::Create),
            2 => Ok(NetnsMode::CreateExclusive),
            _ => Err(WireError::BadValue { field: "namespace mode", value: number.into() }),
        }
    }
}

impl Netns {
    /// The namespace of a docker container, by name or id.
    pub fn docker(name: impl Into<String>) -> Self {
        Netns::Container { engine: ContainerEngine::Docker, name: name.into() }
    }

    /// The namespace of a podman container, by name or id. Each user has containers of their own, so
    /// it has to be one of the user that the stub runs as.
    pub fn podman(name: impl Into<String>) -> Self {
        Netns::Container { engine: ContainerEngine::Podman, name: name.into() }
    }

    /// Whether a container's name keeps the engines' rule; true for all other namespaces.
    pub fn is_well_named(&self) -> bool {
        match self {
            Netns::Container { name, .. } => bad_container_name(name.as_bytes()).is_none(),
            _ => true,
        }
    }

    /// u32 kind, then the rest: 0 current, 1 name, 2 path, 3 pid (u32), 4 handle (u32),
    /// 5 container (u32 engine, name).
    pub(super) fn encode(&self, out: &mut impl BufMut) {
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
            Netns::Container { engine, name } => {
                out.put_u32_le(5);
                out.put_u32_le(engine.number());
                out.put_slice(name.as_bytes());
            }
        }
    }

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(match c.u32()? {
            0 => Netns::Current,
            1 => Netns::Name(utf8("namespace name", c.remainder())?),
            2 => Netns::Path(utf8("namespace path", c.remainder())?),
            3 => Netns::Pid(c.u32()?),
            4 => Netns::Handle(c.u32()?),
            5 => Netns::Container {
                engine: ContainerEngine::from_number(c.u32()?)?,
                name: container_name(c.remainder())?,
            },
            kind => return Err(WireError::UnknownNetns(kind)),
        })
    }
}

fn container_name(bytes: &[u8]) -> Result<String, WireError> {
    let field = "container name";
    match bad_container_name(bytes) {
        Some(position) => Err(WireError::BadValue { field, value: position as u64 }),
        None => utf8(field, bytes),
    }
}

fn utf8(field: &'static str, bytes: &[u8]) -> Result<String, WireError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(WireError::BadValue { field, value: error.valid_up_to() as u64 }),
    }
}

impl NetnsRequest {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
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

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
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

/// A name in `/run/netns`, and the namespace behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetnsEntry {
    /// The name, for display: harmful characters are replaced, and the name then differs from the
    /// file's.
    pub name: String,
    /// The namespace; zeros for a file that is none.
    pub id: NetnsId,
}

impl NetnsEntry {
    /// A name and the identity of its namespace.
    pub fn new(name: impl Into<String>, id: NetnsId) -> Self {
        Self { name: name.into(), id }
    }

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
                    name: one_line_of(c.remainder()),
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
    /// The number of the stub's descriptor.
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

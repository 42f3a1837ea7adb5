//! Datagrams in messages.

use bytes::BufMut;

use super::{cursor::Cursor, error::WireError};

/// The address that a datagram is sent to. By default the kernel: port id 0 and no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Destination {
    /// Port id.
    pub portid: u32,
    /// Bit mask of multicast groups 1 to 32, as in `sockaddr_nl`.
    pub groups: u32,
}

/// A received datagram's origin, as the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DatagramInfo {
    /// Port id of the sender; 0 is the kernel.
    pub portid: u32,
    /// The multicast group it was sent to; 0 if it was sent to this socket alone.
    pub group: u32,
    /// The id of the namespace it comes from, on sockets with `NETLINK_LISTEN_ALL_NSID`.
    pub nsid: Option<i32>,
}

/// Bytes in front of the datagram in send and datagram payloads.
pub(crate) const DATAGRAM_PREFIX: usize = 12;

impl Destination {
    /// A port id, and a bit mask of multicast groups 1 to 32.
    pub const fn new(portid: u32, groups: u32) -> Self {
        Self { portid, groups }
    }
}

impl DatagramInfo {
    /// The sender's port id, the multicast group or 0, and the nsid.
    pub const fn new(portid: u32, group: u32, nsid: Option<i32>) -> Self {
        Self { portid, group, nsid }
    }

    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.portid);
        out.put_u32_le(self.group);
        out.put_i32_le(self.nsid.unwrap_or(-1));
    }

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let (portid, group, nsid) = (c.u32()?, c.u32()?, c.i32()?);
        Ok(Self { portid, group, nsid: (nsid >= 0).then_some(nsid) })
    }
}

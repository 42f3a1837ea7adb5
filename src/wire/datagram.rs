//! Datagrams in messages.

use bytes::BufMut;

#[cfg(feature = "stub")]
use super::{Flags, FrameType, Header, SocketId};
use super::{WireError, cursor::Cursor, padded};

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

/// Bytes in front of the datagram in send and datagram payloads.
pub(crate) const DATAGRAM_PREFIX: usize = 12;

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

impl DatagramInfo {
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

//! Credit in messages.

use bytes::BufMut;

use super::{cursor::Cursor, error::WireError};

/// Absolute credit: totals since the socket was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credit {
    /// Bytes of netlink datagrams.
    pub bytes: u64,
    /// Datagrams.
    pub datagrams: u64,
}

impl Credit {
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.datagrams);
    }

    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(Self { bytes: c.u64()?, datagrams: c.u64()? })
    }
}

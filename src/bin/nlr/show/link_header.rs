//! The facts of a link message that messages of other objects refer to.

use super::kernel_name::{self, Named};
use netlink_remote::nlmsg::Message;

/// Length of `struct ifinfomsg`.
pub(super) const LENGTH: usize = 16;

/// `IFLA_IFNAME`.
const IFNAME: u16 = 3;

/// Index, name, flags and hardware type of a link.
pub(super) struct LinkHeader {
    pub(super) index: u32,
    /// `None` in a message without `IFLA_IFNAME`.
    pub(super) name: Option<String>,
    /// `IFF_*`.
    pub(super) flags: u32,
    /// `ARPHRD_*`.
    pub(super) link_type: u16,
}

impl LinkHeader {
    /// Parses an `RTM_NEWLINK` or `RTM_DELLINK`.
    pub(super) fn parse(message: &Message<'_>) -> Option<Self> {
        Some(Self {
            index: message.u32(4)?,
            name: message.attributes(LENGTH).name(IFNAME, kernel_name::LINK),
            flags: message.u32(8)?,
            link_type: message.u16(2)?,
        })
    }
}

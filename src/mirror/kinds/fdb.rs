//! Forwarding databases.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::{
    AF_BRIDGE, DELNEIGH, GETNEIGH, NEWNEIGH, address, is_of_link,
    neighbours::{DESTINATION, HEADER, TRIM},
    request,
};
use crate::{
    Group,
    mirror::kind::{Kind, Reading},
    nlmsg::Message,
};

/// Entries of the forwarding databases of bridges, VXLANs and other links, without the multicast addresses to
/// which a link listens: `bridge fdb` shows those too, and the kernel never tells them. Links have entries of
/// their own that come and go without a word: events of links are a [`Doubt`](Reading::Doubt).
#[derive(Debug, Clone, Copy, Default)]
pub struct Fdb;

/// What tells one entry from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct FdbKey {
    /// The index of the link whose database it is: a bridge, a VXLAN, or any other.
    pub link: u32,
    /// Whether it is an entry of a bridge. The port, to which the bridge forwards, is in the message: an
    /// address that moves to another port is changed.
    pub is_of_bridge: bool,
    /// The link-layer address.
    pub address: Vec<u8>,
    /// The VLAN.
    pub vlan: Option<u16>,
    /// The remote end of a tunnel.
    pub remote: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// The network identifier there.
    pub vni: Option<u32>,
    /// The index of the link by which it is reached.
    pub via: Option<u32>,
    /// The nexthop object.
    pub nexthop: Option<u32>,
}

/// `02:00:00:00:00:01 on 2`.
impl fmt::Display for FdbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.address.iter().enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02x}")?;
        }
        write!(f, " on {}", self.link)
    }
}

/// `NUD_PERMANENT`, alone and with `NUD_NOARP`.
const PERMANENT: u16 = 0x80;
const PERMANENT_NOARP: u16 = 0xc0;

impl Kind for Fdb {
    type Key = FdbKey;

    fn groups(&self) -> Vec<Group> {
        vec![Group::NEIGH, Group::LINK]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETNEIGH, AF_BRIDGE, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<FdbKey> {
        if is_of_link(message) {
            return Reading::Doubt;
        }
        let key = || {
            let attributes = message.attributes(HEADER);
            // NDA_LLADDR, NDA_MASTER
            let (link_layer, bridge) = (attributes.bytes(2)?, attributes.u32(9));
            let remote = attributes.bytes(DESTINATION).and_then(address);
            let is_group = link_layer.first().is_some_and(|first| first & 1 != 0);
            if is_group && bridge.is_none() && remote.is_none() {
                return None;
            }
            Some(FdbKey {
                link: bridge.or(message.u32(4))?,
                is_of_bridge: bridge.is_some(),
                // NDA_VLAN, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_NH_ID
                address: link_layer.to_vec(),
                vlan: attributes.u16(5),
                remote,
                port: attributes.be16(6),
                vni: attributes.u32(7),
                via: attributes.u32(8),
                nexthop: attributes.u32(13),
            })
        };
        match (message.header.kind, message.u8(0), key()) {
            (NEWNEIGH, Some(AF_BRIDGE), Some(key)) => Reading::Is(key),
            (DELNEIGH, Some(AF_BRIDGE), Some(key)) => Reading::IsNot(key),
            _ => Reading::Other,
        }
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        // Events of an entry of a link's own say NUD_NOARP besides NUD_PERMANENT; a dump does not.
        TRIM.payload(payload, HEADER, |header| match header.get_mut(8..10) {
            Some(state) if *state == PERMANENT_NOARP.to_ne_bytes() => {
                state.copy_from_slice(&PERMANENT.to_ne_bytes());
            }
            _ => {}
        })
    }
}

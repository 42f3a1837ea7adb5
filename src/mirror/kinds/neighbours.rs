//! Neighbours.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::{AF_INET, AF_INET6, DELNEIGH, GETNEIGH, NEWNEIGH, address, request};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::Message,
};

/// IPv4 and IPv6 neighbours, without those that need no resolution (`NUD_NOARP`), which `ip neigh` does
/// not show either.
///
/// The kernel does not tell when a resolution begins, and when a neighbour is probed: an entry that is new and
/// incomplete may come with the next dump, and stale, delayed and probed ones count as the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Neighbours;

/// What tells one neighbour from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct NeighbourKey {
    /// The link's index; 0 for a proxied address of all links.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Whether it is an address that this host answers for (`NTF_PROXY`).
    pub is_proxy: bool,
}

/// `10.0.0.1 on 2`.
impl fmt::Display for NeighbourKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.link)
    }
}

/// `struct ndmsg`.
pub(super) const HEADER: usize = 12;
/// `NDA_DST`.
pub(super) const DESTINATION: u16 = 1;
/// `NTF_PROXY`.
const PROXY: u8 = 0x08;
/// `NUD_NOARP`; `NUD_STALE`, `NUD_DELAY` and `NUD_PROBE`.
const NOARP: u16 = 0x40;
const STALE: u16 = 0x04;
const AGEING: u16 = STALE | 0x08 | 0x10;
/// Without `NDA_CACHEINFO` and `NDA_PROBES`.
pub(super) const TRIM: Trim = Trim { without: &[3, 4], inside: &[] };

impl Kind for Neighbours {
    type Key = NeighbourKey;

    fn groups(&self) -> Vec<Group> {
        vec![Group::NEIGH]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETNEIGH, AF_INET, HEADER), request(GETNEIGH, AF_INET6, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<NeighbourKey> {
        let key = || {
            let (family, flags) = (message.u8(0)?, message.u8(10)?);
            let address = message.attributes(HEADER).bytes(DESTINATION).and_then(address)?;
            let key = NeighbourKey { link: message.u32(4)?, address, is_proxy: flags & PROXY != 0 };
            matches!(family, AF_INET | AF_INET6).then_some((key, message.u16(8)?))
        };
        match (message.header.kind, key()) {
            (NEWNEIGH, Some((key, state)))
                if !key.is_proxy && (state == 0 || state & NOARP != 0) =>
            {
                Reading::IsNot(key)
            }
            (NEWNEIGH, Some((key, _))) => Reading::Is(key),
            (DELNEIGH, Some((key, _))) => Reading::IsNot(key),
            _ => Reading::Other,
        }
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        TRIM.payload(payload, HEADER, |header| {
            if let Some(state) = header.get_mut(8..10)
                && let Ok(bytes) = <[u8; 2]>::try_from(&*state)
                && u16::from_ne_bytes(bytes) & AGEING != 0
            {
                state.copy_from_slice(&STALE.to_ne_bytes());
            }
        })
    }
}

//! Addresses.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::{AF_INET, AF_INET6, DELADDR, GETADDR, NEWADDR, address, request};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::Message,
};

/// IPv4 and IPv6 addresses. Their lifetimes, which count down, are in the message, and no change.
///
/// The kernel tells a new IPv6 address with `IFA_F_NODAD` from a work queue (`addrconf_dad_work` in
/// `net/ipv6/addrconf.c`): a dump shows such an address a moment before the kernel tells it, and the mirror
/// has it then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses;

/// What tells one address from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct AddressKey {
    /// The link's index.
    pub link: u32,
    /// The address (`IFA_LOCAL`, or `IFA_ADDRESS` where there is none).
    pub address: IpAddr,
    /// The length of the prefix.
    pub prefix_len: u8,
    /// The other end of a point-to-point link, where it is another address.
    pub peer: Option<IpAddr>,
}

/// `10.0.0.1/24 on 2`.
impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {}", self.address, self.prefix_len, self.link)
    }
}

/// `struct ifaddrmsg`.
const HEADER: usize = 8;
/// `IFA_ADDRESS` and `IFA_LOCAL`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// Without `IFA_CACHEINFO`.
const TRIM: Trim = Trim { without: &[6], inside: &[] };

impl Kind for Addresses {
    type Key = AddressKey;

    fn groups(&self) -> Vec<Group> {
        vec![Group::IPV4_IFADDR, Group::IPV6_IFADDR]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETADDR, AF_INET, HEADER), request(GETADDR, AF_INET6, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<AddressKey> {
        let key = || {
            let attributes = message.attributes(HEADER);
            let far = attributes.bytes(ADDRESS).and_then(address);
            let near = attributes.bytes(LOCAL).and_then(address);
            let address = near.or(far)?;
            let (link, prefix_len) = (message.u32(4)?, message.u8(1)?);
            Some(AddressKey { link, address, prefix_len, peer: far.filter(|far| *far != address) })
        };
        match (message.header.kind, key()) {
            (NEWADDR, Some(key)) => Reading::Is(key),
            (DELADDR, Some(key)) => Reading::IsNot(key),
            _ => Reading::Other,
        }
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        TRIM.payload(payload, HEADER, |_| {})
    }
}

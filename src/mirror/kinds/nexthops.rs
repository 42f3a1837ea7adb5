//! Nexthop objects.

use std::borrow::Cow;

use super::{DELNEXTHOP, GETNEXTHOP, NEWNEXTHOP, is_of_link, request};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::Message,
};

/// Nexthop objects and groups, by their ids. The kernel tells of a member's removal from a group, and not of
/// a link without carrier: events of links are a [`Doubt`](Reading::Doubt).
#[derive(Debug, Clone, Copy, Default)]
pub struct Nexthops;

/// `struct nhmsg`.
const HEADER: usize = 8;
/// `NHA_ID`.
const ID: u16 = 1;
/// Without the time that a resilient group has been unbalanced for.
const TRIM: Trim = Trim { without: &[], inside: &[(12, Trim { without: &[4], inside: &[] })] };

impl Kind for Nexthops {
    type Key = u32;

    fn groups(&self) -> Vec<Group> {
        vec![Group::NEXTHOP, Group::LINK]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETNEXTHOP, 0, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<u32> {
        if is_of_link(message) {
            return Reading::Doubt;
        }
        match (message.header.kind, message.attributes(HEADER).u32(ID)) {
            (NEWNEXTHOP, Some(id)) => Reading::Is(id),
            (DELNEXTHOP, Some(id)) => Reading::IsNot(id),
            _ => Reading::Other,
        }
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        TRIM.payload(payload, HEADER, |_| {})
    }
}

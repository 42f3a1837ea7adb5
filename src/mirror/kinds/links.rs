//! Links.

use std::borrow::Cow;

use super::{AF_BRIDGE, DELLINK, GETLINK, NEWLINK, is_of_link, request};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::{Message, flags, read_u32},
};

/// Links, by their indices. An event of a bridge's port, whose state is in its link's message but not told
/// by the link's events, is a [`Doubt`](Reading::Doubt).
///
/// Of a link that is down the kernel does not tell changes of its alias, its group and the settings of its
/// type: those are no change here until it is up, and the object has them as they were last told.
///
/// The kernel tells a change of the carrier from a work queue, at most one a second of a link that has not
/// lost it (`net/core/link_watch.c`): a dump shows the carrier before the kernel tells it, and the mirror
/// has it then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Links;

/// `struct ifinfomsg`.
const HEADER: usize = 16;

/// `IFLA_LINK`.
const LINK: u16 = 5;

/// `IFLA_NEW_NETNSID`.
const NEW_NETNSID: u16 = 45;

/// Counters, the queueing discipline, what a bridge's ports are able to do and the numbers of users of
/// promiscuous mode, of which no event tells; the event's own cause; and settings of address families.
const TRIM: Trim = Trim {
    // IFLA_QDISC, STATS, WIRELESS, MAP, AF_SPEC, STATS64, PROMISCUITY, CARRIER_CHANGES, EVENT,
    // CARRIER_UP_COUNT, CARRIER_DOWN_COUNT, TSO_MAX_SIZE, TSO_MAX_SEGS, ALLMULTI
    without: &[6, 7, 11, 14, 23, 26, 30, 35, 44, 47, 48, 59, 60, 61],
    inside: &[(18, LINKINFO)],
};

/// The same of a link that is down: of its settings the kernel tells those alone that have notifiers of their
/// own (`netdev_state_change` in `net/core/dev.c`).
const TRIM_DOWN: Trim = Trim {
    // Besides those IFLA_LINKMODE, LINKINFO, IFALIAS, GROUP, PROTO_DOWN
    without: &[6, 7, 11, 14, 17, 18, 20, 23, 26, 27, 30, 35, 39, 44, 47, 48, 59, 60, 61],
    inside: &[],
};

/// `IFF_UP`.
const UP: u32 = 1;

/// `IFLA_LINKINFO`.
const LINKINFO: Trim = Trim {
    // IFLA_INFO_XSTATS
    without: &[3],
    inside: &[(2, INFO_DATA), (5, INFO_SLAVE_DATA)],
};

/// The timers of a bridge and what it has learned, by numbers that no other kind uses for settings that change.
const INFO_DATA: Trim = Trim { without: &[16, 17, 18, 19, 47, 48], inside: &[] };

/// The timers of a bridge's port.
const INFO_SLAVE_DATA: Trim = Trim { without: &[21, 22, 23], inside: &[] };

/// Whether a message is no part of a dump.
fn is_event(message: &Message<'_>) -> bool {
    message.header.flags & flags::MULTI == 0
}

impl Kind for Links {
    type Key = u32;

    fn groups(&self) -> Vec<Group> {
        vec![Group::LINK]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETLINK, 0, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<u32> {
        let Some(index) = message.u32(4) else { return Reading::Other };
        match message.header.kind {
            NEWLINK | DELLINK if message.u8(0) == Some(AF_BRIDGE) => Reading::Doubt,
            _ if !is_of_link(message) => Reading::Other,
            // A veth is told before it has a peer, and no event follows when it has.
            NEWLINK if is_event(message) && message.attributes(HEADER).u32(LINK) == Some(0) => {
                Reading::Doubt
            }
            NEWLINK => Reading::Is(index),
            _ => match message.attributes(HEADER).i32(NEW_NETNSID) {
                Some(nsid) => Reading::Moved(index, nsid),
                None => Reading::IsNot(index),
            },
        }
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let is_up = read_u32(payload, 8).is_some_and(|flags| flags & UP != 0);
        let trim = if is_up { &TRIM } else { &TRIM_DOWN };
        // `ifi_change` is of the event.
        trim.payload(payload, HEADER, |header| {
            if let Some(change) = header.get_mut(12..) {
                change.fill(0);
            }
        })
    }
}

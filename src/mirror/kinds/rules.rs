//! Rules.

use std::{borrow::Cow, fmt};

use super::{AF_INET, AF_INET6, DELRULE, GETRULE, NEWRULE, is_of_link, request};
use crate::{
    Group,
    mirror::{
        kind::{Kind, Reading},
        trim::Trim,
    },
    nlmsg::Message,
};

/// IPv4 and IPv6 rules. Several may have one key.
///
/// Whether a rule's link, and the rule that it jumps to, are there is in its message as of the last dump; no
/// event tells it, and it is no change here. Events of links are a [`Doubt`](Reading::Doubt).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules;

/// What orders rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct RuleKey {
    /// Whether it is one of IPv6.
    pub is_ipv6: bool,
    /// The priority.
    pub priority: u32,
    /// The table that it looks up, 0 where it does something else.
    pub table: u32,
}

/// `inet 100 table 254`.
impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_ipv6 { "inet6" } else { "inet" };
        write!(f, "{family} {} table {}", self.priority, self.table)
    }
}

/// `struct fib_rule_hdr`.
const HEADER: usize = 12;
/// `FRA_PRIORITY` and `FRA_TABLE`.
const PRIORITY: u16 = 6;
const TABLE: u16 = 15;
/// `FIB_RULE_UNRESOLVED`, `FIB_RULE_IIF_DETACHED` and `FIB_RULE_OIF_DETACHED`.
const DETACHED: u32 = 0x04 | 0x08 | 0x10;
const TRIM: Trim = Trim { without: &[], inside: &[] };

impl Kind for Rules {
    type Key = RuleKey;

    fn groups(&self) -> Vec<Group> {
        vec![Group::IPV4_RULE, Group::IPV6_RULE, Group::LINK]
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        vec![request(GETRULE, AF_INET, HEADER), request(GETRULE, AF_INET6, HEADER)]
    }

    fn read(&self, message: &Message<'_>) -> Reading<RuleKey> {
        if is_of_link(message) {
            return Reading::Doubt;
        }
        let key = || {
            let attributes = message.attributes(HEADER);
            let family = message.u8(0).filter(|family| matches!(*family, AF_INET | AF_INET6))?;
            Some(RuleKey {
                is_ipv6: family == AF_INET6,
                priority: attributes.u32(PRIORITY).unwrap_or(0),
                table: attributes.u32(TABLE).unwrap_or(message.u8(4)?.into()),
            })
        };
        match (message.header.kind, key()) {
            (NEWRULE, Some(key)) => Reading::Is(key),
            (DELRULE, Some(key)) => Reading::IsNot(key),
            _ => Reading::Other,
        }
    }

    fn is_unique(&self) -> bool {
        false
    }

    fn state<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        TRIM.payload(payload, HEADER, |header| {
            if let Some(flags) = header.get_mut(8..12)
                && let Ok(bytes) = <[u8; 4]>::try_from(&*flags)
            {
                let told = u32::from_ne_bytes(bytes) & !DETACHED;
                flags.copy_from_slice(&told.to_ne_bytes());
            }
        })
    }
}

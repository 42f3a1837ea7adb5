//! Links, addresses, routes, neighbours and rules, shown as `ip` shows them.
//!
//! For a list: send each of [`requests`] on a socket with `NETLINK_GET_STRICT_CHK` (the kernel then filters), the
//! next one when the former is done, and give every datagram of the answers to a [`Listing`]. For a monitor: list
//! the links into [`Names`], then make an [`event()`] of every message.
//!
//! The JSON is that of iproute2 6.1: the same keys in the same order with the same values. Where it is not, the
//! function says so.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | messages and attributes as bytes |
//! | [`names`], [`notation`] | names and notations of numbers and addresses |
//! | [`link`], [`link_info`], [`addr`], [`route`], [`encapsulation`], [`neigh`], [`rule`] | the objects |
//! | [`other`] | objects only a monitor shows |
//! | [`mod@event`], [`listing`] | a monitor, a list |
//! | [`command`] | the subcommand `nlr show` |
//! | [`fields`], [`table`], [`words`] | JSON objects, columns, text made of JSON |

mod addr;
pub(super) mod command;
mod encapsulation;
mod event;
pub(crate) mod fields;
mod link;
mod link_info;
mod listing;
pub(crate) mod message;
mod names;
mod neigh;
mod notation;
mod other;
mod route;
mod rule;
pub(crate) mod table;
mod words;

pub(crate) use event::event;
pub(crate) use listing::{Format, Listing};
pub(crate) use names::Names;

use message::Request;

/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

/// `RTM_GETLINK` and its like, of `linux/rtnetlink.h`.
const GET_LINK: u16 = 18;
const GET_ADDR: u16 = 22;
const GET_ROUTE: u16 = 26;
const GET_NEIGH: u16 = 30;
const GET_RULE: u16 = 34;

/// The table a route is in.
const RTA_TABLE: u16 = 15;

/// What of a link is wanted; `RTEXT_FILTER_SKIP_STATS`.
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 1 << 3;

/// `ENOENT`, what the kernel ends a dump with when the table does not exist.
const NO_SUCH_TABLE: i32 = 2;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// Links, as `ip -d link`.
    Link,
    /// Addresses, as `ip addr`.
    Addr,
    /// Routes, as `ip route`.
    Route,
    /// Neighbours, as `ip neigh`.
    Neigh,
    /// Rules, as `ip rule`.
    Rule,
}

impl Object {
    /// What a message calls several of them.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Link => "links",
            Self::Addr => "addresses",
            Self::Route => "routes",
            Self::Neigh => "neighbours",
            Self::Rule => "rules",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// Its `AF_*` number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => notation::AF_INET,
            Self::Inet6 => notation::AF_INET6,
        }
    }
}

/// A choice of routing tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// All of them.
    All,
    /// The one of this number.
    Id(u32),
}

impl Table {
    /// Reads "all", a name or a number.
    pub(crate) fn parse(text: &str, names: &Names) -> Option<Self> {
        match names.table_id(text) {
            Some(0) => Some(Self::All),
            Some(id) => Some(Self::Id(id)),
            None => (text == "all").then_some(Self::All),
        }
    }
}

/// What is to be listed of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only this family. Without it: all addresses and neighbours; the routes of one table and the rules of IPv4;
    /// the routes of all tables of every family. Links have no family.
    pub(crate) family: Option<Family>,
    /// Routes: of this table, the main one by default. Rules: that lead to this table, all by default.
    pub(crate) table: Option<Table>,
}

impl Filter {
    /// The table whose routes are listed, `None` for all tables.
    fn route_table(&self) -> Option<u32> {
        match self.table {
            None => Some(MAIN_TABLE),
            Some(Table::Id(id)) => Some(id),
            Some(Table::All) => None,
        }
    }

    /// The table the listed rules lead to, `None` for all rules.
    fn rule_table(&self) -> Option<u32> {
        match self.table {
            None | Some(Table::All) => None,
            Some(Table::Id(id)) => Some(id),
        }
    }
}

/// The requests whose answers make up a list, in the order in which they are to be sent.
///
/// All but that for rules begin with the links, for their names. What the kernel is asked to leave out it leaves out
/// only on a socket with `NETLINK_GET_STRICT_CHK`.
pub(crate) fn requests(object: Object, filter: &Filter) -> Vec<Request> {
    let family = filter.family.map(Family::number);
    let one_family = family.unwrap_or(notation::AF_INET);
    let main = match object {
        Object::Link => None,
        Object::Addr => Some(Request::new(GET_ADDR, 8, family.unwrap_or_default())),
        Object::Route => Some(match filter.route_table() {
            Some(table) => Request::new(GET_ROUTE, 12, one_family).with_u32(RTA_TABLE, table),
            None => Request::new(GET_ROUTE, 12, family.unwrap_or_default()),
        }),
        Object::Neigh => Some(Request::new(GET_NEIGH, 12, family.unwrap_or_default())),
        Object::Rule => Some(Request::new(GET_RULE, 12, one_family)),
    };
    let links = (object != Object::Rule).then(link_request);
    links.into_iter().chain(main).collect()
}

/// Asks for the links, without the statistics.
pub(crate) fn link_request() -> Request {
    Request::new(GET_LINK, 16, 0).with_u32(IFLA_EXT_MASK, SKIP_STATS)
}

/// Whether an error at the end of a dump means that there is nothing to list: the kernel has no main table before
/// there is a route in it. Of another table it is an error, as for `ip`.
pub(crate) fn is_empty_list(object: Object, filter: &Filter, errno: i32) -> bool {
    object == Object::Route && errno == NO_SUCH_TABLE && filter.route_table() == Some(MAIN_TABLE)
}

#[cfg(test)]
mod tests;

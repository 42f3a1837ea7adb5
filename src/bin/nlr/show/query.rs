//! The objects of `nlr show`, the filters on them, and the requests for both.

use clap::ValueEnum;

use netlink_remote::{
    client::{RequestError, RequestErrorKind},
    errno::ENOENT,
    nlmsg::{Builder, flags},
};

use super::{names::Names, notation};

/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

/// `RTA_TABLE`.
const RTA_TABLE: u16 = 15;

/// `IFLA_EXT_MASK`, and its bit `RTEXT_FILTER_SKIP_STATS`.
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 1 << 3;

/// A kind of object, listed as `ip -d link`, `ip addr`, `ip route`, `ip neigh` and `ip rule` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Object {
    #[value(aliases = ["links"])]
    Link,
    #[value(aliases = ["address", "addresses", "addrs"])]
    Addr,
    #[value(aliases = ["routes"])]
    Route,
    #[value(aliases = ["neighbor", "neighbour", "neighbors", "neighbours"])]
    Neigh,
    #[value(aliases = ["rules"])]
    Rule,
}

impl Object {
    /// The plural for messages.
    pub(super) fn plural(self) -> &'static str {
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
    Inet,
    Inet6,
}

impl Family {
    /// The `AF_*` number.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => notation::AF_INET,
            Self::Inet6 => notation::AF_INET6,
        }
    }
}

/// A choice of routing tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    All,
    Id(u32),
}

impl Table {
    /// Parses "all", a name or a number.
    pub(super) fn parse(text: &str, names: &Names) -> Option<Self> {
        match names.table_id(text) {
            Some(0) => Some(Self::All),
            Some(id) => Some(Self::Id(id)),
            None => (text == "all").then_some(Self::All),
        }
    }
}

/// A filter on objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only this family. `None` is every family of addresses, neighbours and the routes of all
    /// tables; IPv4 of rules and the routes of one table. Links have no family.
    pub(crate) family: Option<Family>,
    /// Routes of this table, by default of the main table. Rules that look this table up, by
    /// default all rules.
    pub(crate) table: Option<Table>,
    /// Links with their statistics.
    pub(crate) statistics: bool,
}

impl Filter {
    /// The table of the listed routes, `None` for all tables.
    pub(super) fn route_table(&self) -> Option<u32> {
        match self.table {
            None => Some(MAIN_TABLE),
            Some(Table::Id(id)) => Some(id),
            Some(Table::All) => None,
        }
    }

    /// The table that the listed rules look up, `None` for all rules.
    pub(super) fn rule_table(&self) -> Option<u32> {
        match self.table {
            None | Some(Table::All) => None,
            Some(Table::Id(id)) => Some(id),
        }
    }
}

/// The requests whose answers make up a list, in the order of sending. The kernel filters by them
/// on a socket with `NETLINK_GET_STRICT_CHK` only.
///
/// All lists but that of rules begin with the links, for their names.
pub(super) fn requests(object: Object, filter: &Filter) -> Vec<Vec<u8>> {
    let family = filter.family.map(Family::number);
    let one_family = family.unwrap_or(notation::AF_INET);
    let any_family = family.unwrap_or_default();
    let main = match object {
        Object::Link => None,
        Object::Addr => Some(request::<8>(libc::RTM_GETADDR, any_family)),
        Object::Route => Some(match filter.route_table() {
            Some(table) => request::<12>(libc::RTM_GETROUTE, one_family)
                .attribute(RTA_TABLE, &table.to_ne_bytes()),
            None => request::<12>(libc::RTM_GETROUTE, any_family),
        }),
        Object::Neigh => Some(request::<12>(libc::RTM_GETNEIGH, any_family)),
        Object::Rule => Some(request::<12>(libc::RTM_GETRULE, one_family)),
    };
    let links = (object != Object::Rule).then(link_request);
    links.into_iter().chain(main.map(Builder::finish)).collect()
}

/// The request for all links, without the statistics of address families.
pub(crate) fn link_request() -> Vec<u8> {
    request::<16>(libc::RTM_GETLINK, 0).attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()).finish()
}

/// The request for one link.
pub(crate) fn one_link_request(index: u32) -> Vec<u8> {
    let mut header = [0; 16];
    if let Some(place) = header.get_mut(4..8) {
        place.copy_from_slice(&index.to_ne_bytes());
    }
    let request = Builder::new(libc::RTM_GETLINK, flags::REQUEST).put(&header);
    request.attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()).finish()
}

/// A dump request with a header of `N` bytes: the family, then zeros.
fn request<const N: usize>(kind: u16, family: u8) -> Builder {
    let mut header = [0; N];
    if let Some(first) = header.first_mut() {
        *first = family;
    }
    Builder::new(kind, flags::REQUEST | flags::DUMP).put(&header)
}

/// Whether an error at the end of a dump stands for an empty list: the main table does not exist
/// before its first route. Of another table it is an error, as for `ip`.
pub(super) fn is_empty_list(object: Object, filter: &Filter, error: &RequestError) -> bool {
    object == Object::Route
        && filter.route_table() == Some(MAIN_TABLE)
        && error.kind() == RequestErrorKind::Refused
        && error.errno() == Some(ENOENT)
}

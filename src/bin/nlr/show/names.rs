//! Names of the numbers in messages: of links, from link messages; of tables, protocols and so on,
//! from the databases of iproute2 on this machine.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fs, iter,
    path::Path,
};

use super::link_header::LinkHeader;
use netlink_remote::nlmsg::Message;

/// The folders of iproute2's databases. A file of the administrator's, which come first, hides the
/// distribution's.
const DIRECTORIES: [&str; 2] = ["/etc/iproute2", "/usr/share/iproute2"];

/// The names of IP protocols.
const PROTOCOLS: &str = "/etc/protocols";

/// The facts of a link that messages of other objects refer to.
#[derive(Clone, Debug)]
struct Link {
    name: String,
    /// `IFF_*`.
    flags: u32,
    /// `ARPHRD_*`.
    kind: u16,
}

/// Bytes of memory that a known link takes, by and large.
pub(crate) const LINK_MEMORY: usize = 128;

/// Memory for links by default: a far end without an end to its links would fill any.
const MEMORY: usize = 64 << 20;

/// Names of numbers. A number without a name is written as by `ip`: `if12`, or the number.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Links by index.
    links: HashMap<u32, Link>,
    /// The number of links that are known at most.
    most_links: usize,
    /// Links that were asked for and are not known.
    missed: RefCell<BTreeSet<u32>>,
    /// `rt_tables`.
    tables: HashMap<u32, String>,
    /// `rt_protos`.
    protocols: HashMap<u32, String>,
    /// `rt_scopes`.
    scopes: HashMap<u32, String>,
    /// `rt_realms`.
    realms: HashMap<u32, String>,
    /// `rt_dsfield`.
    dsfields: HashMap<u32, String>,
    /// `group`.
    groups: HashMap<u32, String>,
    /// `/etc/protocols`.
    ip_protocols: HashMap<u32, String>,
}

impl Default for Names {
    /// The names that are built into iproute2.
    fn default() -> Self {
        Self {
            links: HashMap::new(),
            most_links: MEMORY / LINK_MEMORY,
            missed: RefCell::default(),
            tables: named(&[(253, "default"), (254, "main"), (255, "local")]),
            protocols: named(&[
                (0, "unspec"),
                (1, "redirect"),
                (2, "kernel"),
                (3, "boot"),
                (4, "static"),
                (8, "gated"),
                (9, "ra"),
                (10, "mrt"),
                (11, "zebra"),
                (12, "bird"),
                (13, "dnrouted"),
                (14, "xorp"),
                (15, "ntk"),
                (16, "dhcp"),
                (18, "keepalived"),
                (42, "babel"),
                (186, "bgp"),
                (187, "isis"),
                (188, "ospf"),
                (189, "rip"),
                (192, "eigrp"),
            ]),
            scopes: named(&[
                (0, "global"),
                (200, "site"),
                (253, "link"),
                (254, "host"),
                (255, "nowhere"),
            ]),
            realms: named(&[(0, "unknown")]),
            dsfields: named(&[(0, "0")]),
            groups: named(&[(0, "default")]),
            ip_protocols: HashMap::new(),
        }
    }
}

impl Names {
    /// The built-in names and those of this machine's databases.
    ///
    /// A missing or unreadable file is no error. `ip` reads a database at the first number without
    /// a built-in name, and so the effect of a file that renames, say, protocol 4 depends on the
    /// numbers printed before; here it always has an effect.
    pub(crate) fn local() -> Self {
        let mut names = Self::default();
        for (database, file) in [
            (&mut names.tables, "rt_tables"),
            (&mut names.protocols, "rt_protos"),
            (&mut names.scopes, "rt_scopes"),
            (&mut names.realms, "rt_realms"),
            (&mut names.dsfields, "rt_dsfield"),
            (&mut names.groups, "group"),
        ] {
            for text in database_files(&DIRECTORIES.map(Path::new), file) {
                database.extend(entries(&text));
            }
        }
        let protocols = fs::read_to_string(PROTOCOLS).unwrap_or_default();
        names.ip_protocols.extend(ip_protocols(&protocols));
        names
    }

    /// Learns the name of a new or changed link, and forgets that of a deleted one. Messages of
    /// other types are ignored, and so are links beyond the memory for them, which are shown by number.
    pub(crate) fn observe(&mut self, message: &Message<'_>) {
        let deleted = match message.header.kind {
            libc::RTM_NEWLINK => false,
            // With a family it is a port that leaves its bridge, and the link stays.
            libc::RTM_DELLINK if message.u8(0) == Some(0) => true,
            _ => return,
        };
        let Some(LinkHeader { index, name, flags, link_type }) = LinkHeader::parse(message) else {
            return;
        };
        if deleted {
            self.links.remove(&index);
        } else if let Some(name) = name
            && (self.links.len() < self.most_links || self.links.contains_key(&index))
        {
            self.links.insert(index, Link { name, flags, kind: link_type });
        }
    }

    /// Sets the bytes of memory for links.
    pub(crate) fn set_memory(&mut self, bytes: usize) {
        self.most_links = bytes / LINK_MEMORY;
    }

    /// The number of known links.
    pub(crate) fn link_count(&self) -> usize {
        self.links.len()
    }

    /// Whether a further link would not be known.
    pub(crate) fn is_full(&self) -> bool {
        self.links.len() >= self.most_links
    }

    /// Forgets all links.
    pub(crate) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// The name of a link; `*` for index 0.
    pub(crate) fn link(&self, index: u32) -> String {
        match self.links.get(&index) {
            Some(link) => link.name.clone(),
            None if index == 0 => "*".to_owned(),
            None => {
                self.missed.borrow_mut().insert(index);
                format!("if{index}")
            }
        }
    }

    /// The links that were asked for since the last call, and are not known.
    pub(crate) fn take_missed(&self) -> BTreeSet<u32> {
        self.missed.take()
    }

    /// The `IFF_*` flags of a known link.
    pub(crate) fn link_flags(&self, index: u32) -> Option<u32> {
        self.links.get(&index).map(|link| link.flags)
    }

    /// The hardware type of a link, `ARPHRD_VOID` of an unknown one.
    pub(crate) fn link_type(&self, index: u32) -> u16 {
        self.links.get(&index).map_or(u16::MAX, |link| link.kind)
    }

    /// A routing table.
    pub(crate) fn table(&self, id: u32) -> String {
        lookup(&self.tables, id)
    }

    /// The number of a routing table, from its name or number. A number after `0x` is hexadecimal.
    pub(crate) fn table_id(&self, name: &str) -> Option<u32> {
        let named = self.tables.iter().filter(|(_, known)| *known == name).map(|(id, _)| *id).min();
        named.or_else(|| match name.strip_prefix("0x").or_else(|| name.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => name.parse().ok(),
        })
    }

    /// A routing protocol.
    pub(crate) fn protocol(&self, id: u8) -> String {
        lookup(&self.protocols, id.into())
    }

    /// A scope.
    pub(crate) fn scope(&self, id: u8) -> String {
        lookup(&self.scopes, id.into())
    }

    /// A routing realm.
    pub(crate) fn realm(&self, id: u32) -> String {
        lookup(&self.realms, id)
    }

    /// A differentiated-services field; the number is written `0x%02x`.
    pub(crate) fn dsfield(&self, id: u8) -> String {
        self.dsfields.get(&id.into()).cloned().unwrap_or_else(|| format!("0x{id:02x}"))
    }

    /// A group of links.
    pub(crate) fn group(&self, id: u32) -> String {
        lookup(&self.groups, id)
    }

    /// An IP protocol.
    pub(crate) fn ip_protocol(&self, id: u8) -> String {
        self.ip_protocols.get(&id.into()).cloned().unwrap_or_else(|| format!("ipproto-{id}"))
    }
}

/// A map of built-in names.
fn named(names: &[(u32, &str)]) -> HashMap<u32, String> {
    names.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

/// The name of a number, or the number.
fn lookup(names: &HashMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

/// The texts of a database; an entry in a later one overrides earlier ones. First the file itself,
/// then the `*.conf` files of `FILE.d` in the order of their names, each from the first directory
/// in which it exists.
fn database_files(directories: &[&Path], file: &str) -> Vec<String> {
    let first = |name: &Path| {
        directories.iter().find_map(|directory| fs::read_to_string(directory.join(name)).ok())
    };
    let parts = Path::new(file).with_extension("d");
    let names: BTreeSet<_> = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory.join(&parts)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".conf") && !name.starts_with('.'))
        .collect();
    iter::once(Path::new(file).to_owned())
        .chain(names.into_iter().map(|name| parts.join(name)))
        .filter_map(|name| first(&name))
        .collect()
}

/// The entries of a database: lines of a number (decimal, or hexadecimal after `0x`), a name, and
/// any other text. Stops at a malformed line, as `ip` does.
fn entries(text: &str) -> impl Iterator<Item = (u32, String)> {
    let lines =
        text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map_while(|line| {
        let mut words = line.split_whitespace();
        let number = words.next()?;
        let id = match number.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        Some((id, words.next()?.to_owned()))
    })
}

/// The entries of `/etc/protocols`: lines of a name, a number, and aliases. In reverse order,
/// because the first entry of a number counts.
fn ip_protocols(text: &str) -> impl Iterator<Item = (u32, String)> {
    text.lines().rev().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        Some((words.next()?.parse().ok()?, name.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Names, entries, ip_protocols};

    #[test]
    fn databases_are_read_as_iproute2_does() {
        let text =
            "# comment\n\n  100 blue # the blue one\n0x64\thex extra words\nbroken\n7 lost\n";
        let read: Vec<_> = entries(text).collect();
        assert_eq!(read, [(100, "blue".to_owned()), (100, "hex".to_owned())]);
    }

    #[test]
    fn unknown_numbers_stay_numbers() {
        let names = Names::default();
        assert_eq!((names.link(12), names.link(0)), ("if12".to_owned(), "*".to_owned()));
        assert_eq!((names.table(254), names.table(300)), ("main".to_owned(), "300".to_owned()));
        assert_eq!(
            (names.dsfield(8), names.ip_protocol(6)),
            ("0x08".to_owned(), "ipproto-6".to_owned())
        );
        assert_eq!(
            (names.table_id("local"), names.table_id("0x10"), names.table_id("x")),
            (Some(255), Some(16), None)
        );
    }

    #[test]
    fn the_first_protocol_of_a_number_counts() {
        let read: std::collections::HashMap<_, _> =
            ip_protocols("ip 0 IP\nhopopt 0 HOPOPT # ipv6\ntcp 6 TCP\n").collect();
        assert_eq!((read[&0].as_str(), read[&6].as_str()), ("ip", "tcp"));
    }
}

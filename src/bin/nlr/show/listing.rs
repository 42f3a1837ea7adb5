//! A list of objects, written while the answers to its requests arrive.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde_json::Value;

use super::{
    addr,
    fields::Fields,
    link,
    names::{LINK_MEMORY, Names},
    neigh,
    query::{Family, Filter, Object},
    route, rule,
};
use crate::{
    json,
    table::{Cell, Table},
};
use netlink_remote::nlmsg::{Builder, Message, messages};

/// The words below a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Nothing,
    Counters,
    All,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array, one element a line.
    Json,
    /// An aligned table.
    /// With lines of words below each link, or without.
    Text { color: bool, note: Note },
}

/// An unfinished list.
///
/// Routes, neighbours and rules are written at once. Links and addresses are kept until the end: a
/// link may name one in a later message, and addresses are shown with their link. So are the names of
/// links.
#[derive(Debug)]
pub(crate) struct Listing<W> {
    object: Object,
    filter: Filter,
    names: Names,
    /// Link messages, in a list that shows links.
    links: Vec<u8>,
    /// Address messages by index of link.
    addresses: HashMap<u32, Vec<u8>>,
    /// Bytes of the latter.
    address_bytes: usize,
    sink: Sink<W>,
}

/// Bytes of memory for the addresses of a link, besides their messages.
const ADDRESSES_MEMORY: usize = 64;

/// Appends a message to others.
fn keep(message: &Message<'_>, kept: &mut Vec<u8>) {
    kept.extend(Builder::new(message.header.kind, 0).put(message.payload).finish());
}

#[derive(Debug)]
enum Sink<W> {
    /// An array, and whether it is still empty.
    Json(W, bool),
    /// A table, and what stands below each link.
    Text { table: Table<W>, note: Note },
}

impl<W: Write> Listing<W> {
    /// An empty list. The writer should be buffered.
    pub(crate) fn new(
        out: W,
        object: Object,
        filter: Filter,
        format: Format,
        names: Names,
    ) -> Self {
        let columns = match object {
            Object::Link => link::COLUMNS,
            Object::Addr => addr::COLUMNS,
            Object::Route => route::COLUMNS,
            Object::Neigh => neigh::COLUMNS,
            Object::Rule => rule::COLUMNS,
        };
        let sink = match format {
            Format::Json => Sink::Json(out, true),
            Format::Text { color, note } => {
                let table = Table::new(out, columns, color);
                Sink::Text { table: table.without_empty_columns(), note }
            }
        };
        let (links, addresses) = (Vec::new(), HashMap::new());
        Self { object, filter, names, links, addresses, address_bytes: 0, sink }
    }

    /// The writer.
    pub(crate) fn out(&mut self) -> &mut W {
        match &mut self.sink {
            Sink::Json(out, _) => out,
            Sink::Text { table, .. } => table.out(),
        }
    }

    /// Bytes of memory for what is kept until the end, by and large.
    pub(crate) fn kept(&self) -> usize {
        let names = self.names.link_count() * LINK_MEMORY;
        let addresses = self.address_bytes + self.addresses.len() * ADDRESSES_MEMORY;
        self.links.len() + addresses + names
    }

    /// Adds the object of a message. Messages of other types are ignored.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match (self.object, message.header.kind) {
            (_, libc::RTM_NEWLINK) => {
                self.names.observe(message);
                if matches!(self.object, Object::Link | Object::Addr) {
                    keep(message, &mut self.links);
                }
            }
            (Object::Addr, libc::RTM_NEWADDR) => self.address(message),
            (Object::Route, libc::RTM_NEWROUTE) if route::listed(message, &self.filter) => {
                if let Some(route) =
                    route::json(message, &self.names, self.filter.route_table().is_some())
                {
                    self.sink.put(route, route::rows)?;
                }
            }
            (Object::Neigh, libc::RTM_NEWNEIGH)
                if neigh::listed(message) && self.of_family(message) =>
            {
                if let Some(neighbour) = neigh::json(message, &self.names) {
                    self.sink.put(neighbour, |neighbour| vec![neigh::row(neighbour)])?;
                }
            }
            (Object::Rule, libc::RTM_NEWRULE) if self.lists_rule(message) => {
                if let Some(rule) = rule::json(message, &self.names) {
                    self.sink.put(rule, |rule| vec![rule::row(rule)])?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the link messages that were kept, each of which is to be given to [`link`](Self::link)
    /// once all messages have come.
    pub(crate) fn take_links(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.links)
    }

    /// Writes a link that was kept, with its addresses.
    pub(crate) fn link(&mut self, message: &Message<'_>) -> io::Result<()> {
        if self.object == Object::Link {
            if let Some(mut link) = link::json(message, &self.names, link::View::Full) {
                // The kernel sends them in any case.
                if !self.filter.statistics {
                    link.shift_remove("stats64");
                }
                self.sink.put(link, |link| vec![link::short_row(link)])?;
            }
        } else if let Some(link) = self.link_with_addresses(message) {
            self.sink.put(link, addr::rows)?;
        }
        Ok(())
    }

    /// Writes the end of the list.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }

    /// Keeps an address until its link is written.
    fn address(&mut self, message: &Message<'_>) {
        if self.of_family(message)
            && let Some(index) = addr::link_index(message)
        {
            let addresses = self.addresses.entry(index).or_default();
            let before = addresses.len();
            keep(message, addresses);
            self.address_bytes += addresses.len() - before;
        }
    }

    /// The link in the form of `ip addr`. With a family, links without an address of that family
    /// are left out, where some versions of `ip` print an empty object.
    ///
    /// With -6 `ip` requests links in a form without `qdisc`, `master`, `group` and the namespace
    /// of the peer, and so may show a peer in another namespace by the name of a local link. Here
    /// the links are those of -4.
    fn link_with_addresses(&mut self, message: &Message<'_>) -> Option<Fields> {
        let view = link::View::Addresses { link_layer: self.filter.family.is_none() };
        let mut link = link::json(message, &self.names, view)?;
        let addresses =
            message.u32(4).and_then(|index| self.addresses.remove(&index)).unwrap_or_default();
        let addresses = messages(&addresses);
        let addresses = addresses.filter_map(|address| addr::json(&address, &self.names, false));
        let addresses: Vec<Value> = addresses.map(Value::from).collect();
        if addresses.is_empty() && self.filter.family.is_some() {
            return None;
        }
        link.insert("addr_info".to_owned(), addresses.into());
        Some(link)
    }

    /// Whether the family, the first byte of the payload, passes the filter.
    fn of_family(&self, message: &Message<'_>) -> bool {
        self.filter.family.is_none_or(|family| message.u8(0) == Some(family.number()))
    }

    /// Whether the family and the table of a rule pass the filter.
    fn lists_rule(&self, message: &Message<'_>) -> bool {
        let family = self.filter.family.unwrap_or(Family::Inet);
        message.u8(0) == Some(family.number())
            && self.filter.rule_table().is_none_or(|table| rule::table(message) == Some(table))
    }
}

impl<W: Write> Sink<W> {
    /// Writes an object.
    fn put(
        &mut self,
        object: Fields,
        rows: impl FnOnce(&Fields) -> Vec<Vec<Cell>>,
    ) -> io::Result<()> {
        match self {
            Self::Json(out, first) => {
                out.write_all(if *first { b"[" } else { b",\n" })?;
                *first = false;
                out.write_all(json::text(&object.into()).as_bytes())
            }
            Self::Text { table, note } => {
                rows(&object).into_iter().try_for_each(|row| table.row(row))?;
                // The rows of other objects show everything.
                let is_link = object.contains_key("ifindex");
                match *note {
                    Note::Counters if is_link => table.note(&link::counters(&object)),
                    Note::All if is_link => table.note(&link::note(&object)),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Writes the end.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Json(out, first) => {
                out.write_all(if *first { b"[]\n" } else { b"]\n" })?;
                out.flush()
            }
            Self::Text { table, .. } => table.finish(),
        }
    }
}

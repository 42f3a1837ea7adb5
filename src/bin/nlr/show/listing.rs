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
    names::Names,
    neigh,
    query::{Family, Filter, Object},
    route, rule,
};
use crate::{
    json,
    table::{Cell, Table},
};
use netlink_remote::nlmsg::{Builder, Message, messages};

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array, one element a line.
    Json,
    /// An aligned table.
    Text { color: bool },
}

/// An unfinished list.
///
/// Routes, neighbours and rules are written at once. Links and addresses are kept until the end: a
/// link may name one in a later message, and addresses are shown with their link.
#[derive(Debug)]
pub(crate) struct Listing<W> {
    object: Object,
    filter: Filter,
    names: Names,
    /// Link messages, in a list that shows links.
    links: Vec<u8>,
    /// `addr_info` by index of link.
    addresses: HashMap<u32, Vec<Value>>,
    sink: Sink<W>,
}

#[derive(Debug)]
enum Sink<W> {
    /// An array, and whether it is still empty.
    Json(W, bool),
    Text(Table<W>),
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
            Format::Text { color } => Sink::Text(Table::new(out, columns, color)),
        };
        Self { object, filter, names, links: Vec::new(), addresses: HashMap::new(), sink }
    }

    /// Adds the object of a message. Messages of other types are ignored.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match (self.object, message.header.kind) {
            (_, libc::RTM_NEWLINK) => {
                self.names.observe(message);
                if matches!(self.object, Object::Link | Object::Addr) {
                    let link = Builder::new(message.header.kind, 0).put(message.payload);
                    self.links.extend(link.finish());
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

    /// Writes the kept objects and the end of the list, and returns the writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let links = std::mem::take(&mut self.links);
        for message in messages(&links) {
            if self.object == Object::Link {
                if let Some(link) = link::json(&message, &self.names, link::View::Full) {
                    self.sink.put(link, |link| vec![link::row(link)])?;
                }
            } else if let Some(link) = self.link_with_addresses(&message) {
                self.sink.put(link, addr::rows)?;
            }
        }
        self.sink.finish()
    }

    /// Keeps an address until its link is written.
    fn address(&mut self, message: &Message<'_>) {
        if self.of_family(message)
            && let (Some(index), Some(address)) =
                (addr::link_index(message), addr::json(message, &self.names, false))
        {
            self.addresses.entry(index).or_default().push(address.into());
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
            Self::Text(table) => rows(&object).into_iter().try_for_each(|row| table.row(row)),
        }
    }

    /// Writes the end.
    fn finish(self) -> io::Result<W> {
        match self {
            Self::Json(mut out, first) => {
                out.write_all(if first { b"[]\n" } else { b"]\n" })?;
                out.flush()?;
                Ok(out)
            }
            Self::Text(table) => table.finish(),
        }
    }
}

//! A list of objects, written while the answers to its requests come in.

use super::addr;
use super::fields::Fields;
use super::message::Message;
use super::names::Names;
use super::table::{Cell, Table};
use super::{Filter, Object, link, neigh, route, rule};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, Write};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array, one element a line.
    Json,
    /// An aligned table.
    Text {
        /// Whether in colour.
        color: bool,
    },
}

/// A list under way.
///
/// Routes, neighbours and rules are written as they come. Links and addresses are kept to the end, since a link may
/// name another that comes after it, and addresses are shown under their link.
#[derive(Debug)]
pub(crate) struct Listing<W> {
    /// What is listed.
    object: Object,
    /// What of it.
    filter: Filter,
    /// Names of links and numbers.
    names: Names,
    /// Link messages (type, payload), for those lists that show links.
    links: Vec<(u16, Vec<u8>)>,
    /// `addr_info` by index of link.
    addresses: HashMap<u32, Vec<Value>>,
    /// Where the list goes.
    sink: Sink<W>,
}

/// Where a list goes.
#[derive(Debug)]
enum Sink<W> {
    /// An array, and whether nothing was written yet.
    Json(W, bool),
    /// A table.
    Text(Table<W>),
}

impl<W: Write> Listing<W> {
    /// An empty list. The writer should be buffered: JSON is written in small pieces.
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

    /// Takes in a message. Those that are not about what is listed, such as the end of a dump, are ignored.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match (self.object, message.kind) {
            (_, link::NEW) => {
                self.names.observe(message);
                if matches!(self.object, Object::Link | Object::Addr) {
                    self.links.push((message.kind, message.body.to_vec()));
                }
            }
            (Object::Addr, addr::NEW) => self.address(message),
            (Object::Route, route::NEW) if route::listed(message, &self.filter) => {
                if let Some(route) =
                    route::json(message, &self.names, self.filter.route_table().is_some())
                {
                    self.sink.put(route, route::rows)?;
                }
            }
            (Object::Neigh, neigh::NEW) if neigh::listed(message) && self.of_family(message) => {
                if let Some(neighbour) = neigh::json(message, &self.names) {
                    self.sink.put(neighbour, |neighbour| vec![neigh::row(neighbour)])?;
                }
            }
            (Object::Rule, rule::NEW) if self.lists_rule(message) => {
                if let Some(rule) = rule::json(message, &self.names) {
                    self.sink.put(rule, |rule| vec![rule::row(rule)])?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what was kept and the end of the list, and gives the writer back.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        for (kind, body) in std::mem::take(&mut self.links) {
            let message = Message { kind, flags: 0, sequence: 0, body: &body };
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

    /// Keeps an address for its link.
    fn address(&mut self, message: &Message<'_>) {
        if self.of_family(message)
            && let (Some(index), Some(address)) =
                (addr::link_index(message), addr::json(message, &self.names, false))
        {
            self.addresses.entry(index).or_default().push(address.into());
        }
    }

    /// The link in the form of `ip addr`. With a family, links that have no address of it are left out, where some
    /// versions of `ip` have an empty object.
    ///
    /// With -6 `ip` asks for links in a form that lacks `qdisc`, `master`, `group` and the namespace of the peer, so
    /// that a link of another namespace can get the name of a local one. Here the links are those of -4.
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

    /// Whether an object whose first byte is its family is of the family that was asked for.
    fn of_family(&self, message: &Message<'_>) -> bool {
        self.filter.family.is_none_or(|family| message.u8(0) == Some(family.number()))
    }

    /// Whether a rule is of the family and leads to the table that was asked for.
    fn lists_rule(&self, message: &Message<'_>) -> bool {
        let family = self.filter.family.unwrap_or(super::Family::Inet);
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
                serde_json::to_writer(out, &object).map_err(io::Error::from)
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

//! What a monitor shows: one event for each message.

use super::fields::{Fields, Put};
use super::message::Message;
use super::names::Names;
use super::table::{self, Cell, Paint, labelled};
use super::words;
use super::{addr, link, neigh, other, route, rule};

/// Types below this one (`NLMSG_MIN_TYPE`) are about the conversation: done, error, overrun.
const FIRST_TYPE: u16 = 16;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The object is new, or has changed.
    New,
    /// The object is gone.
    Del,
    /// Somebody is asked about the object, such as an `app_solicit` daemon about a neighbour.
    Get,
    /// The object is to be set.
    Set,
}

impl Action {
    /// The action of a message type: its last two bits.
    fn of(message_type: u16) -> Self {
        match message_type & 3 {
            0 => Self::New,
            1 => Self::Del,
            2 => Self::Get,
            _ => Self::Set,
        }
    }

    /// Its name: "new", "del", "get" or "set".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Del => "del",
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// What happened.
    pub(crate) action: Action,
    /// To what: "link", "addr", "route", "neigh", "rule", "nsid", "netconf", "nexthop", "mdb", "qdisc" and so on, or
    /// "message" for a message of another type.
    pub(crate) object: &'static str,
    /// The object, in the keys of `ip`; of a "message" its `type`, `flags` and `length`.
    pub(crate) data: Fields,
    /// The cells of the line for people.
    row: Vec<Cell>,
}

impl Event {
    /// The event as one line, with no newline at its end.
    pub(crate) fn text(&self, color: bool) -> String {
        let paint = match self.action {
            Action::New => Paint::Good,
            Action::Del => Paint::Bad,
            Action::Get | Action::Set => Paint::Dim,
        };
        let mut cells = vec![
            Cell::new(self.action.name().to_owned(), paint),
            Cell::plain(format!("{:<7}", self.object)),
        ];
        cells.extend(self.row.iter().cloned());
        table::line(&cells, color)
    }
}

/// The event a message tells of; `None` for the messages that netlink itself needs (done, error, overrun, no-op).
///
/// Keeps `names` up to date. A message of a type that is not known, and one too short for its type, becomes a
/// "message": nothing is dropped. Cloned routes, which `ip monitor` hides, are told.
pub(crate) fn event(message: &Message<'_>, names: &mut Names) -> Option<Event> {
    if message.kind < FIRST_TYPE {
        return None;
    }
    names.observe(message);
    let (object, data, row) =
        known(message, names).filter(|(_, data, _)| !data.is_empty()).unwrap_or_else(|| {
            let mut data = Fields::new();
            data.put("type", message.kind);
            data.put("flags", message.flags);
            data.put("length", message.body.len());
            let row = vec![Cell::plain(words::others(&data, &[]).join(" "))];
            ("message", data, row)
        });
    Some(Event { action: Action::of(message.kind), object, data, row })
}

/// The object of a message of a known type, and its row.
fn known(message: &Message<'_>, names: &Names) -> Option<(&'static str, Fields, Vec<Cell>)> {
    Some(match message.kind {
        link::NEW | link::DEL => {
            let data = link::json(message, names, link::View::Full)?;
            let row = labelled(link::COLUMNS, link::row(&data));
            ("link", data, row)
        }
        addr::NEW | addr::DEL => {
            let data = addr::json(message, names, true)?;
            let row = labelled(addr::EVENT_COLUMNS, addr::row(&data));
            ("addr", data, row)
        }
        route::NEW | route::DEL => {
            let data = route::json(message, names, false)?;
            let row = route::rows(&data)
                .into_iter()
                .flat_map(|row| labelled(route::COLUMNS, row))
                .collect();
            ("route", data, row)
        }
        neigh::NEW | neigh::DEL | neigh::GET => {
            let data = neigh::json(message, names)?;
            let row = labelled(neigh::COLUMNS, neigh::row(&data));
            ("neigh", data, row)
        }
        rule::NEW | rule::DEL => {
            let data = rule::json(message, names)?;
            let row = labelled(rule::COLUMNS, rule::row(&data));
            ("rule", data, row)
        }
        other => {
            let (object, json) = other::kind(other)?;
            let mut data = json(message, names)?;
            if Action::of(other) == Action::Del && !data.is_empty() {
                data.shift_insert(0, "deleted".to_owned(), true.into());
            }
            let row = vec![Cell::plain(words::others(&data, &["deleted"]).join(" "))];
            (object, data, row)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Action, event};
    use crate::show::message::Message;
    use crate::show::names::Names;

    #[test]
    fn nothing_is_dropped_and_nothing_panics() {
        let mut names = Names::default();
        for kind in 16..140 {
            for length in 0..40 {
                for byte in [0_u8, 1, 8, 0xff] {
                    let body = vec![byte; length];
                    let told =
                        event(&Message { kind, flags: 0, sequence: 0, body: &body }, &mut names)
                            .unwrap();
                    assert!(!told.data.is_empty());
                    assert!(!told.text(true).is_empty());
                }
            }
        }
        assert_eq!(event(&Message { kind: 3, flags: 0, sequence: 0, body: &[] }, &mut names), None);
    }

    #[test]
    fn a_message_of_no_known_type_has_its_number() {
        let told = event(
            &Message { kind: 121, flags: 2, sequence: 0, body: &[0; 4] },
            &mut Names::default(),
        )
        .unwrap();
        assert_eq!((told.action, told.object), (Action::Del, "message"));
        assert_eq!(
            serde_json::to_string(&told.data).unwrap(),
            r#"{"type":121,"flags":2,"length":4}"#
        );
        assert_eq!(told.text(false), "del message type 121 flags 2 length 4");
    }
}

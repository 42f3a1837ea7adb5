//! Lines of output.

use std::time::SystemTime;

use serde_json::Value;

use super::event::Event;
use crate::{
    args::netns_text,
    json,
    show::fields::Fields,
    table::{Cell, Paint, line},
    time::rfc3339,
};
use netlink_remote::{Netns, monitor::Source};

/// Lines that the writer has not got yet.
pub(crate) struct Lines {
    json: bool,
    color: bool,
    /// Whether text names no source, as there is one alone.
    is_single: bool,
    pending: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(json: bool, color: bool, is_single: bool) -> Self {
        Self { json, color, is_single, pending: Vec::new() }
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// What stands before a text about a source.
    pub(crate) fn prefix(&self, source: &Source) -> String {
        if self.is_single { String::new() } else { format!("{source}: ") }
    }

    /// A line about a source that is about no object.
    pub(crate) fn say(
        &mut self,
        source: &Source,
        time: SystemTime,
        what: &str,
        words: Value,
        text: &str,
    ) {
        let time = rfc3339(time);
        let text = match self.json {
            true => {
                let mut data = Fields::new();
                if let Value::Object(words) = words {
                    data.extend(words);
                }
                json_line(&time, what, None, Some(source), data)
            }
            false => {
                let paint = match what {
                    "ready" | "stats" | "synced" => Paint::Dim,
                    _ => Paint::Bad,
                };
                let mut cells = vec![Cell::new(what.to_owned(), paint)];
                if !text.is_empty() {
                    cells.push(Cell::plain(text.to_owned()));
                }
                self.text_line(&time, source, &line(&cells, self.color))
            }
        };
        self.push(&text);
    }

    /// A line of an event.
    pub(crate) fn event(&mut self, source: &Source, time: SystemTime, event: Event) {
        let time = rfc3339(time);
        let text = match self.json {
            true => {
                let (action, object) = (event.action.name(), &event.object);
                json_line(&time, action, Some(object), Some(source), event.data)
            }
            false => self.text_line(&time, source, &event.text(self.color)),
        };
        self.push(&text);
    }

    /// A line that is made already.
    pub(crate) fn push(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }

    fn text_line(&self, time: &str, source: &Source, text: &str) -> String {
        let mut cells = vec![Cell::new(time.to_owned(), Paint::Dim)];
        if !self.is_single {
            cells.push(Cell::new(source.to_string(), Paint::Bold));
        }
        format!("{} {text}", line(&cells, self.color))
    }
}

/// An event as a JSON object: time, event, object, target and netns, then the keys of the object. Such a key
/// of the same name as one of the first five gets the object's name in front of it.
pub(crate) fn json_line(
    time: &str,
    action: &str,
    object: Option<&str>,
    source: Option<&Source>,
    data: Fields,
) -> String {
    let mut line = Fields::new();
    line.insert("time".to_owned(), time.into());
    line.insert("event".to_owned(), action.into());
    if let Some(object) = object {
        line.insert("object".to_owned(), object.into());
    }
    if let Some(source) = source {
        line.insert("target".to_owned(), (*source.target).into());
        if let Some(netns) = source.netns.as_ref().filter(|netns| **netns != Netns::Current) {
            line.insert("netns".to_owned(), netns_text(netns).into());
        }
    }
    for (key, value) in data {
        let key = match object {
            Some(object) if line.contains_key(&key) => format!("{object}_{key}"),
            _ => key,
        };
        line.insert(key, value);
    }
    json::text(&line.into())
}

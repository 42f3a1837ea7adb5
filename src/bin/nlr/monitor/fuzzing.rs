//! Events of any bytes, for the fuzzer.

use super::{event::parse, lines::json_line};
use crate::show::names::Names;
use netlink_remote::nlmsg::messages;

/// The events of a datagram's messages, as text and as JSON.
pub(crate) fn events(datagram: &[u8]) -> Vec<(String, String)> {
    let mut names = Names::default();
    let events = messages(datagram).filter_map(|message| parse(&message, &mut names));
    let lines = events.map(|event| {
        let text = event.text(false);
        (text, json_line("T", event.action.name(), Some(&event.object), None, event.data))
    });
    lines.collect()
}

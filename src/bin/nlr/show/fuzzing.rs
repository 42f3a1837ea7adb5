//! Lists of any bytes, for the fuzzer and the tests.

#![allow(clippy::unwrap_used, reason = "writing to memory does not fail")]

use super::{
    listing::{Format, Listing},
    names::Names,
    query::{Family, Filter, Object, Table},
};
use netlink_remote::nlmsg::messages;

/// The list of a datagram's messages: of which objects, and with which filter, `choice` says.
pub(crate) fn list(choice: u8, is_json: bool, datagram: &[u8]) -> String {
    let objects = [Object::Link, Object::Addr, Object::Route, Object::Neigh, Object::Rule];
    let object = objects.into_iter().cycle().nth(usize::from(choice % 5)).unwrap();
    let filter = Filter {
        statistics: false,
        family: [None, None, Some(Family::Inet), Some(Family::Inet6)]
            .into_iter()
            .nth(usize::from(choice / 5 % 4))
            .unwrap(),
        table: (choice / 20).is_multiple_of(2).then_some(Table::All),
    };
    let format = if is_json {
        Format::Json
    } else {
        Format::Text { color: false, note: super::listing::Note::All }
    };
    of(object, filter, format, datagram)
}

/// The list of a datagram's messages.
pub(super) fn of(object: Object, filter: Filter, format: Format, datagram: &[u8]) -> String {
    let mut listing = Listing::new(Vec::new(), object, filter, format, Names::default());
    for message in messages(datagram) {
        listing.message(&message).unwrap();
    }
    for message in messages(&listing.take_links()) {
        listing.link(&message).unwrap();
    }
    listing.finish().unwrap();
    String::from_utf8(std::mem::take(listing.out())).unwrap()
}

//! Lists of recorded messages, and of damaged ones.

use serde_json::Value;

use super::{
    fuzzing,
    listing::Format,
    query::{Filter, Object, Table},
};
use netlink_remote::nlmsg::Builder;

/// Type and payload of each message in `messages.txt`, in the byte order of a little-endian host.
pub(crate) fn recorded() -> Vec<(Object, u16, Vec<u8>)> {
    let mut all: Vec<(Object, u16, Vec<u8>)> = Vec::new();
    for line in include_str!("messages.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((object, kind)) = line.split_once(' ') {
            let object = match object {
                "link" => Object::Link,
                "addr" => Object::Addr,
                "route" => Object::Route,
                "neigh" => Object::Neigh,
                "rule" => Object::Rule,
                other => panic!("{other}"),
            };
            all.push((object, kind.parse().unwrap(), Vec::new()));
        } else {
            let (_, _, payload) = all.last_mut().unwrap();
            let digits = line.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            payload.extend(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
    }
    all
}

/// Datagrams of recorded messages, with changed bytes and cut short.
pub(crate) fn damaged() -> impl Iterator<Item = (Object, Vec<u8>)> {
    let recorded = recorded();
    let mut random = 1_u64;
    let mut next = move |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    (0..3000).map(move |_| {
        let (object, kind, payload) = &recorded[next(recorded.len())];
        let mut datagram = Builder::new(*kind, 0).put(payload).finish();
        for _ in 0..=next(4) {
            let at = next(datagram.len());
            datagram[at] = [0, 1, 4, 5, 0x7f, 0xff][next(6)];
        }
        datagram.truncate(1 + next(datagram.len() * 2));
        (*object, datagram)
    })
}

/// The list of a datagram's messages.
fn list(object: Object, format: Format, datagram: &[u8]) -> String {
    let filter = Filter { table: Some(Table::All), ..Filter::default() };
    fuzzing::of(object, filter, format, datagram)
}

#[test]
#[cfg(target_endian = "little")]
fn recorded_messages_are_listed() {
    let recorded = recorded();
    assert!(recorded.len() >= 9);
    // Addresses are listed with their link, which is in another message.
    for (object, kind, payload) in recorded.iter().filter(|(object, ..)| *object != Object::Addr) {
        let datagram = Builder::new(*kind, 0).put(payload).finish();
        let listed: Vec<Value> =
            serde_json::from_str(&list(*object, Format::Json, &datagram)).unwrap();
        assert_eq!(listed.len(), 1, "{object:?}");
    }
}

#[test]
fn messages_that_are_cut_or_changed_do_no_harm() {
    for (object, datagram) in damaged() {
        for format in [Format::Json, Format::Text { color: true, note: crate::show::Note::All }] {
            let text = list(object, format, &datagram);
            let parsed = serde_json::from_str::<Vec<Value>>(&text);
            assert!(format != Format::Json || parsed.is_ok(), "{text}");
        }
    }
}

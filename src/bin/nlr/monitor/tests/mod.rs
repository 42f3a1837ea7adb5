//! Lists and events of recorded messages, of damaged ones, and of unknown message types.

use serde_json::Value;

use super::{
    event::{Action, Event, parse},
    json_line,
};
use crate::show::{Filter, Format, Listing, Object, Table, fields::Fields, names::Names};
use netlink_remote::nlmsg::{Builder, messages};

/// Type and payload of each message in `messages.txt`, in the byte order of a little-endian host.
fn recorded() -> Vec<(Object, u16, Vec<u8>)> {
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

/// The event of a message.
fn event(kind: u16, flags: u16, payload: &[u8], names: &mut Names) -> Option<Event> {
    let mut datagram = Builder::new(kind, flags).finish();
    datagram.extend(payload);
    let length = u32::try_from(datagram.len()).unwrap();
    datagram[..4].copy_from_slice(&length.to_ne_bytes());
    parse(&messages(&datagram).next().unwrap(), names)
}

/// The list of a datagram's messages.
fn list(object: Object, format: Format, datagram: &[u8]) -> String {
    let filter = Filter { family: None, table: Some(Table::All) };
    let mut listing = Listing::new(Vec::new(), object, filter, format, Names::default());
    for message in messages(datagram) {
        listing.message(&message).unwrap();
    }
    String::from_utf8(listing.finish().unwrap()).unwrap()
}

#[test]
#[cfg(target_endian = "little")]
fn recorded_messages_are_listed_and_are_events() {
    let recorded = recorded();
    assert!(recorded.len() >= 9);
    for (object, kind, payload) in recorded {
        let event = event(kind, 0, &payload, &mut Names::default()).unwrap();
        assert!(event.data.len() >= 3 && event.object != "message", "{event:?}");
        if object != Object::Addr {
            let datagram = Builder::new(kind, 0).put(&payload).finish();
            let listed: Vec<Value> =
                serde_json::from_str(&list(object, Format::Json, &datagram)).unwrap();
            assert_eq!(listed.len(), 1, "{object:?}");
        }
    }
}

#[test]
fn messages_that_are_cut_or_changed_do_no_harm() {
    let recorded = recorded();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    for _ in 0..3000 {
        let (object, kind, payload) = &recorded[next(recorded.len())];
        let mut datagram = Builder::new(*kind, 0).put(payload).finish();
        for _ in 0..=next(4) {
            let at = next(datagram.len());
            datagram[at] = [0, 1, 4, 5, 0x7f, 0xff][next(6)];
        }
        datagram.truncate(1 + next(datagram.len() * 2));
        let mut names = Names::default();
        for message in messages(&datagram) {
            if let Some(event) = parse(&message, &mut names) {
                assert!(!event.text(true).contains('\n'));
            }
        }
        for format in [Format::Json, Format::Text { color: true }] {
            let text = list(*object, format, &datagram);
            let parsed = serde_json::from_str::<Vec<Value>>(&text);
            assert!(format != Format::Json || parsed.is_ok(), "{text}");
        }
    }
}

#[test]
fn nothing_is_dropped_and_nothing_panics() {
    let mut names = Names::default();
    for kind in 16..140 {
        for length in 0..40 {
            for byte in [0_u8, 1, 8, 0xff] {
                let event = event(kind, 0, &vec![byte; length], &mut names).unwrap();
                assert!(!event.data.is_empty());
                assert!(!event.text(true).is_empty());
            }
        }
    }
    assert_eq!(event(3, 0, &[], &mut names), None);
}

#[test]
fn a_message_of_unknown_type_has_its_number() {
    let event = event(121, 2, &[0; 4], &mut Names::default()).unwrap();
    assert_eq!((event.action, event.object), (Action::Del, "message"));
    assert_eq!(serde_json::to_string(&event.data).unwrap(), r#"{"type":121,"flags":2,"length":4}"#);
    assert_eq!(event.text(false), "del message type 121 flags 2 length 4");
}

/// The multicast address of a link: kernels before 6.14 send no such message.
#[test]
fn group_addresses_are_events() {
    let header = [&[2, 32, 0, 0][..], &7_u32.to_ne_bytes()].concat();
    let message = Builder::new(56, 0).put(&header).attribute(7, &[224, 0, 0, 1]).finish();
    let message = messages(&message).next().unwrap();
    let event = parse(&message, &mut Names::default()).unwrap();
    assert_eq!(event.object, "maddr");
    assert_eq!(
        serde_json::to_string(&event.data).unwrap(),
        r#"{"dev":"if7","family":"inet","multicast":"224.0.0.1","scope":"global"}"#
    );
}

#[test]
fn an_object_s_own_event_does_not_hide_ours() {
    let mut data = Fields::new();
    data.insert("ifname".to_owned(), "v0".into());
    data.insert("event".to_owned(), "NOTIFY PEERS".into());
    assert_eq!(
        json_line("T", "new", "link", data),
        r#"{"time":"T","event":"new","object":"link","ifname":"v0","link_event":"NOTIFY PEERS"}"#
    );
}

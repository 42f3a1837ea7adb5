//! Messages no kernel would send: what is shown of them does not matter, that nothing breaks does.

use serde_json::Value;

use super::{
    Filter, Format, Listing, Names, Object, Table, event,
    message::{Message, messages},
};

/// Type and payload of each message in `messages.txt`, in this machine's byte order only if that
/// is the one they were taken in.
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

/// A message as a datagram.
fn datagram(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(payload);
    bytes
}

/// The list of what a datagram holds.
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
fn what_was_recorded_is_shown() {
    let recorded = recorded();
    assert!(recorded.len() >= 9);
    for (object, kind, payload) in recorded {
        let datagram = datagram(kind, &payload);
        let told = messages(&datagram).find_map(|message| event(&message, &mut Names::default()));
        let told = told.unwrap();
        assert!(told.data.len() >= 3 && told.object != "message", "{told:?}");
        if object != Object::Addr {
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
        let mut datagram = datagram(*kind, payload);
        for _ in 0..=next(4) {
            let at = next(datagram.len());
            datagram[at] = [0, 1, 4, 5, 0x7f, 0xff][next(6)];
        }
        datagram.truncate(1 + next(datagram.len() * 2));
        let mut names = Names::default();
        for message in messages(&datagram) {
            if let Some(event) = event(&message, &mut names) {
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

/// The address of a group that a link listens to, which kernels before 6.14 do not tell.
#[test]
fn group_addresses_are_told() {
    let mut body = vec![2, 32, 0, 0];
    body.extend(7_u32.to_ne_bytes());
    for word in [8_u16, 7] {
        body.extend(word.to_ne_bytes());
    }
    body.extend([224, 0, 0, 1]);
    let message = Message { kind: 56, flags: 0, sequence: 0, body: &body };
    let told = event(&message, &mut Names::default()).unwrap();
    assert_eq!(told.object, "maddr");
    assert_eq!(
        serde_json::to_string(&told.data).unwrap(),
        r#"{"dev":"if7","family":"inet","multicast":"224.0.0.1","scope":"global"}"#
    );
}

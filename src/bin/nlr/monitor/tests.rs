//! Events of recorded messages, of damaged ones, and of unknown message types.

use super::{
    event::{Action, Event, parse},
    lines::json_line,
};
use crate::show::{
    fields::Fields,
    names::Names,
    tests::{damaged, recorded},
};
use netlink_remote::nlmsg::{Builder, messages};

/// The event of a message.
fn event(kind: u16, flags: u16, payload: &[u8], names: &mut Names) -> Option<Event> {
    let mut datagram = Builder::new(kind, flags).finish();
    datagram.extend(payload);
    let length = u32::try_from(datagram.len()).unwrap();
    datagram[..4].copy_from_slice(&length.to_ne_bytes());
    parse(&messages(&datagram).next().unwrap(), names)
}

#[test]
#[cfg(target_endian = "little")]
fn recorded_messages_are_events() {
    for (_, kind, payload) in recorded() {
        let event = event(kind, 0, &payload, &mut Names::default()).unwrap();
        assert!(event.data.len() >= 3 && event.object != "message", "{event:?}");
    }
}

#[test]
fn messages_that_are_cut_or_changed_do_no_harm() {
    for (_, datagram) in damaged() {
        let mut names = Names::default();
        for message in messages(&datagram) {
            if let Some(event) = parse(&message, &mut names) {
                assert!(!event.text(true).contains('\n'));
            }
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
    let unknown = event(121, 2, &[0; 4], &mut Names::default()).unwrap();
    assert_eq!((unknown.action, &*unknown.object), (Action::Del, "message"));
    let expected =
        r#"{"type":121,"name":"RTM_DELTUNNEL","flags":2,"length":4,"payload":"00000000"}"#;
    assert_eq!(serde_json::to_string(&unknown.data).unwrap(), expected);
    let text = "del message type 121 name RTM_DELTUNNEL flags 2 length 4 payload 00000000";
    assert_eq!(unknown.text(false), text);
    let long = event(500, 0, &[7; 40], &mut Names::default()).unwrap();
    assert!(long.text(false).ends_with(&format!("payload {}...", "07".repeat(32))));
    assert!(long.data.get("name").is_none());
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
        json_line("T", "new", Some("link"), None, data),
        r#"{"time":"T","event":"new","object":"link","ifname":"v0","link_event":"NOTIFY PEERS"}"#
    );
}

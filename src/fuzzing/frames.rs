//! Encoded frames: parsed, cut apart, and checked for the side that may send them.

use std::mem::take;

use crate::wire::{Decoded, Destination, Flags, FrameType, Header, MAX_GATHERED, Message};

/// Header and payload of exactly one frame.
pub(crate) fn parse(frame: &[u8]) -> (Header, &[u8]) {
    match Header::decode(frame, u32::MAX) {
        Ok(Decoded::Known(header)) => {
            assert_eq!(header.stream_len(), frame.len(), "not one whole frame");
            (header, &frame[12..12 + header.payload_len()])
        }
        other => panic!("not a frame: {other:?}"),
    }
}

/// Cuts a buffer of whole frames apart.
pub(super) fn cut(out: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let out = take(out);
    let mut rest = out.as_slice();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) else {
            panic!("not whole frames: {rest:?}")
        };
        let (frame, tail) = rest.split_at(header.stream_len());
        frames.push(frame.to_vec());
        rest = tail;
    }
    frames
}

/// Checks a frame that a stub has made: it decodes, and its type is one that a stub sends.
pub(crate) fn from_stub(frame: &[u8]) {
    let (header, payload) = parse(frame);
    let message = Message::decode(header.frame_type, payload).unwrap();
    assert!(
        !matches!(
            header.frame_type,
            FrameType::Open
                | FrameType::Close
                | FrameType::Send
                | FrameType::OptionGet
                | FrameType::OptionSet
                | FrameType::Join
                | FrameType::Leave
                | FrameType::Netns
        ),
        "{message:?}"
    );
}

/// Likewise for a client.
pub(crate) fn from_client(frame: &[u8]) {
    let (header, payload) = parse(frame);
    let message = Message::decode(header.frame_type, payload).unwrap();
    assert!(
        !matches!(
            header.frame_type,
            FrameType::Opened
                | FrameType::OpenFailed
                | FrameType::Closed
                | FrameType::Sent
                | FrameType::Datagram
                | FrameType::Lost
                | FrameType::ReceiveError
                | FrameType::Reply
        ),
        "{message:?}"
    );
    if header.flags.contains(Flags::GATHER) {
        let Message::Send { destination, data, .. } = message else { panic!("{message:?}") };
        assert!(!header.flags.contains(Flags::CONFIRM) && data.len() <= MAX_GATHERED);
        assert_eq!(destination, Destination::default());
    }
}

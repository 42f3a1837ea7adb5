//! The decoders and encoders on bytes that were written by hand from the specification in `wire`.
//!
//! No encoder made the vectors, so a mistake that encoder and decoder share shows here.

#![cfg(test)]

use std::collections::BTreeSet;

use bytes::BytesMut;
use netlink_remote::wire::{
    Codec, CodecError, DEFAULT_MAX_FRAME, Flags, FrameType, Hello, MarkerScanner, Message, Scan,
    SocketId, WireError,
    hello::{PeerLimits, Role},
    refusal,
};
use testing::vectors::{self, Vector};
use tokio_util::codec::Decoder;

/// The outcomes of vectors.
const OUTCOMES: &[&str] = &[
    "ok",
    "need-more",
    "bad-length",
    "too-long",
    "unknown-type",
    "short-payload",
    "bad-hello",
    "unknown-critical",
    "unknown-netns",
    "bad-value",
    "version",
    "same-role",
    "no-marker",
];

fn outcome(error: &WireError) -> &'static str {
    match error {
        WireError::BadLength(_) => "bad-length",
        WireError::TooLong { .. } => "too-long",
        WireError::UnknownType(_) => "unknown-type",
        WireError::ShortPayload => "short-payload",
        WireError::BadHello(_) => "bad-hello",
        WireError::UnknownCritical(_) => "unknown-critical",
        WireError::UnknownNetns(_) => "unknown-netns",
        WireError::BadValue { .. } => "bad-value",
        WireError::Version { .. } => "version",
        WireError::SameRole(_) => "same-role",
        WireError::NoMarker(_) => "no-marker",
        other => panic!("vectors know nothing of {other:?}"),
    }
}

/// The result of decoding, in the words of a vector's header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Result {
    outcome: &'static str,
    noise: Option<String>,
    hello: Option<String>,
    agreed: Option<String>,
    /// The peer's refusal, behind a hello that is refused here.
    refusal: Option<String>,
    messages: Vec<String>,
    /// The decoded messages, encoded again.
    encoded: Vec<u8>,
}

/// Decodes a stream that arrives in these pieces.
struct Reader<'a> {
    vector: &'a Vector,
    scanner: Option<MarkerScanner>,
    greeted: bool,
    codec: Codec,
    buffer: BytesMut,
    result: Result,
}

impl<'a> Reader<'a> {
    fn new(vector: &'a Vector) -> Self {
        let max_frame = vector.one("max-frame").map_or(DEFAULT_MAX_FRAME, |n| n.parse().unwrap());
        let kind = vector.one("kind");
        Self {
            vector,
            scanner: (kind == Some("stream")).then(MarkerScanner::new),
            greeted: kind == Some("frame"),
            codec: Codec::new(max_frame),
            buffer: BytesMut::new(),
            result: Result::default(),
        }
    }

    fn read(mut self, pieces: &[&[u8]]) -> Result {
        let mut pieces = pieces.iter();
        while let Some(piece) = pieces.next() {
            self.buffer.extend_from_slice(piece);
            if let Err(error) = self.take() {
                self.result.outcome = outcome(&error);
                pieces.for_each(|piece| self.buffer.extend_from_slice(piece));
                if !self.greeted {
                    self.result.refusal = refusal(&self.buffer).map(|failure| failure.text);
                }
                return self.result;
            }
        }
        // At the end of the stream the preamble is complete and no byte is left.
        let done = self.greeted && self.buffer.is_empty() && !self.result.is_empty();
        self.result.outcome = if done { "ok" } else { "need-more" };
        self.result
    }

    fn take(&mut self) -> std::result::Result<(), WireError> {
        if let Some(scanner) = &mut self.scanner {
            match scanner.scan(&self.buffer) {
                Scan::Found { consumed } => {
                    let _ = self.buffer.split_to(consumed);
                    self.result.noise = Some(scanner.noise());
                    self.scanner = None;
                }
                Scan::NeedMore => {
                    self.buffer.clear();
                    return Ok(());
                }
                Scan::TooMuchNoise => return Err(WireError::NoMarker(scanner.noise_len())),
            }
        }
        if !self.greeted {
            let Some((hello, taken)) = Hello::decode(&self.buffer)? else { return Ok(()) };
            let role = match self.vector.one("side") {
                Some("client") => Role::Client,
                Some("stub") => Role::Stub,
                other => panic!("{}: side {other:?}", self.vector.name),
            };
            let (version, limit) = Hello::new(role, PeerLimits::default(), None).agree(&hello)?;
            let _ = self.buffer.split_to(taken);
            self.result.agreed = Some(format!("{version} {limit}"));
            self.result.hello = Some(format!("{hello:?}"));
            hello.encode(&mut self.result.encoded);
            self.greeted = true;
        }
        loop {
            let frame = match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(CodecError::Wire(error)) => return Err(error),
                Err(other) => panic!("{}: {other:?}", self.vector.name),
            };
            let (id, flags, message) = (frame.header.socket, frame.header.flags, frame.message()?);
            self.result.messages.push(format!("{id} {:#04x} {message:?}", flags.bits()));
            message.encode(id, flags, &mut self.result.encoded);
        }
    }
}

impl Result {
    fn is_empty(&self) -> bool {
        self.hello.is_none() && self.messages.is_empty()
    }
}

fn check(vector: &Vector) {
    let name = &vector.name;
    for key in vector.keys() {
        let known = [
            "expect",
            "kind",
            "side",
            "max-frame",
            "canonical",
            "message",
            "hello",
            "agreed",
            "noise",
            "refusal",
        ];
        assert!(known.contains(&key), "{name}: unknown header {key:?}");
    }
    let expect = vector.one("expect").unwrap_or_else(|| panic!("{name}: expects nothing"));
    assert!(OUTCOMES.contains(&expect), "{name}: unknown outcome {expect:?}");
    let kind = vector.one("kind");
    assert!(matches!(kind, Some("frame" | "hello" | "stream")), "{name}: unknown kind {kind:?}");

    let whole = Reader::new(vector).read(&[&vector.bytes]);
    assert_eq!(whole.outcome, expect, "{name}");
    assert_eq!(whole.messages, vector.all("message"), "{name}");
    assert_eq!(whole.refusal.as_deref(), vector.one("refusal"), "{name}");
    if expect == "ok" {
        assert_eq!(whole.hello.as_deref(), vector.one("hello"), "{name}");
        assert_eq!(whole.agreed.as_deref(), vector.one("agreed"), "{name}");
        if let Some(noise) = vector.one("noise") {
            assert_eq!(
                whole.noise.as_ref().map(|noise| format!("{noise:?}")).as_deref(),
                Some(noise),
                "{name}"
            );
        }
        match vector.one("canonical") {
            None => assert_eq!(whole.encoded, vector.bytes, "{name}: not what the encoder makes"),
            // A vector that has become canonical must be checked as one.
            Some("no") => assert_ne!(whole.encoded, vector.bytes, "{name}: canonical after all"),
            other => panic!("{name}: canonical {other:?}"),
        }
    }

    // The cuts between pieces do not matter. Long vectors are long by repetition.
    let stride = if vector.bytes.len() > 4096 { 65_521 } else { 1 };
    for at in (0..=vector.bytes.len()).step_by(stride) {
        let (head, tail) = vector.bytes.split_at(at);
        assert_eq!(Reader::new(vector).read(&[head, tail]), whole, "{name}: cut at {at}");
    }
    if stride == 1 {
        let bytes: Vec<&[u8]> = vector.bytes.chunks(1).collect();
        assert_eq!(Reader::new(vector).read(&bytes), whole, "{name}: byte by byte");
    }
}

#[test]
fn every_vector_gives_what_it_says() {
    let failed = |vector: &Vector| std::panic::catch_unwind(|| check(vector)).is_err();
    let failed: Vec<String> =
        vectors::load().into_iter().filter(failed).map(|vector| vector.name).collect();
    assert!(failed.is_empty(), "see above: {failed:?}");
}

#[test]
fn the_vectors_cover_every_frame_type_and_outcome() {
    let vectors = vectors::load();
    let expects: BTreeSet<&str> = vectors.iter().filter_map(|v| v.one("expect")).collect();
    assert_eq!(expects, OUTCOMES.iter().copied().collect::<BTreeSet<_>>());
    let messages: Vec<&str> = vectors.iter().flat_map(|v| v.all("message")).collect();
    for frame_type in FrameType::ALL {
        let name = format!("{frame_type:?}");
        let names = |message: &&str| {
            let word = message.split(' ').nth(2).unwrap_or_default();
            word.split('(').next() == Some(&name)
        };
        assert!(messages.iter().any(names), "no vector has a {name} frame");
    }
}

/// The hello is frozen: this side's is that of the vector, but for the version of the software.
#[test]
fn this_crates_own_hello_is_the_one_in_the_vector() {
    let vectors = vectors::load();
    let vector = vectors.iter().find(|v| v.name == "hello-client").unwrap();
    let mut hello = Hello::new(Role::Client, PeerLimits::default(), None);
    assert!(hello.software.starts_with("netlink-remote "));
    hello.software = "netlink-remote 0.1.0".to_owned();
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    assert_eq!(bytes, vector.bytes);
}

/// Frames are appended to the bytes in the caller's buffer.
#[test]
fn frames_begin_at_the_end_of_what_was_there() {
    let mut out = vec![0xab; 4];
    Message::Close.encode(SocketId(1), Flags::NONE, &mut out);
    assert_eq!(out, [0xab, 0xab, 0xab, 0xab, 12, 0, 0, 0, 0x13, 0, 0, 0, 1, 0, 0, 0]);
}

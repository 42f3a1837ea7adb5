//! The functions behind the fuzz targets, which the tests run, too: each takes any bytes and panics
//! where the code is wrong.
//!
//! | function | takes the bytes as |
//! |---|---|
//! | [`decode`], [`hello`] | a stream |
//! | [`stub_ops`], [`client_ops`] | events at one end of a connection |
//! | [`end_to_end`] | the steps of a connection between both ends, over a faulty stream |
//! | [`round_trip`] | values to encode and to decode |
//! | [`target`] | the text of a target |
//! | [`bootstrap`] | what a far end says before a stub speaks |
//! | [`ssh_config`], [`known_hosts`] | a host, and a file of ssh's |
//!
//! The last four are in the modules that they test. The target `render` is in the tool `nlr`, whose
//! fuzzer is the tool itself.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how these functions say that they have found something"
)]

mod client_end;
mod frames;
mod input;
mod pair;
mod round_trip;
mod scripted;
#[cfg(test)]
mod simulation;
mod stub_end;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use client_end::ClientEnd;
#[cfg(test)]
pub(crate) use pair::Move;
pub(crate) use pair::Pair;
pub(crate) use stub_end::{StubEnd, StubStep};

use input::Input;

use crate::{
    proto::Violation,
    wire::{
        Credit, Destination, Hello, MARKER, MAX_HELLO, MAX_NOISE, MarkerScanner, Message,
        NetnsRequest, Open, Scan, SocketId,
        hello::{PeerLimits, Role},
    },
};

/// Decodes a stream of frames in pieces; the first byte is the size of these.
///
/// The size must not matter, and a decoded message must stay the same through an encoder and a
/// decoder.
pub fn decode(data: &[u8]) {
    use crate::wire::{MIN_MAX_FRAME, NetnsEntry, NetnsOpened};
    let Some((&size, stream)) = data.split_first() else { return };
    let at_once = frames(stream, stream.len().max(1), MIN_MAX_FRAME);
    let in_pieces = frames(stream, usize::from(size).max(1), MIN_MAX_FRAME);
    assert_eq!(at_once, in_pieces, "in pieces of {size}");
    for (header, payload) in at_once.frames {
        assert!(header.length <= MIN_MAX_FRAME);
        assert_eq!(payload.len(), header.payload_len());
        round_trip::canonical(header, &payload);
        if let Ok(Message::Reply { value, .. }) = Message::decode(header.frame_type, &payload) {
            // Harmful characters in names are replaced, so only the second round has to be stable.
            if let Ok(entries) = NetnsEntry::decode_list(value) {
                let mut list = Vec::new();
                entries.iter().for_each(|entry| entry.encode(&mut list));
                if entries.iter().all(|entry| entry.name.len() < 60_000) {
                    assert_eq!(NetnsEntry::decode_list(&list), Ok(entries));
                }
            }
            if let Ok(opened) = NetnsOpened::decode(value) {
                assert_eq!(opened.encode(), value[..20]);
            }
        }
    }
}

/// The result of decoding a stream.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    frames: Vec<(crate::wire::Header, bytes::Bytes)>,
    error: Option<crate::wire::WireError>,
    left: usize,
}

fn frames(stream: &[u8], size: usize, max_frame: u32) -> Decoded {
    use crate::wire::{Codec, CodecError};
    use tokio_util::codec::Decoder;
    let mut codec = Codec::new(max_frame);
    let mut buffer = bytes::BytesMut::new();
    let mut decoded = Decoded { frames: Vec::new(), error: None, left: 0 };
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => decoded.frames.push((frame.header, frame.payload)),
                Ok(None) => break,
                Err(CodecError::Wire(error)) => {
                    decoded.error = Some(error);
                    return decoded;
                }
                Err(CodecError::Io(error)) => panic!("the codec does no I/O: {error}"),
            }
        }
    }
    decoded.left = buffer.len();
    decoded
}

/// Decodes the start of a stream in pieces. The first byte is twice the size of these; if it is odd,
/// a marker is put in front of the stream.
pub fn hello(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let size = usize::from(first / 2).max(1);
    let mut stream = Vec::new();
    if first % 2 == 1 {
        stream.extend_from_slice(&MARKER);
    }
    stream.extend_from_slice(rest);

    let mut scanner = MarkerScanner::new();
    let mut found = None;
    for (i, piece) in stream.chunks(size).enumerate() {
        match scanner.scan(piece) {
            Scan::Found { consumed } => {
                found = Some(i * size + consumed);
                break;
            }
            Scan::NeedMore => {}
            Scan::TooMuchNoise => {
                assert!(scanner.noise_len() > MAX_NOISE);
                break;
            }
        }
    }
    let noise = scanner.noise();
    let is_harmful = |c| crate::text::is_harmful(c) && c != '\n' && c != '\t';
    assert!(!noise.contains(is_harmful), "{noise:?}");
    let at = stream.windows(MARKER.len()).position(|window| window == MARKER);
    assert_eq!(found, at.filter(|at| *at <= MAX_NOISE).map(|at| at + MARKER.len()));
    if let Some(at) = at.filter(|at| *at <= MAX_NOISE) {
        assert_eq!(scanner.noise_len(), at);
    }

    let Some(bytes) = found.and_then(|at| stream.get(at..)) else { return };
    let Ok(Some((hello, taken))) = Hello::decode(bytes) else { return };
    // Decoding needs all the bytes that it took, and none behind.
    assert_eq!(Hello::decode(&bytes[..taken]), Ok(Some((hello.clone(), taken))));
    assert_eq!(Hello::decode(&bytes[..taken - 1]), Ok(None));
    for role in [Role::Client, Role::Stub] {
        let mine = Hello::new(role, PeerLimits::default(), None);
        let agreed = mine.agree(&hello);
        assert_eq!(agreed, hello.agree(&mine).map_err(|_| agreed.clone().unwrap_err()));
        if let Ok((version, max_frame)) = agreed {
            assert!(role != hello.role && version == 1);
            assert!(
                (crate::wire::MIN_MAX_FRAME..=crate::wire::DEFAULT_MAX_FRAME).contains(&max_frame)
            );
        }
    }
    let mut encoded = Vec::new();
    hello.encode(&mut encoded);
    // Bytes that are replaced become longer.
    if encoded.len() <= 4 + MAX_HELLO {
        assert_eq!(Hello::decode(&encoded), Ok(Some((hello, encoded.len()))));
    }
}

/// The limits of both ends: so small that a few bytes of input reach them.
pub(crate) const LIMITS: PeerLimits =
    PeerLimits { max_frame: 64 * 1024, max_sockets: 3, max_requests: 2, max_early_send: 16 };
const SEND_WINDOW: Credit = Credit { bytes: 64, datagrams: 3 };

/// Plays a hostile client's frames, and reports of the engine between them, to a stub's state.
///
/// [`StubEnd`] checks after each that every count is right and bounded.
pub fn stub_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stub = StubEnd::new(LIMITS, SEND_WINDOW, 150);
    while let Some(op) = input.next() {
        if op % 3 == 0 {
            let steps = stub.steps();
            if let Some(step) = steps.get(usize::from(op / 3) % steps.len().max(1)) {
                stub.step(*step);
            }
        } else {
            let mut bytes = Vec::new();
            if op % 3 == 1 {
                input.frame(&mut bytes);
            } else {
                input.raw_frame(&mut bytes);
            }
            if bytes.is_empty() {
                continue;
            }
            let (header, payload) = frames::parse(&bytes);
            if let Err(violation) = stub.frame(header, payload) {
                let _ = violation.to_string();
                return;
            }
        }
        for frame in stub.take_out() {
            frames::from_stub(&frame);
        }
    }
    stub.finish();
}

/// Plays a client's state. If the first byte is even, the rest are a hostile stub's frames, and
/// actions of the user between them. If it is odd, both ends are honest, and the rest is the order of
/// events: then neither end may find a violation, and everything has to end.
pub fn client_ops(data: &[u8]) {
    let mut input = Input::new(data);
    match input.next() {
        None => {}
        Some(first) if first % 2 == 1 => honest(&mut input),
        Some(_) => {
            let _ = hostile(&mut input);
        }
    }
}

/// Plays both ends of a connection, honest ones: the bytes are the world around them, and its steps.
/// No end may find a violation, and the invariants of the world hold after each step.
pub fn end_to_end(data: &[u8]) {
    // A fuzzer learns little from a long world for its time; the simulation plays those.
    world::play(&data[..data.len().min(120)], |_| ());
}

/// Makes messages and hellos of the bytes, and decodes what they are encoded as.
pub fn round_trip(data: &[u8]) {
    round_trip::play(&mut Input::new(data));
}

/// Reads, writes and follows a target.
pub fn target(data: &[u8]) {
    crate::hops::fuzzing::target(data);
}

/// Plays a far end against the start of a stub.
pub fn bootstrap(data: &[u8]) {
    crate::bootstrap::fuzzing::bootstrap(data);
}

/// Resolves a host by a configuration of ssh's.
#[cfg(feature = "ssh")]
pub fn ssh_config(data: &[u8]) {
    crate::transport::ssh::config::fuzzing::ssh_config(data);
}

/// Looks up a host in a known_hosts file.
#[cfg(feature = "ssh")]
pub fn known_hosts(data: &[u8]) {
    crate::transport::ssh::fuzz_known_hosts(data);
}

fn honest(input: &mut Input<'_>) {
    let mut pair = Pair::new(LIMITS, SEND_WINDOW, 3 * (64 + 40));
    (pair.stub.failures, pair.stub.drops) = (true, true);
    pair.client.state.set_piece(16);
    pair.stub.echo = 2;
    while let Some(op) = input.next() {
        if op % 2 == 0 {
            let moves = pair.moves();
            if let Some(next) = moves.get(usize::from(op / 2) % moves.len().max(1)) {
                pair.make(*next).unwrap_or_else(|violation| panic!("both are honest: {violation}"));
            }
        } else {
            user(&mut pair.client, op / 2, input);
            pair.pump();
        }
    }
    pair.finish();
}

fn hostile(input: &mut Input<'_>) -> Result<(), Violation> {
    let mut client = ClientEnd::new(LIMITS);
    client.state.set_piece(16);
    while let Some(op) = input.next() {
        if op % 3 == 0 {
            user(&mut client, op / 3, input);
        } else {
            let mut bytes = Vec::new();
            if op % 3 == 1 {
                input.frame(&mut bytes);
            } else {
                input.raw_frame(&mut bytes);
            }
            if !bytes.is_empty() {
                let (header, payload) = frames::parse(&bytes);
                client.frame(header, payload).inspect_err(|violation| {
                    let _ = violation.to_string();
                })?;
            }
        }
        for frame in client.take_out() {
            frames::from_client(&frame);
        }
        assert!(client.state.socket_count() <= LIMITS.max_sockets as usize);
    }
    Ok(())
}

/// One action of a user.
fn user(client: &mut ClientEnd, op: u8, input: &mut Input<'_>) {
    let ids = client.ids();
    let pick = input.next().unwrap_or_default();
    let id = ids.get(usize::from(pick) % ids.len().max(1)).copied().unwrap_or(SocketId(9));
    match op % 8 {
        0 => {
            let credit = Credit { bytes: u64::from(pick % 64), datagrams: u64::from(pick % 4) };
            client.open(Open { credit, ..Open::default() });
        }
        1 => {
            client.close(id);
        }
        2..=4 => {
            let data = vec![pick; usize::from(pick % 41)];
            let _ = client.send(id, Destination::default(), op % 8 == 2, &data);
        }
        5 => {
            client.request(SocketId::CONNECTION, |request| Message::Netns {
                request,
                operation: NetnsRequest::List,
            });
        }
        6 => {
            client.request(id, |request| Message::Join { request, group: 1 });
        }
        _ => {
            client.receive(id);
            client.turn();
        }
    }
    if pick == 255 {
        client.state.ping(7, &mut client.out);
    }
}

//! The targets on the seeds and on the vectors. The seeds are the vectors.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;

/// A target's name, and what it runs.
type Named = (&'static str, fn(&[u8]));

/// The targets whose seeds are no vectors.
const OTHERS: &[Named] = &[
    ("end_to_end", end_to_end),
    ("round_trip", round_trip),
    ("target", target),
    ("bootstrap", bootstrap),
    ("ssh_config", ssh_config),
    ("known_hosts", known_hosts),
];

/// The name of each target, what it runs, and how a vector of this kind becomes its input.
type Target = (&'static str, fn(&[u8]), fn(&str, &[u8]) -> Option<Vec<u8>>);

const TARGETS: &[Target] = &[
    ("decode", decode, |kind, bytes| (kind == "frame").then(|| [&[3], bytes].concat())),
    // A seed of 256 KiB helps nobody; for a hello the odd first byte stands for the marker.
    ("hello", hello, |kind, bytes| match kind {
        "hello" => Some([&[7], bytes].concat()),
        "stream" if bytes.len() < 4096 => Some([&[8], bytes].concat()),
        _ => None,
    }),
    ("stub_ops", stub_ops, |kind, bytes| (kind == "frame").then(|| as_ops(&[], bytes))),
    ("client_ops", client_ops, |kind, bytes| (kind == "frame").then(|| as_ops(&[0, 0, 9], bytes))),
];

/// Frames as the raw ones of an input, as far as they are known and short.
fn as_ops(first: &[u8], mut bytes: &[u8]) -> Vec<u8> {
    use crate::wire::{Decoded, FrameType, Header};
    let mut ops = first.to_vec();
    while let Ok(Decoded::Known(header)) = Header::decode(bytes, 255) {
        let Some((frame, rest)) = bytes.split_at_checked(header.stream_len()) else { break };
        bytes = rest;
        let number = FrameType::ALL.iter().position(|known| *known == header.frame_type).unwrap();
        let socket = (header.socket.0 % 5) as u8;
        ops.extend([2, number as u8, header.flags.bits(), socket, header.payload_len() as u8]);
        ops.extend(&frame[12..12 + header.payload_len()]);
    }
    ops
}

/// With `NLR_WRITE_SEEDS` set it writes the seeds instead, after vectors have changed.
#[test]
fn the_seeds_are_the_vectors() {
    let vectors = testing::vectors::load();
    for (target, _, seed) in TARGETS {
        let folder = corpus().join(target);
        let mut seeds = 0;
        for vector in &vectors {
            let Some(input) = seed(vector.one("kind").unwrap_or_default(), &vector.bytes) else {
                continue;
            };
            let file = folder.join(&vector.name);
            if env::var_os("NLR_WRITE_SEEDS").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&file, &input).unwrap();
            }
            let found = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert_eq!(found, input, "{}: the vector has changed", file.display());
            seeds += 1;
        }
        assert!(seeds > 10, "{target} has {seeds} seeds");
    }
}

/// What the fuzzers have found, and what leads them on.
#[test]
fn the_corpora_find_nothing() {
    for (target, run) in all() {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus().join(target)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 10, "{target} has {inputs} inputs");
    }
}

/// The fuzzers' work in small, for those who have only the tests.
#[test]
fn random_bytes_find_nothing() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1000));
    for (target, run) in all() {
        let bytes = proptest::collection::vec(any::<u8>(), 0..400);
        let result = runner.run(&bytes, |bytes| {
            run(&bytes);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}

/// Texts of errors are cut on the way, once.
#[cfg(feature = "client")]
#[test]
fn long_texts_stay_the_same_through_an_encoder_and_a_decoder() {
    for (frame_type, errno_at) in [(0x01, 0), (0x12, 0), (0x41, 4)] {
        for letter in [&b"x"[..], b"\x1b", b"\xff", "\u{20ac}".as_bytes()] {
            for length in [1000, 1023, 1024, 1025, 5000] {
                let mut payload = vec![0; errno_at];
                payload.extend([5, 0, 0, 0]);
                payload.extend(letter.iter().cycle().take(length));
                let mut input = vec![0xff];
                input.extend((12 + payload.len() as u32).to_le_bytes());
                input.extend([frame_type, 0, 0, 0, 0, 0, 0, 0]);
                input.extend(&payload);
                input.resize(1 + (input.len() - 1).next_multiple_of(4), 0);
                decode(&input);
            }
        }
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn all() -> impl Iterator<Item = Named> {
    let of_vectors = TARGETS.iter().map(|(target, run, _)| (*target, *run));
    of_vectors.chain(OTHERS.iter().copied())
}

//! Encoding and decoding of frames. `benches/instructions` counts the instructions of both.

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use netlink_remote::wire::{Codec, DatagramInfo, Flags, Message, SocketId};
use tokio_util::codec::Decoder;

const SIZES: [(&str, usize); 2] = [("64", 64), ("32k", 32 << 10)];

/// Frames in a decoder's buffer.
const BATCH: usize = 32;

fn encode(out: &mut BytesMut, datagram: &[u8]) {
    let message = Message::Datagram { info: DatagramInfo::default(), data: datagram };
    message.encode(SocketId(1), Flags::NONE, out);
}

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_millis(500));
    for (name, size) in SIZES {
        let datagram = vec![0x5a; size];
        group.throughput(Throughput::Bytes(size as u64));
        let mut out = BytesMut::new();
        group.bench_function(format!("encode-{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(&mut out, black_box(&datagram));
            });
        });
        out.clear();
        (0..BATCH).for_each(|_| encode(&mut out, &datagram));
        let frame = out.len() / BATCH;
        group.bench_function(format!("decode-{name}"), |b| {
            b.iter_custom(|count| {
                let mut left = usize::try_from(count).unwrap();
                let mut took = Duration::ZERO;
                while left > 0 {
                    // Decoding consumes the buffer, so each batch needs a new one.
                    let now = left.min(BATCH);
                    let mut buffer = BytesMut::from(&out[..now * frame]);
                    let began = Instant::now();
                    decode(&mut buffer);
                    took += began.elapsed();
                    left -= now;
                }
                took
            });
        });
    }
    group.finish();
}

fn decode(buffer: &mut BytesMut) {
    let mut codec = Codec::new(netlink_remote::wire::DEFAULT_MAX_FRAME);
    while let Some(frame) = codec.decode(buffer).unwrap() {
        black_box(frame.message().unwrap());
    }
}

/// Does one operation, such as `encode-64`, on some frames, for its instructions to be counted.
fn repeat(name: &str, frames: usize) {
    let (operation, size) = name.split_once('-').unwrap();
    let (_, size) = SIZES.iter().find(|(name, _)| *name == size).unwrap();
    let datagram = vec![0x5a; *size];
    let mut out = BytesMut::new();
    encode(&mut out, &datagram);
    let one = out.clone();
    for _ in 0..frames {
        match operation {
            "encode" => {
                out.clear();
                encode(&mut out, black_box(&datagram));
            }
            "decode" => decode(&mut one.clone()),
            // The copy that `decode` takes.
            _ => drop(black_box(one.clone())),
        }
    }
}

/// Runs the operation that `benches/instructions` asks for; gives whether it does.
pub(crate) fn is_counted() -> bool {
    let Ok(name) = env::var("NLR_CODEC_ONLY") else { return false };
    repeat(&name, env::var("NLR_CODEC_FRAMES").unwrap().parse().unwrap());
    true
}

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{ALONE, Sshd, can_run, switches};
use crate::transport::{Running, ssh::Session};

/// Bytes that differ from one offset to the next, and from one seed to the next.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn both_ways(session: &Session, seed: u64, length: usize) {
    let Running { stdio, stderr: _stderr, end: _end, .. } = session.exec("cat").await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stdio);
    let sent = pattern(seed, length);
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        for piece in sent.chunks(100_000) {
            writer.write_all(piece).await.unwrap();
            writer.flush().await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::with_capacity(length);
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert_eq!(received.len(), copy.len());
    assert!(received == copy, "the bytes differ");
}

async fn two_at_a_time(config: &str, length: usize) {
    let sshd = Sshd::start(config);
    let session = sshd.session().await;
    let traffic =
        async { tokio::join!(both_ways(&session, 1, length), both_ways(&session, 2, length)) };
    tokio::time::timeout(Duration::from_secs(90), traffic).await.expect("it hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_channels_carry_64_mib_both_ways_each() {
    let _shared = ALONE.read().await;
    if can_run() {
        two_at_a_time("", 64 << 20).await;
    }
}

#[tokio::test]
async fn one_thread_is_enough() {
    let _shared = ALONE.read().await;
    if can_run() {
        two_at_a_time("", 8 << 20).await;
    }
}

/// Key exchanges in the midst of the traffic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_survives_new_keys() {
    let _shared = ALONE.read().await;
    if can_run() {
        two_at_a_time("RekeyLimit 2M", 24 << 20).await;
    }
}

/// libssh2 reads packets of each kind of cipher by code of its own.
#[tokio::test]
async fn every_cipher_carries_traffic() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    for cipher in ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"] {
        two_at_a_time(&format!("Ciphers {cipher}"), 4 << 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_survives_compression() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("Compression yes");
    let session = sshd.session_with(|host| host.compression = true).await;
    both_ways(&session, 3, 8 << 20).await;
}

/// Accepted bytes are sent, and the EOF after them, even if the stream is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_bytes_arrive_without_further_polls() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let file = sshd.path("copy");
    let command = format!("sleep 0.3; cat > {0}.part; mv {0}.part {0}", file.display());
    let sent = pattern(7, 3 << 20);
    let Running { mut stdio, stderr: _stderr, end, .. } = session.exec(&command).await.unwrap();
    stdio.write_all(&sent).await.unwrap();
    drop(stdio);
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(std::fs::read(&file).unwrap() == sent);
    drop(end);
}

/// Reads and writes cancelled at any time neither lose nor repeat bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_reads_and_writes_lose_nothing() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let Running { stdio, stderr: _stderr, end: _end, .. } = session.exec("cat").await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stdio);
    let sent = pattern(9, 16 << 20);
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        let mut at = 0;
        let mut round = 0;
        while at < sent.len() {
            round += 1;
            let limit = Duration::from_micros(round % 50);
            let end = sent.len().min(at + 1 + (round as usize * 7919) % 70_000);
            if let Ok(written) = tokio::time::timeout(limit, writer.write(&sent[at..end])).await {
                at += written.unwrap();
            }
        }
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    let mut piece = vec![0; 50_000];
    loop {
        let limit = Duration::from_micros(received.len() as u64 % 300);
        match tokio::time::timeout(limit, reader.read(&mut piece)).await {
            Ok(Ok(0)) => break,
            Ok(Ok(length)) => received.extend_from_slice(&piece[..length]),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
    writing.await.unwrap();
    assert!(received == copy, "the bytes differ: {} {}", received.len(), copy.len());
}

/// A waiter is woken for data that another one received before the runtime saw an event.
#[tokio::test]
async fn received_data_wakes_its_reader() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let mut silent = session.exec("cat > /dev/null").await.unwrap();
    let mut other = session.exec("sleep 0.3; echo here; cat").await.unwrap();
    let waiting = tokio::spawn(async move {
        let mut answer = [0; 5];
        other.stdio.read_exact(&mut answer).await.unwrap();
        answer
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The runtime's only thread sees no event meanwhile. Then the write receives the data.
    std::thread::sleep(Duration::from_millis(1000));
    silent.stdio.write_all(b"x").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(&answer.expect("the reader is not woken").unwrap(), b"here\n");
}

/// An idle session is not polled.
#[tokio::test]
async fn an_idle_session_takes_no_time() {
    let _alone = ALONE.write().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let Running { mut stdio, stderr: _stderr, end: _end, .. } = session.exec("cat").await.unwrap();
    let mut answer = [0; 64];
    stdio.write_all(&[7; 64]).await.unwrap();
    stdio.read_exact(&mut answer).await.unwrap();
    let before = switches();
    let idle = tokio::time::timeout(Duration::from_secs(1), stdio.read(&mut answer)).await;
    assert!(idle.is_err());
    let woken = switches() - before;
    assert!(woken < 20, "{woken} context switches while idle");
}

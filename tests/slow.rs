//! Hosts behind a link of 25 KB/s with 300 ms of delay: the first connection sends the stub over it, with
//! default settings.

#![cfg(test)]

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use testing::{finish, programs, sshd::sshd, tool::nlr, world};

/// Bytes a second, each way.
const RATE: f64 = 25_000.0;

/// One way.
const DELAY: Duration = Duration::from_millis(150);

/// What a router on the way queues: more than a second of it is what slow links are known for.
const QUEUE: usize = 64 << 10;

#[derive(Default)]
struct Queue {
    pieces: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    changed: Condvar,
}

/// Carries one direction of a connection over the slow link.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let queue = Arc::<Queue>::default();
    let filled = Arc::clone(&queue);
    thread::spawn(move || {
        let mut free = Instant::now();
        let mut piece = [0; 1400];
        loop {
            let length = from.read(&mut piece).unwrap_or(0);
            free = free.max(Instant::now()) + Duration::from_secs_f64(length as f64 / RATE);
            let mut pieces = filled.pieces.lock().unwrap();
            while pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>() > QUEUE {
                pieces = filled.changed.wait(pieces).unwrap();
            }
            pieces.push_back((free + DELAY, piece[..length].to_vec()));
            filled.changed.notify_all();
            if length == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        loop {
            let mut pieces = queue.pieces.lock().unwrap();
            while pieces.is_empty() {
                pieces = queue.changed.wait(pieces).unwrap();
            }
            let due = pieces.front().unwrap().0;
            drop(pieces);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (_, piece) = queue.pieces.lock().unwrap().pop_front().unwrap();
            queue.changed.notify_all();
            if piece.is_empty() || to.write_all(&piece).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    });
}

/// A slow link to a port of loopback; gives the port at its near end.
fn slow_link(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.3:0").unwrap();
    let near = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (near, far) = (stream.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            carry(near.try_clone().unwrap(), far.try_clone().unwrap());
            carry(far, near);
        }
    });
    near
}

#[test]
fn a_slow_host_is_reached_by_default_settings() {
    const STUB: &str = "x86_64-unknown-linux-musl";
    if !world::has_real_root("needs an sshd") {
        return;
    }
    let Some(stub) = programs::static_stub(STUB) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "the static stub is not built: ./build-stubs musl"
        );
        eprintln!(
            "skipped: needs the static stub, of the size that users send: ./build-stubs musl"
        );
        return;
    };
    let sshd = sshd();
    let port: u16 = sshd.destination.rsplit(':').next().unwrap().parse().unwrap();
    let link = slow_link(port);
    let config = format!(
        "Host slow\n  HostName 127.0.0.3\n  Port {link}\nHost behind\n  ProxyJump slow\n  HostName 127.0.0.1\n  \
         Port {port}\nHost *\n  User root\n  HostKeyAlias [127.0.0.1]:{port}\n{}",
        fs::read_to_string(&sshd.config).unwrap()
    );
    let file = sshd.config.with_file_name("slow");
    fs::write(&file, config).unwrap();
    let ways = ["ssh://slow", "ssh://behind", "openssh://slow"];
    for round in ["cold", "warm"] {
        let runs = ways.map(|target| {
            let (file, stub) = (file.clone(), stub.clone());
            thread::spawn(move || {
                let (file, stub) = (file.to_str().unwrap(), stub.to_str().unwrap());
                let mut command = nlr(&["-v", "-F", file, "--stubs", stub, "show", "link", target]);
                command.arg("--json");
                let begin = Instant::now();
                (target, finish(command), begin.elapsed())
            })
        });
        for run in runs {
            let (target, ended, took) = run.join().unwrap();
            assert_eq!(ended.code(), 0, "{target}, {round}: {}", ended.stderr);
            let links: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
            assert!(links.as_array().unwrap().iter().any(|link| link["ifname"] == "lo"));
            assert_eq!(ended.stderr.contains("stub sent"), round == "cold", "{target}");
            println!("{target}, {round}: {:.1} s", took.as_secs_f64());
        }
    }
}

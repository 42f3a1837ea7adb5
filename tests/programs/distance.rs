//! The round trips of programs to a far-off kernel: what a link's delay costs them.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use testing::{
    Namespace,
    tool::{Server, nlr},
};

use crate::support::{native, outcome};

/// Silence after which a side is taken to wait for the other one.
const SILENCE: Duration = Duration::from_millis(60);

/// What a side says until it is silent; `None` at its end.
fn said(from: &mut UnixStream) -> Option<Vec<u8>> {
    let (mut all, mut room) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match from.read(&mut room) {
            Ok(0) => return (!all.is_empty()).then_some(all),
            Ok(length) => all.extend(&room[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(all),
            Err(_) => return None,
        }
    }
}

/// A link whose sides speak in turns: all that one says arrives before the other one says anything. Counts the
/// turns of the far side, each of which is a round trip.
fn in_turns(mut near: UnixStream, mut far: UnixStream, turns: &AtomicU32) -> Option<()> {
    for side in [&near, &far] {
        side.set_read_timeout(Some(SILENCE)).unwrap();
    }
    loop {
        far.write_all(&said(&mut near)?).ok()?;
        let answers = said(&mut far)?;
        turns.fetch_add(u32::from(!answers.is_empty()), Ordering::SeqCst);
        near.write_all(&answers).ok()?;
    }
}

/// The round trips of a program and of connecting.
fn round_trips(namespace: &Namespace, server: &Server, line: &str) -> u32 {
    let path = testing::temporary("link");
    let listener = UnixListener::bind(&path).unwrap();
    let turns = Arc::new(AtomicU32::new(0));
    let (counted, far) = (Arc::clone(&turns), server.path.clone());
    let link = thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        in_turns(near, UnixStream::connect(far).unwrap(), &counted);
    });
    let target = format!("unix:{}", path.display());
    let run = ["run", &target, "-n", &namespace.0, "--", "sh", "-c", line];
    let (_, stderr, code) = outcome(nlr(&run));
    assert_eq!((stderr.as_str(), code), ("", 0), "{line}");
    link.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    turns.load(Ordering::SeqCst)
}

#[test]
fn programs_wait_for_their_answers_and_for_nothing_else() {
    let namespace = Namespace::new();
    let rules = "table inet t { set s { type ipv4_addr; elements = { 10.0.0.1 } }; chain c { tcp dport 22 accept; }; }";
    assert_eq!(outcome(native(&namespace, &format!("nft '{rules}'"))).2, 0);
    let server = Server::start(&[]);
    // A busy machine makes silences of its own.
    let fewest = |line: &str| (0..4).map(|_| round_trips(&namespace, &server, line)).min().unwrap();
    let connecting = fewest("true");
    for (line, most) in [
        ("ip link >/dev/null", 1),
        ("ip route >/dev/null", 1),
        // Three requests.
        ("ip link set lo up", 3),
        ("ss -tn >/dev/null", 2),
        // Nine requests.
        ("nft list ruleset >/dev/null", 9),
        // Two requests and a file.
        ("tc qdisc >/dev/null", 4),
    ] {
        let trips = fewest(line).saturating_sub(connecting);
        assert!(trips <= most, "{line}: {trips} round trips, and {most} at most");
    }
}

//! The test lab itself, by the system's own programs: what other tests take for granted.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests say what they expect by panicking"
)]

#[path = "lab/mod.rs"]
mod lab;

use std::time::Instant;

use lab::Lab;

#[test]
fn one_host() {
    if !Lab::available() {
        return;
    }
    let t = Instant::now();
    let lab = Lab::new();
    eprintln!("lab {:?}", t.elapsed());
    let host = lab.host("one").sudoers("ci ALL=(ALL) NOPASSWD: ALL").start();
    eprintln!("host {:?}", t.elapsed());
    eprintln!(
        "{:?}",
        lab.client()
            .try_run("ssh one 'id; hostname; sudo id; ls /; env; cat /proc/self/mounts; tty'")
    );
    eprintln!("ssh {:?}", t.elapsed());
    eprintln!("{}", host.sshd_log());
    eprintln!("{:?}", host.processes());
    host.assert_idle();
}

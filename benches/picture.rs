//! The picture in the README: `nlr bench` over several ways, as percentile curves in one picture.
//!
//! ```sh
//! cargo bench --all-features --bench picture -- benches/percentiles.svg
//! ```

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "benchmarks say that they cannot go on by panicking, and share one support module"
)]

#[path = "../tests/behaviour/sshd.rs"]
mod sshd;
#[path = "../tests/lab/stub.rs"]
mod stub;
mod support;

use std::{env, process::Command};

use support::{
    far::{self, Way},
    routes, world,
};

fn main() {
    world::enter();
    let Some(file) = env::args().skip(1).find(|argument| argument.ends_with(".svg")) else {
        eprintln!("draws nothing: cargo bench --all-features --bench picture -- FILE.svg does");
        return;
    };
    routes::fill();
    let _listener = far::listener();
    let ways = Way::possible(&[Way::Pipe, Way::Unix, Way::Ssh, Way::OpenSsh]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nlr"));
    command.args(["bench", "--plot", &file]).args(ways.iter().map(|way| way.target().to_string()));
    if ways.contains(&Way::Ssh) {
        command.arg("-F").arg(&sshd::sshd().config).arg("--stubs").arg(stub::stripped());
    }
    assert!(command.status().unwrap().success());
}

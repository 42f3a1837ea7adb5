//! A table of routes to dump, and a process that adds and deletes it for events.

use std::{
    io::{Read, Write, stdin, stdout},
    process::Stdio,
    sync::Once,
};

use nix::sys::socket::MsgFlags;

use super::{local::Local, world::in_role};
use crate::{
    Running,
    netlink::{add_route, delete_route},
};

/// Routes in the table.
pub const COUNT: u32 = 100_000;

/// Bytes of requests in one datagram.
const BATCH: usize = 64 << 10;

/// A request for each route, many to a datagram.
struct Batches(Vec<Vec<u8>>);

impl Batches {
    fn new(request: fn(u32) -> Vec<u8>) -> Self {
        let mut batches = vec![Vec::new()];
        for number in 0..COUNT {
            let request = request(number);
            if batches.last().unwrap().len() + request.len() > BATCH {
                batches.push(Vec::with_capacity(BATCH));
            }
            batches.last_mut().unwrap().extend(request);
        }
        Self(batches)
    }

    fn send(&self, local: &Local) {
        for batch in &self.0 {
            local.send(batch);
        }
        // Without NLM_F_ACK the kernel answers only a request that fails.
        let answer =
            local.socket.recv(&mut Vec::<u8>::with_capacity(1024), MsgFlags::MSG_DONTWAIT.bits());
        assert!(answer.is_err(), "the kernel refuses a route");
    }
}

/// Fills the table of this world, the first time.
pub fn fill() {
    static FILLED: Once = Once::new();
    FILLED.call_once(|| Batches::new(|number| add_route(number, 0)).send(&Local::new()));
}

/// The role of the process that runs [`change`].
pub const ROLE: &str = "routes";

const ADD: u8 = b'+';
const DELETE: u8 = b'-';
const DONE: u8 = b'.';

/// Adds and deletes all routes, as the commands on stdin say.
pub fn change() {
    let (add, delete) = (Batches::new(|number| add_route(number, 0)), Batches::new(delete_route));
    let local = Local::new();
    let mut word = [0];
    while stdin().read(&mut word).unwrap() > 0 {
        match word {
            [ADD] => add.send(&local),
            _ => delete.send(&local),
        }
        stdout().write_all(&[DONE]).unwrap();
        stdout().flush().unwrap();
    }
}

/// The process that runs [`change`].
pub struct Changer(Running);

impl Changer {
    /// Starts it.
    #[allow(clippy::new_without_default, reason = "starting a process is no default")]
    pub fn new() -> Self {
        let mut command = in_role(ROLE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(Running(command.spawn().unwrap()))
    }

    fn command(&mut self, word: u8) {
        self.0.0.stdin.as_mut().unwrap().write_all(&[word]).unwrap();
    }

    fn done(&mut self) {
        let mut word = [0];
        self.0.0.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(word, [DONE]);
    }

    /// Begins to add the routes, and returns at once.
    pub fn begin_adding(&mut self) {
        self.command(ADD);
    }

    /// Waits until the routes are added, deletes them, and waits for that.
    pub fn delete(&mut self) {
        self.done();
        self.command(DELETE);
        self.done();
    }
}

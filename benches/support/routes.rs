//! The table of routes that is dumped, and the process that makes events of one.

use std::{
    io::{Read, Write, stdin, stdout},
    process::Stdio,
    sync::Once,
};

use nix::sys::socket::MsgFlags;

use super::{
    local::Local,
    netlink::{add_route, delete_route},
    world::{Helper, in_role},
};

pub const COUNT: u32 = 100_000;

/// Bytes of requests that are sent at once.
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
        // No news are good: only what fails is answered.
        let answer =
            local.socket.recv(&mut Vec::<u8>::with_capacity(1024), MsgFlags::MSG_DONTWAIT.bits());
        assert!(answer.is_err(), "the kernel refuses a route");
    }
}

/// Fills the table, once and for all.
pub fn fill() {
    static FILLED: Once = Once::new();
    FILLED.call_once(|| Batches::new(add_route).send(&Local::new()));
}

pub const ROLE: &str = "routes";

const ADD: u8 = b'+';
const DELETE: u8 = b'-';
const DONE: u8 = b'.';

/// The other process's side: adds and deletes all routes as it is told.
pub fn change() {
    let (add, delete) = (Batches::new(add_route), Batches::new(delete_route));
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

/// That process.
pub struct Changer(Helper);

impl Changer {
    pub fn new() -> Self {
        let mut command = in_role(ROLE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(Helper::spawn(command))
    }

    fn tell(&mut self, word: u8) {
        self.0.0.stdin.as_mut().unwrap().write_all(&[word]).unwrap();
    }

    fn done(&mut self) {
        let mut word = [0];
        self.0.0.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(word, [DONE]);
    }

    /// Returns at once.
    pub fn begin_adding(&mut self) {
        self.tell(ADD);
    }

    /// Deletes what was added, and waits until that is done.
    pub fn delete(&mut self) {
        self.done();
        self.tell(DELETE);
        self.done();
    }
}

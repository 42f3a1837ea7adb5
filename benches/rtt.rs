//! One `RTM_GETLINK` there and back, every process on one CPU: unpinned, the same thing takes half
//! as long again or not, from run to run.

#![allow(
    clippy::expect_used,
    clippy::field_reassign_with_default,
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

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::{ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use criterion::Criterion;
use netlink_remote::{RemoteSocket, transport::Running};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use support::{
    cpu,
    far::{self, Far, Way, datagram},
    floor::{self, Floor},
    local::Local,
    measure::{self, Group},
    netlink::one_link,
    world::{self, Helper},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};

/// Behind the floor come those that are compared with it: the machine is another one after a while.
const WAYS: [Way; 5] = [Way::Unix, Way::Pipe, Way::Duplex, Way::Ssh, Way::OpenSsh];

fn main() {
    world::enter();
    if world::role().as_deref() == Some(floor::ROLE) {
        return floor::relay();
    }
    pin();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = measure::group(&mut criterion, "rtt", 50, 4);
    let request = one_link();
    measure(&mut group, "direct", Local::new, |local| {
        local.send(&request);
        assert!(local.recv().len() > request.len());
    });
    let framed = Floor::framed(&request);
    measure(&mut group, "floor", Floor::new, |floor| {
        floor.send(&framed);
        assert!(floor.recv().len() > request.len());
    });
    let echoed = echoed_bytes(&request);
    for way in Way::possible(&WAYS) {
        let open = || {
            let far = Far::new(way);
            (far.socket(), far)
        };
        match way {
            Way::Ssh => measure_all(
                &mut group,
                "ssh-echo",
                || Echo::new(way),
                |echo, count| {
                    echo.exchange(&echoed, count);
                },
            ),
            Way::OpenSsh => measure(&mut group, "openssh-echo", PipedEcho::new, |echo| {
                echo.exchange(&echoed);
            }),
            _ => {}
        }
        measure_all(&mut group, way.name(), open, |(socket, far), count| {
            far.run(exchange(socket, &request, count));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Keeps this process, and all that it will start, on one CPU.
fn pin() {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rev().find(|&cpu| all.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(last).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

async fn exchange(socket: &RemoteSocket, request: &[u8], count: u64) {
    for _ in 0..count {
        socket.send(request).await.unwrap();
        assert!(datagram(socket).await.data.len() > request.len());
    }
}

/// An echo has the same length both ways; this one moves as many bytes as the request and its
/// reply together.
fn echoed_bytes(request: &[u8]) -> Vec<u8> {
    let mut local = Local::new();
    local.send(request);
    vec![0x5a; (request.len() + local.recv().len()).div_ceil(2)]
}

/// `cat` at the far end of a way.
struct Echo {
    runtime: Runtime,
    cat: Running,
}

impl Echo {
    fn new(way: Way) -> Self {
        let runtime = far::runtime();
        let cat = runtime.block_on(far::command(&far::connector(way), way, &["cat"]));
        Self { runtime, cat }
    }

    fn exchange(&mut self, bytes: &[u8], count: u64) {
        let Self { runtime, cat } = self;
        let mut answer = vec![0; bytes.len()];
        runtime.block_on(async {
            for _ in 0..count {
                cat.stdio.write_all(bytes).await.unwrap();
                cat.stdio.read_exact(&mut answer).await.unwrap();
            }
        });
    }
}

/// `cat` behind the program ssh, over plain pipes.
struct PipedEcho {
    stdin: ChildStdin,
    stdout: ChildStdout,
    answer: Vec<u8>,
    _ssh: Helper,
}

impl PipedEcho {
    fn new() -> Self {
        let mut command = far::openssh("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut ssh = Helper::spawn(command);
        let (stdin, stdout) = (ssh.0.stdin.take().unwrap(), ssh.0.stdout.take().unwrap());
        Self { stdin, stdout, answer: Vec::new(), _ssh: ssh }
    }

    fn exchange(&mut self, bytes: &[u8]) {
        self.answer.resize(bytes.len(), 0);
        self.stdin.write_all(bytes).unwrap();
        self.stdout.read_exact(&mut self.answer).unwrap();
    }
}

fn measure<S>(group: &mut Group<'_>, name: &str, ready: impl Fn() -> S, once: impl Fn(&mut S)) {
    measure_all(group, name, ready, |state, count| {
        for _ in 0..count {
            once(state);
        }
    });
}

/// Measures, and prints what each process spent of the CPU for one iteration.
fn measure_all<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    run: impl Fn(&mut S, u64),
) {
    let ready = || {
        let mut state = ready();
        // The program ssh connects while it is used for the first time.
        run(&mut state, 1);
        (state, cpu::others())
    };
    let (mut own, mut total) = (Duration::ZERO, 0);
    let mut others = BTreeMap::new();
    measure::custom(group, name, ready, |(state, before), count| {
        // What criterion does in between is not the iterations'.
        let (own_before, began) = (cpu::own(), Instant::now());
        run(state, count);
        let took = began.elapsed();
        own += cpu::own() - own_before;
        total += count;
        others = cpu::others();
        others.retain(|program, spent| {
            *spent -= before.get(program).copied().unwrap_or_default();
            !spent.is_zero()
        });
        took
    });
    if total > 0 && world::is_measured() {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / total as f64;
        print!("rtt/{name} CPU time each: benchmark {:.1} us", each(own));
        for (program, spent) in others {
            print!(", {program} {:.1} us", each(spent));
        }
        println!();
    }
}

//! The round trip of one `RTM_GETLINK`, with every process on one CPU: without that, the same round
//! trip takes up to half as long again, from run to run.

use std::{
    io::{Read, Write},
    process::{ChildStdin, ChildStdout, Stdio},
};

use criterion::Criterion;
use netlink_remote::{RemoteSocket, transport::Running as Channel};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use testing::{
    Running,
    bench::{
        local::Local,
        transport::{self, Far, Transport, datagram},
    },
    netlink::{LOOPBACK, link_by_index},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};

use crate::{
    cpu::Meter,
    floor::Floor,
    measure::{self, Group},
};

/// In this order, since the speed of a machine drifts: those that are compared with the floor
/// follow it.
const TRANSPORTS: [Transport; 5] =
    [Transport::Unix, Transport::Pipe, Transport::Duplex, Transport::Ssh, Transport::OpenSsh];

pub(crate) fn measure(criterion: &mut Criterion) {
    pin();
    let mut group = measure::group(criterion, "rtt", 50, 4);
    let request = link_by_index(LOOPBACK, 0);
    measure_each(&mut group, "direct", Local::new, |local| {
        local.send(&request);
        assert!(local.recv().len() > request.len());
    });
    let framed = Floor::framed(&request);
    measure_each(&mut group, "floor", Floor::new, |floor| {
        floor.send(&framed);
        assert!(floor.recv().len() > request.len());
    });
    let echoed = echoed_bytes(&request);
    for transport in Transport::possible(&TRANSPORTS) {
        let open = || {
            let far = Far::new(transport);
            (far.socket(), far)
        };
        match transport {
            Transport::Ssh => measure_all(
                &mut group,
                "ssh-echo",
                || Echo::new(transport),
                |echo, count| {
                    echo.exchange(&echoed, count);
                },
            ),
            Transport::OpenSsh => {
                measure_each(&mut group, "openssh-echo", PipedEcho::new, |echo| {
                    echo.exchange(&echoed);
                })
            }
            _ => {}
        }
        measure_all(&mut group, transport.name(), open, |(socket, far), count| {
            far.run(exchange(socket, &request, count));
        });
    }
    group.finish();
}

/// Keeps this process and its future children on one CPU.
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

/// Bytes for an echo, which has one length both ways: together as many as the request and its reply.
fn echoed_bytes(request: &[u8]) -> Vec<u8> {
    let mut local = Local::new();
    local.send(request);
    vec![0x5a; (request.len() + local.recv().len()).div_ceil(2)]
}

/// `cat` at the far end of a transport.
struct Echo {
    runtime: Runtime,
    cat: Channel,
}

impl Echo {
    fn new(transport: Transport) -> Self {
        let runtime = transport::runtime();
        let cat = runtime.block_on(transport::command(
            &transport::connector(transport),
            transport,
            &["cat"],
        ));
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

/// `cat` at the far end of the program ssh, over plain pipes.
struct PipedEcho {
    stdin: ChildStdin,
    stdout: ChildStdout,
    answer: Vec<u8>,
    _ssh: Running,
}

impl PipedEcho {
    fn new() -> Self {
        let mut command = transport::openssh("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut ssh = Running(command.spawn().unwrap());
        let (stdin, stdout) = (ssh.0.stdin.take().unwrap(), ssh.0.stdout.take().unwrap());
        Self { stdin, stdout, answer: Vec::new(), _ssh: ssh }
    }

    fn exchange(&mut self, bytes: &[u8]) {
        self.answer.resize(bytes.len(), 0);
        self.stdin.write_all(bytes).unwrap();
        self.stdout.read_exact(&mut self.answer).unwrap();
    }
}

fn measure_each<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    once: impl Fn(&mut S),
) {
    measure_all(group, name, ready, |state, count| {
        for _ in 0..count {
            once(state);
        }
    });
}

/// Measures, and prints the CPU time of each process for one iteration.
fn measure_all<S>(
    group: &mut Group<'_>,
    name: &str,
    ready: impl Fn() -> S,
    run: impl Fn(&mut S, u64),
) {
    let ready = || {
        let mut state = ready();
        // The program ssh connects during the first iteration.
        run(&mut state, 1);
        state
    };
    let (mut meter, mut total) = (Meter::default(), 0);
    measure::custom(group, name, ready, |state, count| {
        // Without criterion's own time between samples.
        meter.begin();
        run(state, count);
        total += count;
        meter.end()
    });
    meter.print(&format!("rtt/{name}"), total);
}

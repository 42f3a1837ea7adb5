//! Other programs over the same sshd. `benches/peers` installs and runs them.

use std::{
    env,
    ffi::OsStr,
    net::Ipv4Addr,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use netlink_remote::NetlinkSocket;
use rtnetlink::RouteMessageBuilder;
use serde_json::Value;
use testing::{
    bench::{
        routes,
        transport::{self, Far, Transport, datagram},
        world,
    },
    netlink::{LOOPBACK, link_by_index},
    programs,
    sshd::sshd,
};

/// The variable that names the Python with pyroute2 and mitogen.
const PYTHON: &str = "NLR_PEERS";

const REQUESTS: usize = 1000;
const DUMPS: usize = 3;
const CONNECTS: usize = 7;

pub(crate) fn compare() -> ExitCode {
    let Some(python) = env::var_os(PYTHON) else {
        eprintln!("not compared with other programs: benches/peers does");
        return ExitCode::SUCCESS;
    };
    if !world::has_ssh() {
        return ExitCode::FAILURE;
    }
    routes::fill();
    // Each once before it is measured: the first connection sends the stub.
    connect();
    listed_by("ip -j route");
    show();

    eprintln!("RemoteIPRoute: a minute or so");
    let theirs = remote_iproute(&python, REQUESTS, DUMPS);
    let connects = (0..CONNECTS).map(|_| of(&remote_iproute(&python, 0, 0), "connect")).collect();
    let ip = median((0..CONNECTS).map(|_| listed_by("ip -j route")).collect());
    let rows = [
        ("rtt", "RemoteIPRoute", of(&theirs, "rtt"), rtt(), 8.0, 20.0),
        ("dump-parsed", "RemoteIPRoute", of(&theirs, "dump-parsed"), dump_parsed(), 50.0, 100.0),
        (
            "connect",
            "RemoteIPRoute",
            median(connects),
            median((0..CONNECTS).map(|_| connect()).collect()),
            1.5,
            3.0,
        ),
        (
            "routes, connecting",
            "ssh HOST ip -j route",
            ip,
            median((0..CONNECTS).map(|_| show()).collect()),
            1.0,
            2.0,
        ),
    ];
    let mut status = ExitCode::SUCCESS;
    for (what, whose, theirs, ours, limit, aim) in rows {
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let verdict = match ratio {
            ratio if ratio < limit => "BELOW THE LIMIT",
            ratio if ratio < aim => "within the limit",
            _ => "as aimed at",
        };
        println!(
            "{what:18} {whose:20} {theirs:>10.1?} / ours {ours:>10.1?} = {ratio:6.1}  \
             (at least {limit}, aim {aim})  {verdict}"
        );
        if ratio < limit {
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The times of RemoteIPRoute, in a Python process that makes one connection.
fn remote_iproute(python: &OsStr, requests: usize, dumps: usize) -> Value {
    let sshd = sshd();
    let (user, address) = sshd.destination.split_once('@').unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let output = Command::new(python)
        .arg(programs::repository().join("benches/peers.py"))
        .args([host, port, user])
        .arg(&sshd.config)
        .args([requests, dumps].map(|count| count.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "RemoteIPRoute: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of(theirs: &Value, what: &str) -> Duration {
    let times = theirs[what].as_array().unwrap().iter();
    median(times.map(|seconds| Duration::from_secs_f64(seconds.as_f64().unwrap())).collect())
}

fn rtt() -> Duration {
    let far = Far::new(Transport::Ssh);
    let (socket, request) = (far.socket(), link_by_index(LOOPBACK, 0));
    let one = |_| {
        let began = Instant::now();
        far.run(async {
            socket.send(&request).await.unwrap();
            assert!(datagram(&socket).await.data.len() > request.len());
        });
        began.elapsed()
    };
    median((0..REQUESTS).map(one).collect())
}

/// A dump of all routes, parsed by rtnetlink.
fn dump_parsed() -> Duration {
    let far = Far::new(Transport::Ssh);
    let socket = far.socket();
    let handle = far.run(async {
        let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
        tokio::spawn(connection);
        handle
    });
    let one = |_| {
        let began = Instant::now();
        far.run(async {
            let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
            let routes: Vec<_> = handle.route().get(request).execute().try_collect().await.unwrap();
            assert!(routes.len() >= routes::COUNT as usize);
        });
        began.elapsed()
    };
    median((0..DUMPS).map(one).collect())
}

fn connect() -> Duration {
    let runtime = transport::runtime();
    runtime.block_on(async {
        let began = Instant::now();
        let client =
            transport::connector(Transport::Ssh).connect(&Transport::Ssh.target()).await.unwrap();
        let took = began.elapsed();
        client.close().await;
        took
    })
}

/// All routes as JSON by a command on the host.
fn listed_by(command: &str) -> Duration {
    listed(transport::openssh(command))
}

/// All routes as JSON by `nlr` here.
fn show() -> Duration {
    let mut command = Command::new(programs::nlr());
    command.args(["show", "route", "--json", "-F"]).arg(&sshd().config);
    command.arg("--stubs").arg(programs::stripped_stub()).arg(Transport::Ssh.target().to_string());
    listed(command)
}

/// The time of a process from its start to its end, its output being read.
fn listed(mut command: Command) -> Duration {
    let began = Instant::now();
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(entries.len() >= routes::COUNT as usize);
    took
}

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{ALONE, Sshd, can_run, failed, quiet};
use crate::{
    ErrorKind,
    connect_context::ConnectContext,
    prompter::Prompter,
    transport::{
        End, Running,
        ssh::{Session, host::SshHost},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_user_of_a_session_notices_a_killed_server() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd.session().await;
    let Running { mut stdio, mut stderr, end, .. } = session.exec("cat").await.unwrap();
    stdio.write_all(b"x").await.unwrap();
    let mut byte = [0];
    stdio.read_exact(&mut byte).await.unwrap();
    sshd.signal_connections(Signal::SIGKILL);
    let limit = Duration::from_secs(5);
    let mut rest = Vec::new();
    assert!(tokio::time::timeout(limit, stdio.read_to_end(&mut rest)).await.unwrap().is_err());
    assert!(tokio::time::timeout(limit, stderr.read_to_end(&mut rest)).await.unwrap().is_err());
    assert_eq!(tokio::time::timeout(limit, end).await.unwrap(), End::Unknown);
    assert!(stdio.write_all(b"x").await.is_err());
    assert!(!session.is_open());
    let error = session.exec("true").await.unwrap_err();
    assert!(error.to_string().contains("connection is lost"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answering_is_noticed() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let session = sshd
        .session_with(|host| {
            host.alive_interval = Some(Duration::from_millis(200));
            host.alive_count = 3;
        })
        .await;
    let Running { mut stdio, stderr: _stderr, end: _end, .. } = session.exec("cat").await.unwrap();
    // The session stays open while the server answers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(session.is_open());
    sshd.signal_connections(Signal::SIGSTOP);
    let start = Instant::now();
    let error = stdio.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("has not answered"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(!session.is_open());
}

/// The number of descriptors and of threads of this process.
fn held() -> (usize, usize) {
    let count = |path| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

#[test]
fn sessions_leave_no_descriptor_thread_or_task() {
    let _alone = ALONE.blocking_write();
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    // The first runtime opens the descriptors that tokio keeps for signals.
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let before = held();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let within = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for round in 0..6 {
            let gateway =
                sshd.session_with(|host| host.alive_interval = Some(Duration::from_secs(60))).await;
            let inner = Session::connect(&sshd.host(), Some(&gateway), &quiet()).await.unwrap();
            let mut running = inner.exec("sleep 2").await.unwrap();
            if round % 2 == 0 {
                // More than the window: packets are sent in part.
                let all = vec![0; 8 << 20];
                let limit = Duration::from_millis(200);
                let _ = tokio::time::timeout(limit, running.stdio.write_all(&all)).await;
            }
            if round == 5 {
                sshd.signal_connections(Signal::SIGKILL);
            }
        }
        let metrics = tokio::runtime::Handle::current().metrics();
        let start = Instant::now();
        while metrics.num_alive_tasks() > 0
            || std::fs::read_dir("/proc/self/fd").unwrap().count() > within
        {
            assert!(start.elapsed() < Duration::from_secs(5), "{}", metrics.num_alive_tasks());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    drop(runtime);
    let start = Instant::now();
    while held() > before {
        assert!(start.elapsed() < Duration::from_secs(5), "{before:?} {:?}", held());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The server's processes end too.
    while !sshd.descendants().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", sshd.descendants());
        // sshd does not signal a command without a terminal.
        sshd.signal_connections(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Tunnels are opened one after the other: one to a host that is down delays the keepalive's probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_to_nowhere_does_not_end_the_gateways_session() {
    let _shared = ALONE.read().await;
    if !can_run() {
        return;
    }
    // A veth whose other end drops packets for 192.0.2.2.
    let script = "ip link add nowhere type veth peer name there && ip link set there up \
                  && ip link set nowhere up && ip addr add 192.0.2.1/24 dev nowhere \
                  && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev nowhere";
    assert!(std::process::Command::new("sh").args(["-c", script]).status().unwrap().success());
    let sshd = Sshd::start("");
    let gateway = sshd
        .session_with(|host| {
            host.alive_interval = Some(Duration::from_millis(300));
            host.alive_count = 2;
        })
        .await;
    let command = "while :; do echo x; sleep 0.1; done";
    let mut running = gateway.exec(command).await.unwrap();
    let nowhere = SshHost { host_name: "192.0.2.2".into(), ..sshd.host() };
    let context = ConnectContext::new(Prompter::none(), Duration::from_secs(3));
    let reading = async {
        let (mut piece, start) = ([0; 64], Instant::now());
        while start.elapsed() < Duration::from_millis(3500) {
            assert_ne!(running.stdio.read(&mut piece).await.unwrap(), 0);
        }
    };
    let (down, ()) = tokio::join!(Session::connect(&nowhere, Some(&gateway), &context), reading);
    assert_eq!(failed(down).kind(), ErrorKind::Timeout);
    assert!(gateway.is_open());
}

/// Not even sessions dropped with their last channel, before the server's answer to its close.
#[tokio::test]
async fn sessions_leave_no_memory_behind() {
    let _alone = ALONE.write().await;
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let round = async || {
        for _ in 0..40 {
            let running = sshd.session().await.exec("cat").await.unwrap();
            drop(running);
            tokio::task::yield_now().await;
        }
    };
    round().await;
    let before = resident_kib();
    round().await;
    // A session has more than 70 KiB in libssh2 alone.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 1200, "{grown} KiB more after 40 sessions");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

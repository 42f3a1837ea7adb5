//! Hops that die and networks that are cut, at each step: an error, and no process left.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use netlink_remote::{Client, Connector, ErrorKind, Netns};
use testing::{
    lab::{Host, Lab},
    remote::*,
    wait_up_to,
};

struct Hosts {
    lab: Lab,
    gateway: Host,
    test01: Host,
}

fn hosts() -> Hosts {
    let lab = Lab::new();
    let gateway = lab.host("gateway").on("public").on("inner").start();
    let test01 = lab.host("test01").on("inner").sudoers("ci ALL=NOPASSWD: ALL").start();
    Hosts { lab, gateway, test01 }
}

const TARGET: &str = "ssh://gateway,ssh://test01,sudo:";

async fn dies(client: Client) -> netlink_remote::Error {
    let error = within(client.closed()).await;
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hop_killed_in_turn() {
    if !Lab::available() {
        return;
    }
    let Hosts { lab, gateway, test01 } = hosts();
    let options = options(&lab);
    // The stub, sudo, and the sshds; each is killed while a socket is in use.
    let stub = |host: &Host| {
        let found =
            host.processes().into_iter().filter(|process| process.contains("netlink-remote/stub-"));
        found.filter(|process| !process.contains("sudo")).collect::<Vec<_>>()
    };
    for victim in ["stub", "sudo", "sshd of the host", "sshd of the gateway"] {
        let client = connect(TARGET, &options).await.unwrap();
        dump_links(&client, Netns::Current).await;
        match victim {
            "stub" => {
                // The stub, and the helper that it has forked.
                let found = stub(&test01);
                let pid = |process: &String| process.split(' ').next().unwrap().parse().unwrap();
                let mut pids: Vec<i32> = found.iter().map(pid).collect();
                pids.sort_unstable();
                assert_eq!(pids.len(), 2, "{found:?}");
                let pid = nix::unistd::Pid::from_raw(pids[0]);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            "sudo" => test01.kill_all("sudo"),
            "sshd of the host" => test01.kill_sshd(),
            _ => gateway.kill_sshd(),
        }
        let error = dies(client).await;
        assert!(!error.to_string().is_empty());
        for host in [&gateway, &test01] {
            if victim.ends_with("host") && host.name() == "test01"
                || victim.ends_with("gateway") && host.name() == "gateway"
            {
                host.start_sshd();
            }
            // A killed sshd does not end its commands: the stub ends by itself.
            host.assert_idle();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_is_noticed_on_both_sides() {
    if !Lab::available() {
        return;
    }
    let Hosts { lab, gateway, test01 } = hosts();
    let mut options = options(&lab);
    options.keepalive = Some(Duration::from_millis(300));
    let client = connect(TARGET, &options).await.unwrap();
    dump_links(&client, Netns::Current).await;
    let began = Instant::now();
    test01.link_down();
    let error = dies(client).await;
    assert!(error.to_string().contains("has not answered"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    // The sshd has no sign of the cut yet; the stub has ended, and sudo with it.
    let gone = wait_up_to(Duration::from_secs(20), || {
        !test01.processes().iter().any(|process| process.contains("netlink-remote/stub-"))
    });
    assert!(gone, "{:?}", test01.processes());
    test01.link_up();
    test01.kill_sshd();
    test01.assert_idle();
    gateway.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_given_up_at_any_time_leaves_nothing() {
    if !Lab::available() {
        return;
    }
    let Hosts { lab, gateway, test01 } = hosts();
    let options = options(&lab);
    // The time of a connection without a cached stub, to cut each attempt at another step.
    let began = Instant::now();
    connect(TARGET, &options).await.unwrap().close().await;
    let whole = began.elapsed();
    test01.run("rm -rf /root/.cache");
    for part in 1..12 {
        let limit = whole * part / 10;
        let target = TARGET.parse::<netlink_remote::Target>().unwrap();
        let _ = tokio::time::timeout(limit, Connector::new(options.clone()).connect(&target)).await;
        test01.run("rm -rf /root/.cache/netlink-remote/stub-*");
    }
    gateway.assert_idle();
    test01.assert_idle();
    let left = test01.run("find / -xdev -path '*netlink-remote/*' | grep -v /stub- || true");
    assert_eq!(left, "");
}

#[test]
fn a_killed_nlr_leaves_nothing() {
    if !Lab::available() {
        return;
    }
    let Hosts { lab, gateway, test01 } = hosts();
    for target in [TARGET, "openssh://gateway,openssh://test01,sudo:"] {
        let mut command = lab.nlr(&["--stubs", stub(), "monitor", target]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_up =
            || test01.processes().iter().any(|process| process.contains("netlink-remote/stub-"));
        assert!(wait_up_to(Duration::from_secs(30), is_up), "{:?}", test01.processes());
        child.kill().unwrap();
        child.wait().unwrap();
        gateway.assert_idle();
        test01.assert_idle();
    }
}

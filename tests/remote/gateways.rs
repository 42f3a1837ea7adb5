//! Many tunnels through one gateway, some to addresses that do not answer.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use netlink_remote::{Connector, Error, ErrorKind, Netns, Prompter, Step, Target, TargetOptions};
use testing::{
    Ended,
    lab::{Host, Lab},
    remote::*,
    wait_up_to,
};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(8);

struct Net {
    lab: Lab,
    gateway: Host,
    inner: Host,
    options: TargetOptions,
}

/// A gateway and a host `inner` with more names, `good0` and so on, each with an address of its own.
/// Packets to the `dead` names are lost beyond the gateway.
fn net(good: usize, dead: usize, password: Option<&str>) -> Net {
    let lab = Lab::new();
    let mut gateway = lab.host("gateway").on("public").on("inner");
    if let Some(password) = password {
        let lines = "PubkeyAuthentication no\nPasswordAuthentication yes";
        gateway = gateway.password(password).sshd(lines);
    }
    let gateway = gateway.start();
    let inner = lab.host("inner").on("inner").start();
    let mut options = options(&lab);
    options.timeout = LIMIT;
    let mut config = lab.client().read("/home/me/config-of-test");
    for index in 0..good {
        let address = address_of(&inner, 100 + index);
        inner.run(&format!("ip addr add {address}/24 dev eth0"));
        config +=
            &format!("Host good{index}\n  HostName {address}\n  User ci\n  HostKeyAlias inner\n");
    }
    for index in 0..dead {
        let address = address_of(&inner, 200 + index);
        let neighbour = format!("{address} lladdr 02:ff:ff:ff:ff:ff dev eth1 nud permanent");
        gateway.run(&format!("ip neigh add {neighbour}"));
        config += &format!("Host dead{index}\n  HostName {address}\n  User ci\n");
    }
    lab.client().file("/home/me/config-of-test", &config, 0o600);
    Net { lab, gateway, inner, options }
}

/// An address on the host's network.
fn address_of(host: &Host, number: usize) -> String {
    let IpAddr::V4(own) = host.addresses()[0] else { panic!("{:?}", host.addresses()) };
    let [a, b, c, _] = own.octets();
    format!("{a}.{b}.{c}.{number}")
}

#[track_caller]
fn is_overdue(target: &str, error: &Error) {
    assert_eq!((error.step(), error.kind()), (Some(Step::Connect), ErrorKind::Timeout), "{error}");
    let hop = target.split(',').next_back().unwrap();
    assert!(error.to_string().contains(&format!("{hop}: connect: ")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_hosts_behind_a_gateway_hold_up_no_others() {
    if !Lab::available() {
        return;
    }
    let Net { lab: _lab, gateway, inner, options } = net(30, 4, None);
    let connector = Connector::new(options);
    let mut connecting = JoinSet::new();
    let began = Instant::now();
    let through = |name: String| format!("ssh://gateway,ssh://{name}");
    let dead = (0..4).map(|index| through(format!("dead{index}")));
    let good = (0..30).map(|index| through(format!("good{index}")));
    // Commands on the gateway itself do not wait either.
    let targets = dead.chain(good).chain((0..2).map(|_| "ssh://gateway".to_owned()));
    for target in targets {
        let connector = connector.clone();
        connecting.spawn(async move {
            let parsed: Target = target.parse().unwrap();
            let connected = connector.connect(&parsed).await;
            (target, connected, began.elapsed())
        });
    }
    let (mut clients, mut failed) = (Vec::new(), 0);
    while let Some(done) = within(connecting.join_next()).await {
        let (target, connected, took) = done.unwrap();
        match connected {
            Ok(client) => {
                assert!(!target.contains("dead"), "{target}");
                assert!(took < LIMIT, "{target} took {took:?}");
                clients.push((target, client));
            }
            Err(error) => {
                assert!(target.contains("dead"), "{target}: {error}");
                is_overdue(&target, &error);
                assert!(took < LIMIT * 2, "{target} took {took:?}");
                failed += 1;
            }
        }
    }
    assert_eq!((clients.len(), failed), (32, 4));
    println!("all within {:?}", began.elapsed());
    for (target, client) in &clients {
        let host = if target.contains("good") { &inner } else { &gateway };
        assert_eq!(dump_links(client, Netns::Current).await, links_of(host));
    }
    drop((clients, connector));
    gateway.assert_idle();
    inner.assert_idle();
}

/// The connections made for a burst of tunnels end with it, and one stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_are_made_only_for_as_long_as_they_are_used() {
    if !Lab::available() {
        return;
    }
    let Net { lab: _lab, gateway, inner, options } = net(1, 2, None);
    let connector = Connector::new(options);
    let dead = async |index: usize| {
        let target = format!("ssh://gateway,ssh://dead{index}");
        let error = within(connector.connect(&target.parse().unwrap())).await.unwrap_err();
        is_overdue(&target, &error);
    };
    let good = async {
        // After the dead ones.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let target = "ssh://gateway,ssh://good0".parse().unwrap();
        within(connector.connect(&target)).await.unwrap()
    };
    let ((), (), client) = tokio::join!(dead(0), dead(1), good);
    assert_eq!(dump_links(&client, Netns::Current).await, links_of(&inner));
    let logins = || gateway.sshd_log().matches("Accepted publickey").count();
    let before = logins();
    assert!((2..=4).contains(&before), "{}", gateway.sshd_log());
    // The connection that is left is used again.
    let target = "ssh://gateway".parse().unwrap();
    within(connector.connect(&target)).await.unwrap().close().await;
    assert_eq!(logins(), before);
    client.close().await;
    let connections = || {
        let processes = gateway.processes();
        processes.iter().filter(|process| process.contains("[priv]")).count()
    };
    assert!(wait_up_to(Duration::from_secs(5), || connections() <= 1), "{:?}", gateway.processes());
    assert_eq!(connections(), 1);
    drop(connector);
    gateway.assert_idle();
    inner.assert_idle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_not_asked_for_again_for_more_connections() {
    if !Lab::available() {
        return;
    }
    let Net { lab: _lab, gateway, inner, mut options } = net(1, 1, Some("secret"));
    let (ask, asked) = answers(&["secret", "secret", "secret"]);
    options.prompter = ask;
    options.timeout = Duration::from_secs(3);
    let connector = Connector::new(options);
    let dead = "ssh://gateway,ssh://dead0";
    let good: Target = "ssh://gateway,ssh://good0".parse().unwrap();
    let first = within(connector.connect(&"ssh://gateway".parse().unwrap())).await.unwrap();
    let failing = async {
        is_overdue(dead, &within(connector.connect(&dead.parse().unwrap())).await.unwrap_err());
    };
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        within(connector.connect(&good)).await.unwrap()
    };
    let looking = async {
        // Time for another connection, which would take no question.
        tokio::time::sleep(Duration::from_millis(2200)).await;
        assert_eq!(asked.lock().unwrap().len(), 1);
    };
    let ((), client, ()) = tokio::join!(failing, waiting, looking);
    // The connection that was held up is given up for a new one.
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(dump_links(&client, Netns::Current).await, links_of(&inner));
    assert_eq!(dump_links(&first, Netns::Current).await, links_of(&gateway));
    drop((first, client, connector));
    gateway.assert_idle();
    inner.assert_idle();
}

/// A gateway whose connection is up and delivers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_cut_off_is_connected_to_anew() {
    if !Lab::available() {
        return;
    }
    let Net { lab, gateway, inner, mut options } = net(2, 0, None);
    options.timeout = Duration::from_secs(2);
    options.prompter = Prompter::none();
    let connector = Connector::new(options);
    let good = |index: usize| format!("ssh://gateway,ssh://good{index}").parse::<Target>().unwrap();
    drop(within(connector.connect(&good(0))).await.unwrap());
    gateway.link_down();
    let error = within(connector.connect(&good(1))).await.unwrap_err();
    is_overdue("ssh://good1", &error);
    // The gateway's sshd is killed too, so the old connection cannot recover.
    gateway.kill_sshd();
    gateway.start_sshd();
    gateway.link_up();
    // The kernels' neighbour tables take a while to recover.
    let reaches = |ended: Ended| ended.code() == 0;
    let knock = |address: String| format!("timeout 1 bash -c '</dev/tcp/{address}/22'");
    let near = knock(gateway.addresses()[0].to_string());
    assert!(wait_up_to(LIMIT, || reaches(lab.client().try_run(&near))));
    for index in 0..2 {
        let far = knock(address_of(&inner, 100 + index));
        assert!(wait_up_to(LIMIT, || reaches(gateway.try_run(&far))));
    }
    for index in [1, 0] {
        let client = within(connector.connect(&good(index))).await.unwrap();
        assert_eq!(dump_links(&client, Netns::Current).await, links_of(&inner));
        client.close().await;
    }
    drop(connector);
    gateway.assert_idle();
    inner.kill_sshd();
    inner.assert_idle();
}

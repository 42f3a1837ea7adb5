//! Two hundred hosts at once from one process, good ones and bad ones. A test program of its own: it
//! takes a census of the process.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netlink_remote::{Client, Connector, Error, Netns, Step, Target};
use testing::{
    lab::{Bad, Census, Lab},
    remote::*,
};
use tokio::task::JoinSet;

/// The timeout of each step.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Good,
    BehindTheGateway,
    Refused,
    Silent,
    Changed,
    WrongUser,
    NoSudo,
}

#[test]
fn all_good_ones_answer_and_each_bad_one_has_its_own_error() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let hosts = lab.host("many").on("public").on("inner").start();
    let inner = lab.host("inner").on("inner").start();
    let mut targets = Vec::new();
    for (index, (name, _)) in lab.many(&hosts, 170).into_iter().enumerate() {
        let (kind, target) = match index {
            0..120 => (Kind::Good, format!("ssh://{name}")),
            120..130 => (Kind::BehindTheGateway, format!("ssh://{name},ssh://inner")),
            130..140 => (Kind::BehindTheGateway, "ssh://many,ssh://inner".to_owned()),
            140..150 => {
                lab.misremember(&name);
                (Kind::Changed, format!("ssh://{name}"))
            }
            150..160 => (Kind::WrongUser, format!("ssh://somebody@{name}")),
            _ => (Kind::NoSudo, format!("ssh://{name},sudo:")),
        };
        targets.push((kind, target));
    }
    for index in 0..20 {
        lab.bad(&format!("refused{index}"), Bad::Refused);
        targets.push((Kind::Refused, format!("ssh://refused{index}")));
    }
    for index in 0..10 {
        lab.bad(&format!("silent{index}"), Bad::Silent);
        targets.push((Kind::Silent, format!("ssh://silent{index}")));
    }
    assert_eq!(targets.len(), 200);
    let mut options = options(&lab);
    options.timeout = LIMIT;

    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    };
    // The first runtime opens the descriptors that tokio keeps for signals.
    drop(runtime());
    let before = Census::take();
    let runtime = runtime();
    let began = Instant::now();
    let results = runtime.block_on(async {
        let connector = Connector::new(options);
        let mut connecting = JoinSet::new();
        for (kind, target) in targets {
            let connector = connector.clone();
            connecting.spawn(async move {
                let parsed: Target = target.parse().unwrap();
                let connected = connector.connect(&parsed).await;
                (kind, target, connected, began.elapsed())
            });
        }
        let mut results = BTreeMap::<Kind, usize>::new();
        let mut clients: Vec<Client> = Vec::new();
        while let Some(result) = connecting.join_next().await {
            let (kind, target, connected, took) = result.unwrap();
            match connected {
                Ok(client) => {
                    let good = matches!(kind, Kind::Good | Kind::BehindTheGateway);
                    assert!(good, "{target} should have failed");
                    clients.push(client);
                }
                Err(error) => judge(kind, &target, &error),
            }
            // No target here has more than four steps that may take long.
            assert!(took < LIMIT * 4, "{target} took {took:?}");
            *results.entry(kind).or_default() += 1;
        }
        // All are connected at once, and each works.
        assert_eq!(clients.len(), 140);
        let mut dumps = JoinSet::new();
        for client in clients {
            dumps.spawn(async move {
                assert!(dump_links(&client, Netns::Current).await.contains(&"eth0".to_owned()));
                client.close().await;
            });
        }
        while let Some(done) = dumps.join_next().await {
            done.unwrap();
        }
        results
    });
    println!("{results:?} in {:?}", began.elapsed());
    drop(runtime);
    before.assert_no_more_than_before(Duration::from_secs(5));
    hosts.assert_idle();
    inner.assert_idle();
}

fn judge(kind: Kind, target: &str, error: &Error) {
    let step = error.step();
    let expected = match kind {
        Kind::Good | Kind::BehindTheGateway => panic!("{target}: {error}"),
        Kind::Refused | Kind::Silent => Step::Connect,
        Kind::Changed => Step::HostKey,
        Kind::WrongUser => Step::Authentication,
        Kind::NoSudo => Step::Privilege,
    };
    assert_eq!(step, Some(expected), "{target}: {error}");
    assert!(error.to_string().contains(target), "{target}: {error}");
}

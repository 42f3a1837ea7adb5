//! A program with these stubs reaches a host that has none.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf};

use netlink_remote::{Connector, Target, TargetOptions};
use netlink_remote_stubs::{STUBS, VERSION, all};

/// A shell with a home of its own stands in for a host.
#[tokio::test]
async fn a_host_without_a_stub_is_reached() {
    let home = tempfile::tempdir().unwrap();
    let shell = format!(
        "exec env -i HOME='{}' PATH='{}' sh",
        home.path().display(),
        std::env::var("PATH").unwrap()
    );
    let target = Target::builder().exec(&shell).build().unwrap();
    let connector = Connector::new(TargetOptions::default().with_stubs(all()));
    let client = connector.connect(&target).await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(client.far_software(), format!("netlink-remote {VERSION}"));
    client.close().await;
    // The stub that ran is one of these.
    let cache = home.path().join(".cache/netlink-remote");
    let sent: Vec<PathBuf> =
        fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [sent] = sent.as_slice() else { panic!("{sent:?}") };
    let sent = fs::read(sent).unwrap();
    let stub = STUBS.iter().find(|stub| stub.bytes == sent);
    assert!(stub.unwrap().target.starts_with(std::env::consts::ARCH));
}

#[test]
fn each_architecture_has_one_static_stub() {
    assert!(!STUBS.is_empty() && STUBS.len() == all().len());
    for (index, stub) in STUBS.iter().enumerate() {
        assert!(stub.bytes.starts_with(b"\x7fELF"), "{stub:?}");
        let arch = |target: &'static str| target.split('-').next();
        let alike = STUBS.iter().filter(|other| arch(other.target) == arch(stub.target));
        assert_eq!(alike.count(), 1, "{index}: {stub:?}");
    }
}

//! The examples do what they say.
#![cfg(test)]

use std::{path::PathBuf, process::Command};

/// An example's program, which cargo builds beside this test.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(path.exists(), "build the examples first: cargo build --all-features --examples");
    path
}

fn run(name: &str, arguments: &[&str]) -> String {
    assert!(
        std::env::var_os("NLR_TEST_WORLD").is_some(),
        "these tests create interfaces; run them with `tests/run`"
    );
    let output = Command::new(example(name))
        .args(arguments)
        .env("NLR_STUB", env!("CARGO_BIN_EXE_nlr-stub"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
}

#[test]
fn a_second_netlink_library_runs_on_the_raw_socket() {
    ip("netns add nlr-examples");
    ip("-n nlr-examples link add bindings mtu 1234 type veth peer name peer");
    let listed = run("netlink_bindings", &["local:", "nlr-examples"]);
    ip("netns delete nlr-examples");
    assert!(listed.contains("bindings mtu 1234\n"), "{listed}");
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn links_are_listed_by_rtnetlink() {
    ip("link add nlr-listed type veth peer name nlr-peer");
    let listed = run("links", &["local:"]);
    ip("link delete nlr-listed");
    assert!(listed.contains("nlr-listed"), "{listed}");
}

#[test]
fn a_target_is_gone_to_with_a_stub_that_is_brought_along() {
    ip("link add nlr-remote type veth peer name nlr-peer2");
    let home = tempfile::tempdir().unwrap();
    let target = format!("exec:exec env HOME={} sh", home.path().display());
    let listed = run("remote", &[&target, env!("CARGO_BIN_EXE_nlr-stub")]);
    ip("link delete nlr-remote");
    assert!(listed.contains(" as uid ") && listed.contains(": nlr-remote\n"), "{listed}");
}

//! The programs of `examples/`, run.

#![cfg(test)]

use std::process::Command;

use testing::{finish, namespace::ip, programs, world};

fn run(name: &str, arguments: &[&str]) -> String {
    world::require();
    let mut command = Command::new(programs::example(name));
    command.args(arguments).env("NLR_STUB", programs::stub());
    finish(command).printed()
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
fn a_target_gets_the_stub_that_is_named() {
    ip("link add nlr-remote type veth peer name nlr-peer2");
    let home = tempfile::tempdir().unwrap();
    let target = format!("exec:exec env HOME={} sh", home.path().display());
    let listed = run("remote", &[&target, programs::stub()]);
    ip("link delete nlr-remote");
    assert!(listed.contains(" as uid ") && listed.contains(": nlr-remote\n"), "{listed}");
}

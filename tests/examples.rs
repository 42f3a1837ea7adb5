//! The examples do what they say.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

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

/// Runs a copy of the example whose folder holds nothing else, without the variables that name
/// stubs.
fn own_stub(folder: &Path, arguments: &[&str]) -> Output {
    let program = folder.join("own_stub");
    if !program.exists() {
        fs::copy(example("own_stub"), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.args(arguments).env_remove("NLR_STUB").env_remove("NLR_STUBS");
    command.env("PATH", "/usr/bin:/bin").output().unwrap()
}

#[test]
fn a_program_is_its_own_stub() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shell = format!("exec:exec env HOME={} sh", home.path().display());
    for target in ["local:", &shell] {
        let output = own_stub(folder.path(), &[target]);
        assert!(output.status.success(), "{target}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(" as uid "), "{output:?}");
    }
    let mut sent = fs::read_dir(home.path().join(".cache/netlink-remote")).unwrap();
    let sent = fs::read(sent.next().unwrap().unwrap().path()).unwrap();
    assert!(sent == fs::read(folder.path().join("own_stub")).unwrap());
    // The variable goes before it.
    let mut command = Command::new(folder.path().join("own_stub"));
    let output = command.arg("local:").env("NLR_STUB", "/nowhere/stub").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/stub"), "{output:?}");
}

#[test]
fn a_program_prints_the_version_of_its_stub() {
    let folder = tempfile::tempdir().unwrap();
    let argument = netlink_remote::stub::ARGUMENT;
    let output = own_stub(folder.path(), &[argument, "--version"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = concat!("nlr-stub ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    // Any other command line is the program's own.
    let output = own_stub(folder.path(), &[argument, "--version", "more"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

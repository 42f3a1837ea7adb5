//! The programs of `examples/`, run.

#![cfg(test)]

use std::{fs, path::Path, process::Command};

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

/// A copy of the example in a folder that holds nothing else, without the variables that name
/// stubs.
fn own_stub(folder: &Path, arguments: &[&str]) -> Command {
    let program = folder.join("own_stub");
    if !program.exists() {
        programs::copy(programs::example("own_stub"), &program);
    }
    let mut command = Command::new(program);
    command.args(arguments).env_remove("NLR_STUB").env_remove("NLR_STUBS");
    command.env("PATH", "/usr/bin:/bin");
    command
}

#[test]
fn a_program_is_its_own_stub() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shell = format!("exec:exec env HOME={} sh", home.path().display());
    for target in ["local:", &shell] {
        let printed = finish(own_stub(folder.path(), &[target])).printed();
        assert!(printed.contains(" as uid "), "{target}: {printed}");
    }
    let mut sent = fs::read_dir(home.path().join(".cache/netlink-remote")).unwrap();
    let sent = fs::read(sent.next().unwrap().unwrap().path()).unwrap();
    assert!(sent == fs::read(folder.path().join("own_stub")).unwrap());
    // The variable comes before the program itself.
    let mut command = own_stub(folder.path(), &["local:"]);
    command.env("NLR_STUB", "/nowhere/stub");
    let ended = finish(command);
    assert!(ended.code() != 0 && ended.stderr.contains("/nowhere/stub"), "{ended:?}");
}

#[test]
fn a_program_prints_the_version_of_its_stub() {
    let folder = tempfile::tempdir().unwrap();
    let argument = netlink_remote::stub::ARGUMENT;
    let printed = finish(own_stub(folder.path(), &[argument, "--version"])).printed();
    assert_eq!(printed, concat!("nlr-stub ", env!("CARGO_PKG_VERSION"), "\n"));
    // Any other command line is the program's own.
    let ended = finish(own_stub(folder.path(), &[argument, "--version", "more"]));
    assert_eq!(ended.code(), 1, "{ended:?}");
}

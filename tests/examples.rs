//! The programs of `examples/`, run.

#![cfg(test)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
};

use testing::{Running, finish, namespace::ip, programs, world};

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

/// A program that runs until it is killed, and the lines that it prints.
fn watch(name: &str, argument: &str) -> (Running, impl Iterator<Item = String> + use<>) {
    world::require();
    let mut command = Command::new(programs::example(name));
    command.arg(argument).env("NLR_STUB", programs::stub());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut running = Running::start(command);
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    (running, lines.map(Result::unwrap))
}

#[test]
fn routes_are_watched() {
    let (_running, mut lines) = watch("route_watcher", "local:");
    assert!(lines.any(|line| line.starts_with("= ")));
    ip("route add blackhole 198.51.100.7 table 77");
    assert!(lines.any(|line| line == "+ 198.51.100.7/32 table 77 metric 0"));
    ip("route del blackhole 198.51.100.7 table 77");
    assert!(lines.any(|line| line == "- 198.51.100.7/32 table 77 metric 0"));
}

#[test]
fn links_that_flap_are_told() {
    let inventory = testing::temporary("inventory");
    fs::write(&inventory, "here local:\n").unwrap();
    let (mut running, mut lines) = watch("link_flaps", inventory.to_str().unwrap());
    // It says that it is ready.
    let mut ready = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "here: ready\n");
    ip("link add nlr-flap type veth peer name nlr-flap2");
    ip("link set nlr-flap up");
    for _ in 0..3 {
        ip("link set nlr-flap2 up");
        testing::wait("a carrier", || carrier() == "1");
        ip("link set nlr-flap2 down");
        testing::wait("no carrier", || carrier() == "0");
    }
    ip("link delete nlr-flap");
    let told = lines.next().unwrap();
    assert!(told.starts_with("here: nlr-flap") && told.ends_with(" flaps: 4 changes"), "{told}");
    fs::remove_file(&inventory).unwrap();
}

fn carrier() -> String {
    let text = fs::read_to_string("/sys/class/net/nlr-flap/carrier").unwrap_or_default();
    text.trim().to_owned()
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

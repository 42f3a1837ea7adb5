//! Namespaces that are alike, and a program that runs natively in one and by the tool in the other.

use std::process::Command;

use testing::{Namespace, finish, tool::nlr};

/// A namespace with links whose addresses and indices are given: another one is equal to it.
pub(crate) fn alike() -> Namespace {
    let namespace = Namespace::new();
    namespace.batch(
        "link add v0 address 02:00:00:00:01:00 type veth peer name v1 address 02:00:00:00:01:01
         link add br0 address 02:00:00:00:02:00 type bridge
         link set v0 addrgenmode none
         link set v1 addrgenmode none
         link set v0 up
         link set v1 up
         addr add 10.1.0.1/24 dev v0
         addr add fd00::1/64 dev v0 nodad
         route add 10.50.0.0/16 via 10.1.0.2",
    );
    namespace
}

/// A shell's command line inside a namespace.
pub(crate) fn native(namespace: &Namespace, line: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace.0, "sh", "-c", line]);
    command
}

/// The same line by the tool.
pub(crate) fn by_nlr(target: &str, namespace: &Namespace, line: &str) -> Command {
    nlr(&["run", target, "-n", &namespace.0, "--", "sh", "-c", line])
}

/// What a program printed, and how it ended.
pub(crate) fn outcome(command: Command) -> (String, String, i32) {
    let ended = finish(command);
    let code = ended.code();
    (ended.stdout, ended.stderr, code)
}

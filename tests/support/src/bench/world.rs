//! The world of a benchmark: like a test's, so that it changes nothing of the machine.

use std::{env, os::unix::process::CommandExt, path::Path, process::Command, sync::Once};

use crate::{programs, world};

/// Seconds after which the world is ended.
const LIMIT: &str = "1800";

/// The variable that says which part of this program a process runs.
const ROLE: &str = "NLR_BENCH_ROLE";

/// Starts this program over in a world of its own, unless it is in one.
pub fn enter() {
    if !is_inside() {
        panic!("tests/runner: {}", in_a_world().args(env::args_os().skip(1)).exec());
    }
}

/// Whether this process is in a world.
fn is_inside() -> bool {
    env::var_os("NLR_TEST_WORLD").is_some()
}

/// This program in a world of its own, without arguments.
fn in_a_world() -> Command {
    let mut command = Command::new(programs::repository().join("tests/runner"));
    command.arg(env::current_exe().unwrap()).env("NLR_TEST_TIMEOUT", LIMIT);
    if env::var_os("CRITERION_HOME").is_none() {
        command.env("CRITERION_HOME", programs::target_folder().join("criterion"));
    }
    command
}

/// Whether sshd can run here, which takes real root; prints the reason if not.
pub fn has_ssh() -> bool {
    let why = if world::is_user() {
        "sshd takes real root"
    } else if !Path::new("/usr/sbin/sshd").exists() {
        "there is no sshd"
    } else {
        return true;
    };
    static PRINTED: Once = Once::new();
    PRINTED.call_once(|| eprintln!("not measured over ssh: {why}"));
    false
}

/// This program in another role, in this world.
pub fn in_role(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

/// This program in another role and a world of its own, unless this process is in one; with the
/// arguments of this process.
pub fn in_role_and_world(role: &str) -> Command {
    let mut command = if is_inside() { in_role(role) } else { in_a_world() };
    command.env(ROLE, role).args(env::args_os().skip(1));
    command
}

/// The role of this process. `None` for the program that the user started.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Whether criterion measures. Otherwise it runs each function once, as a test.
pub fn is_measured() -> bool {
    env::args().any(|argument| argument == "--bench")
}

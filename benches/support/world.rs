//! Where a benchmark runs: in a world of its own, so that it touches nothing of the machine.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Once,
};

/// Seconds after which the world is ended, whatever still runs in it.
const LIMIT: &str = "1800";

/// Starts this program over in a world of its own, unless it is in one.
pub fn enter() {
    if env::var_os("NLR_TEST_WORLD").is_some() {
        return;
    }
    let program = env::current_exe().unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runner"));
    command.arg(&program).args(env::args_os().skip(1)).env("NLR_TEST_TIMEOUT", LIMIT);
    if env::var_os("CRITERION_HOME").is_none() {
        command.env("CRITERION_HOME", target_folder(&program).join("criterion"));
    }
    panic!("tests/runner: {}", command.exec());
}

/// cargo's: of `target/release/deps/program`.
pub fn target_folder(program: &Path) -> PathBuf {
    program.ancestors().nth(3).unwrap().to_owned()
}

/// Whether this world is without privileges outside its user namespace.
pub fn is_users() -> bool {
    env::var("NLR_TEST_WORLD").is_ok_and(|world| world == "user")
}

/// Whether sshd can be run here, which takes real root; says so if not.
pub fn has_ssh() -> bool {
    let why = if is_users() {
        "sshd takes real root"
    } else if !Path::new("/usr/sbin/sshd").exists() {
        "there is no sshd"
    } else {
        return true;
    };
    static SAID: Once = Once::new();
    SAID.call_once(|| eprintln!("not measured over ssh: {why}"));
    false
}

/// This program in another role, which [`role`] tells it.
pub fn in_role(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

/// The role this process was started in, unless it is the benchmark itself.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

const ROLE: &str = "NLR_BENCH_ROLE";

/// Whether the criterion arguments of this run ask for measuring; otherwise it is a test that each
/// benchmark runs.
pub fn is_measured() -> bool {
    env::args().any(|argument| argument == "--bench")
}

/// A child that is ended when nobody needs it any more.
pub struct Helper(pub Child);

impl Helper {
    pub fn spawn(mut command: Command) -> Self {
        Self(command.stderr(Stdio::inherit()).spawn().unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

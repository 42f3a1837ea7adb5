//! A machine, host or client: a root folder and a host name of its own, kept by one process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Ended, command::succeed, finish, programs};

/// The PATH of programs on a machine, which get nothing of the environment outside.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A root folder, gone when dropped.
pub struct Machine {
    kind: Kind,
    /// On a host it waits for process 1, on the client it keeps the mounts itself.
    keeper: Child,
    pid: u32,
}

/// The settings of a machine before anything runs on it.
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    /// Programs to leave out.
    pub(super) without: &'a str,
    /// "busybox" leaves out every program but busybox and sudo.
    pub(super) only: &'a str,
    pub(super) key_types: &'a str,
}

/// A user of a machine.
pub(super) struct Account {
    pub(super) name: &'static str,
    pub(super) id: u32,
    pub(super) home: &'static str,
}

/// Root of any machine.
pub(super) const ROOT: Account = Account { name: "root", id: 0, home: "/root" };

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// With network and pid namespaces of its own.
    Host,
    /// With the namespaces of the test, and the folder of the tool.
    Client,
}

impl Machine {
    pub(super) fn start(kind: Kind, parts: &Parts<'_>) -> Self {
        let (word, more): (_, &[&str]) = match kind {
            Kind::Host => ("host", &["--net", "--ipc", "--pid", "--fork", "--kill-child"]),
            Kind::Client => ("client", &[]),
        };
        let tool = programs::folder();
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--uts"])
            .args(more)
            .args(["bash", "-c", include_str!("host.sh"), "host.sh", word, parts.name])
            .arg(tool)
            .args([parts.without, parts.only, parts.key_types])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            let _ = keeper.kill();
            let mut said = String::new();
            keeper.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            keeper.wait().unwrap();
            panic!("{}: no machine: {said}", parts.name);
        }
        let pid = match kind {
            Kind::Client => keeper.id(),
            Kind::Host => {
                let path = format!("/proc/{0}/task/{0}/children", keeper.id());
                fs::read_to_string(path).unwrap().trim().parse().unwrap()
            }
        };
        Self { kind, keeper, pid }
    }

    /// Process 1, as seen from outside.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A program as a user, in the home folder. On a host, the pid of the command is that of a
    /// parent of the program.
    pub(super) fn command_as(&self, user: &Account, program: &str) -> Command {
        let Account { name, id, home } = user;
        let mut command = self.enter();
        command.env("HOME", home).env("USER", name).env("LOGNAME", name);
        // A host may have no setpriv but busybox's, which cannot do this; root needs none.
        if *id == 0 {
            command.arg(program);
            return command;
        }
        command.args(["setpriv", &format!("--reuid={id}"), &format!("--regid={id}")]);
        command.args(["--clear-groups", "--", "env", &format!("--chdir={home}"), program]);
        command
    }

    /// Runs a shell's command as a user; it must succeed.
    #[track_caller]
    pub(super) fn run_as(&self, user: &Account, script: &str) -> String {
        succeed(self.shell_as(user, script), "")
    }

    /// Runs a shell's command as a user.
    #[track_caller]
    pub(super) fn try_run_as(&self, user: &Account, script: &str) -> Ended {
        finish(self.shell_as(user, script))
    }

    fn shell_as(&self, user: &Account, script: &str) -> Command {
        let mut command = self.command_as(user, "sh");
        command.args(["-c", script]);
        command
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").env("TERM", "xterm");
        command.args(["--target", &self.pid.to_string(), "--mount", "--uts"]);
        if self.kind == Kind::Host {
            command.args(["--net", "--ipc", "--pid"]);
        }
        command.arg("--");
        command
    }

    /// `ip` on the network of a host, whether or not the host has one.
    pub(super) fn ip(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--net", "--", "ip"]);
        command
    }

    /// The path of a file for processes outside, such as the test.
    pub fn outside(&self, path: &str) -> PathBuf {
        assert!(path.starts_with('/'), "{path} is no place on a host");
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// Writes a file, and creates the folders above it with the same owner.
    pub(super) fn file(&self, path: &str, content: &str, mode: u32, owner: u32) {
        let outside = self.outside(path);
        let folder = outside.parent().unwrap();
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let missing = missing.map(Path::to_owned).collect::<Vec<_>>();
        fs::create_dir_all(folder).unwrap();
        missing.iter().for_each(|folder| chown(folder, Some(owner), Some(owner)).unwrap());
        match mode & 0o111 {
            0 => fs::write(&outside, content).unwrap(),
            _ => programs::write(&outside, content),
        }
        fs::set_permissions(&outside, fs::Permissions::from_mode(mode)).unwrap();
        chown(&outside, Some(owner), Some(owner)).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        let text = fs::read(self.outside(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel ends all processes of a host before it reports the end of process 1.
        let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
        let _ = self.keeper.wait();
    }
}

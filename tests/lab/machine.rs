//! What hosts and the client have in common: a root folder and a name of their own, kept by one
//! process.

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

/// Programs on a machine have this for their environment, and nothing of the one outside.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A root folder that is there as long as this is.
pub(crate) struct Machine {
    kind: Kind,
    /// On a host it waits for process 1, on the client it is the one that keeps the mounts.
    keeper: Child,
    pid: u32,
}

/// What differs from one machine to the next before anything runs there.
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    /// Programs to leave out.
    pub(super) without: &'a str,
    pub(super) only: &'a str,
    pub(super) key_types: &'a str,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// With a network and processes of its own.
    Host,
    /// With those of the test, and the tool.
    Client,
}

impl Machine {
    pub(super) fn start(kind: Kind, parts: &Parts<'_>) -> Self {
        let (word, more): (_, &[&str]) = match kind {
            Kind::Host => ("host", &["--net", "--ipc", "--pid", "--fork", "--kill-child"]),
            Kind::Client => ("client", &[]),
        };
        let tool = Path::new(env!("CARGO_BIN_EXE_nlr")).parent().unwrap();
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

    /// A program as root. On a host, what it gives for its pid is that of a parent of the program.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.enter();
        command.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root");
        command.arg(program);
        command
    }

    /// A program as a user, in the home folder.
    pub(super) fn command_as(&self, user: &str, id: u32, program: &str) -> Command {
        let home = format!("/home/{user}");
        let mut command = self.enter();
        command.env("HOME", &home).env("USER", user).env("LOGNAME", user);
        command.args(["setpriv", &format!("--reuid={id}"), &format!("--regid={id}")]);
        command.args(["--clear-groups", "--", "env", &format!("--chdir={home}"), program]);
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

    /// Where a file is for those outside, such as the test itself.
    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        assert!(path.starts_with('/'), "{path} is no place on a host");
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    pub(super) fn file(&self, path: &str, content: &str, mode: u32, owner: u32) {
        let outside = self.outside(path);
        let folder = outside.parent().unwrap();
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let missing = missing.map(Path::to_owned).collect::<Vec<_>>();
        fs::create_dir_all(folder).unwrap();
        missing.iter().for_each(|folder| chown(folder, Some(owner), Some(owner)).unwrap());
        fs::write(&outside, content).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(mode)).unwrap();
        chown(&outside, Some(owner), Some(owner)).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let text = fs::read(self.outside(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All processes of a host end with its first, before that counts as ended.
        let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
        let _ = self.keeper.wait();
    }
}

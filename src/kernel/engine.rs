//! The programs of container engines, which are asked for a process of a container.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::Command,
};

use nix::errno::Errno;

use super::{
    cancel::Cancel,
    failure::{explained, failure},
    subprocess::{last_line, run},
};
use crate::{
    limits::stub::ENGINE_PATIENCE,
    wire::{ContainerEngine, Failure, Netns},
};

/// Folders that are searched for engines besides PATH, which is short where sshd starts a stub.
const ALSO: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/sbin"];

/// The format of the engine's answer.
const FORMAT: &str = "{{.State.Pid}} {{.Id}}";

/// A container that the engine says is running.
pub(super) struct Container {
    pub(super) pid: u32,
    id: String,
}

impl fmt::Display for Container {
    /// As [`FORMAT`] has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.id)
    }
}

impl Container {
    /// Whether the process is one of this container: both engines name a container's control groups,
    /// and the files that they mount into it, after its id.
    pub(super) fn has_process(&self) -> bool {
        ["cgroup", "mountinfo"].into_iter().any(|file| {
            let text = fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&self.id)
        })
    }

    pub(super) fn gone(&self, netns: &Netns) -> Failure {
        let text = format!(
            "{netns}: process {} does not belong to the container on the stub's host: the container has \
             just ended, or the engine runs on another host",
            self.pid
        );
        explained(Errno::ESRCH, text)
    }
}

/// Asks the engine.
pub(super) fn inspect(
    engine: ContainerEngine,
    name: &str,
    netns: &Netns,
    cancel: &Cancel,
) -> Result<Container, Failure> {
    let program = engine.program();
    let Some((path, search)) = find(program) else {
        let also = ALSO.join(", ");
        let text = format!(
            "{netns}: {program} is not installed on the stub's host: it is neither in PATH nor in \
             {also}"
        );
        return Err(explained(Errno::ENOENT, text));
    };
    let mut command = Command::new(&path);
    command.args(["inspect", "--type", "container", "--format", FORMAT, name]);
    command.env("LC_ALL", "C").env("PATH", search);
    let answer = match run(command, ENGINE_PATIENCE, cancel) {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            let text = format!(
                "{netns}: {program} did not answer within {} s; try `{program} ps` on that host",
                ENGINE_PATIENCE.as_secs()
            );
            return Err(explained(Errno::ETIMEDOUT, text));
        }
        Err(errno) => {
            let path = path.display();
            return Err(failure(errno, format_args!("{netns}: running {path}")));
        }
    };
    if !answer.status.success() {
        let said = match (last_line(&answer.stderr), answer.status.signal()) {
            (said, _) if !said.is_empty() => said,
            (_, Some(signal)) => format!("ended by signal {signal}"),
            (_, None) => format!("exit code {}", answer.status.code().unwrap_or_default()),
        };
        let errno = errno_of_message(&said);
        let remedy = match (errno, engine) {
            (Errno::ENOENT, ContainerEngine::Docker) => "; `docker ps --all` lists all containers",
            (Errno::ENOENT, ContainerEngine::Podman) => {
                "; `podman ps --all` lists the containers of its user"
            }
            _ => "",
        };
        return Err(explained(errno, format!("{netns}: {program} inspect: {said}{remedy}")));
    }
    let said = last_line(&answer.stdout);
    match parse(&said) {
        Some(container) if container.pid == 0 => {
            let text = format!("{netns} is not running; `{program} start {name}` starts it");
            Err(explained(Errno::ESRCH, text))
        }
        Some(container) => Ok(container),
        None => {
            let text = format!("{netns}: {program} inspect gave no process, but {said:?}");
            Err(explained(Errno::EIO, text))
        }
    }
}

/// Parses an answer of [`FORMAT`]. A container that does not run has process 0, or none.
pub(super) fn parse(said: &str) -> Option<Container> {
    let (pid, id) = said.rsplit_once(' ').unwrap_or(("", said));
    let pid = if pid.trim().is_empty() { 0 } else { pid.trim().parse().ok()? };
    let whole = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| Container { pid, id: id.to_owned() })
}

/// The errno that an engine's error message means.
fn errno_of_message(said: &str) -> Errno {
    let said = said.to_ascii_lowercase();
    let table = [
        ("no such container", Errno::ENOENT),
        ("no such object", Errno::ENOENT),
        ("permission denied", Errno::EACCES),
        ("operation not permitted", Errno::EPERM),
        ("cannot connect to", Errno::ECONNREFUSED),
        ("connection refused", Errno::ECONNREFUSED),
    ];
    let found = table.into_iter().find(|(words, _)| said.contains(words));
    found.map_or(Errno::EIO, |(_, errno)| errno)
}

/// The path of a program, and the folders that were searched, as a PATH for the program's own
/// helpers. Folders relative to the working directory are not searched.
fn find(program: &str) -> Option<(PathBuf, OsString)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let also = ALSO.into_iter().map(PathBuf::from);
    let folders: Vec<_> =
        env::split_paths(&path).chain(also).filter(|folder| folder.is_absolute()).collect();
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let found = folders.iter().map(|folder| folder.join(program)).find(is_program)?;
    Some((found, env::join_paths(&folders).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3bc9e195d518e27b45586ba049f75ddb3a38c5adbf6634eae107f662ca8e97fa";

    #[test]
    fn an_answer_is_a_process_and_an_id() {
        let parsed = |said: String| parse(&said).map(|container| (container.pid, container.id));
        assert_eq!(parsed(format!("4242 {ID}")), Some((4242, ID.to_owned())));
        assert_eq!(parsed(format!("0 {ID}")), Some((0, ID.to_owned())));
        assert_eq!(parsed(ID.to_owned()), Some((0, ID.to_owned())));
        for wrong in ["", "4242", "4242 web", "-1 {ID}", "x {ID}", "4294967296 {ID}"] {
            assert_eq!(parsed(wrong.replace("{ID}", ID)), None, "{wrong}");
        }
    }

    #[test]
    fn complaints_come_to_an_errno() {
        for (said, errno) in [
            ("Error response from daemon: No such container: web", Errno::ENOENT),
            ("Error: No such object: web", Errno::ENOENT),
            ("Error: inspecting object: no such container web", Errno::ENOENT),
            ("Got permission denied while trying to connect to the Docker daemon", Errno::EACCES),
            ("Cannot connect to the Docker daemon at unix:///x.sock.", Errno::ECONNREFUSED),
            ("something else", Errno::EIO),
        ] {
            assert_eq!(errno_of_message(said), errno, "{said}");
        }
    }
}

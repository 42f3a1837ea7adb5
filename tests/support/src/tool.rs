//! The tool `nlr`: runs of it, servers, the JSON it prints, and links for it to show.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Ended, Namespace, Running, finish, programs, temporary, world};

/// The tool, not run yet.
pub fn nlr(arguments: &[&str]) -> Command {
    world::require();
    let mut command = Command::new(programs::nlr());
    command.args(arguments);
    for variable in ["NLR_STUB", "NLR_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the tool with words for arguments.
#[track_caller]
pub fn nlr_words(words: &str) -> Ended {
    finish(nlr(&words.split_whitespace().collect::<Vec<_>>()))
}

/// The links of most tests: a veth with its peer here, one with its peer in another namespace, a
/// bridge with a port, a macvlan.
pub fn links(namespace: &Namespace, other: &Namespace) {
    namespace.batch(&format!(
        "link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02
         link add far0 type veth peer name far1 netns {}
         link add br0 type bridge
         link add p0 type veth peer name p1
         link set p0 master br0
         link add mv0 link v0 type macvlan mode bridge
         link set v0 up
         link set v1 up mtu 1400
         link set far0 up
         link set br0 up
         link set p0 up
         link set p1 up
         link set mv0 up",
        other.0
    ));
}

/// An `nlr serve`, ended by SIGTERM when dropped.
pub struct Server {
    running: Option<Running>,
    /// Its socket.
    pub path: PathBuf,
}

impl Server {
    /// Starts one on a socket of its own, and waits until it listens.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at(temporary("serve"), options)
    }

    /// Starts one on this socket, and waits until it listens.
    pub fn start_at(path: PathBuf, options: &[&str]) -> Self {
        let mut command = nlr(&["serve", &target(&path)]);
        command.args(options);
        Self::start_command(path, command)
    }

    /// Starts one by a command of one's own, such as with another environment.
    pub fn start_command(path: PathBuf, command: Command) -> Self {
        let mut running = Running::start(command);
        // The first line of its log comes once it listens.
        let mut line = Vec::new();
        let mut byte = [0];
        let stderr = running.0.stderr.as_mut().unwrap();
        while byte != [b'\n'] {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "nlr serve ended");
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains("listening"), "{line}");
        Self { running: Some(running), path }
    }

    /// The target that leads to it.
    pub fn target(&self) -> String {
        target(&self.path)
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.0.id())
    }

    /// Ends it by a signal while nobody reads its log, which comes afterwards.
    #[track_caller]
    pub fn stop_unread(mut self, signal: Signal) -> Ended {
        let mut running = self.running.take().unwrap();
        running.signal(signal);
        running.wait();
        running.end()
    }

    /// Ends it by a signal, and gives its log.
    pub fn stop(mut self, signal: Signal) -> Ended {
        let running = self.running.take().unwrap();
        running.signal(signal);
        running.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::SIGTERM);
            running.end();
        }
    }
}

fn target(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// The elements of a JSON array. An empty text is an empty array, as in the output of `ip`.
pub fn elements(text: &str) -> Vec<Value> {
    serde_json::from_str(if text.trim().is_empty() { "[]" } else { text })
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Parses each line as JSON.
pub fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Keys that `ip` 6.15 does not show: of attributes that are younger than it, and that no `ip` shows.
const BEYOND: [&str; 18] = [
    "actor_port_prio",
    "broadcast_neighbor",
    "churn_actor_state",
    "churn_partner_state",
    "fdb_local_vlan_0",
    "headroom",
    "lacp_strict",
    "lock",
    "mcast_eht_hosts_cnt",
    "mcast_eht_hosts_limit",
    "mcast_max_groups",
    "mcast_n_groups",
    "mdb_offload_fail_notification",
    "mrp_in_open",
    "mrp_ring_open",
    "netns-immutable",
    "stp_mode",
    "tailroom",
];

/// What the tool prints, without the keys that `ip` does not show.
pub fn as_ip_shows(mut list: Vec<Value>) -> Vec<Value> {
    fn cut(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| !BEYOND.contains(&key.as_str()));
                fields.values_mut().for_each(cut);
            }
            Value::Array(list) => list.iter_mut().for_each(cut),
            _ => {}
        }
    }
    list.iter_mut().for_each(cut);
    list
}

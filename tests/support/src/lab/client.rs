//! The machine of an ordinary user who runs the tool and `ssh`.

use std::{
    ops::Deref,
    process::{Command, Stdio},
};

use super::{
    Entry, hosts_file, known_hosts,
    machine::{Account, Kind, Machine, Parts},
};
use crate::{Ended, Running, wait};

/// The user of the client.
const ME: Account = Account { name: "me", id: 1000, home: "/home/me" };

/// The user's private key.
pub(super) const KEY: &str = "/home/me/.ssh/id_ed25519";

/// The client: its user `me` has a key and knows the names and keys of the hosts. It shares the
/// network and pid namespaces of the test.
pub struct Client {
    machine: Machine,
    key: String,
}

impl Client {
    pub(super) fn start(lab: u32) -> Self {
        let name = format!("client{lab}");
        let parts = Parts { name: &name, without: "", only: "", key_types: "" };
        let machine = Machine::start(Kind::Client, &parts);
        let users = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/bash\n";
        machine.file("/etc/passwd", users, 0o644, 0);
        machine.file("/etc/group", "root:x:0:\ntty:x:5:\nme:x:1000:\n", 0o644, 0);
        machine.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644, 0);
        machine.file("/home/me/.ssh/config", "", 0o600, ME.id);
        let mut client = Self { machine, key: String::new() };
        client.run(&format!("chmod 700 ~/.ssh; ssh-keygen -q -t ed25519 -N '' -C {name} -f {KEY}"));
        client.key = client.read(&format!("{KEY}.pub"));
        client
    }

    /// A program as the user, in the home folder, without arguments. The pid of the command is that
    /// of the program.
    pub fn command(&self, program: &str) -> Command {
        self.machine.command_as(&ME, program)
    }

    /// Runs a shell's command as the user; it must succeed.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.machine.run_as(&ME, script)
    }

    /// Runs a shell's command as the user.
    #[track_caller]
    pub fn try_run(&self, script: &str) -> Ended {
        self.machine.try_run_as(&ME, script)
    }

    /// The user's public key, one line.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Writes a file of the user's. The lab rewrites `.ssh/config`, `.ssh/known_hosts` and
    /// /etc/hosts with each host that it starts.
    pub fn file(&self, path: &str, content: &str, mode: u32) {
        self.machine.file(path, content, mode, ME.id);
    }

    pub(super) fn publish(&self, entries: &[Entry]) {
        let machine = &self.machine;
        machine.file("/etc/hosts", &hosts_file("client", entries.iter()), 0o644, 0);
        // The client's own key is valid, and no host's.
        let known = known_hosts(&self.key, entries.iter());
        machine.file("/home/me/.ssh/known_hosts", &known, 0o600, ME.id);
        let mut config = String::new();
        for Entry { name, addresses, port, .. } in entries {
            config += &format!("Host {name}\n  HostName {}\n", addresses[0]);
            config += &format!("  Port {port}\n  User ci\n");
        }
        machine.file("/home/me/.ssh/config", &config, 0o600, ME.id);
    }
}

impl Deref for Client {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

/// An ssh-agent on the client, ended when dropped.
pub struct Agent<'a> {
    _running: Running,
    socket: String,
    client: &'a Client,
}

impl<'a> Agent<'a> {
    pub(super) fn start(client: &'a Client) -> Self {
        let socket = "/home/me/agent".to_owned();
        let mut command = client.command("ssh-agent");
        command.args(["-D", "-a", &socket]).stdin(Stdio::null()).stdout(Stdio::null());
        let agent = Self { _running: Running(command.spawn().unwrap()), socket, client };
        let place = client.outside(&agent.socket);
        wait("the agent to listen", || place.exists());
        agent.client.run(&format!("SSH_AUTH_SOCK={} ssh-add -q {KEY}", agent.socket));
        agent
    }

    /// Its socket, for SSH_AUTH_SOCK.
    pub fn socket(&self) -> &str {
        &self.socket
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.client.outside(&self.socket));
    }
}

//! The machine that the tool and `ssh` run on, as an ordinary user.

use std::{
    ops::Deref,
    process::{Child, Command, Stdio},
};

use super::{
    Ended, Entry, PATIENCE, finish, hosts_file, known_hosts,
    machine::{Kind, Machine, Parts},
    wait_up_to,
};

/// The user of the client.
pub(super) const USER: &str = "me";
pub(super) const ID: u32 = 1000;
pub(super) const KEY: &str = "/home/me/.ssh/id_ed25519";

/// Where the tool and `ssh` run: the user `me`, with a key and the hosts' names and keys, on the
/// network of the test. Its processes are among those of the test, so its pids are the real ones.
pub(crate) struct Client {
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
        machine.file("/home/me/.ssh/config", "", 0o600, ID);
        let mut client = Self { machine, key: String::new() };
        client.run(&format!("chmod 700 ~/.ssh; ssh-keygen -q -t ed25519 -N '' -C {name} -f {KEY}"));
        client.key = client.read(&format!("{KEY}.pub"));
        client
    }

    /// A program as the user, in the home folder; to be given arguments, and more environment
    /// where a test needs it. The pid of what it starts is that of the program.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.machine.command_as(USER, ID, program)
    }

    /// Runs a shell's command as the user; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let ended = self.try_run(script);
        assert_eq!(ended.code, 0, "{script}: {ended:?}");
        ended.stdout
    }

    /// Runs a shell's command as the user.
    #[track_caller]
    pub(crate) fn try_run(&self, script: &str) -> Ended {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        finish(command)
    }

    /// The user's public key, one line.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Writes a file that the user owns. The lab writes `.ssh/config`, `.ssh/known_hosts` and
    /// /etc/hosts anew with each host that it starts.
    pub(crate) fn file(&self, path: &str, content: &str, mode: u32) {
        self.machine.file(path, content, mode, ID);
    }

    pub(super) fn publish(&self, entries: &[Entry]) {
        let machine = &self.machine;
        machine.file("/etc/hosts", &hosts_file("client", entries.iter()), 0o644, 0);
        // A valid key, but of no host.
        let known = known_hosts(&self.key, entries.iter());
        machine.file("/home/me/.ssh/known_hosts", &known, 0o600, ID);
        let mut config = String::new();
        for Entry { name, addresses, port, .. } in entries {
            config += &format!("Host {name}\n  HostName {}\n", addresses[0]);
            config += &format!("  Port {port}\n  User ci\n");
        }
        machine.file("/home/me/.ssh/config", &config, 0o600, ID);
    }
}

impl Deref for Client {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

/// An ssh-agent on the client; ended when dropped.
pub(crate) struct Agent<'a> {
    child: Child,
    socket: String,
    client: &'a Client,
}

impl<'a> Agent<'a> {
    pub(super) fn start(client: &'a Client) -> Self {
        let socket = "/home/me/agent".to_owned();
        let mut command = client.command("ssh-agent");
        command.args(["-D", "-a", &socket]).stdin(Stdio::null()).stdout(Stdio::null());
        let agent = Self { child: command.spawn().unwrap(), socket, client };
        let place = client.outside(&agent.socket);
        assert!(wait_up_to(PATIENCE, || place.exists()), "the agent does not listen");
        agent.client.run(&format!("SSH_AUTH_SOCK={} ssh-add -q {KEY}", agent.socket));
        agent
    }

    /// For SSH_AUTH_SOCK.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.client.outside(&self.socket));
    }
}

//! A host of the lab.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    ops::Deref,
    process::Command,
    sync::{Arc, Weak},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Entry, Inner, PUBLIC, Trust, batch,
    client::KEY,
    hosts_file, known_hosts,
    machine::{Account, Kind, Machine, Parts, ROOT},
};
use crate::{Ended, PATIENCE, command::succeed, wait_up_to};

/// The user of every host.
const CI: Account = Account { name: "ci", id: 1000, home: "/home/ci" };

/// The PAM rules of sshd, sudo, su and doas, without the delay after a wrong password.
const PAM: &str = "\
auth required pam_unix.so nodelay
account required pam_unix.so
password required pam_unix.so yescrypt
session required pam_limits.so
session required pam_env.so
session required pam_unix.so
";

const SUDOERS: &str = "\
Defaults env_reset
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
root ALL=(ALL:ALL) ALL
";

/// Debian's settings, but for those that take time or refuse many connections at once.
const SSHD: &str = "\
PidFile /run/sshd.pid
UsePAM yes
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 2000
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
";

/// A host to be started.
pub struct HostBuilder {
    lab: Arc<Inner>,
    name: String,
    networks: Vec<String>,
    shell: String,
    password: Option<String>,
    root_password: Option<String>,
    sudoers: String,
    doas: Option<String>,
    sshd: Option<String>,
    without: String,
    only: String,
    key_types: String,
    has_key: bool,
}

impl HostBuilder {
    pub(super) fn new(lab: &Arc<Inner>, name: &str) -> Self {
        Self {
            lab: Arc::clone(lab),
            name: name.to_owned(),
            networks: Vec::new(),
            shell: "bash".to_owned(),
            password: None,
            root_password: None,
            sudoers: String::new(),
            doas: None,
            sshd: Some(String::new()),
            without: String::new(),
            only: String::new(),
            key_types: "ed25519".to_owned(),
            has_key: false,
        }
    }

    /// Adds a link to a network; a host without any is on "public", with the client.
    pub fn on(mut self, network: &str) -> Self {
        self.networks.push(network.to_owned());
        self
    }

    /// The login shell of `ci`: sh, bash, dash, tcsh, fish, or ash, which is busybox's.
    pub fn shell(mut self, name: &str) -> Self {
        name.clone_into(&mut self.shell);
        self
    }

    /// The password of `ci`, none by default.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The password of root, for `su`; none by default.
    pub fn root_password(mut self, password: &str) -> Self {
        self.root_password = Some(password.to_owned());
        self
    }

    /// Lines of /etc/sudoers, after the line for root.
    pub fn sudoers(mut self, lines: &str) -> Self {
        self.sudoers += &format!("{lines}\n");
        self
    }

    /// The text of /etc/doas.conf, without which doas refuses everybody.
    pub fn doas(mut self, text: &str) -> Self {
        self.doas = Some(format!("{text}\n"));
        self
    }

    /// Lines of sshd_config, first and so in place of the default ones.
    pub fn sshd(mut self, lines: &str) -> Self {
        self.sshd = Some(format!("{lines}\n"));
        self
    }

    /// Starts no sshd: connections are refused.
    pub fn without_sshd(mut self) -> Self {
        self.sshd = None;
        self
    }

    /// Leaves out sudo.
    pub fn without_sudo(self) -> Self {
        self.without("sudo")
    }

    /// Leaves out a program of /usr/bin.
    pub fn without(mut self, program: &str) -> Self {
        self.without += &format!(" {program}");
        self
    }

    /// Leaves out every program of /usr/bin but busybox, under all its names, and sudo.
    pub fn only_busybox(mut self) -> Self {
        "busybox".clone_into(&mut self.only);
        "ash".clone_into(&mut self.shell);
        self
    }

    /// The types of its host keys, "ed25519" by default.
    pub fn key_types(mut self, types: &str) -> Self {
        types.clone_into(&mut self.key_types);
        self
    }

    /// Gives its `ci` the client's private key, for other hosts.
    pub fn with_key(mut self) -> Self {
        self.has_key = true;
        self
    }

    /// Starts the host, and waits until its sshd listens.
    pub fn start(mut self) -> Host {
        if self.networks.is_empty() {
            self.networks.push(PUBLIC.to_owned());
        }
        let parts = Parts {
            name: &self.name,
            without: &self.without,
            only: &self.only,
            key_types: &self.key_types,
        };
        let machine = Arc::new(Machine::start(Kind::Host, &parts));
        self.furnish(&machine);
        let (addresses, links) = self.connect(&machine);
        let types = self.key_types.split_whitespace();
        let key = |kind: &str| machine.read(&format!("/etc/ssh/ssh_host_{kind}_key.pub"));
        let keys = types.map(key).collect::<Vec<_>>();
        let entry = Entry {
            name: self.name.clone(),
            addresses: addresses.clone(),
            networks: self.networks.clone(),
            port: 22,
            keys: keys.clone(),
            trust: Trust::Right,
        };
        let known = Known {
            name: self.name.clone(),
            networks: self.networks.clone(),
            machine: Arc::downgrade(&machine),
        };
        {
            let mut state = self.lab.state.lock().unwrap();
            state.started.retain(|known| known.machine.strong_count() > 0);
            state.started.push(known);
        }
        self.lab.register(entry);
        let with_sshd = self.sshd.is_some();
        let (lab, name) = (self.lab, self.name);
        let host = Host { machine, name, addresses, links, keys, _lab: lab };
        if with_sshd {
            host.start_sshd();
        }
        host
    }

    fn furnish(&self, machine: &Machine) {
        let root = |path: &str, text: &str, mode| machine.file(path, text, mode, 0);
        let shell = shell_path(&self.shell);
        let users = format!(
            "root:x:0:0:root:/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
             ci:x:1000:1000::/home/ci:{shell}\n"
        );
        root("/etc/passwd", &users, 0o644);
        let groups = "root:x:0:\ntty:x:5:\nsudo:x:27:\nshadow:x:42:\nutmp:x:43:\n";
        root("/etc/group", &format!("{groups}ci:x:1000:\nnogroup:x:65534:\n"), 0o644);
        let hashed = |password: &Option<String>| match password {
            Some(password) => hash(password),
            None => "*".to_owned(),
        };
        let (ours, roots) = (hashed(&self.password), hashed(&self.root_password));
        let shadow = format!(
            "root:{roots}:20000:0:99999:7:::\nsshd:!:20000::::::\nci:{ours}:20000:0:99999:7:::\n"
        );
        root("/etc/shadow", &shadow, 0o600);
        root("/etc/shells", &format!("/bin/sh\n{shell}\n"), 0o644);
        let switch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n";
        root("/etc/nsswitch.conf", switch, 0o644);
        root("/etc/hostname", &format!("{}\n", self.name), 0o644);
        root("/etc/environment", "", 0o644);
        for service in ["sudo", "sudo-i", "doas", "other"] {
            root(&format!("/etc/pam.d/{service}"), PAM, 0o644);
        }
        root("/etc/pam.d/sshd", &format!("account required pam_nologin.so\n{PAM}"), 0o644);
        for service in ["su", "su-l"] {
            let text = format!("auth sufficient pam_rootok.so\n{PAM}");
            root(&format!("/etc/pam.d/{service}"), &text, 0o644);
        }
        root("/etc/sudoers", &format!("{SUDOERS}{}", self.sudoers), 0o440);
        if let Some(text) = &self.doas {
            root("/etc/doas.conf", text, 0o600);
        }
        if let Some(lines) = &self.sshd {
            let types = self.key_types.split_whitespace();
            let keys = types.map(|kind| format!("HostKey /etc/ssh/ssh_host_{kind}_key\n"));
            let keys = keys.collect::<String>();
            root("/etc/ssh/sshd_config", &format!("{lines}{SSHD}{keys}"), 0o644);
        }
        let key = self.lab.client.key();
        machine.file("/home/ci/.ssh/authorized_keys", key, 0o600, CI.id);
        root("/root/.ssh/authorized_keys", key, 0o600);
        if self.has_key {
            let key = self.lab.client.read(KEY);
            machine.file("/home/ci/.ssh/id_ed25519", &key, 0o600, CI.id);
        }
    }

    /// Adds a link to each network; the first is eth0.
    fn connect(&self, machine: &Machine) -> (Vec<IpAddr>, Vec<String>) {
        let lab = &self.lab;
        let number = {
            let mut state = lab.state.lock().unwrap();
            state.hosts += 1;
            state.hosts
        };
        let (mut addresses, mut links) = (Vec::new(), Vec::new());
        let (mut near, mut far) = (String::new(), String::new());
        for (index, network) in self.networks.iter().enumerate() {
            let network = lab.network(network);
            let (bridge, pid) = (lab.bridge(network), machine.pid());
            let link = format!("l{}h{number}e{index}", lab.number);
            near += &format!(
                "link add {link} type veth peer name eth{index} netns {pid}\n\
                 link set {link} addrgenmode none master {bridge} up\n"
            );
            let (inet, inet6) = (lab.address(network, number), lab.address6(network, number));
            let length = if network == 0 { 16 } else { 24 };
            far += &format!(
                "addr add {inet}/{length} dev eth{index}\n\
                 addr add {inet6}/64 dev eth{index} nodad\nlink set eth{index} up\n"
            );
            addresses.extend([IpAddr::from(inet), inet6.into()]);
            links.push(link);
        }
        batch(Command::new("ip"), &near);
        batch(machine.ip(), &far);
        (addresses, links)
    }
}

fn shell_path(name: &str) -> String {
    match name {
        "ash" => "/opt/busybox/ash".to_owned(),
        "sh" | "bash" | "dash" => format!("/bin/{name}"),
        other => format!("/usr/bin/{other}"),
    }
}

fn hash(password: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["passwd", "-6", "-stdin"]);
    succeed(command, password).trim_end().to_owned()
}

/// A started host, as the lab knows it.
pub(super) struct Known {
    name: String,
    networks: Vec<String>,
    machine: Weak<Machine>,
}

impl Known {
    /// Writes the names and keys on its networks to the host.
    pub(super) fn publish(&self, entries: &[Entry]) {
        let Some(machine) = self.machine.upgrade() else { return };
        let shared = |network: &String| self.networks.contains(network);
        let near = || entries.iter().filter(|entry| entry.networks.iter().any(shared));
        machine.file("/etc/hosts", &hosts_file(&self.name, near()), 0o644, 0);
        machine.file("/etc/ssh/ssh_known_hosts", &known_hosts("", near()), 0o644, 0);
    }
}

/// A running host; ended with all its processes when dropped.
pub struct Host {
    machine: Arc<Machine>,
    name: String,
    addresses: Vec<IpAddr>,
    /// The ends of its links on the test's side.
    links: Vec<String>,
    keys: Vec<String>,
    /// Keeps its networks.
    _lab: Arc<Inner>,
}

impl Deref for Host {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An IPv4 and an IPv6 address for each network, in the order of the networks.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The address of its sshd.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], 22)
    }

    /// Its public host keys, a line each.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// A program as root, not run yet.
    pub fn command(&self, program: &str) -> Command {
        self.machine.command_as(&ROOT, program)
    }

    /// Runs a shell's command as root; it must succeed.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.machine.run_as(&ROOT, script)
    }

    /// Runs a shell's command as root.
    #[track_caller]
    pub fn try_run(&self, script: &str) -> Ended {
        self.machine.try_run_as(&ROOT, script)
    }

    /// Runs a shell's command as `ci`, without ssh; it must succeed.
    #[track_caller]
    pub fn run_as_ci(&self, script: &str) -> String {
        self.machine.run_as(&CI, script)
    }

    /// Writes a file of root's.
    pub fn file(&self, path: &str, content: &str, mode: u32) {
        self.machine.file(path, content, mode, 0);
    }

    /// Writes a file of `ci`'s.
    pub fn file_of_ci(&self, path: &str, content: &str, mode: u32) {
        self.machine.file(path, content, mode, CI.id);
    }

    /// The log of sshd.
    pub fn sshd_log(&self) -> String {
        self.read("/var/log/sshd.log")
    }

    /// Changes the login shell of `ci`.
    pub fn set_shell(&self, name: &str) {
        let path = "/etc/passwd";
        let text = self.read(path);
        let lines = text.lines().map(|line| match line.rsplit_once(':') {
            Some((rest, _)) if line.starts_with("ci:") => format!("{rest}:{}\n", shell_path(name)),
            _ => format!("{line}\n"),
        });
        self.file(path, &lines.collect::<String>(), 0o644);
    }

    /// Adds a user with a password.
    pub fn add_user(&self, name: &str, id: u32, password: &str) {
        let (hash, home) = (hash(password), format!("/home/{name}"));
        let append = |path: &str, line: &str, mode| {
            self.file(path, &format!("{}{line}\n", self.read(path)), mode);
        };
        append("/etc/passwd", &format!("{name}:x:{id}:{id}::{home}:/bin/sh"), 0o644);
        append("/etc/group", &format!("{name}:x:{id}:"), 0o644);
        append("/etc/shadow", &format!("{name}:{hash}:20000:0:99999:7:::"), 0o600);
        self.machine.file(&format!("{home}/.profile"), "", 0o644, id);
    }

    /// Adds a named network namespace, with `lo` up.
    pub fn netns(&self, name: &str) {
        self.run(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }

    /// Mounts a folder noexec.
    pub fn noexec(&self, folder: &str) {
        self.run(&format!("mount --bind {folder} {folder}"));
        self.run(&format!("mount -o remount,bind,noexec {folder}"));
    }

    /// Runs lines of `ip` commands on its network.
    pub fn ip_batch(&self, lines: &str) {
        batch(self.machine.ip(), lines);
    }

    /// Starts sshd again, and waits until it listens.
    pub fn start_sshd(&self) {
        // Newer ones refuse an address after failed logins; older ones do not know the option.
        let calm = "-o PerSourcePenalties=no";
        self.run(&format!(
            "rm -f /run/sshd.pid; /usr/sbin/sshd -t {calm} 2>&- && set -- {calm}
             /usr/sbin/sshd -E /var/log/sshd.log \"$@\""
        ));
        let pid = self.machine.outside("/run/sshd.pid");
        let listens = wait_up_to(PATIENCE, || fs::read(&pid).is_ok_and(|pid| !pid.is_empty()));
        assert!(listens, "sshd does not listen: {}", self.sshd_log());
    }

    /// Kills the sshd that listens; sessions continue.
    pub fn stop_listening(&self) {
        self.kill_where("sshd", |process| process.listener);
    }

    /// Kills sshd and its sessions; the processes in them get no signal.
    pub fn kill_sshd(&self) {
        self.kill_where("sshd", |process| process.comm.starts_with("sshd"));
    }

    /// Kills every process of that name.
    pub fn kill_all(&self, comm: &str) {
        self.kill_where(comm, |process| process.comm == comm);
    }

    fn kill_where(&self, name: &str, is_wanted: impl Fn(&Process) -> bool) {
        let found = self.all_processes().into_iter().filter(is_wanted).collect::<Vec<_>>();
        assert!(!found.is_empty(), "{}: there is no {name}", self.name);
        for process in &found {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(process.pid.cast_signed()), Signal::SIGKILL);
        }
        let gone = wait_up_to(PATIENCE, || {
            let now = self.all_processes();
            !found.iter().any(|killed| now.iter().any(|process| process.pid == killed.pid))
        });
        assert!(gone, "{}: {name} cannot be killed", self.name);
    }

    /// Its processes but for process 1 and the sshd that listens, as "PID COMMAND LINE" with the
    /// pids of the test's side.
    pub fn processes(&self) -> Vec<String> {
        let processes = self.all_processes().into_iter().filter(|process| !process.listener);
        processes.map(|process| format!("{} {}", process.pid, process.words)).collect()
    }

    /// Asserts that no process is left but those of the start, some seconds later at the latest.
    #[track_caller]
    pub fn assert_idle(&self) {
        let mut left = Vec::new();
        wait_up_to(Duration::from_secs(5), || {
            left = self.processes();
            left.is_empty()
        });
        assert!(left.is_empty(), "{}: left behind: {left:#?}", self.name);
    }

    fn all_processes(&self) -> Vec<Process> {
        let first = self.machine.pid();
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(first).expect("the host runs");
        let listener = fs::read_to_string(self.machine.outside("/run/sshd.pid"));
        let listener = listener.unwrap_or_default().trim().to_owned();
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid: &u32| pid != first && namespace(pid).as_ref() == Some(&ours))
            .filter_map(|pid| {
                let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
                let status = text("status")?;
                let field = |name: &str| {
                    let mut lines = status.lines();
                    lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
                };
                let inside = field("NSpid:").split_whitespace().last()?;
                let words = text("cmdline")?.replace('\0', " ");
                let words = match words.trim_end() {
                    "" => format!("[{}] {}", field("Name:"), field("State:")),
                    words => words.to_owned(),
                };
                let (comm, listener) = (field("Name:").to_owned(), inside == listener);
                Some(Process { pid, comm, words, listener })
            })
            .collect()
    }

    /// Sets all its links down: packets are lost without an error.
    pub fn link_down(&self) {
        self.set_links("down");
    }

    /// Sets all its links up again.
    pub fn link_up(&self) {
        self.set_links("up");
    }

    fn set_links(&self, state: &str) {
        let lines = self.links.iter().map(|link| format!("link set {link} {state}\n"));
        batch(Command::new("ip"), &lines.collect::<String>());
    }

    /// Sets the queueing discipline of its links in both directions, in the words of `tc`: "tbf rate
    /// 2mbit burst 32k latency 1s".
    pub fn shape(&self, discipline: &str) {
        for (index, link) in self.links.iter().enumerate() {
            let set = |link: &str| {
                let mut words = vec!["qdisc", "replace", "dev", link, "root"];
                words.extend(discipline.split_whitespace());
                words.into_iter().map(str::to_owned).collect::<Vec<_>>()
            };
            let mut near = Command::new("tc");
            near.args(set(link));
            let mut far = Command::new("nsenter");
            far.args(["--target", &self.machine.pid().to_string(), "--net", "--", "tc"]);
            far.args(set(&format!("eth{index}")));
            for command in [near, far] {
                succeed(command, "");
            }
        }
    }
}

struct Process {
    pid: u32,
    comm: String,
    words: String,
    listener: bool,
}

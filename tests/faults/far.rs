//! Faults of the parties of a connection to another host, over ssh and sudo.

use std::{
    fs,
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use testing::{
    lab::{Host, Lab},
    processes::{self, MARK, assert_none, is_stopped, marked, stop},
    remote::stub,
    wait, wait_up_to,
};

use crate::{
    cells::{
        Cell,
        Fault::{Cut, Kill, Stop},
        Outcome::{Dies, Ends, GoesOn},
        Party, Step, cell, on_lanes,
    },
    client::Client,
    load::{Sockets, Storm, fill},
};

texts! {
    by_ssh: "ssh://test01,sudo: ",
    by_ssh_held: "ssh://test01,sudo:,stub:/usr/local/bin/held: ",
    by_openssh: "openssh://test01,sudo: ",
    by_openssh_held: "openssh://test01,sudo:,stub:/usr/local/bin/held: ",
    over_ssh: "ssh://test01,sudo:: ",
    over_openssh: "openssh://test01,sudo:: ",
    lost: "the connection to the stub failed: the ssh connection is lost: the server, or something on the way, closed it",
    stalled: "bootstrap: sending the stub has stalled: * of * bytes, and no more within 3s",
    lost_early: "bootstrap: the stream failed before a stub was started: the ssh connection is lost: the server, or something on the way, closed it",
    no_stub: "bootstrap: no stub was started there within 3s",
    killed_early: "bootstrap: the far end was killed by signal 9 before a stub was started",
    killed_far: "the connection to the stub ended: the far end was killed by signal KILL",
}

/// Over ssh inside the client.
pub(crate) const SSH: &[Cell] = {
    use Party::*;
    use Step::*;
    &[
        cell(Client, Connecting, Kill, Dies),
        cell(Client, Upload, Kill, Dies),
        cell(Client, Hello, Kill, Dies),
        cell(Client, Open, Kill, Dies),
        cell(Client, Idle, Kill, Dies),
        cell(Client, Dump, Kill, Dies),
        cell(Client, Monitor, Kill, Dies),
        cell(Client, Closing, Kill, Dies),
        cell(
            Sshd,
            Connecting,
            Kill,
            Ends(
                3,
                concat!(
                    by_ssh!(),
                    "ssh://test01: host key: *.*.*.* port 22 closed the connection before it greeted as an ssh server does: it is none, or it ends, or has too many connections; check the port, and the server's log (MaxStartups?)"
                ),
            ),
        ),
        cell(
            Sshd,
            Connecting,
            Stop,
            Ends(
                3,
                concat!(
                    by_ssh!(),
                    "ssh://test01: host key: not done within 3s; the connection is up, but no ssh server has greeted on it: check the port, and whether something on the way takes connections for a host that is down"
                ),
            ),
        ),
        cell(
            Sshd,
            Connecting,
            Cut,
            Ends(
                3,
                concat!(
                    by_ssh!(),
                    "ssh://test01: host key: not done within 3s; the connection is up, but no ssh server has greeted on it: check the port, and whether something on the way takes connections for a host that is down"
                ),
            ),
        ),
        cell(Sshd, Upload, Kill, Ends(3, concat!(by_ssh!(), lost_early!()))),
        cell(Sshd, Upload, Stop, Ends(3, concat!(by_ssh!(), stalled!()))),
        cell(Sshd, Upload, Cut, Ends(3, concat!(by_ssh!(), stalled!()))),
        cell(Sshd, Hello, Kill, Ends(3, concat!(by_ssh_held!(), lost_early!()))),
        cell(Sshd, Hello, Stop, Ends(3, concat!(by_ssh_held!(), no_stub!()))),
        cell(Sshd, Hello, Cut, Ends(3, concat!(by_ssh_held!(), no_stub!()))),
        cell(Sshd, Open, Kill, Ends(3, concat!(over_ssh!(), docker!(), lost!()))),
        cell(Sshd, Open, Stop, Ends(3, concat!(over_ssh!(), docker!(), unanswered!()))),
        cell(Sshd, Open, Cut, Ends(3, concat!(over_ssh!(), docker!(), unanswered!()))),
        cell(Sshd, Idle, Kill, Ends(3, concat!(over_ssh!(), lost!()))),
        cell(Sshd, Idle, Stop, Ends(3, concat!(over_ssh!(), unanswered!()))),
        cell(Sshd, Idle, Cut, Ends(3, concat!(over_ssh!(), unanswered!()))),
        cell(Sshd, Dump, Kill, Ends(3, concat!(over_ssh!(), routes!(), lost!()))),
        cell(Sshd, Dump, Stop, Ends(3, concat!(over_ssh!(), routes!(), unanswered!()))),
        cell(Sshd, Dump, Cut, Ends(3, concat!(over_ssh!(), routes!(), unanswered!()))),
        cell(Sshd, Monitor, Kill, Ends(3, concat!(over_ssh!(), lost!()))),
        cell(Sshd, Monitor, Stop, Ends(3, concat!(over_ssh!(), unanswered!()))),
        cell(Sshd, Monitor, Cut, Ends(3, concat!(over_ssh!(), unanswered!()))),
        cell(Sshd, Closing, Kill, Ends(130, "")),
        cell(Sshd, Closing, Stop, Ends(130, "")),
        cell(Sshd, Closing, Cut, Ends(130, "")),
        cell(
            Sudo,
            Upload,
            Kill,
            Ends(
                3,
                concat!(by_ssh!(), "bootstrap: the stub arrived incomplete; bytes received: *"),
            ),
        ),
        cell(Sudo, Hello, Kill, Ends(3, concat!(by_ssh_held!(), no_stub!()))),
        cell(Sudo, Open, Kill, Ends(3, concat!(over_ssh!(), docker!(), killed_far!()))),
        cell(Sudo, Idle, Kill, Ends(3, concat!(over_ssh!(), killed_far!()))),
        cell(Sudo, Dump, Kill, Ends(3, concat!(over_ssh!(), routes!(), killed_far!()))),
        cell(Sudo, Monitor, Kill, Ends(3, concat!(over_ssh!(), killed_far!()))),
        cell(Sudo, Monitor, Stop, GoesOn),
        cell(Sudo, Closing, Kill, Ends(130, "")),
        cell(Sudo, Closing, Stop, Ends(130, "")),
        cell(Stub, Hello, Kill, Ends(3, concat!(by_ssh_held!(), no_stub!()))),
        cell(Stub, Hello, Stop, Ends(3, concat!(by_ssh_held!(), no_stub!()))),
        cell(Stub, Idle, Kill, Ends(3, concat!(over_ssh!(), killed_far!()))),
        cell(Stub, Idle, Stop, Ends(3, concat!(over_ssh!(), unanswered!()))),
        cell(Stub, Closing, Kill, Ends(130, "")),
        cell(Stub, Closing, Stop, Ends(130, "")),
    ]
};

/// Over the program ssh.
pub(crate) const OPENSSH: &[Cell] = {
    use Party::*;
    use Step::*;
    &[
        cell(Client, Connecting, Kill, Dies),
        cell(Client, Upload, Kill, Dies),
        cell(Client, Idle, Kill, Dies),
        cell(Client, Dump, Kill, Dies),
        cell(Client, Monitor, Kill, Dies),
        cell(Ssh, Connecting, Kill, Ends(3, concat!(by_openssh!(), killed_early!()))),
        cell(
            Ssh,
            Connecting,
            Stop,
            Ends(
                3,
                concat!(
                    by_openssh!(),
                    no_stub!(),
                    "; check the network to it, and whether a startup file of the shell there waits for input"
                ),
            ),
        ),
        cell(
            Ssh,
            Connecting,
            Cut,
            Ends(
                3,
                concat!(
                    by_openssh!(),
                    no_stub!(),
                    "; check the network to it, and whether a startup file of the shell there waits for input"
                ),
            ),
        ),
        cell(Ssh, Upload, Kill, Ends(3, concat!(by_openssh!(), killed_early!()))),
        cell(Ssh, Upload, Stop, Ends(3, concat!(by_openssh!(), stalled!()))),
        cell(Ssh, Upload, Cut, Ends(3, concat!(by_openssh!(), stalled!()))),
        cell(Ssh, Hello, Kill, Ends(3, concat!(by_openssh_held!(), killed_early!()))),
        cell(Ssh, Hello, Stop, Ends(3, concat!(by_openssh_held!(), no_stub!()))),
        cell(Ssh, Open, Kill, Ends(3, concat!(over_openssh!(), docker!(), killed!()))),
        cell(Ssh, Open, Stop, Ends(3, concat!(over_openssh!(), docker!(), unanswered!()))),
        cell(Ssh, Idle, Kill, Ends(3, concat!(over_openssh!(), killed!()))),
        cell(Ssh, Idle, Stop, Ends(3, concat!(over_openssh!(), unanswered!()))),
        cell(Ssh, Idle, Cut, Ends(3, concat!(over_openssh!(), unanswered!()))),
        cell(Ssh, Dump, Kill, Ends(3, concat!(over_openssh!(), routes!(), killed!()))),
        cell(Ssh, Dump, Stop, Ends(3, concat!(over_openssh!(), routes!(), unanswered!()))),
        cell(Ssh, Dump, Cut, Ends(3, concat!(over_openssh!(), routes!(), unanswered!()))),
        cell(Ssh, Monitor, Kill, Ends(3, concat!(over_openssh!(), killed!()))),
        cell(Ssh, Monitor, Stop, Ends(3, concat!(over_openssh!(), unanswered!()))),
        cell(Ssh, Monitor, Cut, Ends(3, concat!(over_openssh!(), unanswered!()))),
        cell(Ssh, Closing, Kill, Ends(130, "")),
        cell(Ssh, Closing, Stop, Ends(130, "")),
        cell(
            Sshd,
            Idle,
            Kill,
            Ends(
                3,
                concat!(
                    over_openssh!(),
                    "the connection to the stub ended: the far end ended with exit code 255 and said: Connection to *.*.*.* closed by remote host."
                ),
            ),
        ),
        cell(Sshd, Idle, Stop, Ends(3, concat!(over_openssh!(), unanswered!()))),
    ]
};

/// The folder of root's stubs on the host.
const STUBS: &str = "/root/.cache/netlink-remote";

/// A stub that the buffers on the way do not hold.
const LARGE_STUB: &str = "/home/me/large-stub";

/// A host and the client that reaches it, for the cells of one lane.
struct Place {
    lab: Lab,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("test01").sudoers("ci ALL=NOPASSWD: ALL").start();
        host.netns("quiet");
        host.netns("large");
        let place = Self { lab, host };
        fill(&place.netns("large"));
        // Says that it runs, and never ends.
        let docker = "#!/bin/sh\n: >/run/asked\nexec sleep 100000\n";
        place.host.file("/usr/local/bin/docker", docker, 0o755);
        // The stub that a first connection sends: it is there for all cells but those of the upload.
        place.send_stub();
        let large = format!("cp {} {LARGE_STUB} && truncate -s 6M {LARGE_STUB}", stub());
        place.lab.client().run(&large);
        let sent = place.host.run(&format!("ls {STUBS}"));
        // Stands still with the pid of the stub before it is one.
        let held = format!("#!/bin/sh\nkill -STOP $$\nexec {STUBS}/{sent}");
        place.host.file("/usr/local/bin/held", &held, 0o755);
        place
    }

    fn netns(&self, name: &str) -> PathBuf {
        self.host.outside(&format!("/run/netns/{name}"))
    }

    /// The pids of the host's processes whose command line has a text, on the test's side.
    fn pids(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
        let all = self.host.processes();
        let all = all.iter().filter_map(|process| process.split_once(' '));
        all.filter(|(_, words)| is_wanted(words)).map(|(pid, _)| pid.parse().unwrap()).collect()
    }

    fn stub(&self) -> Option<u32> {
        let is_stub = |words: &str| {
            words.starts_with(STUBS) || words.starts_with("/bin/sh /usr/local/bin/held")
        };
        self.pids(is_stub).into_iter().next()
    }

    /// The pids of a party.
    fn victims(&self, party: Party, step: Step, mark: &str, client: &Client) -> Vec<u32> {
        match party {
            Party::Client => vec![client.pid()],
            Party::Ssh => {
                let mine = marked(mark).into_iter().filter(|process| process.pid != client.pid());
                mine.map(|process| process.pid).collect()
            }
            Party::Sshd if step == Step::Connecting => vec![self.listener()],
            Party::Sshd => self.pids(|words| words.starts_with("sshd")),
            Party::Sudo => self.pids(|words| words.starts_with("sudo")),
            Party::Stub => self.stub().into_iter().collect(),
            other => panic!("{other:?} is no party over ssh"),
        }
    }

    /// The sshd that listens.
    fn listener(&self) -> u32 {
        let inside = self.host.read("/run/sshd.pid").trim().to_owned();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = fs::read_link(self.host.outside("/proc/1/ns/pid")).unwrap();
        let found = pids.into_iter().find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is_it = status.lines().any(|line| {
                line.strip_prefix("NSpid:")
                    .is_some_and(|pids| pids.split_whitespace().last() == Some(inside.as_str()))
            });
            is_it && fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == ours)
        });
        found.expect("sshd listens")
    }

    /// Whether the client's side has a TCP connection to the host's sshd.
    fn is_connected(&self) -> bool {
        let port = ":0016";
        let address = match self.host.addresses()[0] {
            std::net::IpAddr::V4(address) => {
                format!("{:08X}", u32::from_ne_bytes(address.octets()))
            }
            other => panic!("{other}"),
        };
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            // 01: TCP_ESTABLISHED.
            (fields.next(), fields.next()) == (Some(&format!("{address}{port}")), Some("01"))
        })
    }

    /// Brings a client to a step.
    fn reach(&self, scheme: &str, step: Step, mark: &str, storm: &mut Option<Storm>) -> Client {
        let mut target = format!("{scheme}://test01,sudo:");
        if step == Step::Hello {
            target += ",stub:/usr/local/bin/held";
        }
        let stub = if step == Step::Upload { LARGE_STUB } else { stub() };
        let mut words = vec!["--keepalive", "1", "--connect-timeout", "3", "--stubs", stub];
        match step {
            Step::Connecting | Step::Upload | Step::Hello => words.extend(["show", "link"]),
            Step::Open => words.extend(["show", "link", "-n", "docker:web"]),
            Step::Dump => words.extend(["show", "route", "--json", "-n", "large"]),
            Step::Idle | Step::Monitor | Step::Closing => {
                words.extend(["monitor", "--json", "-n", "quiet"]);
            }
        }
        words.push(&target);
        match step {
            // It accepts no more connections; the kernel does.
            Step::Connecting => stop(self.listener()),
            Step::Upload => {
                self.host.run(&format!("rm -rf {STUBS}"));
                self.host.shape("tbf rate 8mbit burst 32k latency 1s");
            }
            Step::Open => drop(self.host.run("rm -f /run/asked")),
            _ => {}
        }
        let mut command: Command = self.lab.nlr(&words);
        command.env(MARK, mark);
        let mut client = Client::start(command);
        let (quiet, large) = (self.netns("quiet"), self.netns("large"));
        match step {
            Step::Connecting => client.reaches("a connection", |_| self.is_connected()),
            Step::Upload => {
                let folder = self.host.outside(STUBS);
                // The script first gives the file its whole size for a moment; bytes come slowly.
                let mut seen = Vec::new();
                client.reaches("an upload", |_| {
                    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
                    let lengths = files.filter_map(|file| file.metadata().ok());
                    let length = lengths.map(|file| file.len()).max().unwrap_or_default();
                    if (50_000..700_000).contains(&length) && seen.last() != Some(&length) {
                        seen.push(length);
                    }
                    seen.len() >= 4
                });
            }
            Step::Hello => {
                client.reaches("the stub's start", |_| self.stub().is_some_and(is_stopped));
            }
            Step::Open => {
                let asked = self.host.outside("/run/asked");
                client.reaches("the far docker", |_| asked.exists());
            }
            Step::Dump => {
                client.reaches("a dump", |_| Sockets::of(&large).is_dumping());
                // The answer to the open and the first parts of the dump have been read by then.
                let used = client.cpu_ticks() + 3;
                client.reaches("some of the dump", |client| client.cpu_ticks() >= used);
                stop(client.pid());
                if !Sockets::of(&large).is_dumping() {
                    // It was over meanwhile.
                    drop(client);
                    return self.reach(scheme, step, mark, storm);
                }
            }
            Step::Idle | Step::Monitor | Step::Closing => {
                client.reaches("a monitor", |_| Sockets::of(&quiet).is_listening());
                *storm = Some(Storm::begin(&quiet));
                client.reaches("an event", Client::has_printed);
                if step != Step::Monitor {
                    *storm = None;
                }
            }
        }
        if step == Step::Closing {
            // The stub stands still, so that it does not end with its client.
            stop(self.stub().expect("a stub"));
            client.signal(Signal::SIGINT);
        }
        client
    }

    /// Undoes the fault.
    fn restore(&self) {
        self.host.link_up();
        self.host.shape("pfifo_fast");
        for pid in self.pids(|_| true) {
            processes::signal(pid, Signal::SIGCONT);
        }
        if self.host.try_run("kill -CONT $(cat /run/sshd.pid)").code() != 0 {
            self.host.start_sshd();
        }
        // The kernel may take the host for gone for some seconds after a cut.
        let address = self.host.socket_address();
        wait("the network", || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
        if !self.host.outside(STUBS).exists() {
            self.send_stub();
        }
    }

    fn send_stub(&self) {
        let ended =
            testing::remote::nlr(&self.lab, &["ping", "--count", "1", "ssh://test01,sudo:"]);
        assert_eq!(ended.code(), 0, "{ended:?}");
    }

    /// Asserts that nothing is left on either side.
    fn assert_clean(&self, mark: &str) {
        assert_none(mark, &[]);
        self.host.assert_idle();
        let left = self.host.run(
            "find /root /home/ci /tmp /var/tmp /dev/shm -path '*netlink-remote*' -type f | \
             grep -v /stub- || true",
        );
        assert_eq!(left, "");
    }
}

fn attempt(scheme: &str, place: &Place, cell: &Cell) {
    let mark = testing::unique("far");
    let tried = catch_unwind(AssertUnwindSafe(|| inflict(scheme, place, cell, &mark)));
    if cell.fault == Cut || tried.is_err() {
        // A TCP connection that the far kernel takes for alive.
        for pid in place.pids(|words| words.starts_with("sshd")) {
            processes::signal(pid, Signal::SIGKILL);
        }
    }
    place.restore();
    if let Err(panic) = tried {
        for pid in place.pids(|_| true) {
            processes::signal(pid, Signal::SIGKILL);
        }
        resume_unwind(panic);
    }
    place.assert_clean(&mark);
}

fn inflict(scheme: &str, place: &Place, cell: &Cell, mark: &str) {
    let mut storm = None;
    let client = place.reach(scheme, cell.step, mark, &mut storm);
    let victims = place.victims(cell.party, cell.step, mark, &client);
    assert!(!victims.is_empty() || cell.fault == Cut, "nobody to {:?}", cell.fault);
    match cell.fault {
        Kill => victims.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL)),
        Stop => victims.iter().for_each(|pid| stop(*pid)),
        Cut => place.host.link_down(),
        other => panic!("{other:?} is tested elsewhere"),
    }
    if cell.step == Step::Connecting && cell.party != Party::Sshd {
        processes::signal(place.listener(), Signal::SIGCONT);
    }
    // Stopped in mid-dump.
    client.signal(Signal::SIGCONT);
    client.assert(cell.outcome, &[]);
    if cell.fault == Cut {
        // The stub ends without a sign from the network; only sshd waits for one.
        let gone = wait_up_to(Duration::from_secs(15), || place.stub().is_none_or(is_stopped));
        assert!(gone, "{:?}", place.host.processes());
    }
    // The client's side is clean before anything is undone.
    assert_none(mark, &[]);
}

fn all(scheme: &str, cells: &[Cell]) {
    if !Lab::available() {
        return;
    }
    on_lanes(3, cells, Place::new, |place, cell| attempt(scheme, place, cell));
}

#[test]
fn of_a_connection_by_ssh() {
    all("ssh", SSH);
}

#[test]
fn of_a_connection_by_openssh() {
    all("openssh", OPENSSH);
}

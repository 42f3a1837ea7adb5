//! Faults of the parties on one machine: a client with its own stub, or with `nlr serve`.

use std::{
    fs,
    io::Read,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use testing::{
    Namespace,
    lab::Census,
    processes::{self, MARK, assert_none, is_stopped, marked, stop},
    programs, temporary,
    tool::nlr,
    unique, wait, wait_up_to,
};

use crate::{
    cells::{
        Cell,
        Fault::{Kill, Stop},
        Outcome::{Dies, Ends, EndsAsOneOf},
        Party, Step, cell, on_lanes,
    },
    client::Client,
    load::{Sockets, Storm, fill, path_of},
};

pub(crate) const LOCAL: &[Cell] = {
    use Party::*;
    use Step::*;
    &[
        cell(Client, Hello, Kill, Dies),
        cell(Client, Open, Kill, Dies),
        cell(Client, Idle, Kill, Dies),
        cell(Client, Idle, Stop, Ends(3, silent!())),
        cell(Client, Dump, Kill, Dies),
        // A stream that is full of datagrams has no room for the reason.
        cell(
            Client,
            Dump,
            Stop,
            EndsAsOneOf(3, [concat!(routes!(), ended!()), concat!(routes!(), silent!())]),
        ),
        cell(Client, Monitor, Kill, Dies),
        cell(Client, Monitor, Stop, EndsAsOneOf(3, [ended!(), silent!()])),
        cell(Client, Closing, Kill, Dies),
        cell(
            Stub,
            Hello,
            Kill,
            Ends(
                3,
                "local: bootstrap: the far end was killed by signal 9 before a stub was started",
            ),
        ),
        cell(Stub, Hello, Stop, Ends(3, "local: bootstrap: no stub was started there within 2s")),
        cell(Stub, Open, Kill, Ends(3, concat!(docker!(), killed!()))),
        cell(Stub, Open, Stop, Ends(3, concat!(docker!(), unanswered!()))),
        cell(Stub, Idle, Kill, Ends(3, killed!())),
        cell(Stub, Idle, Stop, Ends(3, unanswered!())),
        cell(Stub, Dump, Kill, Ends(3, concat!(routes!(), killed!()))),
        cell(Stub, Dump, Stop, Ends(3, concat!(routes!(), unanswered!()))),
        cell(Stub, Monitor, Kill, Ends(3, killed!())),
        cell(Stub, Monitor, Stop, Ends(3, unanswered!())),
        cell(Stub, Closing, Kill, Ends(130, "")),
        cell(Stub, Closing, Stop, Ends(130, "")),
        cell(Docker, Open, Kill, Ends(1, concat!(docker!(), "docker inspect: ended by signal 9"))),
        cell(Docker, Open, Stop, Ends(1, concat!(docker!(), no_docker!()))),
    ]
};

pub(crate) const UNIX: &[Cell] = {
    use Party::*;
    use Step::*;
    &[
        cell(Client, Hello, Kill, Dies),
        cell(Client, Open, Kill, Dies),
        cell(Client, Idle, Kill, Dies),
        cell(Client, Idle, Stop, Ends(3, concat!(unix!(), silent!()))),
        cell(Client, Dump, Kill, Dies),
        cell(
            Client,
            Dump,
            Stop,
            EndsAsOneOf(
                3,
                [concat!(unix!(), routes!(), ended!()), concat!(unix!(), routes!(), silent!())],
            ),
        ),
        cell(Client, Monitor, Kill, Dies),
        cell(
            Client,
            Monitor,
            Stop,
            EndsAsOneOf(3, [concat!(unix!(), ended!()), concat!(unix!(), silent!())]),
        ),
        cell(
            Server,
            Hello,
            Kill,
            Ends(3, concat!(unix!(), "hello: exchanging hellos: Connection reset by peer")),
        ),
        cell(
            Server,
            Hello,
            Stop,
            Ends(3, concat!(unix!(), "hello: the far end did not say hello within 2s")),
        ),
        cell(Server, Open, Kill, Ends(3, concat!(unix!(), docker!(), ended!()))),
        cell(Server, Open, Stop, Ends(3, concat!(unix!(), docker!(), unanswered!()))),
        cell(Server, Idle, Kill, Ends(3, concat!(unix!(), ended!()))),
        cell(Server, Idle, Stop, Ends(3, concat!(unix!(), unanswered!()))),
        cell(Server, Dump, Kill, Ends(3, concat!(unix!(), routes!(), ended!()))),
        cell(Server, Dump, Stop, Ends(3, concat!(unix!(), routes!(), unanswered!()))),
        cell(Server, Monitor, Kill, Ends(3, concat!(unix!(), ended!()))),
        cell(Server, Monitor, Stop, Ends(3, concat!(unix!(), unanswered!()))),
        cell(
            Docker,
            Open,
            Kill,
            Ends(1, concat!(unix!(), docker!(), "docker inspect: ended by signal 9")),
        ),
        cell(Docker, Open, Stop, Ends(1, concat!(unix!(), docker!(), no_docker!()))),
    ]
};

/// Seconds of the keepalive interval; a stub gives its client up after four.
const KEEPALIVE: &str = "1";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Local,
    Unix,
}

/// The folder, namespaces and server of one cell.
struct Stage<'a> {
    mark: String,
    folder: PathBuf,
    namespace: Namespace,
    large: &'a Path,
    storm: Option<Storm>,
    server: Option<Server>,
}

struct Server {
    child: Child,
    socket: PathBuf,
    census: Census,
    /// Its processes: itself, and its helpers.
    own: Vec<u32>,
}

impl Stage<'_> {
    fn new(target: Target, large: &Path) -> Stage<'_> {
        let (mark, folder) = (unique("near"), temporary("fault"));
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir(folder.join("tmp")).unwrap();
        let namespace = Namespace::new();
        // Says that it runs, and never ends.
        let docker =
            format!("#!/bin/sh\n: >{}\nexec sleep 100000\n", folder.join("asked").display());
        programs::write(folder.join("bin/docker"), docker);
        // Stands still with the pid of the stub before it is one.
        let held = format!("#!/bin/sh\nkill -STOP $$\nexec {}\n", programs::stub());
        programs::write(folder.join("bin/held"), held);
        let mut stage = Stage { mark, folder, namespace, large, storm: None, server: None };
        stage.server = (target == Target::Unix).then(|| stage.serve());
        stage
    }

    fn furnish(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap();
        command.env(MARK, &self.mark).env("PATH", format!("{}:{path}", self.place("bin")));
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"] {
            command.env(variable, self.place("tmp"));
        }
    }

    fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn serve(&self) -> Server {
        let socket = self.folder.join("socket");
        let mut command = nlr(&["serve", &format!("unix:{}", socket.display())]);
        self.furnish(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        wait("nlr serve to listen", || UnixStream::connect(&socket).is_ok());
        let mut stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        // The first client makes what all later ones share.
        let first = format!("unix:{}", socket.display());
        testing::finish(nlr(&["ping", "--count", "1", &first])).printed();
        let census = Census::of_settled(child.id());
        let own = marked(&self.mark).into_iter().map(|process| process.pid).collect();
        Server { child, socket, census, own }
    }

    /// Brings a client to a step.
    fn reach(&mut self, step: Step) -> Client {
        let mut words = vec!["--keepalive", KEEPALIVE, "--connect-timeout", "2"];
        let (held, stub) = (self.place("bin/held"), programs::stub());
        let target = match &self.server {
            Some(server) => format!("unix:{}", server.socket.display()),
            None => "local:".to_owned(),
        };
        if self.server.is_none() {
            words.extend(["--stub", if step == Step::Hello { &held } else { stub }]);
        }
        let (netns, large) = (self.namespace.0.clone(), self.large.display().to_string());
        match step {
            Step::Hello => words.extend(["show", "link"]),
            Step::Open => words.extend(["show", "link", "-n", "docker:web"]),
            Step::Dump => words.extend(["show", "route", "--json", "-n", &large]),
            Step::Idle | Step::Monitor | Step::Closing => {
                words.extend(["monitor", "--json", "-n", &netns]);
            }
            other => panic!("{other:?} is no step on one machine"),
        }
        words.push(&target);
        if let (Some(server), Step::Hello) = (&self.server, step) {
            // The server stands still, so that it says nothing.
            stop(server.child.id());
        }
        let mut command = nlr(&words);
        self.furnish(&mut command);
        let mut client = Client::start(command);
        let inside = path_of(&netns);
        match step {
            Step::Hello => client.reaches("the far end's silence", |client| match &self.server {
                Some(server) => {
                    connections(&server.socket) > 0 && processes::is_waiting(client.pid())
                }
                None => self.stub(client).is_some_and(is_stopped),
            }),
            Step::Open => {
                client.reaches("the far docker", |_| self.folder.join("asked").exists());
            }
            Step::Dump => {
                client.reaches("a dump", |_| Sockets::of(self.large).is_dumping());
                // The answer to the open and the first parts of the dump have been read by then.
                let used = client.cpu_ticks() + 3;
                client.reaches("some of the dump", |client| client.cpu_ticks() >= used);
                stop(client.pid());
                if !Sockets::of(self.large).is_dumping() {
                    // It was over meanwhile.
                    drop(client);
                    return self.reach(step);
                }
            }
            Step::Idle | Step::Monitor | Step::Closing => {
                client.reaches("a monitor", |_| Sockets::of(&inside).is_listening());
                self.storm = Some(Storm::begin(&inside));
                client.reaches("an event", Client::has_printed);
                if step != Step::Monitor {
                    self.storm = None;
                }
            }
            other => panic!("{other:?} is no step on one machine"),
        }
        if step == Step::Closing {
            // The stub stands still, so that it does not end with its client.
            stop(self.far(&client));
            let files = Census::of(client.pid()).files();
            client.signal(Signal::SIGINT);
            client.reaches("closing", |client| Census::of(client.pid()).files() < files);
        }
        client
    }

    fn stub(&self, client: &Client) -> Option<u32> {
        let mut children = marked(&self.mark);
        children.retain(|process| process.pid != client.pid());
        let is_stub = |words: &str| words.contains("nlr-stub") || words.contains("bin/held");
        children.into_iter().find(|process| is_stub(&process.words)).map(|process| process.pid)
    }

    /// The pid of the stub or server.
    fn far(&self, client: &Client) -> u32 {
        match &self.server {
            Some(server) => server.child.id(),
            None => self.stub(client).expect("a stub"),
        }
    }

    fn victim(&self, party: Party, client: &Client) -> u32 {
        match party {
            Party::Client => client.pid(),
            Party::Stub | Party::Server => self.far(client),
            Party::Docker => {
                // The script has told of itself, and becomes another program now.
                let mut found = None;
                wait("docker", || {
                    let mut all = marked(&self.mark).into_iter();
                    found = all.find(|process| process.words.contains("sleep 100000"));
                    found.is_some()
                });
                found.unwrap().pid
            }
            other => panic!("{other:?} is no party on one machine"),
        }
    }

    /// Waits until the far end has let go of a client that does nothing any more.
    #[track_caller]
    fn assert_given_up(&self, client: &Client) {
        match &self.server {
            Some(server) => server.census.assert_no_more_than_before(Duration::from_secs(10)),
            None => {
                let gone = wait_up_to(Duration::from_secs(10), || self.stub(client).is_none());
                assert!(gone, "the stub waits for its client: {:?}", marked(&self.mark));
            }
        }
    }

    /// Asserts that nothing is left.
    fn assert_clean(mut self) {
        self.storm = None;
        match self.server.take() {
            None => assert_none(&self.mark, &[]),
            Some(mut server) => {
                processes::signal(server.child.id(), Signal::SIGCONT);
                assert_none(&self.mark, &server.own);
                // A zombie has been killed.
                if server.child.try_wait().unwrap().is_none() {
                    server.census.assert_no_more_than_before(Duration::from_secs(10));
                    processes::signal(server.child.id(), Signal::SIGTERM);
                    assert_eq!(server.child.wait().unwrap().code(), Some(0));
                    assert!(!server.socket.exists());
                    assert_none(&self.mark, &[]);
                } else {
                    assert_none(&self.mark, &[]);
                    // The kernel removes no file.
                    fs::remove_file(&server.socket).unwrap();
                }
            }
        }
        let left = fs::read_dir(self.folder.join("tmp")).unwrap().flatten();
        let left = left.map(|entry| entry.path()).collect::<Vec<_>>();
        assert!(left.is_empty(), "left behind: {left:?}");
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // After a failure.
        for process in marked(&self.mark) {
            processes::signal(process.pid, Signal::SIGKILL);
        }
        if let Some(server) = &mut self.server {
            let _ = server.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Connections to a unix socket that nobody has accepted yet, or that somebody has.
fn connections(socket: &Path) -> usize {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let socket = format!(" {}", socket.display());
    // The first one listens.
    table.lines().filter(|line| line.ends_with(&socket)).count().saturating_sub(1)
}

fn attempt(target: Target, large: &Path, cell: &Cell) {
    let mut stage = Stage::new(target, large);
    let client = stage.reach(cell.step);
    let victim = stage.victim(cell.party, &client);
    match cell.fault {
        Kill => processes::signal(victim, Signal::SIGKILL),
        Stop => stop(victim),
        other => panic!("{other:?} is tested elsewhere"),
    }
    if cell.party == Party::Client {
        if matches!(cell.step, Step::Hello | Step::Closing) {
            // It was stopped to hold the client in this step.
            processes::signal(stage.far(&client), Signal::SIGCONT);
        }
        if cell.fault == Stop {
            stage.assert_given_up(&client);
        }
    }
    // Stopped in mid-dump, or by the fault.
    client.signal(Signal::SIGCONT);
    client.assert(cell.outcome, &[("SOCKET", &stage.place("socket"))]);
    stage.assert_clean();
}

fn all(target: Target, cells: &[Cell]) {
    let large = Namespace::new();
    let path = path_of(&large.0);
    fill(&path);
    on_lanes(4, cells, || (), |(), cell| attempt(target, &path, cell));
}

#[test]
fn of_a_client_and_its_stub() {
    all(Target::Local, LOCAL);
}

#[test]
fn of_a_client_and_a_server() {
    all(Target::Unix, UNIX);
}

//! What goes on: each kind of work in a loop of its own, one piece after the other.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use netlink_remote::{
    Client, Error, Event, Netns, RemoteSocket,
    transport::{process, unix},
    wire::{
        Flags, Hello, MARKER, Message, Open, SocketId,
        hello::{PeerLimits, Role},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testing::{
    netlink::{
        NETLINK_ROUTE, RTNLGRP_IPV4_ROUTE, RTNLGRP_LINK, add_route, delete_route, dump_links,
        is_done, link_by_index,
    },
    programs, within,
};
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::RwLock, task::JoinHandle};

/// Pieces of work done so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    clients: AtomicU64,
    children: AtomicU64,
    sockets: AtomicU64,
    namespaces: AtomicU64,
    overruns: AtomicU64,
    cuts: AtomicU64,
}

impl Counts {
    fn all(&self) -> [(&'static str, u64); 6] {
        [
            ("clients", &self.clients),
            ("children", &self.children),
            ("sockets", &self.sockets),
            ("namespaces", &self.namespaces),
            ("overruns", &self.overruns),
            ("cuts", &self.cuts),
        ]
        .map(|(name, count)| (name, count.load(Relaxed)))
    }

    pub(crate) fn assert_all_happened(&self) {
        for (name, count) in self.all() {
            assert!(count > 10, "{count} {name} only");
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.all().map(|(name, count)| format!("{count} {name}"));
        f.write_str(&texts.join(" "))
    }
}

/// The far ends, and the clients that live through it all.
pub(crate) struct Place {
    server: PathBuf,
    netns: String,
    /// Of `nlr serve`.
    lasting: Client,
    /// Of a stub as a child process.
    child: Client,
}

impl Place {
    pub(crate) async fn new(server: PathBuf, netns: String) -> Self {
        let lasting = client_of(&server).await.unwrap();
        let child = child().await;
        Self { server, netns, lasting, child }
    }

    /// The pid of the stub that lives through it all.
    pub(crate) fn stub_pid(&self) -> u32 {
        self.child.host().pid
    }

    pub(crate) async fn end(self) {
        self.lasting.close().await;
        self.child.close().await;
    }

    /// Begins all of it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        counts: &Arc<Counts>,
        pause: &Arc<RwLock<()>>,
    ) -> Vec<JoinHandle<()>> {
        macro_rules! repeat {
            ($($piece:ident),*) => {
                vec![$({
                    let (place, counts, pause) = (self.clone(), counts.clone(), pause.clone());
                    tokio::spawn(async move {
                        for turn in 0.. {
                            let _works = pause.read().await;
                            within(place.$piece(&counts, turn)).await;
                        }
                    })
                }),*]
            };
        }
        repeat!(clients, children, sockets, namespaces, overruns, cuts)
    }

    fn inside(&self) -> Netns {
        Netns::Name(self.netns.clone())
    }

    /// A client of the server connects, works on some sockets, and is closed or dropped.
    async fn clients(&self, counts: &Counts, turn: u64) {
        let client = client_of(&self.server).await.unwrap();
        let mut sockets = Vec::new();
        for _ in 0..3 {
            sockets.push(client.socket(NETLINK_ROUTE).netns(self.inside()).open().await.unwrap());
        }
        for socket in &sockets {
            dump(socket).await;
        }
        if turn.is_multiple_of(2) {
            client.close().await;
        }
        counts.clients.fetch_add(1, Relaxed);
    }

    /// A stub starts as a child, works, and is closed, dropped or killed.
    async fn children(&self, counts: &Counts, turn: u64) {
        let client = child().await;
        let socket = client.socket(NETLINK_ROUTE).netns(self.inside()).open().await.unwrap();
        dump(&socket).await;
        match turn % 3 {
            0 => client.close().await,
            1 => {
                let pid = Pid::from_raw(client.host().pid.cast_signed());
                kill(pid, Signal::SIGKILL).unwrap();
                client.closed().await;
                assert!(socket.recv().await.is_err());
            }
            _ => {
                // The last handles go together; the driver's task ends by itself.
            }
        }
        counts.children.fetch_add(1, Relaxed);
    }

    /// Sockets of the lasting clients are opened, used and closed or dropped.
    async fn sockets(&self, counts: &Counts, turn: u64) {
        for client in [&self.lasting, &self.child] {
            let builder = client.socket(NETLINK_ROUTE).netns(self.inside());
            let socket = builder.group(RTNLGRP_LINK).open().await.unwrap();
            dump(&socket).await;
            socket.leave(RTNLGRP_LINK).await.unwrap();
            // SO_RCVBUF of SOL_SOCKET.
            socket.set_option(1, 8, &65_536_i32.to_ne_bytes()).await.unwrap();
            socket.option(1, 8, 4).await.unwrap();
            within(socket.send_confirmed(&link_by_index(1, 1))).await.unwrap();
            if turn.is_multiple_of(2) {
                socket.close().await.unwrap();
            }
            // A socket that cannot be opened.
            let absent = client.socket(NETLINK_ROUTE).netns(Netns::Name("absent".into()));
            absent.open().await.unwrap_err();
            counts.sockets.fetch_add(1, Relaxed);
        }
    }

    /// Namespaces are made, opened, listed and deleted.
    async fn namespaces(&self, counts: &Counts, turn: u64) {
        for (client, whose) in [(&self.lasting, "server"), (&self.child, "child")] {
            let netns = client.netns();
            let name = format!("soak-{whose}");
            netns.add(&name).await.unwrap();
            netns.add(&name).await.unwrap_err();
            let handle = netns.open(Netns::Name(name.clone()), Default::default()).await.unwrap();
            let socket = client.socket(NETLINK_ROUTE).netns_handle(&handle).open().await.unwrap();
            dump(&socket).await;
            netns.list().await.unwrap();
            if turn.is_multiple_of(2) {
                drop(handle);
            }
            netns.delete(&name).await.unwrap();
            counts.namespaces.fetch_add(1, Relaxed);
        }
    }

    /// A socket that is not read loses events, is told so, and reads on.
    async fn overruns(&self, counts: &Counts, _: u64) {
        for client in [&self.lasting, &self.child] {
            let inside = || client.socket(NETLINK_ROUTE).netns(self.inside());
            // The least buffer, and a window of one datagram.
            let slow = inside().group(RTNLGRP_IPV4_ROUTE).receive_buffer(1).window(1, 1);
            let (slow, sender) = (slow.open().await.unwrap(), inside().open().await.unwrap());
            for number in 1..50 {
                sender.send(&add_route(number, 0)).await.unwrap();
                sender.send(&delete_route(number)).await.unwrap();
            }
            sender.send_confirmed(&link_by_index(1, 1)).await.unwrap();
            loop {
                if let Event::Lost { .. } = within(slow.recv()).await.unwrap() {
                    break;
                }
            }
            counts.overruns.fetch_add(1, Relaxed);
        }
    }

    /// A connection ends at some byte of a hello, of an open frame, or of a send.
    async fn cuts(&self, counts: &Counts, turn: u64) {
        let mut bytes = MARKER.to_vec();
        Hello::new(Role::Client, PeerLimits::default(), None).encode(&mut bytes);
        let socket = SocketId(1);
        Message::Open(Open::default()).encode(socket, Flags::NONE, &mut bytes);
        let destination = Default::default();
        let data = &link_by_index(1, 1);
        Message::Send { serial: 1, destination, data }.encode(socket, Flags::NONE, &mut bytes);
        let length = usize::try_from(turn * 7).unwrap() % (bytes.len() + 1);
        let mut stream = UnixStream::connect(&self.server).await.unwrap();
        stream.write_all(&bytes[..length]).await.unwrap();
        if turn.is_multiple_of(2) {
            // The server may have answered, and the answer is lost.
            let _ = stream.readable().await;
        }
        counts.cuts.fetch_add(1, Relaxed);
    }
}

async fn client_of(server: &Path) -> Result<Client, Error> {
    Client::handshake(unix::dial(server).await.unwrap()).await
}

async fn child() -> Client {
    let running = process::spawn(tokio::process::Command::new(programs::stub())).unwrap();
    let mut options = netlink_remote::client::ClientOptions::default();
    options.exit_report = Some(netlink_remote::transport::ExitReport::of_command(
        "the stub",
        running.stderr,
        running.end,
    ));
    Client::handshake_with(running.stdio, options).await.unwrap()
}

/// Lists the links.
async fn dump(socket: &RemoteSocket) {
    socket.send(&dump_links(1)).await.unwrap();
    loop {
        match within(socket.recv()).await.unwrap() {
            Event::Datagram(datagram) if is_done(&datagram.data) => return,
            Event::Datagram(_) => {}
            other => panic!("instead of a datagram: {other:?}"),
        }
    }
}

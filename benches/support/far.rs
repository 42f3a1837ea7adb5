//! The ways to a stub.

use std::{
    future::Future,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Duration,
};

use netlink_remote::{
    Client, Event, RemoteSocket, Target,
    client::Datagram,
    hops::{Connector, TargetOptions},
    stub::{Config, Shutdown, serve_stream},
    transport::Running,
};
use tokio::runtime::{Builder, Runtime};

use super::{
    netlink::{NETLINK_ROUTE, is_done},
    world::{Helper, has_ssh},
};

/// By which byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Duplex,
    Pipe,
    Unix,
    Ssh,
    OpenSsh,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplex => "duplex",
            Self::Pipe => "pipe",
            Self::Unix => "unix",
            Self::Ssh => "ssh",
            Self::OpenSsh => "openssh",
        }
    }

    /// Those of them that can be gone here.
    pub fn possible(ways: &[Self]) -> Vec<Self> {
        let by_ssh = |way: &Self| matches!(way, Self::Ssh | Self::OpenSsh);
        let has_ssh = !ways.iter().any(by_ssh) || has_ssh();
        ways.iter().copied().filter(|way| has_ssh || !by_ssh(way)).collect()
    }

    /// As text, for those that have one.
    pub fn target(self) -> Target {
        let target = match self {
            Self::Duplex => panic!("no target leads to a stub in this process"),
            Self::Pipe => "local:".to_owned(),
            Self::Unix => format!("unix:{SOCKET}"),
            Self::Ssh => format!("ssh://{}", crate::sshd::sshd().destination),
            Self::OpenSsh => format!("openssh://{}", crate::sshd::sshd().destination),
        };
        target.parse().unwrap()
    }
}

const SOCKET: &str = "/run/nlr-bench.sock";

/// A client, and what has to be taken down behind it.
pub struct Far {
    pub runtime: Runtime,
    pub client: Client,
    _listener: Option<Helper>,
}

impl Far {
    pub fn new(way: Way) -> Self {
        let runtime = runtime();
        let _listener = (way == Way::Unix).then(listener);
        let client = runtime.block_on(async {
            match way {
                Way::Duplex => Client::connect(in_memory_stub()).await,
                way => connector(way).connect(&way.target()).await,
            }
        });
        Self { runtime, client: client.unwrap(), _listener }
    }

    /// A routing socket at default settings.
    pub fn socket(&self) -> RemoteSocket {
        self.run(self.client.socket(NETLINK_ROUTE).open()).unwrap()
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.run(self.client.clone().close());
    }
}

/// One thread for the client and what it does: a local program would have no more.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connector with no connection yet.
pub fn connector(way: Way) -> Connector {
    let mut options = TargetOptions::default();
    options.stub = Some(vec![env!("CARGO_BIN_EXE_nlr-stub").into()]);
    if matches!(way, Way::Ssh | Way::OpenSsh) {
        options.stubs = vec![crate::stub::stripped().into()];
        options.ssh_config = Some(crate::sshd::sshd().config.clone());
    }
    Connector::new(options)
}

/// A command at the far end of a way, instead of a stub.
pub async fn command(connector: &Connector, way: Way, words: &[&str]) -> Running {
    let words = words.iter().map(Into::into).collect();
    connector.spawn(&way.target(), words).await.unwrap()
}

/// The program ssh, running a command.
pub fn openssh(words: &str) -> Command {
    let sshd = crate::sshd::sshd();
    let mut command = Command::new("ssh");
    command.arg("-F").arg(&sshd.config).arg("-T");
    command.arg(format!("ssh://{}", sshd.destination)).arg(words);
    command
}

fn in_memory_stub() -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let shutdown = Shutdown::new().unwrap();
        serve_stream(far, Config::default(), &shutdown).await.unwrap();
    });
    near
}

/// `nlr serve`, in a process of its own.
pub fn listener() -> Helper {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nlr"));
    command.arg("serve").arg(format!("unix:{SOCKET}")).stderr(Stdio::null());
    let helper = Helper(command.spawn().unwrap());
    while UnixStream::connect(SOCKET).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    helper
}

pub async fn datagram(socket: &RemoteSocket) -> Datagram {
    match socket.recv().await.unwrap() {
        Event::Datagram(datagram) => datagram,
        other => panic!("instead of a datagram: {other:?}"),
    }
}

/// Sends and receives until the dump is done; bytes received.
pub async fn dump(socket: &RemoteSocket, request: &[u8]) -> usize {
    socket.send(request).await.unwrap();
    let mut bytes = 0;
    loop {
        let datagram = datagram(socket).await;
        bytes += datagram.data.len();
        if is_done(&datagram.data) {
            return bytes;
        }
    }
}

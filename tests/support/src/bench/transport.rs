//! Clients over each transport that is measured.

use std::{
    future::Future,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
};

use netlink_remote::{
    Client, Connector, Datagram, Event, RemoteSocket, Target, TargetOptions,
    stub::{Config, Shutdown, serve_stream},
    transport,
};
use tokio::runtime::{Builder, Runtime};

use super::world::has_ssh;
use crate::{
    Running,
    netlink::{NETLINK_ROUTE, ends_with_done},
    programs,
    sshd::sshd,
    wait,
};

/// The byte streams that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// An in-memory stream to a stub on a thread of this process.
    Duplex,
    /// The pipes of a child process.
    Pipe,
    /// A unix socket of `nlr serve`.
    Unix,
    /// ssh in this process.
    Ssh,
    /// The program ssh.
    OpenSsh,
}

impl Transport {
    /// Its name in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplex => "duplex",
            Self::Pipe => "pipe",
            Self::Unix => "unix",
            Self::Ssh => "ssh",
            Self::OpenSsh => "openssh",
        }
    }

    /// Those transports that this world has.
    pub fn possible(transports: &[Self]) -> Vec<Self> {
        let by_ssh = |transport: &Self| matches!(transport, Self::Ssh | Self::OpenSsh);
        let has_ssh = !transports.iter().any(by_ssh) || has_ssh();
        transports.iter().copied().filter(|transport| has_ssh || !by_ssh(transport)).collect()
    }

    /// The target that leads over it; a duplex stream has none.
    pub fn target(self) -> Target {
        let target = match self {
            Self::Duplex => panic!("no target leads to a stub in this process"),
            Self::Pipe => "local:".to_owned(),
            Self::Unix => format!("unix:{SOCKET}"),
            Self::Ssh => format!("ssh://{}", sshd().destination),
            Self::OpenSsh => format!("openssh://{}", sshd().destination),
        };
        target.parse().unwrap()
    }
}

const SOCKET: &str = "/run/nlr-bench.sock";

/// A client and the far end it is connected to, both ended when dropped.
pub struct Far {
    runtime: Runtime,
    /// The client.
    pub client: Client,
    _listener: Option<Running>,
}

impl Far {
    /// Connects over a transport.
    pub fn new(transport: Transport) -> Self {
        let runtime = runtime();
        let _listener = (transport == Transport::Unix).then(listener);
        let client = runtime.block_on(async {
            match transport {
                Transport::Duplex => Client::handshake(in_memory_stub()).await,
                other => connector(other).connect(&other.target()).await,
            }
        });
        Self { runtime, client: client.unwrap(), _listener }
    }

    /// Opens a route socket with default settings.
    pub fn socket(&self) -> RemoteSocket {
        self.run(self.client.socket(NETLINK_ROUTE).open()).unwrap()
    }

    /// Runs a future on the client's thread.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.run(self.client.clone().close());
    }
}

/// A runtime of one thread for the client and its caller, as a local program has it.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connector with no connection yet.
pub fn connector(transport: Transport) -> Connector {
    let mut options = TargetOptions::default();
    options.stub = Some(vec![programs::stub().into()]);
    if matches!(transport, Transport::Ssh | Transport::OpenSsh) {
        options.stubs = vec![programs::stripped_stub().into()];
        options.ssh_config = Some(sshd().config.clone());
    }
    Connector::new(options)
}

/// Runs a command in place of a stub.
pub async fn command(
    connector: &Connector,
    transport: Transport,
    words: &[&str],
) -> transport::Running {
    let words = words.iter().map(Into::into).collect();
    connector.spawn(&transport.target(), words).await.unwrap()
}

/// The program ssh with a command for the far end, not run yet.
pub fn openssh(words: &str) -> Command {
    let sshd = sshd();
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
pub fn listener() -> Running {
    let mut command = Command::new(programs::nlr());
    command.arg("serve").arg(format!("unix:{SOCKET}")).stderr(Stdio::null());
    let helper = Running(command.spawn().unwrap());
    wait("nlr serve to listen", || UnixStream::connect(SOCKET).is_ok());
    helper
}

/// The next datagram.
///
/// # Panics
/// At any other event.
pub async fn datagram(socket: &RemoteSocket) -> Datagram {
    match socket.recv().await.unwrap() {
        Event::Datagram(datagram) => datagram,
        other => panic!("instead of a datagram: {other:?}"),
    }
}

/// Sends a request and receives its whole dump; gives the number of bytes received.
pub async fn dump(socket: &RemoteSocket, request: &[u8]) -> usize {
    socket.send(request).await.unwrap();
    let mut bytes = 0;
    loop {
        let datagram = datagram(socket).await;
        bytes += datagram.data.len();
        if ends_with_done(&datagram.data) {
            return bytes;
        }
    }
}

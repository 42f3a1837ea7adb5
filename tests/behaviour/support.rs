//! Far ends over every transport, requests, and streams that can be cut.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
pub(crate) use netlink_remote::nlmsg::{self, Builder, flags};
use netlink_remote::{
    Client, Connector, Event, RemoteSocket, Target, TargetOptions,
    client::ClientOptions,
    stub::{Config, ListenConfig, Listener, Shutdown, serve_stream},
    transport::{ExitReport, process, unix},
};
use testing::sshd::sshd;
pub(crate) use testing::{
    Namespace, PATIENCE,
    namespace::ip,
    netlink::{
        NETLINK_ROUTE, RTM_NEWLINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_LINK, add_route, dump_links,
        dump_routes, error_code, is_done, link_by_index, route_numbers, sequence_of,
    },
    programs, temporary, unique, within, world,
};
use tokio::io::DuplexStream;

pub(crate) const NETLINK_USERSOCK: u32 = 2;
pub(crate) const NETLINK_NETFILTER: u32 = 12;
pub(crate) const NETLINK_GENERIC: u32 = 16;

pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SO_SNDBUF: i32 = 7;
pub(crate) const SO_RCVBUF: i32 = 8;

pub(crate) use netlink_remote::errno::{
    EADDRINUSE, EBADF, EEXIST, EINVAL, EMSGSIZE, ENOBUFS, ENODATA, ENODEV, ENOENT, ENOMEM,
    ENOPROTOOPT, EPERM, EPROTONOSUPPORT,
};

/// The transports that every behaviour is tested over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// An in-memory stream to a stub in this process.
    Duplex,
    /// The pipes of a child process.
    Process,
    /// A unix socket to a listener in this process.
    Unix,
    /// ssh in this process, which sends the stub.
    Ssh,
    /// The program ssh, to an installed stub.
    OpenSsh,
    /// The pipes of sudo, which starts the stub.
    Sudo,
}

/// A client, and the listener that it is connected to, if any.
pub(crate) struct Far {
    pub(crate) client: Client,
    listener: Option<(Shutdown, JoinHandle<()>)>,
}

impl Far {
    pub(crate) async fn new(transport: Transport) -> Self {
        Self::with(transport, false).await
    }

    /// A far end whose client asks to be refused every change.
    pub(crate) async fn read_only(transport: Transport) -> Self {
        Self::with(transport, true).await
    }

    async fn with(transport: Transport, read_only: bool) -> Self {
        world::require();
        let mut options = ClientOptions::default();
        options.read_only = read_only;
        let mut listener = None;
        let client = match transport {
            Transport::Duplex => Client::handshake_with(in_memory_stub(), options).await,
            Transport::Process => {
                let running = process::spawn(stub_command()).unwrap();
                options.exit_report =
                    Some(ExitReport::of_command("the stub", running.stderr, running.end));
                Client::handshake_with(running.stdio, options).await
            }
            Transport::Unix => {
                let path = temporary("nlr").with_extension("sock");
                let shutdown = Shutdown::new().unwrap();
                let bound = Listener::bind(&path, ListenConfig::default()).unwrap();
                let theirs = shutdown.clone();
                let thread = std::thread::spawn(move || bound.run(&theirs, |_| {}).unwrap());
                listener = Some((shutdown, thread));
                Client::handshake_with(unix::dial(&path).await.unwrap(), options).await
            }
            Transport::Ssh => {
                let target = format!("ssh://{}", sshd().destination);
                connect_by(&target, read_only).await
            }
            Transport::OpenSsh => {
                let (destination, stub) = (&sshd().destination, programs::stub());
                connect_by(&format!("openssh://{destination},stub:{stub}"), read_only).await
            }
            Transport::Sudo => connect_by("sudo:", read_only).await,
        };
        Self { client: client.unwrap(), listener }
    }

    pub(crate) async fn route(&self) -> RemoteSocket {
        self.client.socket(NETLINK_ROUTE).open().await.unwrap()
    }

    /// A socket whose port id no other test gets. The kernel's first choice is the pid, which stubs
    /// in this process share.
    pub(crate) async fn route_of_its_own(&self) -> RemoteSocket {
        static NEXT: AtomicU32 = AtomicU32::new(0x4000_0000);
        let portid = NEXT.fetch_add(1, Ordering::Relaxed);
        self.client.socket(NETLINK_ROUTE).portid(portid).open().await.unwrap()
    }

    /// Closes the client, and waits for the end of the listener.
    pub(crate) async fn end(self) {
        self.client.close().await;
        if let Some((shutdown, thread)) = self.listener {
            shutdown.trigger();
            tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        }
    }
}

pub(crate) fn stub_command() -> tokio::process::Command {
    tokio::process::Command::new(programs::stub())
}

async fn connect_by(target: &str, read_only: bool) -> Result<Client, netlink_remote::Error> {
    let mut options = TargetOptions::default().with_read_only(read_only);
    options.stub = Some(vec![programs::stub().into()]);
    options.stubs = vec![programs::stripped_stub().into()];
    if target.contains("ssh:") {
        options.ssh_config = Some(sshd().config.clone());
    }
    Connector::new(options).connect(&target.parse::<Target>()?).await
}

pub(crate) fn in_memory_stub() -> DuplexStream {
    in_memory_stub_with(Config::default())
}

pub(crate) fn in_memory_stub_with(config: Config) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let shutdown = Shutdown::new().unwrap();
        serve_stream(far, config, &shutdown).await.unwrap();
    });
    near
}

/// The next datagram; any other event is a failure.
pub(crate) async fn datagram(socket: &RemoteSocket) -> netlink_remote::Datagram {
    match within(socket.recv()).await.unwrap() {
        Event::Datagram(datagram) => datagram,
        other => panic!("instead of a datagram: {other:?}"),
    }
}

/// A request as bytes.
pub(crate) fn request(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags | NLM_F_REQUEST;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A request that asks for an acknowledgement.
pub(crate) fn ack_of(message: RouteNetlinkMessage, sequence: u32) -> Vec<u8> {
    request(message, NLM_F_ACK, sequence)
}

/// Receives the datagrams of a dump.
pub(crate) async fn whole_dump(socket: &RemoteSocket) -> Vec<Bytes> {
    let mut datagrams = Vec::new();
    loop {
        let data = datagram(socket).await.data;
        let done = is_done(&data);
        datagrams.push(data);
        if done {
            return datagrams;
        }
    }
}

/// The numbers of the routes in a dump.
pub(crate) fn all_route_numbers(dump: &[Bytes]) -> impl Iterator<Item = u32> {
    dump.iter().flat_map(|datagram| route_numbers(datagram))
}

/// The names of the links in a dump.
pub(crate) fn all_link_names(dump: &[Bytes]) -> impl Iterator<Item = String> {
    dump.iter().flat_map(|datagram| testing::netlink::link_names(datagram))
}

/// The names of the links in the namespace of a socket.
pub(crate) async fn link_names(socket: &RemoteSocket) -> Vec<String> {
    socket.send(&dump_links(1)).await.unwrap();
    all_link_names(&whole_dump(socket).await).collect()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether this process's namespace has a route socket of this port id.
pub(crate) fn has_portid(portid: u32) -> bool {
    let table = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let wanted = portid.to_string();
    let is_it = |line: &str| {
        let mut fields = line.split_whitespace();
        (fields.nth(1), fields.next()) == (Some("0"), Some(wanted.as_str()))
    };
    table.lines().any(is_it)
}

/// A stream whose reading can be held back or cut, and whose writing is recorded.
pub(crate) struct Valve<S> {
    pub(crate) inner: S,
    pub(crate) control: Arc<ValveControl>,
}

#[derive(Debug, Default)]
pub(crate) struct ValveControl {
    pub(crate) held: std::sync::atomic::AtomicBool,
    /// The number of bytes read after which the stream ends; 0 for no end.
    pub(crate) cut_after: std::sync::atomic::AtomicUsize,
    pub(crate) read: std::sync::atomic::AtomicUsize,
    pub(crate) written: std::sync::Mutex<Vec<u8>>,
    pub(crate) waker: std::sync::Mutex<Option<std::task::Waker>>,
}

impl ValveControl {
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// Frames of this type written so far.
    pub(crate) fn frames(&self, wanted: netlink_remote::wire::FrameType) -> usize {
        use netlink_remote::wire::{Decoded, Header, Hello, MARKER};
        let written = self.written.lock().unwrap();
        let Some(mut rest) = written.get(MARKER.len()..) else { return 0 };
        let Ok(Some((_, hello))) = Hello::decode(rest) else { return 0 };
        rest = &rest[hello..];
        let mut count = 0;
        while let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) {
            count += usize::from(header.frame_type == wanted);
            rest = rest.get(header.stream_len()..).unwrap_or_default();
        }
        count
    }
}

impl<S: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for Valve<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let control = Arc::clone(&self.control);
        if control.held.load(Ordering::SeqCst) {
            *control.waker.lock().unwrap() = Some(cx.waker().clone());
            if control.held.load(Ordering::SeqCst) {
                return std::task::Poll::Pending;
            }
        }
        let cut = control.cut_after.load(Ordering::SeqCst);
        if cut > 0 && control.read.load(Ordering::SeqCst) >= cut {
            return std::task::Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut self.inner).poll_read(cx, buf);
        control.read.fetch_add(buf.filled().len() - before, Ordering::SeqCst);
        polled
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for Valve<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let polled = std::pin::Pin::new(&mut self.inner).poll_write(cx, buf);
        if let std::task::Poll::Ready(Ok(length)) = polled {
            self.control.written.lock().unwrap().extend_from_slice(&buf[..length]);
        }
        polled
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Makes a test of each function for each transport.
macro_rules! over_every_transport {
    ($($name:ident),* $(,)?) => {
        mod over_duplex {
            $(#[tokio::test] async fn $name() {
                super::$name(crate::support::Transport::Duplex).await;
            })*
        }
        mod over_process {
            $(#[tokio::test] async fn $name() {
                super::$name(crate::support::Transport::Process).await;
            })*
        }
        mod over_unix {
            $(#[tokio::test] async fn $name() {
                super::$name(crate::support::Transport::Unix).await;
            })*
        }
        mod over_sudo {
            $(#[tokio::test] async fn $name() {
                if testing::world::has_real_root("another user") {
                    super::$name(crate::support::Transport::Sudo).await;
                }
            })*
        }
        mod over_ssh {
            $(#[tokio::test] async fn $name() {
                if testing::world::has_real_root("another user") {
                    super::$name(crate::support::Transport::Ssh).await;
                }
            })*
        }
        mod over_openssh {
            $(#[tokio::test] async fn $name() {
                if testing::world::has_real_root("another user") {
                    super::$name(crate::support::Transport::OpenSsh).await;
                }
            })*
        }
    };
}
pub(crate) use over_every_transport;

//! Far ends for the tests, namespaces that go away by themselves, and netlink messages.

#![allow(unreachable_pub, reason = "it is for all of the program")]

use std::{
    future::Future,
    io::{self, Write},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
use netlink_remote::{
    Client, Event, RemoteSocket, Target,
    client::ConnectOptions,
    hops::TargetOptions,
    kernel,
    stub::{Config, ListenConfig, Listener, Shutdown, serve_stream},
    transport::{ExitReport, process, unix},
};
use tokio::io::DuplexStream;

pub const NETLINK_ROUTE: u32 = 0;
pub const NETLINK_USERSOCK: u32 = 2;
pub const NETLINK_NETFILTER: u32 = 12;
pub const NETLINK_GENERIC: u32 = 16;

pub const SOL_SOCKET: i32 = 1;
pub const SO_SNDBUF: i32 = 7;
pub const SO_RCVBUF: i32 = 8;

pub const ENOENT: i32 = 2;
pub const EPERM: i32 = 1;
pub const EBADF: i32 = 9;
pub const EEXIST: i32 = 17;
pub const ENODEV: i32 = 19;
pub const EINVAL: i32 = 22;
pub const ENODATA: i32 = 61;
pub const EMSGSIZE: i32 = 90;
pub const ENOPROTOOPT: i32 = 92;
pub const EPROTONOSUPPORT: i32 = 93;
pub const EADDRINUSE: i32 = 98;

/// Longer than anything here takes; a test that hangs says so.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The byte streams that every behaviour is tested over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Duplex,
    Process,
    Unix,
    /// By ssh in this process, the stub being sent.
    #[cfg(feature = "ssh")]
    Ssh,
    /// By the program ssh, to an installed stub.
    #[cfg(feature = "ssh")]
    OpenSsh,
    /// Behind sudo.
    Sudo,
}

/// A client, and what has to be taken down behind it.
pub struct Far {
    pub client: Client,
    listener: Option<(Shutdown, JoinHandle<()>)>,
}

impl Far {
    pub async fn new(transport: Transport) -> Self {
        in_test_world();
        let mut listener = None;
        let client = match transport {
            Transport::Duplex => Client::connect(in_memory_stub()).await,
            Transport::Process => {
                let running = process::spawn(stub_command()).unwrap();
                let mut options = ConnectOptions::default();
                options.exit_report =
                    Some(ExitReport::of_command("the stub", running.stderr, running.end));
                Client::connect_with(running.stdio, options).await
            }
            Transport::Unix => {
                let path = socket_path();
                let shutdown = Shutdown::new().unwrap();
                let bound = Listener::bind(&path, ListenConfig::default()).unwrap();
                let theirs = shutdown.clone();
                let thread = std::thread::spawn(move || bound.run(&theirs, |_| {}).unwrap());
                listener = Some((shutdown, thread));
                Client::connect(unix::connect(&path).await.unwrap()).await
            }
            #[cfg(feature = "ssh")]
            Transport::Ssh => {
                let target = format!("ssh://{}", crate::sshd::sshd().destination);
                connect_by(&target).await
            }
            #[cfg(feature = "ssh")]
            Transport::OpenSsh => {
                let (destination, stub) = (&crate::sshd::sshd().destination, STUB);
                connect_by(&format!("openssh://{destination},stub:{stub}")).await
            }
            Transport::Sudo => connect_by("sudo:").await,
        };
        Self { client: client.unwrap(), listener }
    }

    pub async fn route(&self) -> RemoteSocket {
        self.client.socket(NETLINK_ROUTE).open().await.unwrap()
    }

    /// One whose port id no other test gets: the kernel's first choice is a process's pid, again
    /// and again, and stubs in this process share that.
    pub async fn route_of_its_own(&self) -> RemoteSocket {
        static NEXT: AtomicU32 = AtomicU32::new(0x4000_0000);
        let portid = NEXT.fetch_add(1, Ordering::Relaxed);
        self.client.socket(NETLINK_ROUTE).portid(portid).open().await.unwrap()
    }

    /// Takes it down and waits until it is.
    pub async fn end(self) {
        self.client.close().await;
        if let Some((shutdown, thread)) = self.listener {
            shutdown.trigger();
            tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        }
    }
}

/// Refuses to touch the machine of whoever runs this: the runner gives a world to run in.
pub fn in_test_world() {
    assert!(
        std::env::var_os("NLR_TEST_WORLD").is_some(),
        "these tests create namespaces and interfaces; run them with `tests/run`"
    );
}

/// Whether the tests are without privileges outside their user namespace.
pub fn is_user_world() -> bool {
    std::env::var("NLR_TEST_WORLD").is_ok_and(|world| world == "user")
}

const STUB: &str = env!("CARGO_BIN_EXE_nlr-stub");

/// Whether this is real root, which sshd and sudo need to make one another user; says so if not.
pub fn has_real_root() -> bool {
    if is_user_world() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not by print: the test harness would keep it to itself.
        let _ = writeln!(io::stderr(), "{test}: not run: sshd and sudo take real root");
    }
    !is_user_world()
}

pub fn stub_command() -> tokio::process::Command {
    tokio::process::Command::new(STUB)
}

async fn connect_by(target: &str) -> Result<Client, netlink_remote::Error> {
    let mut options = TargetOptions::default();
    options.stub = Some(vec![STUB.into()]);
    options.stubs = vec![crate::stub::stripped().into()];
    #[cfg(feature = "ssh")]
    if target.contains("ssh:") {
        options.ssh_config = Some(crate::sshd::sshd().config.clone());
    }
    target.parse::<Target>()?.connect(&options).await
}

pub fn in_memory_stub() -> DuplexStream {
    in_memory_stub_with(Config::default())
}

pub fn in_memory_stub_with(config: Config) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let shutdown = Shutdown::new().unwrap();
        serve_stream(far, config, &shutdown).await.unwrap();
    });
    near
}

pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn socket_path() -> PathBuf {
    std::env::temp_dir().join(unique("nlr")).with_extension("sock")
}

/// A named namespace that is deleted in the end.
pub struct TestNetns(pub String);

impl TestNetns {
    pub fn new() -> Self {
        in_test_world();
        let name = unique("nlr-");
        kernel::netns::add(&name).unwrap();
        Self(name)
    }

    pub fn netns(&self) -> netlink_remote::Netns {
        netlink_remote::Netns::Name(self.0.clone())
    }

    /// Runs `ip` inside, which must succeed.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.0))
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Err(failure) = kernel::netns::delete(&self.0)
            && !std::thread::panicking()
        {
            panic!("{failure:?}");
        }
    }
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails rather than hangs.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("this hangs")
}

/// The next datagram, everything else being a failure.
pub async fn datagram(socket: &RemoteSocket) -> netlink_remote::client::Datagram {
    match within(socket.recv()).await.unwrap() {
        Event::Datagram(datagram) => datagram,
        other => panic!("instead of a datagram: {other:?}"),
    }
}

/// A request as bytes.
pub fn request(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags | NLM_F_REQUEST;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

pub fn dump_links(sequence: u32) -> Vec<u8> {
    request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, sequence)
}

pub fn link_by_index(index: u32, sequence: u32) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    request(RouteNetlinkMessage::GetLink(link), 0, sequence)
}

pub fn ack_of(message: RouteNetlinkMessage, sequence: u32) -> Vec<u8> {
    request(message, NLM_F_ACK, sequence)
}

/// An IPv4 route to 10.a.b.c/32 by way of `lo`, as a request to add it.
pub fn add_route(number: u32, lo: u32, flags: u16) -> Vec<u8> {
    use netlink_packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
            RouteType,
        },
    };
    let [_, a, b, c] = number.to_be_bytes();
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = 32;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Link;
    route.header.kind = RouteType::Unicast;
    let destination = RouteAddress::Inet([10, a, b, c].into());
    route.attributes.push(RouteAttribute::Destination(destination));
    route.attributes.push(RouteAttribute::Oif(lo));
    let flags = flags | NLM_F_CREATE | NLM_F_EXCL;
    request(RouteNetlinkMessage::NewRoute(route), flags, number + 1)
}

/// The number that [`add_route`] put into a route's destination.
pub fn route_number(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    use netlink_packet_route::route::{RouteAddress, RouteAttribute};
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = &message.payload
    else {
        return None;
    };
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            let [ten, a, b, c] = address.octets();
            (ten == 10).then_some(u32::from_be_bytes([0, a, b, c]))
        }
        _ => None,
    })
}

/// The messages of a datagram.
pub fn parse(datagram: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while rest.len() >= 16 {
        let message = NetlinkMessage::deserialize(rest).unwrap();
        let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
        rest = &rest[length..];
        messages.push(message);
    }
    messages
}

/// Whether a datagram ends a dump.
pub fn is_done(datagram: &[u8]) -> bool {
    parse(datagram).iter().any(|m| matches!(m.payload, NetlinkPayload::Done(_)))
}

/// Receives until the dump is done; the messages of all its datagrams.
pub async fn whole_dump(socket: &RemoteSocket) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut all = Vec::new();
    loop {
        let datagram = datagram(socket).await;
        let done = is_done(&datagram.data);
        all.extend(parse(&datagram.data));
        if done {
            return all;
        }
    }
}

/// Names of the links that a socket sees.
pub async fn link_names(socket: &RemoteSocket) -> Vec<String> {
    use netlink_packet_route::link::LinkAttribute;
    socket.send(&dump_links(1)).await.unwrap();
    let name = |message: NetlinkMessage<RouteNetlinkMessage>| match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        }
        _ => None,
    };
    whole_dump(socket).await.into_iter().filter_map(name).collect()
}

/// The errno of the first NLMSG_ERROR in a datagram: 0 for an acknowledgement.
pub fn error_code(datagram: &[u8]) -> Option<i32> {
    parse(datagram).into_iter().find_map(|message| match message.payload {
        NetlinkPayload::Error(error) => Some(-error.raw_code()),
        _ => None,
    })
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether the kernel has a route socket of this port id in the namespace of this process.
pub fn has_portid(portid: u32) -> bool {
    let table = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let wanted = portid.to_string();
    let is_it = |line: &str| {
        let mut fields = line.split_whitespace();
        (fields.nth(1), fields.next()) == (Some("0"), Some(wanted.as_str()))
    };
    table.lines().any(is_it)
}

/// A stream that can be held back or cut towards its reader, and counts what its writer sends.
pub struct Valve<S> {
    pub inner: S,
    pub control: Arc<ValveControl>,
}

#[derive(Debug, Default)]
pub struct ValveControl {
    pub held: std::sync::atomic::AtomicBool,
    /// Bytes that may still be read before the stream ends; 0 for no such bound.
    pub cut_after: std::sync::atomic::AtomicUsize,
    pub read: std::sync::atomic::AtomicUsize,
    pub written: std::sync::Mutex<Vec<u8>>,
    pub waker: std::sync::Mutex<Option<std::task::Waker>>,
}

impl ValveControl {
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// Frames of this type written so far.
    pub fn frames(&self, wanted: netlink_remote::wire::FrameType) -> usize {
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
                if crate::support::has_real_root() {
                    super::$name(crate::support::Transport::Sudo).await;
                }
            })*
        }
        #[cfg(feature = "ssh")]
        mod over_ssh {
            $(#[tokio::test] async fn $name() {
                if crate::support::has_real_root() {
                    super::$name(crate::support::Transport::Ssh).await;
                }
            })*
        }
        #[cfg(feature = "ssh")]
        mod over_openssh {
            $(#[tokio::test] async fn $name() {
                if crate::support::has_real_root() {
                    super::$name(crate::support::Transport::OpenSsh).await;
                }
            })*
        }
    };
}
pub(crate) use over_every_transport;

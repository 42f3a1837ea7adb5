//! No socket waits for another one, and no client is cut off without a fault of its own.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_remote::{
    Client, Netns,
    client::{ClientOptions, NetnsMode},
    stub::{Config, Exit, Shutdown, serve, serve_stream},
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::{sockets::nft_transaction, support::*};

over_every_transport!(
    a_dump_that_waits_for_a_lock_delays_no_other_socket,
    confirmed_dumps_on_many_sockets_are_all_answered,
    a_handle_is_resolved_by_the_connection_that_gave_it,
);

/// A namespace with `lo` up and with routes.
async fn with_routes(client: &Client, count: u32) -> Namespace {
    let netns = Namespace::empty();
    netns.ip("link set lo up");
    let socket = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    for number in 0..count {
        socket.send(&add_route(number, 0)).await.unwrap();
    }
    within(socket.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    netns
}

/// The kernel makes the next part of a dump inside recvmsg, which waits for a lock while links are
/// deleted.
async fn a_dump_that_waits_for_a_lock_delays_no_other_socket(transport: Transport) {
    let far = Far::new(transport).await;
    for attempt in 0.. {
        let netns = Namespace::empty();
        let batch = temporary("batch");
        let lines = (0..400)
            .map(|n| format!("link add v{n} group 9 type veth peer name w{n}\n"))
            .collect::<String>();
        std::fs::write(&batch, lines).unwrap();
        netns.ip(&format!("-batch {}", batch.display()));
        std::fs::remove_file(&batch).unwrap();
        let open = || far.client.socket(NETLINK_ROUTE).netns(netns.netns()).open();
        let (deleting, dumping) = (open().await.unwrap(), open().await.unwrap());
        let mut group = LinkMessage::default();
        group.attributes.push(LinkAttribute::Group(9));
        let delete = ack_of(RouteNetlinkMessage::DelLink(group), 1);
        let slow = tokio::spawn(async move { deleting.send_confirmed(&delete).await });
        let dumps = tokio::spawn(async move {
            loop {
                dumping.send(&dump_links(1)).await.unwrap();
                whole_dump(&dumping).await;
            }
        });
        let mut pings = 0;
        while !slow.is_finished() {
            within(far.client.ping()).await.unwrap();
            pings += 1;
            // Time for the dump to reach the lock.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = slow.await.unwrap().unwrap();
        dumps.abort();
        let _ = dumps.await;
        // A stub that waits along with the dump answers a few pings before that, and then none.
        let expected = report.kernel_time.as_millis() as usize / 10;
        if pings > expected.max(10) {
            break;
        }
        assert!(attempt < 10, "{pings} pings in {:?}", report.kernel_time);
    }
    far.end().await;
}

/// Forty dumps of a megabyte each, all read before their sends are answered: more than a stub holds
/// at a time.
async fn confirmed_dumps_on_many_sockets_are_all_answered(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = with_routes(&far.client, 20_000).await;
    let dumps: Vec<_> = (0..40)
        .map(|_| {
            let builder = far.client.socket(NETLINK_ROUTE).netns(netns.netns());
            let builder = builder.window(64 << 20, 1 << 20);
            tokio::spawn(async move {
                let socket = builder.open().await.unwrap();
                socket.send_confirmed(&dump_routes(1)).await.unwrap();
                all_route_numbers(&whole_dump(&socket).await).count()
            })
        })
        .collect();
    for dump in dumps {
        assert_eq!(within(dump).await.unwrap(), 20_000);
    }
    far.end().await;
}

async fn a_handle_is_resolved_by_the_connection_that_gave_it(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let open = |netns| {
        let namespaces = far.client.netns();
        async move { namespaces.open(netns, NetnsMode::Existing).await }
    };
    let handle = open(netns.netns()).await.unwrap();
    let again = open(Netns::Handle(handle.fd())).await.unwrap();
    assert_eq!(again.id(), handle.id());
    assert_ne!(again.fd(), handle.fd());
    let own = open(Netns::Current).await.unwrap();
    assert_ne!(own.id(), handle.id());
    assert_eq!(own.id(), far.client.host().netns);
    assert_eq!(open(Netns::Handle(4242)).await.unwrap_err().errno(), Some(EBADF));
    far.end().await;
}

/// Takes down how much of a stream had been read when something came for a socket. Its task runs later: by then the
/// connection may have read the rest of the dump.
struct Arrival {
    control: Arc<ValveControl>,
    read: AtomicUsize,
    told: tokio::sync::Notify,
}

impl Arrival {
    fn new(control: &Arc<ValveControl>) -> Self {
        let told = tokio::sync::Notify::new();
        Self { control: Arc::clone(control), read: AtomicUsize::new(0), told }
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.read.store(self.control.read.load(Ordering::SeqCst), Ordering::SeqCst);
        self.told.notify_one();
    }
}

/// On a slow stream a socket's event does not wait for the end of another socket's dump.
#[tokio::test]
async fn sockets_take_turns_on_a_slow_stream() {
    world::require();
    let control = Arc::new(ValveControl::default());
    let valve = Valve { inner: in_memory_stub(), control: Arc::clone(&control) };
    let client = Client::handshake(valve).await.unwrap();
    let netns = with_routes(&client, 100_000).await;
    let builder = || client.socket(NETLINK_ROUTE).netns(netns.netns());
    let events = builder().group(1).open().await.unwrap();
    let dumping = builder().window(64 << 20, 1 << 20).open().await.unwrap();
    control.held.store(true, Ordering::SeqCst);
    dumping.send(&dump_routes(1)).await.unwrap();
    // Time to fill every buffer between the kernel and the client.
    tokio::time::sleep(Duration::from_millis(300)).await;
    netns.ip("link add v0 type veth peer name v1");
    // Time for the stub to receive the event, on a busy machine too.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = control.read.load(Ordering::SeqCst);
    let arrival = Arc::new(Arrival::new(&control));
    let waker = Waker::from(Arc::clone(&arrival));
    assert!(events.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    control.release();
    within(arrival.told.notified()).await;
    datagram(&events).await;
    let ahead = arrival.read.load(Ordering::SeqCst) - before;
    assert_eq!(all_route_numbers(&whole_dump(&dumping).await).count(), 100_000);
    // The bytes in the buffers of a socket pair, a duplex and the stub, and a turn or two. The dump
    // is more than twice as long.
    assert!(ahead < 2 << 20, "{ahead} bytes of the dump came before the event");
    client.close().await;
}

/// Sends that wait for a slow one are bounded by a pause of the stream, not by an error.
#[tokio::test]
async fn many_sends_behind_a_slow_one_pause_the_stream_and_are_all_made() {
    world::require();
    let mut config = Config::default();
    config.max_queued = 300_000;
    let client = Client::handshake(in_memory_stub_with(config)).await.unwrap();
    let netns = Namespace::empty();
    let builder = client.socket(NETLINK_NETFILTER).netns(netns.netns()).send_buffer(8 << 20);
    let nft = Arc::new(builder.open().await.unwrap());
    let slow = nft_transaction(9_000);
    nft.send(&slow).await.unwrap();
    let sends: Vec<_> = (0..60)
        .map(|_| {
            let nft = Arc::clone(&nft);
            // An empty batch.
            let empty = nft_transaction(0);
            tokio::spawn(async move { nft.send_confirmed(&empty.repeat(20)).await })
        })
        .collect();
    for send in sends {
        within(send).await.unwrap().unwrap();
    }
    drop(nft);
    client.close().await;
}

#[tokio::test]
async fn small_frames_carry_large_datagrams() {
    world::require();
    let mut config = Config::default();
    config.limits.max_frame = netlink_remote::wire::MIN_MAX_FRAME;
    let client = Client::handshake(in_memory_stub_with(config)).await.unwrap();
    let room = 4 << 20;
    let open = || client.socket(NETLINK_USERSOCK).send_buffer(room).receive_buffer(room).open();
    let (from, to) = (open().await.unwrap(), open().await.unwrap());
    let destination = netlink_remote::client::Destination::new(to.portid(), 0);
    let most = 65_536 - 24;
    for length in [60_000, 61_440, 61_441, most] {
        let sent = vec![7; length];
        within(from.send_confirmed_to(&sent, destination)).await.unwrap();
        assert!(datagram(&to).await.data[..] == sent[..], "of {length} bytes");
    }
    let error = within(from.send(&vec![7; most + 1])).await.unwrap_err();
    assert_eq!(error.errno(), Some(EMSGSIZE));
    // A datagram of the kernel's that is too large for the connection is an error of its own.
    let local = netlink_sys::Socket::new(NETLINK_USERSOCK as isize).unwrap();
    let address = netlink_sys::SocketAddr::new(to.portid(), 0);
    local.send_to(&vec![7; most + 1], &address, 0).unwrap();
    let error = within(to.recv()).await.unwrap_err();
    assert_eq!(error.errno(), Some(EMSGSIZE));
    assert!(error.to_string().contains(&(most + 1).to_string()), "{error}");
    within(client.ping()).await.unwrap();
    client.close().await;
}

/// A stub ends when its stream is abandoned with output pending.
#[tokio::test]
async fn a_stream_abandoned_in_mid_output_ends_the_stub() {
    world::require();
    for _ in 0..30 {
        let (near, far) = tokio::io::duplex(16);
        let serving = tokio::spawn(async move {
            serve_stream(far, Config::default(), &Shutdown::new().unwrap()).await
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(near);
        within(serving).await.unwrap().unwrap();
    }
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

/// A stub restores the mode of its streams, which may be a shell's terminal.
#[test]
fn streams_get_back_the_mode_they_had() {
    world::require();
    for _ in 0..50 {
        // One socket for both directions, like a terminal, and two pipes.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let kept = theirs.try_clone().unwrap();
        drop(ours);
        let output = OwnedFd::from(theirs.try_clone().unwrap());
        let shutdown = Shutdown::new().unwrap();
        let exit = serve(theirs.into(), output, Config::default(), &shutdown);
        assert_eq!(exit, Exit::ClientGone);
        assert!(!is_nonblocking(&kept));
        let (input, _) = std::io::pipe().unwrap();
        let (reader, output) = std::io::pipe().unwrap();
        let kept = (input.try_clone().unwrap(), output.try_clone().unwrap());
        serve(input.into(), output.into(), Config::default(), &shutdown);
        assert!(!is_nonblocking(&kept.0) && !is_nonblocking(&kept.1));
        drop(reader);
    }
}

/// The clients of a stub that is shut down get a fault with the reason before the end.
#[tokio::test]
async fn a_shutdown_is_told() {
    world::require();
    let (near, far) = tokio::io::duplex(4096);
    let shutdown = Shutdown::new().unwrap();
    let theirs = shutdown.clone();
    let serving =
        tokio::spawn(async move { serve_stream(far, Config::default(), &theirs).await.unwrap() });
    let client = Client::handshake_with(near, ClientOptions::default()).await.unwrap();
    shutdown.trigger();
    let error = within(client.closed()).await;
    assert!(error.to_string().contains("asked to shut down"), "{error}");
    assert_eq!(within(serving).await.unwrap(), Exit::Shutdown);
}

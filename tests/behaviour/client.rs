//! The client's promises to its callers, whatever the far end does: wake-ups, fair turns, bounds and
//! errors that name their cause.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, Sink};
use netlink_remote::{
    Client, ErrorKind, Event, RemoteSocket,
    client::{ClientOptions, Destination, NetnsMode, options},
    stub::{Config, Shutdown, serve_stream},
    transport::{ExitReport, process},
    wire::{Decoded, Flags, FrameType, Header, Hello, MARKER, SocketId},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::support::*;

/// A waker that counts its wake-ups; the count of its Arc is that of its holders.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream that takes a permitted number of bytes, and keeps them.
struct Gate {
    inner: tokio::io::DuplexStream,
    control: Arc<GateControl>,
}

#[derive(Debug)]
struct GateControl {
    allowed: AtomicUsize,
    written: Mutex<Vec<u8>>,
    waker: Mutex<Option<Waker>>,
    panics: AtomicBool,
}

impl GateControl {
    fn allow(&self, bytes: usize) {
        self.allowed.store(bytes, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    fn is_used_up(&self) -> bool {
        self.allowed.load(Ordering::SeqCst) == 0
    }

    /// The frames written completely so far, in order.
    fn frames(&self) -> Vec<Header> {
        let written = self.written.lock().unwrap();
        let mut rest = &written[MARKER.len()..];
        rest = &rest[Hello::decode(rest).unwrap().unwrap().1..];
        let mut frames = Vec::new();
        while let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) {
            let Some(behind) = rest.get(header.stream_len()..) else { break };
            rest = behind;
            frames.push(header);
        }
        frames
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let control = Arc::clone(&self.control);
        assert!(!control.panics.load(Ordering::SeqCst), "this stream panics, as it was told to");
        *control.waker.lock().unwrap() = Some(cx.waker().clone());
        let allowed = control.allowed.load(Ordering::SeqCst).min(buf.len());
        if allowed == 0 {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, &buf[..allowed]);
        if let Poll::Ready(Ok(length)) = polled {
            control.written.lock().unwrap().extend_from_slice(&buf[..length]);
            control.allowed.fetch_sub(length, Ordering::SeqCst);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A client whose output can be held back.
async fn gated() -> (Client, Arc<GateControl>) {
    world::require();
    let control = Arc::new(GateControl {
        allowed: AtomicUsize::new(usize::MAX),
        written: Mutex::default(),
        waker: Mutex::default(),
        panics: AtomicBool::new(false),
    });
    let gate = Gate { inner: in_memory_stub(), control: Arc::clone(&control) };
    (Client::handshake(gate).await.unwrap(), control)
}

async fn connected() -> Client {
    world::require();
    Client::handshake(in_memory_stub()).await.unwrap()
}

async fn route(client: &Client) -> RemoteSocket {
    client.socket(NETLINK_ROUTE).open().await.unwrap()
}

/// Polls a future once, which must be pending, and drops it: then nothing holds its waker.
fn leaves_no_waker(what: &str, future: impl Future) {
    let counting = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&counting));
    {
        let mut future = pin!(future);
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{what}");
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&counting), 1, "{what} left its waker behind");
}

#[tokio::test]
async fn an_abandoned_wait_leaves_nothing_behind() {
    let (client, gate) = gated().await;
    let (socket, closing) = (route(&client).await, route(&client).await);
    gate.allow(0);
    for _ in 0..3 {
        leaves_no_waker("closed", client.closed());
        leaves_no_waker("recv", socket.recv());
        leaves_no_waker("ping", client.ping());
        leaves_no_waker("open", client.socket(NETLINK_ROUTE).open());
        leaves_no_waker("send_confirmed", socket.send_confirmed(&link_by_index(1, 1)));
        leaves_no_waker("join", socket.join(1));
        leaves_no_waker("list", client.netns().list());
    }
    leaves_no_waker("close", closing.close());
    // More requests and sends than there is room for.
    for _ in 0..300 {
        leaves_no_waker("join without room", socket.join(1));
        // A task out of budget leaves its waker with the runtime.
        tokio::task::yield_now().await;
    }
    while socket.send(&[0; 50_000]).now_or_never().is_some() {}
    leaves_no_waker("send", socket.send(&[0; 50_000]));
    gate.allow(usize::MAX);
    assert!(within(client.ping()).await.is_ok());
    client.close().await;
}

#[tokio::test]
async fn of_those_that_poll_the_last_is_woken() {
    let client = connected().await;
    let socket = route(&client).await;
    let wakers: Vec<_> = (0..100).map(|_| Arc::new(Counting::default())).collect();
    for counting in &wakers {
        let waker = Waker::from(Arc::clone(counting));
        assert!(socket.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    }
    let (last, others) = wakers.split_last().unwrap();
    assert!(others.iter().all(|counting| Arc::strong_count(counting) == 1));
    socket.send(&link_by_index(1, 1)).await.unwrap();
    eventually("the last one is woken", || last.0.load(Ordering::SeqCst) == 1).await;
    assert!(matches!(socket.try_recv(), Ok(Some(Event::Datagram(_)))));
    client.close().await;
}

/// Receivers that give up lose no wake-up, and every sender gets its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_share_a_socket_and_none_is_forgotten() {
    const EACH: usize = 500;
    const TASKS: usize = 8;
    let client = connected().await;
    let builder = client.socket(NETLINK_ROUTE).window(20_000, 10);
    let socket = Arc::new(builder.open().await.unwrap());
    let received = Arc::new(AtomicUsize::new(0));
    // The number of answers that the smallest receive buffer holds.
    let unread = Arc::new(tokio::sync::Semaphore::new(20));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (theirs, room) = (Arc::clone(&socket), Arc::clone(&unread));
        tasks.push(tokio::spawn(async move {
            for sequence in 0..EACH {
                room.acquire().await.unwrap().forget();
                theirs.send(&link_by_index(1, sequence as u32)).await.unwrap();
            }
        }));
        let (theirs, received) = (Arc::clone(&socket), Arc::clone(&received));
        let room = Arc::clone(&unread);
        tasks.push(tokio::spawn(async move {
            // As many receivers as answers: one that waits in vain hangs.
            let mut left = EACH;
            while left > 0 {
                tokio::select! {
                    biased;
                    event = theirs.recv() => {
                        assert!(matches!(event, Ok(Event::Datagram(_))));
                        left -= 1;
                        room.add_permits(1);
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                    () = tokio::task::yield_now(), if left.is_multiple_of(3) => {}
                }
            }
        }));
    }
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(received.load(Ordering::SeqCst), EACH * TASKS);
    client.close().await;
}

/// More requests than there is room for, some abandoned or refused while they wait.
#[tokio::test]
async fn requests_that_wait_for_room_all_get_it() {
    let client = connected().await;
    let socket = Arc::new(route(&client).await);
    let mut tasks = Vec::new();
    for number in 0..2000 {
        let socket = Arc::clone(&socket);
        tasks.push(tokio::spawn(async move { socket.join(1 + number % 2).await }));
    }
    tokio::task::yield_now().await;
    tasks.iter().step_by(3).for_each(|task| task.abort());
    for (number, task) in tasks.into_iter().enumerate() {
        let joined = within(task).await;
        assert!(number.is_multiple_of(3) || joined.unwrap().is_ok());
    }
    within(socket.join(1)).await.unwrap();
    drop(socket);
    client.close().await;
}

/// All sockets share the room for small datagrams; a sink that has said ready keeps its part.
#[tokio::test]
async fn a_sink_that_is_ready_stays_ready() {
    let (client, gate) = gated().await;
    let (mut sink, other) = (route(&client).await, route(&client).await);
    gate.allow(0);
    poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx)).await.unwrap();
    while other.send(&[0; 50_000]).now_or_never().is_some() {}
    Pin::new(&mut sink).start_send(link_by_index(1, 7).into()).unwrap();
    gate.allow(usize::MAX);
    assert_eq!(sequence_of(&datagram(&sink).await.data), 7);
    client.close().await;
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_connection() {
    world::require();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let stub = std::thread::spawn(move || {
        let shutdown = Shutdown::new().unwrap();
        runtime().block_on(serve_stream(far, Config::default(), &shutdown)).unwrap()
    });
    let theirs = runtime();
    let (client, socket) = theirs.block_on(async {
        let client = Client::handshake(near).await.unwrap();
        let socket = Arc::new(route(&client).await);
        (client, socket)
    });
    let waiting = {
        let (client, socket) = (client.clone(), Arc::clone(&socket));
        std::thread::spawn(move || {
            runtime().block_on(async {
                within(futures_util::future::join(client.closed(), socket.recv())).await
            })
        })
    };
    std::thread::sleep(Duration::from_millis(50));
    drop(theirs);
    let (closed, received) = waiting.join().unwrap();
    for error in [closed, received.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(error.to_string().contains("runtime"), "{error}");
    }
    runtime().block_on(async {
        assert_eq!(within(client.ping()).await.unwrap_err().kind(), ErrorKind::Disconnected);
        within(client.close()).await;
    });
    stub.join().unwrap();
}

#[tokio::test]
async fn a_stream_that_panics_ends_the_connection() {
    let (client, gate) = gated().await;
    gate.panics.store(true, Ordering::SeqCst);
    let error = within(client.ping()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("panic"), "{error}");
    within(client.close()).await;
}

#[tokio::test]
async fn what_fits_no_frame_is_refused_and_harms_nobody() {
    let client = connected().await;
    let (socket, other) = (route(&client).await, route(&client).await);
    let long = vec![0; 17 << 20];
    let name = "x".repeat(17 << 20);
    let namespaces = client.netns();
    let by_name = netlink_remote::Netns::Name(name.clone());
    let mut many_options = client.socket(NETLINK_ROUTE);
    for _ in 0..600 {
        many_options = many_options.option(options::SOL_NETLINK, options::CAP_ACK, &long[..32_000]);
    }
    let mut many_groups = client.socket(NETLINK_ROUTE);
    for _ in 0..(17 << 20) / 8 {
        many_groups = many_groups.group(1);
    }
    let errors = [
        within(socket.set_option(options::SOL_NETLINK, options::CAP_ACK, &long)).await.unwrap_err(),
        within(namespaces.add(&name)).await.unwrap_err(),
        within(namespaces.delete(&name)).await.unwrap_err(),
        within(namespaces.open(by_name, NetnsMode::Existing)).await.unwrap_err(),
        within(many_options.open()).await.unwrap_err(),
        within(many_groups.open()).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    within(other.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    client.close().await;
}

/// A client and a stub with the smallest frame limit.
async fn with_small_frames() -> Client {
    world::require();
    let mut config = Config::default();
    config.limits.max_frame = 64 * 1024;
    let mut options = ClientOptions::default();
    options.limits.max_frame = 64 * 1024;
    Client::handshake_with(in_memory_stub_with(config), options).await.unwrap()
}

#[tokio::test]
async fn the_smallest_frames_carry_the_largest_datagrams() {
    let client = with_small_frames().await;
    let room = 1 << 20;
    let usersock = || client.socket(NETLINK_USERSOCK).send_buffer(room).receive_buffer(room);
    let (from, to) = (usersock().open().await.unwrap(), usersock().open().await.unwrap());
    let destination = Destination::new(to.portid(), 0);
    for length in [60 * 1024, 60 * 1024 + 1, 64 * 1024 - 24] {
        within(from.send_confirmed_to(&vec![7; length], destination)).await.unwrap();
        assert_eq!(datagram(&to).await.data.len(), length);
    }
    let error = within(from.send_to(&vec![7; 64 * 1024 - 23], destination)).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(EMSGSIZE)));
    // A refused request returns its room, which is for 256.
    for _ in 0..300 {
        let level = options::SOL_NETLINK;
        let refused = within(from.set_option(level, options::CAP_ACK, &[0; 70_000])).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(within(from.option(options::SOL_NETLINK, options::CAP_ACK, 4)).await.is_ok());
    client.close().await;
}

#[tokio::test]
async fn a_small_datagram_has_memory_of_its_own() {
    let client = connected().await;
    let socket = route(&client).await;
    let mut kept = Vec::new();
    for sequence in 0..100 {
        socket.send(&link_by_index(1, sequence)).await.unwrap();
        kept.push(datagram(&socket).await.data);
    }
    kept.push(socket.option(options::SOL_NETLINK, options::EXT_ACK, 4).await.unwrap());
    for data in kept {
        let length = data.len();
        let memory = data.try_into_mut().expect("nobody else has it").capacity();
        assert!(memory < 4096, "{length} bytes keep {memory}");
    }
    client.close().await;
}

#[tokio::test]
async fn a_far_end_that_asks_for_a_password_is_quoted() {
    let (near, mut far) = tokio::io::duplex(4096);
    far.write_all(b"root@gw's password: ").await.unwrap();
    let mut options = ClientOptions::default();
    options.timeout = Duration::from_millis(100);
    let error = within(Client::handshake_with(near, options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("root@gw's password:"), "{error}");
}

/// A command that ends at the end of its input, and one that, like an ssh that waits for a password,
/// never does.
#[tokio::test]
async fn what_a_silent_child_said_on_stderr_is_quoted() {
    world::require();
    for script in
        ["echo it is locked >&2; cat > /dev/null; exit 3", "echo it is locked >&2; exec sleep 100"]
    {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]);
        let running = process::spawn(command).unwrap();
        let mut options = ClientOptions::default();
        options.timeout = Duration::from_millis(200);
        options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
        let error = within(Client::handshake_with(running.stdio, options)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("it is locked"), "{error}");
        assert!(error.to_string().contains("hello within 200ms"), "{error}");
    }
}

/// The data frames among some frames: the socket, and whether more of the datagram follows.
fn sends(frames: &[Header]) -> Vec<(SocketId, bool)> {
    let sends = frames.iter().filter(|header| header.frame_type == FrameType::Send);
    sends.map(|header| (header.socket, header.flags.contains(Flags::MORE))).collect()
}

#[tokio::test]
async fn a_small_request_overtakes_the_largest_datagram() {
    let (client, gate) = gated().await;
    let (large, small) = (route(&client).await, route(&client).await);
    gate.allow(200_000);
    large.send(&vec![0; (16 << 20) - 24]).await.unwrap();
    eventually("some of it is written", || gate.is_used_up()).await;
    small.send(&link_by_index(1, 77)).await.unwrap();
    gate.allow(usize::MAX);
    assert_eq!(sequence_of(&datagram(&small).await.data), 77);
    // The kernel refuses a datagram of this size, which is known once all of it is sent.
    assert_eq!(within(large.recv()).await.unwrap_err().errno(), Some(EMSGSIZE));
    let sends = sends(&gate.frames());
    let of_small = sends.iter().position(|(_, more)| !more).unwrap();
    assert!(sends.len() > 270, "{} pieces", sends.len());
    // The frame that was written, the next one, and no more.
    assert!(of_small < 8, "{of_small} pieces came before it");
    client.close().await;
}

#[tokio::test]
async fn four_sockets_large_datagrams_take_turns_and_each_keeps_its_order() {
    let (client, gate) = gated().await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(Arc::new(route(&client).await));
    }
    let before = gate.frames().len();
    gate.allow(0);
    let mut joins = Vec::new();
    for socket in &sockets {
        socket.send(&vec![0; 300 << 10]).await.unwrap();
        socket.send(&link_by_index(1, 1)).await.unwrap();
        socket.send(&vec![0; 300 << 10]).await.unwrap();
        let theirs = Arc::clone(socket);
        joins.push(tokio::spawn(async move { theirs.join(1).await }));
    }
    gate.allow(usize::MAX);
    for join in joins {
        within(join).await.unwrap().unwrap();
    }
    let frames = &gate.frames()[before..];
    let mut begun: Vec<SocketId> = Vec::new();
    let (mut most, mut last) = (0, None);
    for (id, more) in sends(frames) {
        let alone = begun.iter().all(|other| *other == id);
        assert!(alone || last != Some((id, true)), "two pieces of one, though others waited");
        match (more, begun.iter().position(|other| *other == id)) {
            (true, None) => begun.push(id),
            (false, Some(at)) => drop(begun.remove(at)),
            _ => {}
        }
        most = most.max(begun.len());
        last = Some((id, more));
    }
    assert_eq!(most, 4);
    let first = frames[0].socket;
    let of_first = frames.iter().filter(|header| header.socket == first);
    let row: Vec<_> = of_first.map(|header| (header.frame_type, header.length)).collect();
    let lengths: Vec<_> = row.iter().map(|(_, length)| *length).collect();
    let (piece, request) = (61_440 + 24, 24 + link_by_index(1, 1).len() as u32);
    assert_eq!(lengths[..11], [&[piece; 5][..], &[request], &[piece; 5][..]].concat());
    assert_eq!(row[11].0, FrameType::Join, "a request keeps its place, too");
    drop(sockets);
    client.close().await;
}

#[tokio::test]
async fn a_closed_socket_sends_no_more_of_what_waits() {
    let (client, gate) = gated().await;
    let socket = route(&client).await;
    gate.allow(200_000);
    socket.send(&vec![0; 8 << 20]).await.unwrap();
    eventually("some of it is written", || gate.is_used_up()).await;
    drop(socket);
    gate.allow(usize::MAX);
    within(client.ping()).await.unwrap();
    assert!(sends(&gate.frames()).len() < 8);
    // The unfinished datagram holds up no other.
    let socket = route(&client).await;
    assert!(link_names(&socket).await.contains(&"lo".to_owned()));
    drop(socket);
    client.close().await;
}

/// The memory for large datagrams that wait is bounded too.
#[tokio::test]
async fn large_datagrams_wait_for_room() {
    let (client, gate) = gated().await;
    let mut sockets = Vec::new();
    for _ in 0..12 {
        sockets.push(Arc::new(route(&client).await));
    }
    gate.allow(0);
    let large: Arc<[u8]> = vec![0; 15 << 20].into();
    let sending: Vec<_> = sockets
        .iter()
        .map(|socket| {
            let (socket, large) = (Arc::clone(socket), Arc::clone(&large));
            tokio::spawn(async move { socket.send(&large).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let accepted = sending.iter().filter(|task| task.is_finished()).count();
    assert_eq!(accepted, 5, "64 MiB and the one that passes it");
    gate.allow(usize::MAX);
    for task in sending {
        within(task).await.unwrap().unwrap();
    }
    for socket in &sockets {
        assert_eq!(within(socket.recv()).await.unwrap_err().errno(), Some(EMSGSIZE));
    }
    drop(sockets);
    client.close().await;
}

#[tokio::test]
async fn failures_that_nobody_receives_are_told_to_the_sender() {
    let client = connected().await;
    let socket = route(&client).await;
    let mut sent = 0;
    let error = loop {
        // An empty datagram is ENODATA.
        match within(socket.send(&[])).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 50_000, "failures pile up");
    };
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Send, Some(ENODATA)));
    assert!(error.to_string().contains("nobody receives"), "{error}");
    // A full queue of failures does not hold up a confirmed send.
    within(socket.send_confirmed(&link_by_index(1, 1))).await.unwrap();
    let mut failed = 0;
    while failed < sent {
        match within(socket.recv()).await {
            Ok(Event::Datagram(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.errno(), Some(ENODATA));
                failed += 1;
            }
        }
    }
    socket.send(&link_by_index(1, 2)).await.unwrap();
    client.close().await;
}

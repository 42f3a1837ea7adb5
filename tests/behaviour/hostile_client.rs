//! Clients that try to use up a stub's memory: what the stub holds is bounded by what they send, and
//! by its limits.

use std::{process::Stdio, time::Duration};

use netlink_remote::{
    Client, ErrorKind, Netns, RemoteSocket,
    client::ClientOptions,
    stub::{Config, Exit, Shutdown, serve_stream},
    wire::{
        Credit, Decoded, Destination, Flags, FrameType, Header, Hello, MARKER, MIN_MAX_FRAME,
        Message, Open, SocketId, SocketOption, hello::Role,
    },
};
use testing::tool::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{raw::*, support::*};

const LONGEST: u32 = 16 << 20;

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A stub's process, its hello read, and its client's hello written.
struct RawStub(tokio::process::Child);

impl RawStub {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut tokio::process::Command)) -> Self {
        world::require();
        let mut command = stub_command();
        change(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut stub = Self(command.spawn().unwrap());
        stub.write(&hello(Role::Client)).await;
        stub.ping(0).await;
        stub
    }

    async fn write(&mut self, bytes: &[u8]) {
        within(self.0.stdin.as_mut().unwrap().write_all(bytes)).await.unwrap();
    }

    /// Reads until this frame has come; gives the output.
    async fn read_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let mut said = Vec::new();
        while !said.windows(wanted.len()).any(|piece| piece == wanted) {
            let read = within(self.0.stdout.as_mut().unwrap().read_buf(&mut said)).await.unwrap();
            assert_ne!(read, 0, "the stub ended");
        }
        said
    }

    /// Sends a ping, and gives what comes up to its pong.
    async fn ping(&mut self, token: u64) -> Vec<u8> {
        self.write(&frame(SocketId::CONNECTION, &Message::Ping(token))).await;
        self.read_until(&frame(SocketId::CONNECTION, &Message::Pong(token))).await
    }

    fn resident(&self) -> u64 {
        resident(self.0.id().unwrap())
    }

    /// Writes until the stub has taken nothing for a second; gives the bytes that it has not taken.
    async fn flood<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        let stdin = self.0.stdin.as_mut().unwrap();
        while !bytes.is_empty() {
            match timeout(Duration::from_secs(1), stdin.write(bytes)).await {
                Ok(written) => bytes = &bytes[written.unwrap()..],
                Err(_) => break,
            }
        }
        bytes
    }

    /// Closes the stream, and waits for the end.
    async fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(within(self.0.wait()).await.unwrap().success());
    }
}

/// Sends a ping with bytes behind it, and reads up to its pong.
async fn ping_with(stream: &mut UnixStream, token: u64, more: &[u8]) {
    let ping = frame(SocketId::CONNECTION, &Message::Ping(token));
    stream.write_all(&[&ping, more].concat()).await.unwrap();
    let pong = frame(SocketId::CONNECTION, &Message::Pong(token));
    let mut said = Vec::new();
    while !said.ends_with(&pong) {
        assert_ne!(within(stream.read_buf(&mut said)).await.unwrap(), 0, "refused");
    }
}

#[tokio::test]
async fn headers_of_long_frames_take_no_memory() {
    let server = Server::start(&[]);
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(&hello(Role::Client)).await.unwrap();
        ping_with(&mut stream, 1, &[]).await;
        clients.push(stream);
    }
    let before = resident(server.pid());
    for stream in &mut clients {
        // What comes in one write is taken in before the pong is written.
        ping_with(stream, 2, &raw_header(LONGEST, 0x20, 0)).await;
    }
    let growth = resident(server.pid()).saturating_sub(before);
    assert!(growth < 24 << 10, "200 headers took {growth} KiB");
}

#[tokio::test]
async fn room_for_a_long_frame_grows_with_it_and_is_given_back() {
    let mut stub = RawStub::start().await;
    let before = stub.resident();
    // A ping may be longer than its token: 16 MiB, of which the first 2 MiB come.
    let mut ping = raw_header(LONGEST, 0x02, 0);
    ping[8] = 0;
    ping.resize(LONGEST as usize, 7);
    let (head, tail) = ping.split_at(2 << 20);
    stub.write(head).await;
    let pid = stub.0.id().unwrap();
    let grown = || resident(pid).saturating_sub(before);
    eventually("the head is in memory", || grown() >= (2 << 10) - 128).await;
    let growth = grown();
    assert!(growth <= 5 << 10, "2 MiB of a frame took {growth} KiB");
    stub.write(tail).await;
    stub.read_until(&frame(SocketId::CONNECTION, &Message::Pong(0x0707_0707_0707_0707))).await;
    // The next frame is read into a small buffer.
    stub.ping(1).await;
    let growth = grown();
    assert!(growth <= 2 << 10, "behind the frame, {growth} KiB were kept");
    stub.end().await;
}

/// A client over an in-memory stream whose frames have 64 KiB at most.
async fn with_small_frames() -> Client {
    world::require();
    let mut options = ClientOptions::default();
    options.limits.max_frame = MIN_MAX_FRAME;
    Client::handshake_with(in_memory_stub(), options).await.unwrap()
}

/// A stub's frames keep to the agreed limit, whatever they repeat of a request.
#[tokio::test]
async fn errors_about_long_names_are_short() {
    let client = with_small_frames().await;
    // Shown, each letter takes five.
    let long = "\u{1}".repeat(60_000);
    let error = within(client.netns().add(&long)).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Namespace, Some(EINVAL)), "{error}");
    assert!(error.to_string().len() < 4096, "{} bytes", error.to_string().len());
    let open = client.socket(NETLINK_ROUTE).netns(Netns::Path("\u{1}".repeat(30_000))).open();
    let error = within(open).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(ENOENT)), "{error}");
    assert!(error.to_string().len() < 4096, "{} bytes", error.to_string().len());
    within(client.ping()).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_list_of_namespaces_longer_than_a_frame_is_an_error() {
    let client = with_small_frames().await;
    let namespace = Namespace::new();
    // Files that are no namespace are listed like those that are.
    let name = |number: u32| format!("/run/netns/{}-with-a-long-name-{number}", namespace.0);
    for number in 0..2000 {
        std::fs::write(name(number), "").unwrap();
    }
    let list = within(client.netns().list()).await;
    let other = Client::handshake(in_memory_stub()).await.unwrap();
    let whole = within(other.netns().list()).await;
    for number in 0..2000 {
        std::fs::remove_file(name(number)).unwrap();
    }
    let error = list.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Namespace, Some(EMSGSIZE)), "{error}");
    assert!(error.to_string().contains("65536 at most"), "{error}");
    assert!(whole.unwrap().len() > 2000);
    within(client.ping()).await.unwrap();
    client.close().await;
    other.close().await;
}

/// A docker that hangs until the file is there, in a folder of its own.
fn hanging_docker() -> (std::path::PathBuf, std::path::PathBuf) {
    let folder = temporary("bin");
    std::fs::create_dir(&folder).unwrap();
    let release = folder.join("release");
    let script = format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.01; done\n", release.display());
    programs::write(folder.join("docker"), script);
    (folder, release)
}

/// What waits for a slow engine is counted as what it takes, and bounded by a pause.
#[tokio::test]
async fn opens_that_wait_pause_the_stream() {
    let (folder, release) = hanging_docker();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
    let mut stub = RawStub::start_with(|command| {
        command.env("PATH", path);
    })
    .await;
    let before = stub.resident();
    // Options without a value, which take more memory than bytes.
    let options = vec![SocketOption { level: 1, name: 2, value: Vec::new() }; 5000];
    let open = Open { options, netns: Netns::docker("web"), ..Open::default() };
    let open = |id| frame(SocketId(id), &Message::Open(open.clone()));
    let (opens, each) = ((1..=400).flat_map(open).collect::<Vec<_>>(), open(1).len());
    let left = stub.flood(&opens).await;
    let taken = (opens.len() - left.len()) / each;
    assert!((50..200).contains(&taken), "{taken} opens were taken");
    let growth = stub.resident().saturating_sub(before);
    assert!(growth < 48 << 10, "{taken} opens that wait take {growth} KiB");
    std::fs::write(&release, "").unwrap();
    // Now they fail one after the other, and the stream goes on.
    stub.write(&left[..left.len() % each]).await;
    stub.ping(1).await;
    std::fs::remove_dir_all(&folder).unwrap();
    stub.end().await;
}

/// A client that reads nothing gets no more confirmed sends made than the stub can remember.
#[tokio::test]
async fn confirmed_sends_whose_answers_wait_pause_the_stream() {
    world::require();
    let mut config = Config::default();
    config.output_high_water = 1000;
    config.max_queued = 1 << 20;
    // The client does not read when it gets more.
    config.send_window = Credit { bytes: 1 << 30, datagrams: 1 << 20 };
    let (near, far) = tokio::io::duplex(1 << 10);
    let serving =
        tokio::spawn(
            async move { serve_stream(far, config, &Shutdown::new().unwrap()).await.unwrap() },
        );
    let (mut read, mut write) = tokio::io::split(near);
    let credit = Credit { bytes: 1 << 30, datagrams: 1 << 30 };
    let open = Message::Open(Open { credit, ..Open::default() });
    // Pongs fill the streams up to the client, and more.
    let pings = frame(SocketId::CONNECTION, &Message::Ping(1)).repeat(50_000);
    write.write_all(&[hello(Role::Client), frame(ONE, &open), pings].concat()).await.unwrap();
    // The answer of the first send is not received, so that those of the others wait for it.
    let (serial, destination) = (1, Destination::default());
    let send = frame(ONE, &Message::Send { serial, destination, data: &link_by_index(1, 1) });
    write.write_all(&send).await.unwrap();
    let mut confirmed = Vec::new();
    let message = Message::Send { serial, destination, data: &[0; 3] };
    message.encode(ONE, Flags::CONFIRM, &mut confirmed);
    let sends = confirmed.repeat(20_000);
    let mut left = sends.as_slice();
    while !left.is_empty() {
        match timeout(Duration::from_secs(1), write.write(left)).await {
            Ok(written) => left = &left[written.unwrap()..],
            Err(_) => break,
        }
    }
    // 256 bytes each, and what is in the buffers of the streams.
    let taken = (sends.len() - left.len()) / confirmed.len();
    assert!((4000..16_000).contains(&taken), "{taken} confirmed sends were taken");
    // Once the client reads, it gets every answer.
    let rest = left.to_vec();
    let writing = tokio::spawn(async move {
        write.write_all(&rest).await.unwrap();
        write
    });
    let (mut said, mut at, mut answers) = (Vec::new(), None, 0);
    while answers < 20_000 {
        let length = within(read.read_buf(&mut said)).await.unwrap();
        assert_ne!(length, 0, "the stub ended: {:?}", fault(&said));
        let hello = || Hello::decode(said.get(MARKER.len()..)?).ok()?.map(|(_, length)| length);
        at = at.or_else(|| hello().map(|length| MARKER.len() + length));
        while let Some(from) = &mut at
            && let Ok(Decoded::Known(header)) = Header::decode(&said[*from..], u32::MAX)
            && said.len() >= *from + header.stream_len()
        {
            answers += usize::from(header.frame_type == FrameType::Sent);
            *from += header.stream_len();
        }
    }
    let write = within(writing).await.unwrap();
    drop((read, write));
    assert_eq!(within(serving).await.unwrap(), Exit::ClientGone);
}

/// One client cannot have the kernel hold what it likes.
#[tokio::test]
async fn the_buffers_of_a_client_s_sockets_have_a_limit_together() {
    const SO_RCVBUFFORCE: i32 = 33;
    const LIMIT: u64 = 256 << 20;
    world::require();
    let client = Client::handshake(in_memory_stub()).await.unwrap();
    let builder = || client.socket(NETLINK_ROUTE);
    let plain = builder().receive_buffer(0).open().await.unwrap();
    let default = plain.receive_buffer();
    let beyond = |socket: &RemoteSocket| u64::from(socket.receive_buffer() - default);
    // Each gets some of what it wishes for.
    let mut sockets = Vec::new();
    for _ in 0..40 {
        sockets.push(builder().open().await.unwrap());
    }
    let held: u64 = sockets.iter().map(beyond).sum();
    assert!(held <= LIMIT, "{held} bytes beyond the defaults");
    // What is asked for by an option is all or nothing, and the refusal says the limit.
    let large = i32::to_ne_bytes(256 << 20);
    let before = plain.option(SOL_SOCKET, SO_RCVBUF, 4).await.unwrap();
    let error = plain.set_option(SOL_SOCKET, SO_RCVBUFFORCE, &large).await.unwrap_err();
    if error.errno() == Some(EPERM) {
        return client.close().await;
    }
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Request, Some(ENOBUFS)), "{error}");
    assert!(error.to_string().contains("may have 268435456"), "{error}");
    assert_eq!(plain.option(SOL_SOCKET, SO_RCVBUF, 4).await.unwrap(), before, "as it was");
    let open = builder().receive_buffer(0).option(SOL_SOCKET, SO_RCVBUFFORCE, large).open();
    let error = open.await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(ENOBUFS)), "{error}");
    // Closing gives back.
    for socket in sockets {
        socket.close().await.unwrap();
    }
    let most = i32::to_ne_bytes(100 << 20);
    plain.set_option(SOL_SOCKET, SO_RCVBUFFORCE, &most).await.unwrap();
    plain.close().await.unwrap();
    let again = builder().receive_buffer(0).option(SOL_SOCKET, SO_RCVBUFFORCE, most);
    again.open().await.unwrap();
    client.close().await;
}

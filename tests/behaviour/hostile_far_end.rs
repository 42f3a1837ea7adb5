//! Far ends that send what costs them nothing: this side takes bounded memory, and keeps its time.

use std::{
    io,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use netlink_remote::{
    Client, Error, ErrorKind, Event, RemoteSocket,
    transport::{End, Running, process},
    wire::{DatagramInfo, Message, SocketId},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testing::{
    far_end::{FarSide, frame},
    is_alive,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use crate::support::*;

const ONE: SocketId = SocketId(1);

/// A client, and the far end's thread, which runs `script` once it has opened a socket.
async fn client_of(
    script: impl FnOnce(&mut FarSide) -> io::Result<()> + Send + 'static,
) -> (Client, JoinHandle<()>) {
    world::require();
    let (near, far) = UnixStream::pair().unwrap();
    let far = std::thread::spawn(move || {
        let mut side = FarSide::greet(far, "hostile").unwrap();
        side.take_in().unwrap();
        // The client ends the connection at some time.
        let _ = script(&mut side);
    });
    near.set_nonblocking(true).unwrap();
    let near = tokio::net::UnixStream::from_std(near).unwrap();
    (within(Client::handshake(near)).await.unwrap(), far)
}

/// As [`client_of`], with the socket.
async fn socket_of(
    script: impl FnOnce(&mut FarSide) -> io::Result<()> + Send + 'static,
) -> (Client, RemoteSocket, JoinHandle<()>) {
    let (client, far) = client_of(script).await;
    let socket = within(client.socket(NETLINK_ROUTE).open()).await.unwrap();
    (client, socket, far)
}

async fn joined(far: JoinHandle<()>) {
    within(tokio::task::spawn_blocking(|| far.join().unwrap())).await.unwrap();
}

fn lost(dropped: u64, total: u64) -> Vec<u8> {
    frame(ONE, &Message::Lost { dropped, total })
}

fn datagram(data: &[u8]) -> Vec<u8> {
    frame(ONE, &Message::Datagram { info: DatagramInfo::default(), data })
}

#[tokio::test]
async fn reports_of_loss_that_nobody_reads_become_one() {
    let (client, socket, far) = socket_of(|side| {
        side.raw(&(1..=50_000).flat_map(|number| lost(2, 2 * number)).collect::<Vec<_>>())?;
        side.raw(&[datagram(&[1]), lost(u64::MAX, 3), lost(9, 4), datagram(&[2])].concat())?;
        // All of it is read once this is answered.
        while side.take_in().is_ok() {}
        Ok(())
    })
    .await;
    within(client.ping()).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = socket.try_recv().unwrap() {
        events.push(match event {
            Event::Lost { dropped, total, .. } => (dropped, total),
            Event::Datagram(datagram) => (0, datagram.data[0].into()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(events, [(100_000, 100_000), (0, 1), (u64::MAX, 4), (0, 2)]);
    drop(socket);
    client.close().await;
    joined(far).await;
}

/// The error of a connection whose far end sends these frames over and over, without reading.
async fn end_by(frames: Vec<u8>) -> Error {
    let flood = frames.repeat((64 << 10) / frames.len());
    let (client, far) = client_of(move |side| {
        // Bounded, so that a client that takes all of it fails the test and not the machine.
        (0..4096).try_for_each(|_| side.raw(&flood))
    })
    .await;
    // The connection may end before the open is told of.
    let _socket = within(client.socket(NETLINK_ROUTE).open()).await;
    let error = within(client.closed()).await;
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:#}");
    joined(far).await;
    error
}

#[tokio::test]
async fn failures_that_nobody_reads_end_the_connection() {
    let error = end_by(frame(ONE, &Message::ReceiveError { errno: 105, length: 0 })).await;
    assert!(format!("{error:#}").contains("16384 failures on a socket left unread"), "{error:#}");
    // Reports of loss between them do not hide them.
    let mixed = [frame(ONE, &Message::ReceiveError { errno: 105, length: 0 }), lost(1, 1)].concat();
    assert!(format!("{:#}", end_by(mixed).await).contains("left unread"));
    let error = end_by(frame(ONE, &Message::Sent { serial: 1, errno: 5, nanoseconds: 0 })).await;
    assert!(format!("{error:#}").contains("number 1, which was not asked"), "{error:#}");
}

#[tokio::test]
async fn pings_of_a_far_end_that_does_not_read_end_the_connection() {
    let error = end_by(frame(SocketId::CONNECTION, &Message::Ping(7))).await;
    assert!(format!("{error:#}").contains("4194304 bytes of answers left unread"), "{error:#}");
    let error = end_by(frame(SocketId::CONNECTION, &Message::Pong(7))).await;
    assert!(format!("{error:#}").contains("number 7, which was not asked"), "{error:#}");
}

#[tokio::test]
async fn a_long_text_of_a_failure_is_cut() {
    let text = "why ".repeat(1 << 20);
    let fault = netlink_remote::wire::Failure { errno: 71, text };
    let (client, far) =
        client_of(move |side| side.send(SocketId::CONNECTION, &Message::Fault(fault))).await;
    let _socket = within(client.socket(NETLINK_ROUTE).open()).await;
    let error = within(client.closed()).await.to_string();
    assert!(error.len() < 5000 && error.contains("why why") && error.ends_with('…'), "{error}");
    joined(far).await;
}

/// A stream that is a stub's until it is told to give reports of loss, without end and without a wait.
struct Endless {
    stub: DuplexStream,
    is_flooding: Arc<AtomicBool>,
    flood: Vec<u8>,
    at: usize,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_flooding.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stub).poll_read(cx, buf);
        }
        let length = buf.remaining().min(self.flood.len() - self.at);
        buf.put_slice(&self.flood[self.at..][..length]);
        self.at = (self.at + length) % self.flood.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stub).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stub).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stub).poll_shutdown(cx)
    }
}

#[test]
fn a_stream_without_end_leaves_time_for_timers() {
    world::require();
    let ticking = async {
        let is_flooding = Arc::new(AtomicBool::new(false));
        let flood = lost(1, 1).repeat(5000);
        let stub = in_memory_stub();
        let stream = Endless { stub, is_flooding: Arc::clone(&is_flooding), flood, at: 0 };
        let client = Client::handshake(stream).await.unwrap();
        let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
        is_flooding.store(true, Ordering::Relaxed);
        // A frame wakes the driver.
        socket.send(&dump_links(1)).await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(socket.recv().await, Ok(Event::Lost { dropped: 1000.., .. })));
        drop(socket);
        client.close().await;
    };
    // One thread, as the tool has.
    let (ended, has_ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(ticking);
        ended.send(()).unwrap();
    });
    has_ended.recv_timeout(Duration::from_secs(20)).expect("three ticks of 100 ms do not come");
}

// ---- processes

/// A shell that runs this script, and the pid that the script prints first.
async fn shell(script: &str) -> (Running, u32) {
    world::require();
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]);
    let mut running = process::spawn(command).unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(within(running.stdio.read_u8()).await.unwrap());
    }
    (running, String::from_utf8(line).unwrap().trim().parse().unwrap())
}

#[tokio::test]
async fn what_a_child_has_started_is_killed_with_it() {
    for script in [
        // A child of a child, behind a program in between.
        "sh -c 'sleep 1000 & echo $!; wait' & wait",
        "trap '' HUP TERM; sleep 1000 & echo $!; wait",
    ] {
        let (running, sleeper) = shell(script).await;
        drop(running);
        eventually("the end of the sleeper", || !is_alive(sleeper)).await;
        // By force, too, of one that does not end by itself.
        let (running, sleeper) = shell(script).await;
        drop(running.stdio);
        assert_eq!(within(running.end).await, End::Overdue);
        eventually("the end of the sleeper", || !is_alive(sleeper)).await;
    }
    // A daemon is meant to stay.
    let (running, daemon) = shell("setsid sh -c 'echo $$; exec sleep 1000' & wait").await;
    drop(running.stdio);
    within(running.end).await;
    assert!(is_alive(daemon));
    kill(Pid::from_raw(daemon.cast_signed()), Signal::SIGKILL).unwrap();
    eventually("the end of the daemon", || !is_alive(daemon)).await;
}

#[tokio::test]
async fn the_end_of_a_child_is_noticed_though_another_process_holds_its_pipe() {
    let (mut running, sleeper) = shell("sleep 1000 & echo $!; echo rest").await;
    let began = std::time::Instant::now();
    let mut rest = Vec::new();
    within(running.stdio.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"rest\n");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(within(running.end).await, End::Code(0));
    kill(Pid::from_raw(sleeper.cast_signed()), Signal::SIGKILL).unwrap();
    eventually("the end of the sleeper", || !is_alive(sleeper)).await;
}

//! Streams that neither end nor deliver any more, as over a network that was cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use netlink_remote::{
    Client, ErrorKind, Event,
    client::ClientOptions,
    errno::ETIMEDOUT,
    stub::{Config, Exit, Shutdown, serve_stream},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use crate::support::*;

const INTERVAL: Duration = Duration::from_millis(50);

/// A stub whose stream can be cut without an error at either end.
struct Wire {
    near: Option<DuplexStream>,
    cut: Arc<AtomicBool>,
    stub: JoinHandle<Exit>,
    pumps: Vec<JoinHandle<()>>,
}

impl Wire {
    fn new() -> Self {
        world::require();
        let (near, near_end) = tokio::io::duplex(64 * 1024);
        let (far_end, far) = tokio::io::duplex(64 * 1024);
        let stub = tokio::spawn(async move {
            let shutdown = Shutdown::new().unwrap();
            serve_stream(far, Config::default(), &shutdown).await.unwrap()
        });
        let cut = Arc::new(AtomicBool::new(false));
        let (near_read, near_write) = tokio::io::split(near_end);
        let (far_read, far_write) = tokio::io::split(far_end);
        let pumps = vec![
            tokio::spawn(pump(near_read, far_write, Arc::clone(&cut))),
            tokio::spawn(pump(far_read, near_write, Arc::clone(&cut))),
        ];
        Self { near: Some(near), cut, stub, pumps }
    }

    async fn connect(&mut self) -> Client {
        let mut options = ClientOptions::default();
        options.keepalive = Some(INTERVAL);
        within(Client::handshake_with(self.near.take().unwrap(), options)).await.unwrap()
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    async fn end_of_stub(self) -> Exit {
        let exit = within(self.stub).await.unwrap();
        self.pumps.iter().for_each(JoinHandle::abort);
        exit
    }
}

/// Copies between two streams and keeps both open; once cut, loses every byte.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    cut: Arc<AtomicBool>,
) {
    let mut piece = vec![0; 4096];
    loop {
        match from.read(&mut piece).await {
            Ok(length @ 1..) if !cut.load(Ordering::SeqCst) => {
                if to.write_all(&piece[..length]).await.is_err() {
                    return;
                }
            }
            Ok(1..) => {}
            Ok(0) | Err(_) if cut.load(Ordering::SeqCst) => std::future::pending().await,
            Ok(0) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}

#[tokio::test]
async fn both_ends_notice_that_the_way_between_them_is_cut() {
    let mut wire = Wire::new();
    let client = wire.connect().await;
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    wire.cut();
    let error = within(socket.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.errno(), Some(ETIMEDOUT));
    assert!(error.to_string().contains("has not answered for 50ms"), "{error}");
    assert_eq!(wire.end_of_stub().await, Exit::ClientSilent);
}

#[tokio::test]
async fn a_stub_that_cannot_write_notices_too() {
    let mut wire = Wire::new();
    let client = wire.connect().await;
    let netns = Namespace::empty();
    let socket = client.socket(NETLINK_ROUTE).netns(netns.netns()).group(1).open().await.unwrap();
    // The pump stops reading during a write of the stub.
    wire.pumps[1].abort();
    for number in 0..300 {
        netns.ip(&format!("link add v{number} type veth peer name w{number}"));
    }
    wire.cut();
    assert_eq!(wire.end_of_stub().await, Exit::ClientSilent);
    drop(socket);
}

#[tokio::test]
async fn an_idle_connection_lives_on_as_does_one_that_only_hears_or_only_speaks() {
    let mut wire = Wire::new();
    let client = wire.connect().await;
    tokio::time::sleep(INTERVAL * 10).await;
    client.ping().await.unwrap();
    // Events alone: the client sends nothing but pings.
    let netns = Namespace::empty();
    let socket = client.socket(NETLINK_ROUTE).netns(netns.netns()).group(1).open().await.unwrap();
    for _ in 0..20 {
        netns.ip("link set lo up");
        netns.ip("link set lo down");
        tokio::time::sleep(INTERVAL / 3).await;
    }
    assert!(matches!(within(socket.recv()).await.unwrap(), Event::Datagram(_)));
    // Sends alone, of messages without an answer.
    let mute = client.socket(NETLINK_USERSOCK).open().await.unwrap();
    for _ in 0..20 {
        mute.send(&[0; 16]).await.unwrap();
        tokio::time::sleep(INTERVAL / 3).await;
    }
    client.ping().await.unwrap();
    client.close().await;
    assert_eq!(wire.end_of_stub().await, Exit::ClientGone);
}

#[tokio::test]
async fn a_client_that_promised_nothing_may_be_silent() {
    let mut wire = Wire::new();
    let near = wire.near.take().unwrap();
    let client = Client::handshake(near).await.unwrap();
    wire.cut();
    tokio::time::sleep(INTERVAL * 10).await;
    assert!(!wire.stub.is_finished());
    wire.stub.abort();
    wire.pumps.iter().for_each(JoinHandle::abort);
    within(client.closed()).await;
}

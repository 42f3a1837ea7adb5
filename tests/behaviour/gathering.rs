//! A client that permits the stub to gather sends which may not be: its own answers suffer, and
//! nothing else does.

use netlink_remote::{
    stub::{Config, Exit, Shutdown, serve_stream},
    wire::{
        Counters, Credit, Decoded, Destination, Flags, FrameType, Header, Hello, MARKER, Message,
        Open, SocketId,
        hello::{PeerLimits, Role},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use crate::support::*;

const ONE: SocketId = SocketId(1);
const TWO: SocketId = SocketId(2);
const KERNEL: Destination = Destination::new(0, 0);

/// A client that writes frames of the test's own making.
struct RawClient {
    stream: DuplexStream,
    unread: Vec<u8>,
    serving: JoinHandle<Exit>,
}

impl RawClient {
    async fn new() -> Self {
        testing::world::require();
        let (mut stream, far) = tokio::io::duplex(1 << 20);
        let serving = tokio::spawn(async move {
            serve_stream(far, Config::default(), &Shutdown::new().unwrap()).await.unwrap()
        });
        let mut hello = MARKER.to_vec();
        Hello::new(Role::Client, PeerLimits::default(), None).encode(&mut hello);
        stream.write_all(&hello).await.unwrap();
        let mut client = Self { stream, unread: Vec::new(), serving };
        client.read(MARKER.len() + 4).await;
        let length = client.unread[MARKER.len()..][..4].try_into().unwrap();
        let whole = MARKER.len() + 4 + u32::from_le_bytes(length) as usize;
        client.read(whole).await;
        client.unread.drain(..whole);
        client
    }

    /// Has at least this many bytes unread.
    async fn read(&mut self, length: usize) {
        while self.unread.len() < length {
            let read = within(self.stream.read_buf(&mut self.unread)).await.unwrap();
            assert_ne!(read, 0, "the stub has ended");
        }
    }

    /// The next frame.
    async fn next(&mut self) -> (Header, Vec<u8>) {
        self.read(12).await;
        let Ok(Decoded::Known(header)) = Header::decode(&self.unread, u32::MAX) else {
            panic!("no frame: {:?}", self.unread)
        };
        self.read(header.stream_len()).await;
        let frame: Vec<u8> = self.unread.drain(..header.stream_len()).collect();
        (header, frame[12..header.length as usize].to_vec())
    }

    async fn write(&mut self, frames: &[Vec<u8>]) {
        self.stream.write_all(&frames.concat()).await.unwrap();
    }

    /// Opens a socket and gives its port id.
    async fn open(&mut self, id: SocketId, protocol: u32, receive_buffer: u32) -> u32 {
        let credit = Credit { bytes: 16 << 20, datagrams: 4096 };
        let open = Open { protocol, credit, receive_buffer, ..Open::default() };
        self.write(&[frame(id, Flags::NONE, &Message::Open(open))]).await;
        let (header, payload) = self.next().await;
        match Message::decode(header.frame_type, &payload).unwrap() {
            Message::Opened(opened) => opened.portid,
            other => panic!("{other:?}"),
        }
    }

    /// Closes socket one; everything else on it has to be over.
    async fn finish(mut self) -> Counters {
        self.write(&[frame(ONE, Flags::NONE, &Message::Close)]).await;
        let (header, payload) = self.next().await;
        let Ok(Message::Closed(counters)) = Message::decode(header.frame_type, &payload) else {
            panic!("{header:?}")
        };
        drop(self.stream);
        assert_eq!(within(self.serving).await.unwrap(), Exit::ClientGone);
        counters
    }
}

fn frame(id: SocketId, flags: Flags, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(id, flags, &mut out);
    out
}

fn send(id: SocketId, flags: Flags, serial: u32, to: Destination, data: &[u8]) -> Vec<u8> {
    frame(id, flags, &Message::Send { serial, destination: to, data })
}

/// The sequence numbers in the datagram that a frame carries.
fn sequences(payload: &[u8]) -> Vec<u32> {
    nlmsg::messages(&payload[12..]).map(|message| message.header.sequence).collect()
}

/// A socket does one dump at a time: the kernel refuses those that are gathered with one.
#[tokio::test]
async fn dumps_that_are_gathered_are_answered_or_refused_in_order() {
    const DUMPS: u32 = 8;
    let mut client = RawClient::new().await;
    client.open(ONE, NETLINK_ROUTE, 32 << 20).await;
    client.open(TWO, NETLINK_ROUTE, 0).await;
    // The stub learns that requests are fast.
    client.write(&[send(ONE, Flags::NONE, 0, KERNEL, &link_by_index(1, 1000))]).await;
    assert_eq!(sequences(&client.next().await.1), [1000]);
    let dump = |sequence| send(ONE, Flags::GATHER, sequence, KERNEL, &dump_links(sequence));
    let mut sent: Vec<_> = (1..=DUMPS).map(dump).collect();
    sent.push(send(TWO, Flags::NONE, 1, KERNEL, &link_by_index(1, 2000)));
    client.write(&sent).await;
    let (mut first_seen, mut ended, mut other) = (Vec::new(), 0, 0);
    while ended < DUMPS || other == 0 {
        let (header, payload) = client.next().await;
        match (header.socket, header.frame_type) {
            (_, FrameType::Credit) => {}
            (TWO, FrameType::Datagram) => other += 1,
            (ONE, FrameType::Datagram) => {
                for sequence in sequences(&payload) {
                    if !first_seen.contains(&sequence) {
                        first_seen.push(sequence);
                    }
                }
                let error = error_code(&payload[12..]);
                ended += u32::from(error.is_some() || is_done(&payload[12..]));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(first_seen, (1..=DUMPS).collect::<Vec<_>>());
    // The socket goes on.
    client.write(&[send(ONE, Flags::CONFIRM, 9, KERNEL, &link_by_index(1, 3000))]).await;
    assert_eq!(sequences(&client.next().await.1), [3000]);
    assert_eq!(client.next().await.0.frame_type, FrameType::Sent);
    assert_eq!(client.finish().await.sent_datagrams, u64::from(DUMPS) + 2);
}

#[tokio::test]
async fn a_confirmed_send_among_gathered_ones_is_answered_behind_its_datagram() {
    let mut client = RawClient::new().await;
    client.open(ONE, NETLINK_ROUTE, 32 << 20).await;
    let confirm = Flags::GATHER.with(Flags::CONFIRM);
    let sent: Vec<_> = (1..=20)
        .map(|serial| {
            let flags = if serial % 5 == 0 { confirm } else { Flags::GATHER };
            send(ONE, flags, serial, KERNEL, &link_by_index(1, serial))
        })
        .collect();
    client.write(&sent).await;
    let (mut answered, mut confirmed) = (Vec::new(), Vec::new());
    while confirmed.len() < 4 {
        let (header, payload) = client.next().await;
        match Message::decode(header.frame_type, &payload).unwrap() {
            Message::Credit(_) => {}
            Message::Datagram { .. } => answered.extend(sequences(&payload)),
            Message::Sent { serial, errno: 0, .. } => {
                assert!(answered.contains(&serial), "{serial} before its datagram");
                confirmed.push(serial);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, (1..=20).collect::<Vec<_>>());
    assert_eq!(confirmed, [5, 10, 15, 20]);
    client.finish().await;
}

#[tokio::test]
async fn a_gathered_send_goes_where_it_is_sent() {
    let mut client = RawClient::new().await;
    client.open(ONE, NETLINK_USERSOCK, 32 << 20).await;
    let portid = client.open(TWO, NETLINK_USERSOCK, 0).await;
    let to = Destination::new(portid, 0);
    let sent: Vec<_> = (1..=10).map(|n| send(ONE, Flags::GATHER, n, to, &[n as u8; 4])).collect();
    client.write(&sent).await;
    let mut received = Vec::new();
    while received.len() < 10 {
        let (header, payload) = client.next().await;
        match header.frame_type {
            FrameType::Credit => {}
            FrameType::Datagram if header.socket == TWO => received.push(payload[12]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received, (1..=10).collect::<Vec<u8>>());
}

/// The stub gathers as many as have room in the receive buffer if each has one answer.
#[tokio::test]
async fn answers_beyond_the_receive_buffer_are_told_as_lost() {
    const EACH: u32 = 60;
    const SENDS: u32 = 16;
    let mut client = RawClient::new().await;
    client.open(ONE, NETLINK_ROUTE, 256 << 10).await;
    let many = |n: u32| -> Vec<u8> {
        (0..EACH).flat_map(|i| link_by_index(1, 1 + n * EACH + i)).collect()
    };
    let sent: Vec<_> =
        (0..SENDS).map(|n| send(ONE, Flags::GATHER, n + 1, KERNEL, &many(n))).collect();
    client.write(&sent).await;
    let (mut received, mut lost, mut last) = (0, 0, 0);
    while received + lost < u64::from(EACH * SENDS) {
        let (header, payload) = client.next().await;
        match Message::decode(header.frame_type, &payload).unwrap() {
            Message::Credit(_) => {}
            Message::Datagram { .. } => {
                for sequence in sequences(&payload) {
                    assert!(sequence > last, "{sequence} behind {last}");
                    last = sequence;
                    received += 1;
                }
            }
            Message::Lost { dropped, .. } => lost += dropped,
            other => panic!("{other:?}"),
        }
    }
    assert!(received > 0);
    println!("{received} answers came, {lost} were lost");
}

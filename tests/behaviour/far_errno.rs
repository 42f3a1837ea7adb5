//! A far host of another architecture: its errno numbers become those of this host.

use bytes::{Buf, BytesMut};
use netlink_remote::{
    Client, ErrorKind, Netns,
    client::{HostInfo, NetnsMode},
    errno,
    wire::{
        Credit, DEFAULT_MAX_FRAME, Decoded, Failure, Flags, FrameType, Header, Hello, MARKER,
        Message, Opened, SocketId,
        hello::{PeerLimits, Role},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::*;

/// A stub played by the test, on a host of some architecture.
struct Far {
    io: DuplexStream,
    heard: BytesMut,
}

impl Far {
    async fn say(&mut self, socket: SocketId, message: Message<'_>) {
        let mut frame = Vec::new();
        message.encode(socket, Flags::NONE, &mut frame);
        self.io.write_all(&frame).await.unwrap();
    }

    /// Waits for a frame of the client's of this type.
    async fn hear(&mut self, expected: FrameType) {
        loop {
            match Header::decode(&self.heard, DEFAULT_MAX_FRAME).unwrap() {
                Decoded::Known(header) if self.heard.len() >= header.stream_len() => {
                    self.heard.advance(header.stream_len());
                    if header.frame_type == expected {
                        return;
                    }
                }
                _ => assert!(within(self.io.read_buf(&mut self.heard)).await.unwrap() > 0),
            }
        }
    }
}

async fn connected(architecture: &str) -> (Client, Far) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut host = HostInfo::default();
    host.architecture = architecture.to_owned();
    let mut hello = MARKER.to_vec();
    Hello::new(Role::Stub, PeerLimits::default(), Some(host)).encode(&mut hello);
    far.write_all(&hello).await.unwrap();
    let client = within(Client::handshake(near)).await.unwrap();
    let mut heard = BytesMut::new();
    while heard.len() < MARKER.len() || Hello::decode(&heard[MARKER.len()..]).unwrap().is_none() {
        within(far.read_buf(&mut heard)).await.unwrap();
    }
    let (_, length) = Hello::decode(&heard[MARKER.len()..]).unwrap().unwrap();
    heard.advance(MARKER.len() + length);
    (client, Far { io: far, heard })
}

/// EPROTONOSUPPORT, EMSGSIZE, ENOBUFS and EOPNOTSUPP in the header of each architecture.
const ARCHITECTURES: [(&str, [i32; 4]); 5] = [
    ("x86_64", [93, 90, 105, 95]),
    ("mips", [120, 97, 132, 122]),
    ("sparc64", [43, 40, 55, 45]),
    ("alpha", [43, 40, 55, 45]),
    ("parisc64", [221, 218, 233, 223]),
];

#[tokio::test]
async fn every_errno_of_the_far_kernel_is_numbered_as_here() {
    for (architecture, [unsupported, too_long, no_buffer, no_operation]) in ARCHITECTURES {
        let (client, mut far) = connected(architecture).await;
        let (one, two) = (SocketId(1), SocketId(2));
        let failure = |errno| Failure { errno, text: "as the stub says".to_owned() };

        let opening = tokio::spawn(client.socket(77).open());
        far.hear(FrameType::Open).await;
        far.say(one, Message::OpenFailed(failure(unsupported))).await;
        let error = within(opening).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(errno::EPROTONOSUPPORT)));

        let opening = tokio::spawn(client.socket(0).open());
        far.hear(FrameType::Open).await;
        let credit = Credit { bytes: 1 << 20, datagrams: 10 };
        let opened = Opened { credit, ..Opened::default() };
        far.say(two, Message::Opened(opened)).await;
        let socket = within(opening).await.unwrap().unwrap();

        let confirmed = socket.send_confirmed(&[0; 16]);
        let answer = async {
            far.hear(FrameType::Send).await;
            let sent = Message::Sent { serial: 1, errno: too_long, nanoseconds: 1 };
            far.say(two, sent).await;
        };
        let (sent, ()) = within(async { tokio::join!(confirmed, answer) }).await;
        assert_eq!(sent.unwrap_err().errno(), Some(errno::EMSGSIZE), "{architecture}");

        far.say(two, Message::ReceiveError { errno: no_buffer, length: 0 }).await;
        let error = within(socket.recv()).await.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Receive, Some(errno::ENOBUFS)));
        assert!(error.to_string().ends_with(&errno::describe(errno::ENOBUFS)), "{error}");

        let netns = client.netns();
        let opening = netns.open(Netns::Name("blue".into()), NetnsMode::Existing);
        let answer = async {
            far.hear(FrameType::Netns).await;
            let reply = Message::Reply { request: 1, errno: no_operation, value: b"no" };
            far.say(SocketId::CONNECTION, reply).await;
        };
        let (opened, ()) = within(async { tokio::join!(opening, answer) }).await;
        assert_eq!(opened.unwrap_err().errno(), Some(errno::EOPNOTSUPP), "{architecture}");
    }
}

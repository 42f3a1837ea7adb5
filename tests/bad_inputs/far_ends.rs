//! Bytes from far ends, to the tool as a client.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
    time::Duration,
};

use netlink_remote::wire::{
    Counters, Credit, DatagramInfo, Failure, Flags, Hello, MARKER, Message, Opened, SocketId,
    hello::{HostInfo, PeerLimits, Role},
    tlv,
};

use crate::{case, run::Place};

struct Input {
    name: &'static str,
    /// Sent at once, whatever the client says.
    bytes: Vec<u8>,
    /// Whether the stream ends behind the bytes. Otherwise it stays open.
    ends: bool,
    code: i32,
    error: &'static str,
}

const ONE: SocketId = SocketId(1);

fn hello() -> Vec<u8> {
    let mut host = HostInfo::default();
    host.host_name = "far".into();
    host.big_endian = cfg!(target_endian = "big");
    let mut out = MARKER.to_vec();
    Hello::new(Role::Stub, PeerLimits::default(), Some(host)).encode(&mut out);
    out
}

fn hello_of(body: &[u8]) -> Vec<u8> {
    [MARKER.as_slice(), &u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

fn frame(socket: SocketId, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(socket, Flags::NONE, &mut out);
    out
}

fn raw(length: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = [length.to_le_bytes().as_slice(), &[kind, 0, 0, 0, 1, 0, 0, 0]].concat();
    [header.as_slice(), payload].concat()
}

fn inputs() -> Vec<Input> {
    let input = |name, bytes, ends, code, error| Input { name, bytes, ends, code, error };
    // The client's first frame opens socket 1, which these answer.
    let opened = Opened {
        credit: Credit { bytes: 1 << 20, datagrams: 100 },
        portid: 7,
        ..Opened::default()
    };
    let opened = frame(ONE, &Message::Opened(opened));
    let behind = |frames: &[&[u8]]| [hello(), frames.concat()].concat();
    let datagram =
        |data: &[u8]| frame(ONE, &Message::Datagram { info: DatagramInfo::default(), data });
    let failure = |text: &str| Failure { errno: 71, text: text.into() };
    let mut critical = hello()[MARKER.len() + 4..].to_vec();
    tlv::put(&mut critical, 99 | tlv::CRITICAL, &[]);
    vec![
        input(
            "nothing",
            vec![],
            true,
            3,
            "unix:TMP/far: hello: the far end ended before it spoke the protocol",
        ),
        input(
            "silence",
            vec![],
            false,
            3,
            "unix:TMP/far: hello: the far end did not say hello within 2s",
        ),
        input(
            "another protocol",
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            true,
            3,
            "unix:TMP/far: hello: the far end ended before it spoke the protocol; instead it said: SSH-2.0-OpenSSH_9.2",
        ),
        input(
            "noise",
            b"12345678".repeat(40_000),
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: no protocol marker in the first 262145 bytes; instead it said: 234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567812345678123456781234567…",
        ),
        input(
            "noise with control characters",
            b"\x1b]0;owned\x07\xe2\x80\xae".to_vec(),
            true,
            3,
            "unix:TMP/far: hello: the far end ended before it spoke the protocol; instead it said: �]0;owned��",
        ),
        input(
            "an echo",
            {
                let mut out = MARKER.to_vec();
                Hello::new(Role::Client, PeerLimits::default(), None).encode(&mut out);
                out
            },
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: the peer is a client too: are this side's own bytes being echoed?",
        ),
        input(
            "a hello of 1 byte",
            [&MARKER[..], &[1, 0, 0, 0, 9]].concat(),
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: hello of 1 bytes (4 to 65536 are allowed)",
        ),
        input(
            "a hello of 4 GiB",
            [&MARKER[..], &[0xff; 8]].concat(),
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: hello of 4294967295 bytes (4 to 65536 are allowed)",
        ),
        input(
            "a hello that is cut",
            hello()[..MARKER.len() + 9].to_vec(),
            true,
            3,
            "unix:TMP/far: hello: the far end ended before it spoke the protocol",
        ),
        input(
            "a hello of versions to come",
            hello_of(&[7, 0, 5, 0]),
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: no common protocol version: the peer speaks 5 to 7, this side 1 to 1; use the same version on both sides",
        ),
        input(
            "a hello with an unknown critical option",
            hello_of(&critical),
            false,
            3,
            "unix:TMP/far: hello: the far end does not speak netlink-remote's protocol: unknown critical option 0x0063: the peer needs something this side does not know; use the same version on both sides",
        ),
        input(
            "a hello and an end",
            hello(),
            true,
            3,
            "unix:TMP/far: the connection to the stub ended",
        ),
        input(
            "a fault",
            behind(&[&frame(SocketId(0), &Message::Fault(failure("enough")))]),
            true,
            3,
            "unix:TMP/far: the stub ended the connection: enough",
        ),
        input(
            "a fault with control characters",
            behind(&[&frame(SocketId(0), &Message::Fault(failure("\u{1b}[2J\u{202e}x\u{200b}")))]),
            true,
            3,
            "unix:TMP/far: the stub ended the connection: �[2J�x�",
        ),
        input(
            "a frame of 3 bytes",
            behind(&[&raw(3, 2, &[])]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: frame length 3 is shorter than the 12-byte header",
        ),
        input(
            "a frame of 4 GiB",
            behind(&[&raw(u32::MAX, 0x21, &[])]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: frame of 4294967295 bytes exceeds the limit of 16777216",
        ),
        input(
            "a frame that is cut",
            behind(&[&raw(40, 0x21, &[0; 8])]),
            true,
            3,
            "unix:TMP/far: the connection to the stub ended",
        ),
        input(
            "an unknown frame",
            behind(&[&raw(12, 0xee, &[])]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: unknown frame type 0xee",
        ),
        input(
            "an opened socket without anything",
            behind(&[&raw(12, 0x11, &[])]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: payload ends before its last field",
        ),
        input(
            "an open from the wrong side",
            behind(&[&frame(ONE, &Message::Close)]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: a Close frame is not for this side to receive",
        ),
        input(
            "a socket opened unasked",
            behind(&[&frame(SocketId(9), &Message::Opened(Opened::default()))]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: a Opened frame on socket #9, which is not open",
        ),
        input(
            "a socket opened twice",
            behind(&[&opened, &opened]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: a Opened frame on socket #1, which is already open",
        ),
        input(
            "a socket closed unasked",
            behind(&[&opened, &frame(ONE, &Message::Closed(Counters::default()))]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: a Closed frame on socket #1, which is not closing",
        ),
        input(
            "a datagram for no socket",
            behind(&[&frame(
                SocketId(9),
                &Message::Datagram { info: DatagramInfo::default(), data: &[0; 16] },
            )]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: a Datagram frame on socket #9, which is not open",
        ),
        input(
            "a datagram that is none of netlink",
            behind(&[&opened, &datagram(&[0xff; 7])]),
            false,
            3,
            "unix:TMP/far: listing the links: the far end has not answered for 1s: the network between, or its host, is gone",
        ),
        input(
            "an answer unasked",
            behind(&[&opened, &frame(ONE, &Message::Reply { request: 9, errno: 0, value: &[] })]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: an answer to number 9, which was not asked",
        ),
        input(
            "a send's end unasked",
            behind(&[
                &opened,
                &frame(ONE, &Message::Sent { serial: 99, errno: 5, nanoseconds: 0 }),
            ]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: an answer to number 99, which was not asked",
        ),
        input(
            "a pong unasked",
            behind(&[&frame(SocketId(0), &Message::Pong(7))]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: an answer to number 7, which was not asked",
        ),
        input(
            "credit taken back",
            behind(&[&opened, &frame(ONE, &Message::Credit(Credit::default()))]),
            false,
            3,
            "unix:TMP/far: the far end broke the protocol: credit of socket #1 was taken back",
        ),
        input(
            "an open that failed",
            behind(&[&frame(ONE, &Message::OpenFailed(failure("no \u{1b}[31mway")))]),
            false,
            1,
            "unix:TMP/far: no �[31mway",
        ),
        input(
            "losses without end",
            behind(&[
                &opened,
                &frame(ONE, &Message::Lost { dropped: 1, total: 1 }).repeat(100_000),
            ]),
            false,
            3,
            "unix:TMP/far: listing the links: the far end has not answered for 1s: the network between, or its host, is gone",
        ),
    ]
}

pub(crate) fn names() -> Vec<&'static str> {
    inputs().iter().map(|input| input.name).collect()
}

#[test]
fn each_is_told_in_a_line() {
    testing::world::require();
    case::all(
        &inputs(),
        |input| input.name,
        |input| format!("{} {}", input.code, input.error),
        |input| {
            let place = Place::new();
            let listener = UnixListener::bind(place.folder.join("far")).unwrap();
            let (bytes, ends) = (input.bytes.clone(), input.ends);
            let far = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // The client's first words, so that nothing is lost in an early end. A client that is
                // refused may be gone.
                let mut client = [0; 4096];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                let _ = stream.read(&mut client);
                let _ = stream.write_all(&bytes);
                if ends {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                }
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                while let Ok(1..) = stream.read(&mut client) {}
            });
            // On a busy machine, an answer may take longer than a far end that waits needs to show.
            let limit = if input.error.contains("within 2s") { 2 } else { 60 };
            let told = place.run(&format!(
                "nlr --connect-timeout {limit} --keepalive 1 show link unix:TMP/far"
            ));
            far.join().unwrap();
            told
        },
    );
}

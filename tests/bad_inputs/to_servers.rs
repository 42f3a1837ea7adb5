//! Bytes from clients, to one `nlr serve` that outlives them all.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    time::Duration,
};

use netlink_remote::wire::{
    Credit, Decoded, Destination, Flags, HEADER_LEN, Header, Hello, MARKER, Message, Open,
    SocketId,
    hello::{PeerLimits, Role},
    tlv,
};
use nix::sys::signal::Signal;
use testing::{Running, finish, lab::Census, temporary, tool::nlr, wait};

use crate::case;

struct Input {
    name: &'static str,
    bytes: Vec<u8>,
    /// What the server says: the text of its fault, of a failed open, or of a reply with an error.
    answer: &'static str,
}

/// What a client says before its frames.
fn hello() -> Vec<u8> {
    let mut out = MARKER.to_vec();
    Hello::new(Role::Client, PeerLimits::default(), None).encode(&mut out);
    out
}

/// A hello of these bytes behind its length.
fn hello_of(body: &[u8]) -> Vec<u8> {
    [MARKER.as_slice(), &u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

/// The hello with more bytes at its end.
fn hello_with(option: u16, value: &[u8]) -> Vec<u8> {
    let whole = hello();
    let mut body = whole[MARKER.len() + 4..].to_vec();
    tlv::put(&mut body, option, value);
    hello_of(&body)
}

const ONE: SocketId = SocketId(1);

fn frame(socket: SocketId, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(socket, Flags::NONE, &mut out);
    out
}

/// A header by hand.
fn raw(length: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let header = [length.to_le_bytes().as_slice(), &[kind, flags, 0, 0, 1, 0, 0, 0]].concat();
    [header.as_slice(), payload].concat()
}

fn open() -> Vec<u8> {
    frame(ONE, &Message::Open(plain_open()))
}

fn plain_open() -> Open {
    Open { credit: Credit { bytes: 1 << 20, datagrams: 100 }, ..Open::default() }
}

/// An open frame with an option by hand.
fn open_with(option: u16, value: &[u8]) -> Vec<u8> {
    let mut out = open();
    tlv::put(&mut out, option, value);
    let length = u32::try_from(out.len()).unwrap();
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

/// The option of a namespace, of a kind with a value.
fn netns(kind: u32, value: &[u8]) -> Vec<u8> {
    let value = [&[0; 4], kind.to_le_bytes().as_slice(), value].concat();
    open_with(1 | tlv::CRITICAL, &value)
}

fn send(socket: SocketId, data: &[u8]) -> Vec<u8> {
    frame(socket, &Message::Send { serial: 1, destination: Destination::default(), data })
}

fn inputs() -> Vec<Input> {
    let after_hello = |frames: &[Vec<u8>]| [hello(), frames.concat()].concat();
    let input = |name, bytes, answer| Input { name, bytes, answer };
    let frames = |name, frames: &[Vec<u8>], answer| input(name, after_hello(frames), answer);
    vec![
        input(
            "another protocol",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "nlr serve: handshake: the stream ended without the protocol's marker; what came was: \"GET / HTTP/1.1\\n\\n\"",
        ),
        input(
            "noise",
            vec![b'x'; 300_000],
            "nlr serve: handshake: no protocol marker in the first 262145 bytes",
        ),
        input(
            "an echo",
            {
                let mut out = MARKER.to_vec();
                Hello::new(Role::Stub, PeerLimits::default(), None).encode(&mut out);
                out
            },
            "nlr serve: handshake: the peer is a stub too: are this side's own bytes being echoed?",
        ),
        input(
            "a hello of 0 bytes",
            hello_of(&[]),
            "nlr serve: handshake: hello of 0 bytes (4 to 65536 are allowed)",
        ),
        input(
            "a hello of 3 bytes",
            hello_of(&[1, 0, 1]),
            "nlr serve: handshake: hello of 3 bytes (4 to 65536 are allowed)",
        ),
        input(
            "a hello of 4 GiB",
            [MARKER.as_slice(), &[0xff; 8]].concat(),
            "nlr serve: handshake: hello of 4294967295 bytes (4 to 65536 are allowed)",
        ),
        input(
            "a hello of versions to come",
            hello_of(&[9, 0, 9, 0]),
            "nlr serve: handshake: no common protocol version: the peer speaks 9 to 9, this side 1 to 1; use the same version on both sides",
        ),
        input(
            "a hello of versions in reverse",
            hello_of(&[9, 0, 1, 0]),
            "nlr serve: handshake: payload ends before its last field",
        ),
        input(
            "a hello with an unknown critical option",
            hello_with(77 | tlv::CRITICAL, &[1]),
            "nlr serve: handshake: unknown critical option 0x004d: the peer needs something this side does not know; use the same version on both sides",
        ),
        input(
            "a hello with a limit too small",
            hello_of(&[
                1, 0, 1, 0, 1, 0x80, 1, 0, 0, 0, 0, 0, 2, 0, 12, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
                1, 0, 0, 0,
            ]),
            "nlr serve: handshake: invalid frame limit: 65535",
        ),
        input(
            "a hello with an option past its end",
            hello_of(&[1, 0, 1, 0, 9, 0, 99, 0]),
            "nlr serve: handshake: payload ends before its last field",
        ),
        frames(
            "a frame of 0 bytes",
            &[raw(0, 2, 0, &[])],
            "frame length 0 is shorter than the 12-byte header",
        ),
        frames(
            "a frame of 11 bytes",
            &[raw(11, 2, 0, &[])],
            "frame length 11 is shorter than the 12-byte header",
        ),
        frames(
            "a frame beyond the limit",
            &[raw((16 << 20) + 1, 0x20, 0, &[])],
            "frame of 16777217 bytes exceeds the limit of 16777216",
        ),
        frames(
            "a frame of 4 GiB",
            &[raw(u32::MAX, 0x20, 0, &[])],
            "frame of 4294967295 bytes exceeds the limit of 16777216",
        ),
        frames("an unknown frame", &[raw(12, 0xee, 0, &[])], "unknown frame type 0xee"),
        frames("an unknown frame of type 0", &[raw(12, 0, 0, &[])], "unknown frame type 0x00"),
        frames(
            "a ping without its number",
            &[raw(12, 2, 0, &[])],
            "payload ends before its last field",
        ),
        frames(
            "an open without anything",
            &[raw(12, 0x10, 0, &[])],
            "payload ends before its last field",
        ),
        frames(
            "an open of 100,000 bytes",
            &[raw(100_000, 0x10, 0, &[0; 99_988])],
            "open failed: a request of 100000 bytes: 65536 are allowed",
        ),
        frames(
            "an option of 100,000 bytes",
            &[
                open(),
                frame(
                    ONE,
                    &Message::OptionSet { request: 1, level: 1, name: 8, value: &[0; 100_000] },
                ),
            ],
            "opened; error 90: a request of 100024 bytes: 65536 are allowed",
        ),
        frames(
            "an open of the connection",
            &[frame(SocketId(0), &Message::Open(plain_open()))],
            "a Open frame on socket #0, which is the connection",
        ),
        frames(
            "an open twice",
            &[open(), open()],
            "opened; a Open frame on socket #1, which is already open",
        ),
        frames(
            "an open with an unknown critical option",
            &[open_with(99 | tlv::CRITICAL, &[])],
            "unknown critical option 0x0063: the peer needs something this side does not know; use the same version on both sides",
        ),
        frames(
            "an open with half a group",
            &[open_with(3 | tlv::CRITICAL, &[1, 0])],
            "payload ends before its last field",
        ),
        frames(
            "an open in group 0",
            &[open_with(3 | tlv::CRITICAL, &[0; 4])],
            "open failed: joining multicast group 0: Invalid argument",
        ),
        frames(
            "an open in a group beyond all",
            &[open_with(3 | tlv::CRITICAL, &[0xff; 4])],
            "open failed: joining multicast group 4294967295: Invalid argument",
        ),
        frames(
            "an open of no protocol",
            &[frame(ONE, &Message::Open(Open { protocol: 4242, ..plain_open() }))],
            "open failed: the kernel has no netlink protocol 4242",
        ),
        frames(
            "a namespace of an unknown kind",
            &[netns(9, b"blue")],
            "unknown kind of namespace 9: the peer asks for something this side does not know; use the same version on both sides",
        ),
        frames(
            "a namespace without a name",
            &[netns(1, b"")],
            "open failed: \"\" cannot be a namespace's name",
        ),
        frames(
            "a namespace of a name with a slash",
            &[netns(1, b"../etc/passwd")],
            "open failed: \"../etc/passwd\" cannot be a namespace's name",
        ),
        frames(
            "a namespace of a name that is no UTF-8",
            &[netns(1, &[0xff, 0xfe])],
            "invalid namespace name: 0",
        ),
        frames(
            "a namespace of a path with a zero byte",
            &[netns(2, b"/proc\0/x")],
            "open failed: namespace file \"/proc\\0/x\": no network namespace that the stub can reach is there",
        ),
        frames(
            "a namespace of a path that is none",
            &[netns(2, b"/etc/passwd")],
            "open failed: namespace file \"/etc/passwd\": no network namespace that the stub can reach is there",
        ),
        frames(
            "a namespace of half a pid",
            &[netns(3, &[1, 0])],
            "payload ends before its last field",
        ),
        frames(
            "a namespace of pid 0",
            &[netns(3, &[0; 4])],
            "open failed: opening the namespace of process 0: No such file or directory",
        ),
        frames(
            "a namespace of a handle not given",
            &[netns(4, &[7, 0, 0, 0])],
            "open failed: the namespace opened as descriptor 7: Bad file number",
        ),
        frames(
            "a container of an unknown engine",
            &[netns(5, &[9, 0, 0, 0, b'x'])],
            "invalid container engine: 9",
        ),
        frames(
            "a container that is an option",
            &[netns(5, &[1, 0, 0, 0, b'-', b'x'])],
            "invalid container name: 0",
        ),
        frames(
            "a send on no socket",
            &[send(ONE, &[0; 16])],
            "a Send frame on socket #1, which is not open",
        ),
        frames(
            "a send after a close",
            &[open(), frame(ONE, &Message::Close), send(ONE, &[0; 16])],
            "opened; closed; a Send frame on socket #1, which is not open",
        ),
        frames(
            "a send that is cut",
            &[open(), raw(16, 0x20, 0, &[0; 4])],
            "opened; payload ends before its last field",
        ),
        frames(
            "a close of no socket",
            &[frame(ONE, &Message::Close)],
            "a Close frame on socket #1, which is not open",
        ),
        frames(
            "credit taken back",
            &[open(), frame(ONE, &Message::Credit(Credit { bytes: 1, datagrams: 1 }))],
            "opened; credit of socket #1 was taken back",
        ),
        frames(
            "an answer from the wrong side",
            &[frame(ONE, &Message::Reply { request: 1, errno: 0, value: &[] })],
            "a Reply frame is not for this side to receive",
        ),
        frames(
            "a datagram from the wrong side",
            &[open(), frame(ONE, &Message::Lost { dropped: 1, total: 1 })],
            "opened; a Lost frame is not for this side to receive",
        ),
        frames(
            "an unknown operation on namespaces",
            &[raw(20, 0x40, 0, &[1, 0, 0, 0, 6, 0, 0, 0])],
            "invalid namespace operation: 6",
        ),
        frames(
            "a namespace to add that is a path",
            &[raw(23, 0x40, 0, &[1, 0, 0, 0, 4, 0, 0, 0, b'a', b'/', b'b', 0])],
            "error 22: \"a/b\" cannot be a namespace's name",
        ),
        frames(
            "an option with a pointer",
            &[
                open(),
                frame(ONE, &Message::OptionSet { request: 1, level: 1, name: 26, value: &[0; 16] }),
            ],
            "opened; error 92: setting option 26 of level 1: Protocol not available",
        ),
        frames(
            "an option of no level",
            &[
                open(),
                frame(ONE, &Message::OptionGet { request: 1, level: 4242, name: 1, capacity: 4 }),
            ],
            "opened; error 92: reading option 1 of level 4242: Protocol not available",
        ),
        frames(
            "an option of no socket",
            &[frame(ONE, &Message::OptionGet { request: 1, level: 1, name: 8, capacity: 4 })],
            "a OptionGet frame on socket #1, which is not open",
        ),
        frames(
            "a group of no socket",
            &[frame(ONE, &Message::Join { request: 1, group: 1 })],
            "a Join frame on socket #1, which is not open",
        ),
    ]
}

pub(crate) fn names() -> Vec<&'static str> {
    inputs().iter().map(|input| input.name).collect()
}

/// Sends the bytes, half-closes the stream, and gives what the server says in words.
fn answer(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may end the connection before it has read all.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    // A half-close tells a server whose frames are in order that there are no more; a fault ends the
    // stream before it.
    let mut closed = false;
    loop {
        stream
            .set_read_timeout(Some(Duration::from_millis(if closed { 20_000 } else { 300 })))
            .unwrap();
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !closed => {
                closed = true;
                let _ = stream.shutdown(Shutdown::Write);
            }
            // Reset: what was sent was not read.
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the server hangs");
                break;
            }
        }
    }
    in_words(&said)
}

fn in_words(said: &[u8]) -> String {
    let Some(behind) = said.strip_prefix(MARKER.as_slice()) else {
        return format!("no marker: {}", String::from_utf8_lossy(said));
    };
    let Ok(Some((_, length))) = Hello::decode(behind) else { return "no hello".into() };
    let mut rest = &behind[length..];
    let mut words = Vec::new();
    while let Ok(Decoded::Known(header)) = Header::decode(rest, u32::MAX) {
        let payload = &rest[HEADER_LEN..header.length as usize];
        match Message::decode(header.frame_type, payload).unwrap() {
            Message::Fault(failure) => words.push(failure.text),
            Message::OpenFailed(failure) => words.push(format!("open failed: {}", failure.text)),
            Message::Reply { errno: errno @ 1.., value, .. } => {
                words.push(format!("error {errno}: {}", String::from_utf8_lossy(value)));
            }
            Message::Opened(_) => words.push("opened".into()),
            Message::Closed(_) => words.push("closed".into()),
            other => words.push(format!("{other:?}")),
        }
        rest = &rest[header.stream_len()..];
    }
    words.join("; ")
}

#[test]
fn each_is_told_to_the_client() {
    testing::world::require();
    let socket = temporary("bad");
    let target = format!("unix:{}", socket.display());
    let mut command = nlr(&["serve", &target]);
    command.stderr(Stdio::null());
    let mut server = Running(command.spawn().unwrap());
    wait("nlr serve to listen", || UnixStream::connect(&socket).is_ok());
    let inputs = inputs();
    let try_all = || {
        case::all(
            &inputs,
            |input| input.name,
            |input| input.answer.to_owned(),
            |input| answer(&socket, &input.bytes),
        );
    };
    // The first round makes what all later ones share.
    try_all();
    let census = Census::of_settled(server.0.id());
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = resident();
    try_all();
    census.assert_no_more_than_before(Duration::from_secs(15));
    let after = resident();
    assert!(after < before + 4096, "resident memory: {before} KiB, then {after}");
    // It serves on.
    finish(nlr(&["show", "link", &target])).printed();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
}

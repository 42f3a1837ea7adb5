//! Everything that is encoded, decoded again.

use super::{Input, frames};
use crate::{
    text::one_line_of,
    wire::{
        Counters, Credit, DatagramInfo, Destination, Failure, FilterInstruction, Flags, FrameType,
        Header, Hello, MAX_TEXT, Message, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest,
        Open, Opened, SocketId, SocketOption,
        hello::{HostInfo, NetnsId, PeerLimits, Role},
    },
};

/// Makes a message, a hello or a list of these bytes.
pub(super) fn play(input: &mut Input<'_>) {
    match input.u8() % 8 {
        0 => hello(input),
        1 => lists(input),
        2 => {
            let mut frame = Vec::new();
            input.raw_frame(&mut frame);
            if !frame.is_empty() {
                let (header, payload) = frames::parse(&frame);
                canonical(header, payload);
            }
        }
        _ => message(input),
    }
}

/// Decodes a payload, and checks that its message stays the same through encoders and decoders, and
/// its bytes from the first encoder on.
pub(super) fn canonical(header: Header, payload: &[u8]) {
    let Ok(message) = Message::decode(header.frame_type, payload) else { return };
    assert_eq!(message.frame_type(), header.frame_type);
    let mut first = Vec::new();
    message.encode(header.socket, header.flags, &mut first);
    let (again, payload) = frames::parse(&first);
    assert_eq!((again.socket, again.flags), (header.socket, header.flags));
    let decoded = Message::decode(again.frame_type, payload).unwrap();
    // An encoder cuts the text of an error.
    let is_cut = matches!(message, Message::Reply { errno: 1.. | ..=-1, value, .. } if value.len() > MAX_TEXT);
    assert!(is_cut || decoded == message, "{message:?} became {decoded:?}");
    let mut second = Vec::new();
    decoded.encode(again.socket, again.flags, &mut second);
    assert_eq!(second, first, "{message:?}");
}

/// A text that a decoder leaves as it is.
fn text(input: &mut Input<'_>) -> String {
    let length = input.u8();
    one_line_of(input.take(length))
}

fn failure(input: &mut Input<'_>) -> Failure {
    Failure { errno: (input.number() as i32).max(1), text: text(input) }
}

fn id(input: &mut Input<'_>) -> NetnsId {
    NetnsId::new(input.number(), input.number())
}

fn netns(input: &mut Input<'_>) -> Netns {
    match input.u8() % 6 {
        0 => Netns::Current,
        1 => Netns::Name(text(input)),
        2 => Netns::Path(text(input)),
        3 => Netns::Pid(input.number() as u32),
        4 => Netns::Handle(input.number() as u32),
        _ => {
            let name = text(input);
            let named = if input.u8().is_multiple_of(2) {
                Netns::docker(name)
            } else {
                Netns::podman(name)
            };
            if named.is_well_named() { named } else { Netns::docker("web-1") }
        }
    }
}

fn mode(input: &mut Input<'_>) -> NetnsMode {
    [NetnsMode::Existing, NetnsMode::Create, NetnsMode::CreateExclusive]
        [usize::from(input.u8() % 3)]
}

fn open(input: &mut Input<'_>) -> Open {
    let option = |input: &mut Input<'_>| {
        let length = input.u8();
        let (level, name) = (input.number() as i32, input.number() as i32);
        SocketOption { level, name, value: input.take(length).to_vec() }
    };
    Open {
        protocol: input.number() as u32,
        portid: input.number() as u32,
        credit: input.credit(),
        netns: netns(input),
        mode: mode(input),
        receive_buffer: input.number() as u32,
        send_buffer: input.number() as u32,
        options: (0..input.u8() % 4).map(|_| option(input)).collect(),
        groups: (0..input.u8() % 4).map(|_| input.number() as u32).collect(),
    }
}

fn message(input: &mut Input<'_>) {
    let which = usize::from(input.u8()) % FrameType::ALL.len();
    let flags = Flags::from_bits(input.u8());
    let socket = SocketId(input.number() as u32);
    let request = input.number() as u32;
    let (level, name) = (input.number() as i32, input.number() as i32);
    let length = input.u8();
    let data = input.take(length);
    let message = match FrameType::ALL[which] {
        FrameType::Fault => Message::Fault(failure(input)),
        FrameType::Ping => Message::Ping(input.number()),
        FrameType::Pong => Message::Pong(input.number()),
        FrameType::Open => Message::Open(open(input)),
        FrameType::Opened => Message::Opened(Opened {
            portid: request,
            receive_buffer: input.number() as u32,
            send_buffer: input.number() as u32,
            credit: input.credit(),
        }),
        FrameType::OpenFailed => Message::OpenFailed(failure(input)),
        FrameType::Close => Message::Close,
        FrameType::Closed => Message::Closed(Counters {
            sent_datagrams: input.number(),
            sent_bytes: input.number(),
            received_datagrams: input.number(),
            received_bytes: input.number(),
            dropped: input.number(),
        }),
        FrameType::Send => {
            let destination = Destination::new(input.number() as u32, input.number() as u32);
            Message::Send { serial: request, destination, data }
        }
        FrameType::Sent => {
            Message::Sent { serial: request, errno: level, nanoseconds: input.number() }
        }
        FrameType::Datagram => {
            let nsid = (input.u8().is_multiple_of(2)).then(|| input.u8().into());
            Message::Datagram { info: DatagramInfo::new(request, name as u32, nsid), data }
        }
        FrameType::Time => Message::Time(input.number()),
        FrameType::Lost => Message::Lost { dropped: input.number(), total: input.number() },
        FrameType::ReceiveError => Message::ReceiveError { errno: level, length: input.number() },
        FrameType::Credit => Message::Credit(Credit { ..input.credit() }),
        FrameType::OptionGet => {
            Message::OptionGet { request, level, name, capacity: input.number() as u32 }
        }
        FrameType::OptionSet => Message::OptionSet { request, level, name, value: data },
        FrameType::Join => Message::Join { request, group: name as u32 },
        FrameType::Leave => Message::Leave { request, group: name as u32 },
        FrameType::Netns => {
            let operation = match input.u8() % 5 {
                0 => NetnsRequest::Open(netns(input), mode(input)),
                1 => NetnsRequest::Close(input.number() as u32),
                2 => NetnsRequest::List,
                3 => NetnsRequest::Add(text(input)),
                _ => NetnsRequest::Delete(text(input)),
            };
            Message::Netns { request, operation }
        }
        FrameType::Reply => Message::Reply { request, errno: level, value: data },
    };
    let mut encoded = Vec::new();
    message.encode(socket, flags, &mut encoded);
    let (header, payload) = frames::parse(&encoded);
    assert_eq!((header.frame_type, header.socket), (message.frame_type(), socket));
    assert_eq!(Message::decode(header.frame_type, payload).as_ref(), Ok(&message));
    canonical(header, payload);
}

fn hello(input: &mut Input<'_>) {
    let role = if input.u8().is_multiple_of(2) { Role::Client } else { Role::Stub };
    let limits = PeerLimits {
        max_frame: (input.number() as u32).max(crate::wire::MIN_MAX_FRAME),
        max_sockets: input.number() as u32,
        max_requests: input.number() as u32,
        max_early_send: if role == Role::Stub { input.number() as u32 } else { 0 },
    };
    let host = (input.u8().is_multiple_of(2)).then(|| HostInfo {
        kernel_release: text(input),
        architecture: text(input),
        host_name: text(input),
        big_endian: input.u8().is_multiple_of(2),
        page_size: input.number() as u32,
        clock_ticks: input.number() as u32,
        psched: [0; 4].map(|_| input.number() as u32),
        uid: input.number() as u32,
        capabilities: input.number(),
        netns: id(input),
        pid: input.number() as u32,
    });
    let millis = (input.u8().is_multiple_of(2)).then(|| (input.number() as u32).max(1));
    let hello = Hello {
        software: text(input),
        silence: millis.map(|millis| std::time::Duration::from_millis(millis.into())),
        read_only: input.u8().is_multiple_of(2),
        ..Hello::new(role, limits, host)
    };
    let mut encoded = Vec::new();
    hello.encode(&mut encoded);
    let length = encoded.len();
    encoded.push(0);
    assert_eq!(Hello::decode(&encoded), Ok(Some((hello, length))));
}

fn lists(input: &mut Input<'_>) {
    let entries: Vec<_> =
        (0..input.u8() % 8).map(|_| NetnsEntry::new(text(input), id(input))).collect();
    let mut list = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut list));
    assert_eq!(NetnsEntry::decode_list(&list), Ok(entries));

    let opened = NetnsOpened { fd: input.number() as u32, id: id(input) };
    assert_eq!(NetnsOpened::decode(&opened.encode()), Ok(opened));

    let instructions: Vec<_> = (0..input.u8() % 32)
        .map(|_| {
            let (code, k) = (input.number() as u16, input.number() as u32);
            FilterInstruction::jump(code, k, input.u8(), input.u8())
        })
        .collect();
    let value = FilterInstruction::encode_all(&instructions);
    assert_eq!(FilterInstruction::decode_all(&value), Ok(instructions));
    if !value.is_empty() {
        assert!(FilterInstruction::decode_all(&value[1..]).is_err(), "a part of an instruction");
    }
}

//! Properties of every input, checked on random ones.

#![cfg(test)]

use std::collections::VecDeque;

use bytes::BytesMut;
use netlink_remote::{
    proto::{Granted, Granting},
    text::is_harmful,
    wire::{
        Codec, Counters, Credit, DEFAULT_MAX_FRAME, DatagramInfo, Decoded, Destination, Failure,
        Flags, Frame, FrameType, HEADER_LEN, Header, Hello, MARKER, MAX_NOISE, MarkerScanner,
        Message, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, Open, Opened, Scan,
        SocketId, SocketOption,
        hello::{HostInfo, NetnsId, PeerLimits, Role},
        padded,
    },
};
use proptest::{collection::vec, option, prelude::*};
use tokio_util::codec::Decoder;

/// A message that owns its data.
#[derive(Debug, Clone)]
struct Sample {
    message: Message<'static>,
    data: Vec<u8>,
}

impl Sample {
    /// The message with its data in place.
    fn message(&self) -> Message<'_> {
        let data = self.data.as_slice();
        match self.message.clone() {
            Message::Send { serial, destination, .. } => {
                Message::Send { serial, destination, data }
            }
            Message::Datagram { info, .. } => Message::Datagram { info, data },
            Message::OptionSet { request, level, name, .. } => {
                Message::OptionSet { request, level, name, value: data }
            }
            Message::Reply { request, errno, .. } => Message::Reply { request, errno, value: data },
            whole => whole,
        }
    }
}

/// Harmful characters are replaced, which the vectors show.
fn text() -> impl Strategy<Value = String> {
    ".{0,20}".prop_map(|text| text.replace(is_harmful, ""))
}

fn failure() -> impl Strategy<Value = Failure> {
    (any::<i32>().prop_filter("0 is no failure", |errno| *errno != 0), text())
        .prop_map(|(errno, text)| Failure { errno, text })
}

fn credit() -> impl Strategy<Value = Credit> {
    any::<(u64, u64)>().prop_map(|(bytes, datagrams)| Credit { bytes, datagrams })
}

fn netns() -> impl Strategy<Value = Netns> {
    prop_oneof![
        Just(Netns::Current),
        // A name is bytes to the kernel: the stub judges its control characters.
        ".{0,20}".prop_map(Netns::Name),
        ".{0,20}".prop_map(Netns::Path),
        any::<u32>().prop_map(Netns::Pid),
        any::<u32>().prop_map(Netns::Handle),
        "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}".prop_map(Netns::docker),
        "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}".prop_map(Netns::podman),
    ]
}

fn mode() -> impl Strategy<Value = NetnsMode> {
    prop_oneof![
        Just(NetnsMode::Existing),
        Just(NetnsMode::Create),
        Just(NetnsMode::CreateExclusive)
    ]
}

fn socket_option() -> impl Strategy<Value = SocketOption> {
    (any::<i32>(), any::<i32>(), vec(any::<u8>(), 0..9))
        .prop_map(|(level, name, value)| SocketOption { level, name, value })
}

fn open() -> impl Strategy<Value = Open> {
    let options = vec(socket_option(), 0..4);
    let numbers = any::<(u32, u32, u32, u32)>();
    (numbers, credit(), netns(), mode(), options, vec(any::<u32>(), 0..4)).prop_map(
        |(
            (protocol, portid, receive_buffer, send_buffer),
            credit,
            netns,
            mode,
            options,
            groups,
        )| {
            Open {
                protocol,
                portid,
                credit,
                netns,
                mode,
                receive_buffer,
                send_buffer,
                options,
                groups,
            }
        },
    )
}

fn netns_request() -> impl Strategy<Value = NetnsRequest> {
    prop_oneof![
        (netns(), mode()).prop_map(|(netns, mode)| NetnsRequest::Open(netns, mode)),
        any::<u32>().prop_map(NetnsRequest::Close),
        Just(NetnsRequest::List),
        ".{0,20}".prop_map(NetnsRequest::Add),
        ".{0,20}".prop_map(NetnsRequest::Delete),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let n = any::<u32>;
    let big = any::<u64>;
    let i = any::<i32>;
    let data: &'static [u8] = &[];
    let destination =
        any::<(u32, u32)>().prop_map(|(portid, groups)| Destination::new(portid, groups));
    let nsid = option::of(0..=i32::MAX);
    let info =
        (n(), n(), nsid).prop_map(|(portid, group, nsid)| DatagramInfo::new(portid, group, nsid));
    let message = prop_oneof![
        failure().prop_map(Message::Fault),
        big().prop_map(Message::Ping),
        big().prop_map(Message::Pong),
        open().prop_map(Message::Open),
        (n(), n(), n(), credit()).prop_map(|(portid, receive_buffer, send_buffer, credit)| {
            Message::Opened(Opened { portid, receive_buffer, send_buffer, credit })
        }),
        failure().prop_map(Message::OpenFailed),
        Just(Message::Close),
        any::<[u64; 5]>().prop_map(|[a, b, c, d, e]| {
            let mut counters = Counters::default();
            (counters.sent_datagrams, counters.sent_bytes) = (a, b);
            (counters.received_datagrams, counters.received_bytes) = (c, d);
            counters.dropped = e;
            Message::Closed(counters)
        }),
        (n(), destination).prop_map(move |(serial, destination)| Message::Send {
            serial,
            destination,
            data
        }),
        (n(), i(), big()).prop_map(|(serial, errno, nanoseconds)| Message::Sent {
            serial,
            errno,
            nanoseconds
        }),
        info.prop_map(move |info| Message::Datagram { info, data }),
        big().prop_map(Message::Time),
        (big(), big()).prop_map(|(dropped, total)| Message::Lost { dropped, total }),
        (i(), big()).prop_map(|(errno, length)| Message::ReceiveError { errno, length }),
        credit().prop_map(Message::Credit),
        (n(), i(), i(), n()).prop_map(|(request, level, name, capacity)| Message::OptionGet {
            request,
            level,
            name,
            capacity
        }),
        (n(), i(), i()).prop_map(move |(request, level, name)| Message::OptionSet {
            request,
            level,
            name,
            value: data
        }),
        (n(), n()).prop_map(|(request, group)| Message::Join { request, group }),
        (n(), n()).prop_map(|(request, group)| Message::Leave { request, group }),
        (n(), netns_request())
            .prop_map(|(request, operation)| Message::Netns { request, operation }),
        (n(), i()).prop_map(move |(request, errno)| Message::Reply { request, errno, value: data }),
    ];
    (message, vec(any::<u8>(), 0..50)).prop_map(|(message, data)| Sample { message, data })
}

fn decode_all(codec: &mut Codec, buffer: &mut BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| codec.decode(buffer).unwrap()).collect()
}

/// Cuts bytes into pieces of these sizes, repeated.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = (*sizes.next()?).clamp(1, bytes.len().max(1));
        let (head, tail) = bytes.split_at_checked(size)?;
        bytes = tail;
        Some(head)
    })
}

/// The two ends of a window, with the datagrams and grants between them.
struct Window {
    sender: Granted,
    receiver: Granting,
    data: VecDeque<usize>,
    read: VecDeque<usize>,
    grants: VecDeque<Credit>,
}

impl Window {
    fn new(window: Credit) -> Self {
        let receiver = Granting::new(window);
        let sender = Granted::new(receiver.window());
        let (data, read, grants) = Default::default();
        Self { sender, receiver, data, read, grants }
    }

    /// Sends a datagram if there is credit; gives whether there was. The other methods likewise.
    fn send(&mut self, size: usize) -> bool {
        let may = self.sender.may_send();
        if may {
            self.sender.spend(size);
            self.data.push_back(size);
        }
        may
    }

    fn receive(&mut self) -> bool {
        let Some(size) = self.data.pop_front() else { return false };
        assert!(self.receiver.receive(size, Credit::default()), "sent within the credit");
        self.read.push_back(size);
        true
    }

    fn consume(&mut self) -> bool {
        let Some(size) = self.read.pop_front() else { return false };
        self.grants.extend(self.receiver.consume(size));
        true
    }

    fn grant(&mut self) -> bool {
        let Some(grant) = self.grants.pop_front() else { return false };
        assert!(self.sender.grant(grant), "a grant shrank");
        true
    }
}

proptest! {
    #[test]
    fn every_message_comes_through(
        sample in sample(),
        flags in any::<u8>().prop_map(Flags::from_bits),
        id in any::<u32>().prop_map(SocketId),
    ) {
        let message = sample.message();
        let mut bytes = Vec::new();
        message.encode(id, flags, &mut bytes);
        prop_assert_eq!(bytes.len() % 4, 0);
        let Ok(Decoded::Known(header)) = Header::decode(&bytes, DEFAULT_MAX_FRAME) else {
            panic!("{bytes:?}")
        };
        prop_assert_eq!(header.frame_type, message.frame_type());
        prop_assert_eq!((header.flags, header.socket), (flags, id));
        prop_assert_eq!(header.stream_len(), bytes.len());
        let (payload, padding) = bytes[HEADER_LEN..].split_at(header.payload_len());
        prop_assert!(padding.len() < 4 && padding.iter().all(|byte| *byte == 0));
        prop_assert_eq!(Message::decode(header.frame_type, payload), Ok(message));
    }

    /// No prefix of a payload decodes to the same message. (A cut inside a character gives U+FFFD, as
    /// does the character U+FFFD, so no text here has one.)
    #[test]
    fn a_cut_payload_is_noticed(sample in sample(), at in any::<prop::sample::Index>()) {
        let message = sample.message();
        if let Message::Fault(failure) | Message::OpenFailed(failure) = &message {
            prop_assume!(!failure.text.contains('\u{fffd}'));
        }
        let mut bytes = Vec::new();
        message.encode(SocketId(1), Flags::NONE, &mut bytes);
        let end = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let payload = &bytes[HEADER_LEN..end];
        if !payload.is_empty() {
            let cut = &payload[..at.index(payload.len())];
            prop_assert_ne!(Message::decode(message.frame_type(), cut), Ok(message));
        }
    }

    #[test]
    fn headers_of_any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..20), limit: u32) {
        match Header::decode(&bytes, limit) {
            Ok(Decoded::Known(header)) => {
                prop_assert!(header.length >= 12 && header.length <= limit);
                prop_assert!(bytes.len() >= HEADER_LEN);
                let mut again = Vec::new();
                header.encode(&mut again);
                prop_assert_eq!(Header::decode(&again, limit), Ok(Decoded::Known(header)));
            }
            Ok(Decoded::Skip(length)) => {
                prop_assert!(length >= 12 && length % 4 == 0);
                prop_assert_eq!(bytes[5] & 1, 1);
                prop_assert_eq!(FrameType::from_number(bytes[4]), None);
            }
            Ok(Decoded::NeedMore) => prop_assert!(bytes.len() < HEADER_LEN),
            Err(_) => prop_assert!(bytes.len() >= 4),
        }
    }

    #[test]
    fn payloads_of_any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..100)) {
        for frame_type in FrameType::ALL {
            let _ = Message::decode(*frame_type, &bytes);
        }
        let _ = NetnsEntry::decode_list(&bytes);
        let _ = NetnsOpened::decode(&bytes);
        let _ = Hello::decode(&bytes);
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        samples in vec((sample(), any::<u32>(), option::of(0usize..20)), 0..8),
        sizes in vec(1usize..40, 1..6),
    ) {
        let mut stream = Vec::new();
        for (sample, id, skipped) in &samples {
            sample.message().encode(SocketId(*id), Flags::MORE, &mut stream);
            // A skippable frame of an unknown type in between.
            if let Some(length) = skipped {
                stream.extend_from_slice(&(12 + *length as u32).to_le_bytes());
                stream.extend_from_slice(&[0xee, 1, 0, 0, 9, 9, 9, 9]);
                stream.resize(stream.len() + padded(*length), 0x55);
            }
        }
        let mut codec = Codec::new(DEFAULT_MAX_FRAME);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for piece in pieces(&stream, &sizes) {
            buffer.extend_from_slice(piece);
            frames.extend(decode_all(&mut codec, &mut buffer));
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(frames.len(), samples.len());
        for (frame, (sample, id, _)) in frames.iter().zip(&samples) {
            prop_assert_eq!(frame.header.socket, SocketId(*id));
            prop_assert_eq!(frame.header.flags, Flags::MORE);
            prop_assert_eq!(frame.message(), Ok(sample.message()));
        }
    }

    /// A decoded datagram is a part of the buffer that it was read into.
    #[test]
    fn datagrams_are_not_copied(data in vec(any::<u8>(), 1..2000), before in 0usize..5) {
        let mut stream = Vec::new();
        for token in 0..before {
            Message::Ping(token as u64).encode(SocketId::CONNECTION, Flags::NONE, &mut stream);
        }
        let message = Message::Datagram { info: DatagramInfo::default(), data: &data };
        message.encode(SocketId(1), Flags::NONE, &mut stream);
        let mut buffer = BytesMut::from(stream.as_slice());
        let memory = buffer.as_ptr_range();
        let frames = decode_all(&mut Codec::new(DEFAULT_MAX_FRAME), &mut buffer);
        let frame = frames.last().unwrap();
        let Ok(Message::Datagram { data: part, .. }) = frame.message() else { panic!("{frame:?}") };
        let shared = frame.share(part);
        prop_assert_eq!(&shared, &data);
        let at = memory.start.wrapping_add(before * 20 + 24);
        prop_assert_eq!(shared.as_ptr(), at);
        prop_assert!(memory.contains(&shared.as_ptr()));
        // Netlink headers are read in place: they are aligned as in the stream.
        prop_assert_eq!((shared.as_ptr() as usize - memory.start as usize) % 4, 0);
    }

    #[test]
    fn the_marker_is_found_behind_any_noise(
        // Rich in bytes of the marker and of terminals.
        noise in vec(
            prop_oneof![
                prop::sample::select(MARKER.to_vec()),
                prop::sample::select(b"\r\x1b[9m\x07\xc2\x9b\xe2\x80\xae\n\t ".to_vec()),
                any::<u8>(),
            ],
            0..200,
        ),
        half in 0..MARKER.len(),
        behind in vec(any::<u8>(), 0..20),
        sizes in vec(1usize..40, 1..6),
    ) {
        let mut stream = [&noise, &MARKER[..half]].concat();
        prop_assume!(!stream.windows(MARKER.len()).any(|window| window == MARKER));
        let before = stream.len();
        stream.extend_from_slice(&MARKER);
        stream.extend_from_slice(&behind);

        let mut scanner = MarkerScanner::new();
        let mut passed = 0;
        let mut found = None;
        for piece in pieces(&stream, &sizes) {
            match scanner.scan(piece) {
                Scan::Found { consumed } => {
                    found = Some(passed + consumed);
                    break;
                }
                Scan::NeedMore => passed += piece.len(),
                Scan::TooMuchNoise => panic!("{passed} bytes are not too many"),
            }
        }
        prop_assert_eq!(found, Some(before + MARKER.len()));
        prop_assert_eq!(scanner.noise_len(), before);
        let shown = scanner.noise();
        let is_harmful = |c| is_harmful(c) && !matches!(c, '\n' | '\t');
        prop_assert!(!shown.contains(is_harmful), "{:?}", shown);
        let kept: String = String::from_utf8_lossy(&stream[..before])
            .chars()
            .filter(|c| *c != '\r')
            .map(|c| if is_harmful(c) { '\u{fffd}' } else { c })
            .collect();
        prop_assert_eq!(shown, kept);
    }

    /// The end of a long text is kept, and the bound holds for any cuts.
    #[test]
    fn noise_is_bounded(length in MAX_NOISE - 3..MAX_NOISE + 4, size in 1000usize..40_000) {
        let stream: Vec<u8> = (0..length).map(|i| b'a' + (i % 23) as u8).collect();
        let mut scanner = MarkerScanner::new();
        // A scan has ended after anything but NeedMore.
        let mut scans = stream.chunks(size).map(|piece| scanner.scan(piece));
        let last = scans.find(|scan| *scan != Scan::NeedMore).unwrap_or(Scan::NeedMore);
        let expected = if length > MAX_NOISE { Scan::TooMuchNoise } else { Scan::NeedMore };
        prop_assert_eq!(last, expected);
        let seen = length.min(MAX_NOISE + 1);
        let end = std::str::from_utf8(&stream[seen - 4096..seen]).unwrap();
        prop_assert_eq!(scanner.noise(), end);
        prop_assert_eq!(scanner.noise_len(), seen);
    }

    #[test]
    fn hellos_come_through(
        numbers in any::<[u32; 8]>(),
        max_frame in 65536u32..,
        texts in vec(text(), 4),
        described: bool,
        big_endian: bool,
        wide in any::<[u64; 3]>(),
    ) {
        let mut host = HostInfo::default();
        host.kernel_release.clone_from(&texts[0]);
        host.architecture.clone_from(&texts[1]);
        host.host_name.clone_from(&texts[2]);
        host.big_endian = big_endian;
        (host.page_size, host.clock_ticks, host.uid, host.pid) =
            (numbers[0], numbers[1], numbers[2], numbers[3]);
        host.psched.copy_from_slice(&numbers[4..]);
        host.capabilities = wide[0];
        host.netns = NetnsId::new(wide[1], wide[2]);
        let mut limits = PeerLimits::default();
        (limits.max_frame, limits.max_sockets, limits.max_requests) =
            (max_frame, numbers[0], numbers[1]);
        let role = if described { Role::Stub } else { Role::Client };
        let mut hello = Hello::new(role, limits, described.then_some(host));
        hello.software.clone_from(&texts[3]);
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        let length = bytes.len();
        prop_assert_eq!(Hello::decode(&bytes[..length - 1]), Ok(None));
        bytes.extend_from_slice(b"frames");
        prop_assert_eq!(Hello::decode(&bytes), Ok(Some((hello, length))));
    }

    #[test]
    fn replies_about_namespaces_come_through(
        entries in vec((text(), any::<(u64, u64)>()), 0..5),
        fd: u32,
        id in any::<(u64, u64)>(),
    ) {
        let id_of = |(device, inode)| NetnsId::new(device, inode);
        let entries: Vec<NetnsEntry> =
            entries.into_iter().map(|(name, id)| NetnsEntry::new(name, id_of(id))).collect();
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        prop_assert_eq!(NetnsEntry::decode_list(&bytes), Ok(entries));
        let opened = NetnsOpened { fd, id: id_of(id) };
        prop_assert_eq!(NetnsOpened::decode(&opened.encode()), Ok(opened));
    }

    /// In any order of events a sender within its credit never exceeds it, and may send again once
    /// every datagram is read and every grant has arrived.
    #[test]
    fn a_window_never_deadlocks(
        bytes in prop_oneof![0u64..30, Just(u64::MAX)],
        datagrams in prop_oneof![0u64..6, Just(u64::MAX)],
        happens in vec((0..4u8, 0usize..20), 0..200),
    ) {
        let mut window = Window::new(Credit { bytes, datagrams });
        for (what, size) in happens {
            match what {
                0 => window.send(size),
                1 => window.receive(),
                2 => window.consume(),
                _ => window.grant(),
            };
            let outstanding = window.receiver.outstanding();
            prop_assert_eq!(outstanding.datagrams, window.read.len() as u64);
            prop_assert_eq!(outstanding.bytes, window.read.iter().sum::<usize>() as u64);
            // At most a window is unread, and the bytes by which the last datagram exceeds it.
            prop_assert!(outstanding.datagrams <= datagrams.max(1));
            let last = window.read.back().copied().unwrap_or_default() as u64;
            prop_assert!(outstanding.bytes < bytes.max(1).saturating_add(last.max(1)));
        }
        while window.receive() || window.consume() || window.grant() {}
        prop_assert!(window.sender.may_send(), "blocked, and nobody has anything left to do");
        prop_assert_eq!(window.receiver.outstanding(), Credit::default());
    }

    /// An overdraft is at most one window more, and the account is right after it.
    #[test]
    fn an_overdraft_is_bounded_and_paid_back(
        bytes in 1u64..30,
        datagrams in 1u64..6,
        sizes in vec(1usize..20, 1..40),
    ) {
        let extra = Credit { bytes, datagrams };
        let mut sender = Granted::new(extra);
        let mut receiver = Granting::new(extra);
        let mut read = VecDeque::new();
        for size in &sizes {
            if !sender.may_overdraw(extra) {
                break;
            }
            sender.spend(*size);
            prop_assert!(receiver.receive(*size, extra));
            read.push_back(*size);
        }
        prop_assert!(read.len() as u64 <= 2 * datagrams);
        for size in read {
            if let Some(grant) = receiver.consume(size) {
                prop_assert!(sender.grant(grant));
            }
            if sender.may_send() {
                // The receiver then accepts a datagram without an overdraft too.
                let mut receiver = receiver;
                prop_assert!(receiver.receive(1, Credit::default()));
            }
        }
        prop_assert!(sender.may_send());
    }
}

/// A client takes no sends: a limit for them in its hello is none.
#[test]
fn early_sends_are_for_stubs() {
    let mut bytes = Vec::new();
    Hello::new(Role::Stub, PeerLimits::default(), None).encode(&mut bytes);
    let decode = |bytes: &[u8]| Hello::decode(bytes).unwrap().unwrap().0;
    assert_eq!(decode(&bytes).limits, PeerLimits::default());
    // Behind the length, two versions, and the kind and length of the role.
    let role = 4 + 4 + 4;
    assert_eq!(std::mem::take(&mut bytes[role]), 1);
    assert_eq!(decode(&bytes).limits.max_early_send, 0);
}

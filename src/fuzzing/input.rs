//! Bytes read as choices.

use crate::wire::{
    Counters, Credit, DatagramInfo, Destination, Failure, Flags, FrameType, Header, Message, Netns,
    NetnsMode, NetnsRequest, Open, Opened, SocketId,
};

/// A fuzzer's bytes, taken one by one; past the end they are zeros.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte, `None` at the end.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    pub(super) fn take(&mut self, n: u8) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(usize::from(n).min(self.rest.len()));
        self.rest = tail;
        head
    }

    /// Small most of the time, and large enough to overflow something otherwise.
    pub(super) fn number(&mut self) -> u64 {
        match self.u8() {
            255 => u64::MAX,
            254 => u64::from(u32::MAX),
            253 => 1 << 33,
            small => u64::from(small),
        }
    }

    pub(super) fn credit(&mut self) -> Credit {
        Credit { bytes: self.number(), datagrams: self.number() }
    }

    /// A header of a known type and any payload.
    pub(super) fn raw_frame(&mut self, out: &mut Vec<u8>) {
        let types = FrameType::ALL;
        let Some(&frame_type) = types.get(usize::from(self.u8()) % types.len()) else { return };
        let flags = Flags::from_bits(self.u8());
        let socket = SocketId(u32::from(self.u8() % 5));
        let length = self.u8();
        let payload = self.take(length);
        let length = 12 + payload.len() as u32;
        Header { length, frame_type, flags, socket }.encode(out);
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// A message with values that make sense more often than not.
    pub(super) fn frame(&mut self, out: &mut Vec<u8>) {
        let which = self.u8();
        let byte = self.u8();
        let (id, flags) = (SocketId(u32::from(byte % 4)), Flags::from_bits(byte / 4 % 16));
        let serial = u32::from(self.u8() % 8);
        let errno = i32::from(self.u8() % 2);
        let data = vec![which; usize::from(self.u8() % 100)];
        let failure = Failure { errno: 5, text: "x".to_owned() };
        let message = match which % 23 {
            0 => Message::Open(Open {
                credit: self.credit(),
                netns: match serial {
                    1 => Netns::Handle(3),
                    3 => Netns::docker("c"),
                    _ => Netns::Current,
                },
                mode: NetnsMode::Existing,
                groups: vec![serial; usize::from(serial == 2)],
                ..Open::default()
            }),
            1 => Message::Opened(Opened { credit: self.credit(), ..Opened::default() }),
            2 => Message::OpenFailed(failure),
            3 => Message::Close,
            4 => Message::Closed(Counters { dropped: self.number(), ..Counters::default() }),
            5..=7 => Message::Send { serial, destination: Destination::default(), data: &data },
            8 => Message::Sent { serial, errno, nanoseconds: self.number() },
            9..=11 => Message::Datagram { info: DatagramInfo::default(), data: &data },
            12 => Message::Lost { dropped: self.number(), total: self.number() },
            13 => Message::ReceiveError { errno, length: self.number() },
            14 => Message::Credit(self.credit()),
            15 => Message::OptionGet { request: serial, level: 1, name: 2, capacity: 3 },
            16 => Message::OptionSet { request: serial, level: 1, name: 2, value: &data },
            17 => Message::Join { request: serial, group: 4 },
            18 => Message::Netns { request: serial, operation: NetnsRequest::List },
            19 => Message::Reply { request: serial, errno, value: &data },
            20 => Message::Ping(self.number()),
            22 => Message::Time(self.number()),
            _ => Message::Fault(failure),
        };
        message.encode(id, flags, out);
    }
}

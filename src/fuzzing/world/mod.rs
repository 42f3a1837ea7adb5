//! Both ends of a connection over a faulty stream, driven step by step: no runtime, no clock.
//!
//! The ends are real: the hellos, the decoders of the stream on either side ([`Codec`] and the stub's
//! [`StubInput`]), [`ClientState`](crate::proto::ClientState) and
//! [`StubState`](crate::proto::StubState). What surrounds them is made of choices: which end runs,
//! how many bytes the stream takes and gives at once, where it is cut, what the user does, when the
//! kernel takes a send, and whether it has room for a datagram. [`ledger`] has the invariants.
//!
//! | module | contents |
//! |---|---|
//! | `stream` | one direction of the byte stream |
//! | `ledger` | what was sent and told, and the invariants on it |
//! | `script` | bytes read as a world and its steps |

mod ledger;
mod script;
mod stream;

use std::{
    collections::BTreeSet,
    future::Future,
    os::fd::OwnedFd,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use nix::{fcntl::OFlag, unistd};
use tokio_util::codec::Decoder;

use super::{ClientEnd, Input, StubEnd, StubStep, scripted::Scripted};
use crate::{
    client::handshake,
    stub::{ReadOutcome, StubInput},
    wire::{
        Codec, Credit, Destination, Hello, MARKER, MarkerScanner, Message, NetnsRequest, Open,
        SocketId,
        hello::{HostInfo, PeerLimits, Role},
    },
};
use ledger::Ledger;
pub(crate) use script::play;
use stream::Stream;

/// The numbers that make one world different from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) limits: PeerLimits,
    /// The credit for sends on each socket.
    pub(crate) send_window: Credit,
    /// Bytes of the sends that come in pieces: the client begins no more, and the stub takes no more.
    pub(crate) in_turn: usize,
    /// Bytes of the stub's buffer.
    pub(crate) buffer: usize,
    /// Bytes of a datagram in one frame, towards the stub and towards the client.
    pub(crate) pieces: (usize, usize),
    /// Bytes that each direction of the stream holds.
    pub(crate) capacity: usize,
    /// Bytes after which each direction is cut.
    pub(crate) cut: (Option<u64>, Option<u64>),
    /// Datagrams with which the kernel answers a send.
    pub(crate) echo: usize,
    /// Datagrams that a kernel socket holds; it drops what comes beyond.
    pub(crate) room: usize,
    /// Bytes that wait at the stub, above which it takes in no frame.
    pub(crate) most_queued: u64,
    /// Bytes of text before each end's hello, and the size of the pieces that the hellos come in.
    pub(crate) noise: (usize, usize),
    /// Whether the kernel refuses some opens and sends.
    pub(crate) failures: bool,
}

/// A step of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client writes up to so many bytes of what it has to write.
    ClientWrites(usize),
    /// The client reads up to so many bytes, and takes in the frames that are whole.
    ClientReads(usize),
    StubWrites(usize),
    StubReads(usize),
    /// A step of the engine or of the kernel.
    Engine(StubStep),
    /// A datagram that nobody asked for comes to a kernel socket.
    Event(SocketId, u8),
    Open(Credit),
    Close(SocketId),
    Send {
        socket: SocketId,
        length: usize,
        is_confirmed: bool,
    },
    Join(SocketId),
    ListNamespaces,
    Ping,
    /// The user reads a datagram.
    Receive(SocketId),
    /// The user of a socket stops reading, or begins again.
    Stall(SocketId),
}

/// The stub's end of the stream: its own decoder, which reads a descriptor.
struct StubReader {
    input: StubInput,
    feed: OwnedFd,
}

/// Both ends, and everything around them.
pub(crate) struct World {
    setup: Setup,
    client: ClientEnd,
    stub: StubEnd,
    up: Stream,
    down: Stream,
    codec: Codec,
    client_input: BytesMut,
    stub_reader: StubReader,
    max_frame: u32,
    ledger: Ledger,
    /// Sockets whose user reads nothing.
    stalled: BTreeSet<SocketId>,
    pings: u64,
    pongs: u64,
    /// Frames that the stub has taken in.
    taken_in: u64,
}

impl World {
    /// Greets both ends.
    pub(crate) fn new(setup: Setup) -> Self {
        let mut stub_reader = StubReader::new();
        let max_frame = greet(&setup, &mut stub_reader);
        let mut stub = StubEnd::new(setup.limits, setup.send_window, setup.in_turn as u64);
        (stub.failures, stub.drops, stub.echo) = (setup.failures, false, setup.echo);
        (stub.room, stub.piece) = (setup.room, setup.pieces.1);
        let mut client = ClientEnd::new(PeerLimits { max_frame, ..setup.limits });
        client.state.set_piece(setup.pieces.0);
        client.state.set_in_turn(setup.in_turn);
        stub_reader.input.set_least(setup.buffer);
        Self {
            client,
            stub,
            up: Stream::new(setup.capacity, setup.cut.0),
            down: Stream::new(setup.capacity, setup.cut.1),
            codec: Codec::new(max_frame),
            client_input: BytesMut::new(),
            stub_reader,
            max_frame,
            ledger: Ledger::default(),
            stalled: BTreeSet::new(),
            pings: 0,
            pongs: 0,
            taken_in: 0,
            setup,
        }
    }

    /// Whether the stream has been cut, and both ends have seen its end.
    pub(crate) fn is_cut(&self) -> bool {
        self.up.is_over() || self.down.is_over()
    }

    /// Whether the stub takes in frames: what waits for the kernel is bounded.
    fn stub_takes(&self) -> bool {
        self.stub.state.waiting() <= self.setup.most_queued
    }

    /// Makes a step; one that is not possible now does nothing.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::ClientWrites(most) => {
                if self.up.has_room() {
                    // A send in pieces has its turn when there is room for a frame.
                    if self.client.out.is_empty() {
                        self.client.turn();
                    }
                    self.up.write(&mut self.client.out, most);
                }
            }
            Step::StubWrites(most) => {
                self.down.write(&mut self.stub.out, most);
            }
            Step::StubReads(most) => {
                if self.stub_takes() {
                    let piece = self.up.read(most);
                    self.stub_reader.feed(&piece);
                }
                self.stub_takes_in();
            }
            Step::ClientReads(most) => {
                let piece = self.down.read(most);
                self.client_input.extend_from_slice(&piece);
                self.client_takes_in();
            }
            Step::Engine(step) => {
                if self.stub.steps().contains(&step) {
                    self.ledger.engine(&self.stub, step);
                    self.stub.step(step);
                    self.note_taken_in();
                }
            }
            Step::Event(id, length) => {
                let datagram = self.ledger.event(id, length);
                self.stub.arrive(id, &datagram);
            }
            Step::Open(credit) => {
                if let Some(id) = self.client.open(Open { credit, ..Open::default() }) {
                    self.ledger.open(id);
                    self.stalled.remove(&id);
                }
            }
            Step::Close(id) => {
                self.client.close(id);
            }
            Step::Send { socket, length, is_confirmed } => {
                let datagram = self.ledger.datagram(length);
                let destination = Destination::default();
                let sent = self.client.send(socket, destination, is_confirmed, &datagram);
                if let Ok(serial) = sent {
                    self.ledger.sent(socket, serial, datagram, is_confirmed);
                }
            }
            Step::Join(id) => {
                self.client.request(id, |request| Message::Join { request, group: 1 });
            }
            Step::ListNamespaces => {
                let operation = NetnsRequest::List;
                let request = |request| Message::Netns { request, operation };
                self.client.request(SocketId::CONNECTION, request);
            }
            Step::Ping => {
                // As the client: one at a time.
                if self.pings == self.pongs {
                    self.pings += 1;
                    self.client.state.ping(self.pings, &mut self.client.out);
                }
            }
            Step::Receive(id) => {
                if !self.stalled.contains(&id) {
                    self.client.receive(id);
                }
            }
            Step::Stall(id) => {
                if !self.stalled.remove(&id) {
                    self.stalled.insert(id);
                }
            }
        }
        self.check();
    }

    /// Reads as the engine does: once all whole frames are taken out, and no more than there is room
    /// for.
    fn stub_takes_in(&mut self) {
        while self.stub_takes() {
            let frame = match self.stub_reader.input.frame(self.max_frame) {
                Ok(Some((header, payload))) => Some(self.stub.frame(header, payload)),
                Ok(None) => None,
                Err(error) => panic!("both ends are honest: {error}"),
            };
            let Some(frame) = frame else {
                match self.stub_reader.fill() {
                    true => continue,
                    false => return,
                }
            };
            frame.unwrap_or_else(|violation| panic!("both ends are honest: {violation}"));
            self.taken_in += 1;
            self.note_taken_in();
        }
    }

    /// Tells the ledger the sends that the stub has taken in.
    fn note_taken_in(&mut self) {
        for (id, serial, data) in std::mem::take(&mut self.stub.taken_in) {
            self.ledger.taken_in(id, serial, &data);
        }
    }

    fn client_takes_in(&mut self) {
        loop {
            let frame = match self.codec.decode(&mut self.client_input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => panic!("both ends are honest: {error}"),
            };
            let taken = self.client.frame(frame.header, &frame.payload);
            taken.unwrap_or_else(|violation| panic!("both ends are honest: {violation}"));
            if let Ok(Message::Pong(token)) = frame.message() {
                self.pongs += 1;
                assert_eq!(token, self.pongs, "an answer to another ping");
            }
            self.ledger.delivered(&mut self.client);
        }
    }

    /// The invariants that hold at any time.
    fn check(&self) {
        self.ledger.check(&self.setup, &self.client, &self.stub);
        let (up, down) = (self.client.out.len() + self.up.len(), self.stub.out.len());
        assert!(up <= ledger::MOST_UNREAD, "{up} bytes wait for the stub");
        assert!(down <= ledger::MOST_UNREAD, "{down} bytes wait for the client");
    }

    /// Makes every step that is possible without a user, until there is none.
    pub(crate) fn settle(&mut self) {
        loop {
            let before = self.progress();
            self.step(Step::ClientWrites(usize::MAX));
            self.step(Step::StubReads(usize::MAX));
            while let Some(step) = self.stub.steps().first().copied() {
                self.step(Step::Engine(step));
            }
            self.stub_takes_in();
            self.step(Step::StubWrites(usize::MAX));
            self.step(Step::ClientReads(usize::MAX));
            let ids: Vec<_> = self.client.views.keys().copied().collect();
            for id in ids {
                while !self.stalled.contains(&id) && self.client.receive(id).is_some() {}
            }
            if before == self.progress() {
                break;
            }
        }
        self.check_idle();
    }

    /// Numbers of which every step changes one that is not in vain.
    fn progress(&self) -> [u64; 6] {
        let read = self.client.views.values().map(|view| view.consumed.datagrams).sum();
        let out = self.client.out.len() + self.client.state.waiting_bytes() + self.stub.out.len();
        let (up, down) = (self.up.passed, self.down.passed);
        [up, down, out as u64, read, self.taken_in, self.ledger.engine_steps]
    }

    /// No deadlock: where nothing can happen, nothing waits but for a user who does not read.
    fn check_idle(&self) {
        if self.is_cut() {
            return;
        }
        let up = (self.client.out.len(), self.up.len(), self.client.state.waiting_bytes());
        assert_eq!(up, (0, 0, 0), "bytes wait for the stub, and nothing moves them");
        assert!(!self.client.has_turn(), "a send waits for its turn, and never has it");
        let down = (self.stub.out.len(), self.down.len(), self.client_input.len());
        assert_eq!(down, (0, 0, 0), "bytes wait for the client, and nothing moves them");
        assert!(!self.stub_reader.input.is_midframe(), "half a frame is left");
        assert_eq!((self.stub.state.waiting(), self.stub.state.incomplete()), (0, 0));
        assert_eq!(self.pings, self.pongs, "a ping has no answer");
        self.ledger.check_idle(&self.client, &self.stub);
    }

    /// Ends the world: the user reads all and closes all, and both ends must have counted the same.
    /// After a cut, which may come in the course of that, each end gives up what it has.
    pub(crate) fn finish(&mut self) {
        self.stalled.clear();
        self.settle();
        for id in self.client.ids() {
            self.client.close(id);
        }
        self.settle();
        assert_eq!(self.client.state.waiting_bytes(), 0, "bytes of closed sockets are kept");
        if self.is_cut() {
            self.client.out.clear();
            self.stub.out.clear();
            self.stub.finish();
            return;
        }
        self.client.finish(&self.stub.closed);
        assert_eq!(self.stub.state.socket_count(), 0, "sockets are left at the stub");
    }
}

impl StubReader {
    fn new() -> Self {
        let (read, feed) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        Self { input: StubInput::new(read).unwrap(), feed }
    }

    /// Has these bytes wait for the stub: fewer than fit into a pipe.
    fn feed(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            assert_eq!(unistd::write(&self.feed, bytes), Ok(bytes.len()));
        }
    }

    /// Reads once; false if there is nothing.
    fn fill(&mut self) -> bool {
        self.input.fill().unwrap() == ReadOutcome::Progress
    }
}

/// Exchanges the hellos, as the client and the stub do: the agreed limit on frames.
fn greet(setup: &Setup, stub: &mut StubReader) -> u32 {
    let (noise, piece) = setup.noise;
    let noise = vec![b'\n'; noise];
    let mine = Hello::new(Role::Client, setup.limits, None);
    let theirs = Hello::new(Role::Stub, setup.limits, Some(HostInfo::default()));
    let mut stream = [noise.as_slice(), &MARKER].concat();
    theirs.encode(&mut stream);
    let mut io = Scripted::new(stream, piece);
    let mut scanner = MarkerScanner::new();
    let greeted = {
        let run = pin!(handshake::run(&mut io, &mine, &mut scanner));
        match run.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(greeted) => greeted.unwrap(),
            Poll::Pending => panic!("the stream never waits"),
        }
    };
    assert!(greeted.rest.is_empty());
    assert_eq!(scanner.noise_len(), noise.len());
    assert_eq!(greeted.hello, theirs);
    let mut is_found = false;
    let mut greeting = None;
    for piece in [noise.as_slice(), &io.written].concat().chunks(piece.max(1)) {
        assert_eq!(greeting, None);
        stub.feed(piece);
        while greeting.is_none() && stub.fill() {
            greeting = stub.input.hello(&mut is_found).unwrap();
        }
    }
    assert_eq!(greeting.as_ref(), Some(&mine));
    assert!(!stub.input.is_midframe());
    assert_eq!(mine.agree(&theirs), theirs.agree(&mine));
    greeted.max_frame
}

//! One end does what is forbidden; the other says what.

use super::*;
use crate::{
    errno::EMSGSIZE,
    wire::{Failure, MAX_OPTION, MAX_REQUEST, Opened, SocketOption},
};

fn stub() -> StubEnd {
    StubEnd::new(LIMITS, credit(10, 2), 100)
}

/// A stub with socket 1 open, whose client granted 9 bytes and 9 datagrams.
fn open_stub() -> StubEnd {
    let mut stub = stub();
    to_stub(&mut stub, 1, Flags::NONE, &open()).unwrap();
    stub.step(StubStep::Opened(SocketId(1)));
    stub
}

/// A client with socket 1 open, with a window of 10 bytes and 2 datagrams.
fn open_client() -> ClientEnd {
    let mut client = ClientEnd::new(LIMITS);
    client.open(opening(credit(10, 2))).unwrap();
    let opened = Opened { credit: credit(100, 9), ..Opened::default() };
    to_client(&mut client, 1, Flags::NONE, &Message::Opened(opened)).unwrap();
    client
}

fn open() -> Message<'static> {
    Message::Open(opening(credit(9, 9)))
}

fn failure() -> Failure {
    Failure { errno: 1, text: String::new() }
}

fn state(frame: FrameType, socket: u32, state: &'static str) -> Result<(), Violation> {
    Err(Violation::WrongState { frame, socket: SocketId(socket), state })
}

fn join(request: u32) -> Message<'static> {
    Message::Join { request, group: 1 }
}

const NO: Flags = Flags::NONE;

#[test]
fn the_connection_itself_cannot_be_opened() {
    assert_eq!(to_stub(&mut stub(), 0, NO, &open()), state(FrameType::Open, 0, "the connection"));
}

#[test]
fn a_socket_is_opened_once() {
    let mut one = stub();
    to_stub(&mut one, 1, NO, &open()).unwrap();
    assert_eq!(to_stub(&mut one, 1, NO, &open()), state(FrameType::Open, 1, "opening"));
    assert_eq!(
        to_stub(&mut open_stub(), 1, NO, &open()),
        state(FrameType::Open, 1, "already open")
    );
    // Not before its close is answered either, whether it was open or has failed.
    let mut closing = open_stub();
    to_stub(&mut closing, 1, NO, &Message::Close).unwrap();
    assert_eq!(to_stub(&mut closing, 1, NO, &open()), state(FrameType::Open, 1, "closing"));
    let mut failed = stub();
    to_stub(&mut failed, 1, NO, &open()).unwrap();
    failed.step(StubStep::OpenFailed(SocketId(1)));
    assert!(matches!(to_stub(&mut failed, 1, NO, &open()), Err(Violation::WrongState { .. })));
}

#[test]
fn a_socket_is_closed_once() {
    let mut stub = open_stub();
    to_stub(&mut stub, 1, NO, &Message::Close).unwrap();
    assert_eq!(to_stub(&mut stub, 1, NO, &Message::Close), state(FrameType::Close, 1, "closing"));
    stub.step(StubStep::Closed(SocketId(1)));
    assert_eq!(to_stub(&mut stub, 1, NO, &Message::Close), state(FrameType::Close, 1, "not open"));
    assert_eq!(to_stub(&mut stub, 0, NO, &Message::Close), state(FrameType::Close, 0, "not open"));
}

#[test]
fn a_client_sends_on_open_sockets_only() {
    let credit = Message::Credit(credit(99, 99));
    let get = Message::OptionGet { request: 1, level: 0, name: 0, capacity: 0 };
    let set = Message::OptionSet { request: 1, level: 0, name: 0, value: &[] };
    let leave = Message::Leave { request: 1, group: 1 };
    for message in [send(&[1]), credit, get, set, join(1), leave] {
        let frame = message.frame_type();
        let mut opening = stub();
        to_stub(&mut opening, 1, NO, &open()).unwrap();
        assert_eq!(to_stub(&mut opening, 1, NO, &message), state(frame, 1, "opening"));
        let mut failed = opening;
        failed.step(StubStep::OpenFailed(SocketId(1)));
        assert_eq!(to_stub(&mut failed, 1, NO, &message), state(frame, 1, "not open"));
        assert_eq!(to_stub(&mut open_stub(), 2, NO, &message), state(frame, 2, "not open"));
        assert_eq!(to_stub(&mut open_stub(), 0, NO, &message), state(frame, 0, "not open"));
        let mut closing = open_stub();
        to_stub(&mut closing, 1, NO, &Message::Close).unwrap();
        assert_eq!(to_stub(&mut closing, 1, NO, &message), state(frame, 1, "closing"));
        closing.step(StubStep::Closed(SocketId(1)));
        assert_eq!(to_stub(&mut closing, 1, NO, &message), state(frame, 1, "not open"));
    }
}

/// One send of few bytes, in one frame, may come before the answer to the open.
#[test]
fn a_client_sends_once_before_the_answer_to_the_open() {
    let opening = || {
        let limits = PeerLimits { max_early_send: 3, ..LIMITS };
        let mut stub = StubEnd::new(limits, credit(10, 2), 100);
        to_stub(&mut stub, 1, NO, &open()).unwrap();
        stub
    };
    let refused = |state_name| state(FrameType::Send, 1, state_name);
    let mut twice = opening();
    to_stub(&mut twice, 1, Flags::CONFIRM, &send(&[1, 2, 3])).unwrap();
    assert_eq!(to_stub(&mut twice, 1, NO, &send(&[1])), refused("opening"));
    assert_eq!(to_stub(&mut opening(), 1, NO, &send(&[1; 4])), refused("opening"));
    assert_eq!(to_stub(&mut opening(), 1, Flags::MORE, &send(&[1])), refused("opening"));
    // Of a failure its client knows later.
    let mut failed = opening();
    failed.step(StubStep::OpenFailed(SocketId(1)));
    to_stub(&mut failed, 1, NO, &send(&[1])).unwrap();
    assert_eq!(to_stub(&mut failed, 1, NO, &send(&[1])), refused("not open"));
    let mut waits = opening();
    to_stub(&mut waits, 1, NO, &send(&[1])).unwrap();
    waits.step(StubStep::OpenFailed(SocketId(1)));
    assert_eq!(waits.state.waiting(), 0);
    assert_eq!(to_stub(&mut waits, 1, NO, &send(&[1])), refused("not open"));
}

#[test]
fn a_stub_sends_on_opened_sockets_only() {
    let sent = Message::Sent { serial: 1, errno: 1, nanoseconds: 0 };
    let lost = Message::Lost { dropped: 1, total: 1 };
    let error = Message::ReceiveError { errno: 1, length: 0 };
    for message in [datagram(&[1]), sent, lost, error, Message::Credit(credit(999, 99))] {
        let frame = message.frame_type();
        // One never opened, one still opening, the connection itself.
        assert_eq!(to_client(&mut open_client(), 2, NO, &message), state(frame, 2, "not open"));
        assert_eq!(to_client(&mut open_client(), 0, NO, &message), state(frame, 0, "not open"));
        let mut client = ClientEnd::new(LIMITS);
        client.open(opening(credit(9, 9))).unwrap();
        assert_eq!(to_client(&mut client, 1, NO, &message), state(frame, 1, "opening"));
        // Closing is the stub's to find out; closed it knows.
        let mut client = open_client();
        client.close(SocketId(1));
        to_client(&mut client, 1, NO, &message).unwrap();
        to_client(&mut client, 1, NO, &Message::Closed(Counters::default())).unwrap();
        assert_eq!(to_client(&mut client, 1, NO, &message), state(frame, 1, "not open"));
    }
}

#[test]
fn a_stub_answers_an_open_once_and_a_close_only() {
    for message in [Message::Opened(Opened::default()), Message::OpenFailed(failure())] {
        let frame = message.frame_type();
        assert_eq!(to_client(&mut open_client(), 1, NO, &message), state(frame, 1, "already open"));
        assert_eq!(to_client(&mut open_client(), 2, NO, &message), state(frame, 2, "not open"));
    }
    let closed = Message::Closed(Counters::default());
    assert_eq!(
        to_client(&mut open_client(), 1, NO, &closed),
        state(FrameType::Closed, 1, "not closing")
    );
    let mut client = open_client();
    client.close(SocketId(1));
    to_client(&mut client, 1, NO, &closed).unwrap();
    assert_eq!(to_client(&mut client, 1, NO, &closed), state(FrameType::Closed, 1, "not open"));
}

#[test]
fn sends_beyond_the_credit() {
    let overflow = Err(Violation::CreditOverflow { frame: FrameType::Send, socket: SocketId(1) });
    // Two datagrams.
    let mut stub = open_stub();
    to_stub(&mut stub, 1, NO, &send(&[1])).unwrap();
    to_stub(&mut stub, 1, NO, &send(&[1])).unwrap();
    assert_eq!(to_stub(&mut stub, 1, NO, &send(&[1])), overflow);
    // Ten bytes: with nine used another may begin, with ten none may.
    let mut stub = open_stub();
    to_stub(&mut stub, 1, NO, &send(&[1; 9])).unwrap();
    to_stub(&mut stub, 1, NO, &send(&[1; 50])).unwrap();
    let mut stub = open_stub();
    to_stub(&mut stub, 1, NO, &send(&[1; 10])).unwrap();
    assert_eq!(to_stub(&mut stub, 1, NO, &send(&[])), overflow);
    // What is confirmed needs credit like any other.
    let mut stub = open_stub();
    to_stub(&mut stub, 1, Flags::CONFIRM, &send(&[1; 10])).unwrap();
    assert_eq!(to_stub(&mut stub, 1, Flags::CONFIRM, &send(&[1])), overflow);
    // Pieces count together, and only the first one needs credit.
    let mut stub = open_stub();
    to_stub(&mut stub, 1, Flags::MORE, &send(&[1; 10])).unwrap();
    to_stub(&mut stub, 1, Flags::MORE, &send(&[1; 10])).unwrap();
    to_stub(&mut stub, 1, NO, &send(&[1])).unwrap();
    assert_eq!(to_stub(&mut stub, 1, NO, &send(&[1])), overflow);
}

#[test]
fn datagrams_beyond_the_credit() {
    let overflow =
        Err(Violation::CreditOverflow { frame: FrameType::Datagram, socket: SocketId(1) });
    let mut client = open_client();
    to_client(&mut client, 1, NO, &datagram(&[1; 10])).unwrap();
    assert_eq!(to_client(&mut client, 1, NO, &datagram(&[1])), overflow);
    let mut client = open_client();
    to_client(&mut client, 1, NO, &datagram(&[1])).unwrap();
    to_client(&mut client, 1, NO, &datagram(&[1])).unwrap();
    assert_eq!(to_client(&mut client, 1, NO, &datagram(&[1])), overflow);
    // Reading makes room, once credit is granted for it.
    let mut client = open_client();
    to_client(&mut client, 1, NO, &datagram(&[1; 10])).unwrap();
    client.receive(SocketId(1)).unwrap();
    to_client(&mut client, 1, NO, &datagram(&[1])).unwrap();
}

#[test]
fn datagrams_beyond_the_overdraft_or_after_it() {
    let overflow =
        Err(Violation::CreditOverflow { frame: FrameType::Datagram, socket: SocketId(1) });
    let mut client = open_client();
    client.send(SocketId(1), Destination::default(), true, &[1]).unwrap();
    for _ in 0..4 {
        to_client(&mut client, 1, NO, &datagram(&[1])).unwrap();
    }
    assert_eq!(to_client(&mut client, 1, NO, &datagram(&[1])), overflow);

    let mut client = open_client();
    let serial = client.send(SocketId(1), Destination::default(), true, &[1]).unwrap();
    for _ in 0..2 {
        to_client(&mut client, 1, NO, &datagram(&[1])).unwrap();
    }
    let sent = Message::Sent { serial, errno: 0, nanoseconds: 0 };
    to_client(&mut client, 1, NO, &sent).unwrap();
    assert_eq!(to_client(&mut client, 1, NO, &datagram(&[1])), overflow);
}

#[test]
fn credit_taken_back() {
    let shrunk = Err(Violation::CreditShrunk(SocketId(1)));
    for (granted, expected) in [
        (credit(9, 9), Ok(())),
        (credit(10, 9), Ok(())),
        (credit(9, 10), Ok(())),
        (credit(8, 100), shrunk.clone()),
        (credit(100, 8), shrunk.clone()),
    ] {
        let granted = Message::Credit(granted);
        assert_eq!(to_stub(&mut open_stub(), 1, NO, &granted), expected, "{granted:?}");
    }
    let less = Message::Credit(credit(99, 9));
    assert_eq!(to_client(&mut open_client(), 1, NO, &less), shrunk);
    to_client(&mut open_client(), 1, NO, &Message::Credit(credit(100, 9))).unwrap();
}

#[test]
fn answers_nobody_asked_for() {
    let reply = |request| Message::Reply { request, errno: 0, value: &[] };
    assert_eq!(to_client(&mut open_client(), 0, NO, &reply(1)), Err(Violation::Unasked(1)));
    let mut client = open_client();
    let request = client.request(SocketId(1), join).unwrap();
    to_client(&mut client, 1, NO, &reply(request)).unwrap();
    assert_eq!(
        to_client(&mut client, 1, NO, &reply(request)),
        Err(Violation::Unasked(request.into()))
    );

    let sent = |serial, errno| Message::Sent { serial, errno, nanoseconds: 0 };
    let mut client = open_client();
    let serial = client.send(SocketId(1), Destination::default(), false, &[1]).unwrap();
    // An unconfirmed one is told of if it fails, and only then.
    to_client(&mut client, 1, NO, &sent(serial, 105)).unwrap();
    let again = to_client(&mut client, 1, NO, &sent(serial, 105));
    assert_eq!(again, Err(Violation::Unasked(serial.into())));
    assert_eq!(
        to_client(&mut client, 1, NO, &sent(serial, 0)),
        Err(Violation::Unasked(serial.into()))
    );
    let serial = client.send(SocketId(1), Destination::default(), true, &[1]).unwrap();
    to_client(&mut client, 1, NO, &sent(serial, 0)).unwrap();
    assert_eq!(
        to_client(&mut client, 1, NO, &sent(serial, 0)),
        Err(Violation::Unasked(serial.into()))
    );
}

#[test]
fn pongs_nobody_asked_for() {
    let mut client = open_client();
    client.state.ping(7, &mut client.out);
    to_client(&mut client, 0, NO, &Message::Pong(7)).unwrap();
    let again = to_client(&mut client, 0, NO, &Message::Pong(7));
    assert_eq!(again, Err(Violation::Unasked(7)));
}

#[test]
fn incomplete_datagrams_of_many_sockets() {
    let limits = PeerLimits { max_sockets: 9, ..LIMITS };
    let mut client = ClientEnd::new(limits);
    let opened = Message::Opened(Opened { credit: credit(1, 1), ..Opened::default() });
    let info = DatagramInfo::default();
    let piece = vec![1; 60_000];
    for id in 1..=9 {
        client.open(opening(credit(1, 1))).unwrap();
        to_client(&mut client, id, NO, &opened).unwrap();
        let more = Message::Datagram { info, data: &piece };
        let taken = to_client(&mut client, id, Flags::MORE, &more);
        match id {
            // Four frames of 64 KiB.
            ..=4 => taken.unwrap(),
            _ => {
                let (what, limit) = ("bytes of incomplete datagrams", 4 * 64 * 1024);
                assert_eq!(taken, Err(Violation::TooMany { what, limit }));
                // A closed socket makes room.
                client.close(SocketId(1));
                to_client(&mut client, id, Flags::MORE, &more).unwrap();
                to_client(&mut client, 2, NO, &Message::Datagram { info, data: &[] }).unwrap();
                return;
            }
        }
    }
}

#[test]
fn frames_in_the_wrong_direction() {
    let of_client = [
        open(),
        Message::Close,
        send(&[1]),
        Message::OptionGet { request: 1, level: 0, name: 0, capacity: 0 },
        Message::OptionSet { request: 1, level: 0, name: 0, value: &[] },
        join(1),
        Message::Leave { request: 1, group: 1 },
        Message::Netns { request: 1, operation: NetnsRequest::List },
    ];
    for message in &of_client {
        let wrong = Err(Violation::WrongDirection(message.frame_type()));
        assert_eq!(to_client(&mut open_client(), 1, NO, message), wrong);
    }
    let of_stub = [
        Message::Opened(Opened::default()),
        Message::OpenFailed(failure()),
        Message::Closed(Counters::default()),
        Message::Sent { serial: 1, errno: 0, nanoseconds: 0 },
        datagram(&[1]),
        Message::Time(1),
        Message::Lost { dropped: 1, total: 1 },
        Message::ReceiveError { errno: 1, length: 0 },
        Message::Reply { request: 1, errno: 0, value: &[] },
    ];
    for message in &of_stub {
        let wrong = Err(Violation::WrongDirection(message.frame_type()));
        assert_eq!(to_stub(&mut open_stub(), 1, NO, message), wrong);
    }
    // Together with those that both sides send, these are all there are.
    let both = [FrameType::Fault, FrameType::Ping, FrameType::Pong, FrameType::Credit];
    assert_eq!(of_client.len() + of_stub.len() + both.len(), FrameType::ALL.len());
}

#[test]
fn more_than_the_limits() {
    let mut stub = stub();
    for id in 1..=LIMITS.max_sockets {
        to_stub(&mut stub, id, NO, &open()).unwrap();
    }
    let too_many = Err(Violation::TooMany { what: "sockets", limit: LIMITS.max_sockets.into() });
    assert_eq!(to_stub(&mut stub, 9, NO, &open()), too_many);

    let mut stub = open_stub();
    let list = |request| Message::Netns { request, operation: NetnsRequest::List };
    for request in 1..=LIMITS.max_requests {
        to_stub(&mut stub, 0, NO, &list(request)).unwrap();
    }
    let limit = LIMITS.max_requests.into();
    let too_many = Err(Violation::TooMany { what: "requests in flight", limit });
    assert_eq!(to_stub(&mut stub, 0, NO, &list(9)), too_many);
    assert_eq!(to_stub(&mut stub, 1, NO, &join(9)), too_many);
    // An answer makes room for one.
    stub.step(StubStep::Reply(0));
    to_stub(&mut stub, 0, NO, &list(9)).unwrap();
    assert_eq!(to_stub(&mut stub, 0, NO, &list(10)), too_many);
}

#[test]
fn more_bytes_of_incomplete_sends_than_the_stub_holds() {
    let too_many = Err(Violation::TooMany { what: "bytes of incomplete sends", limit: 100 });
    // Over all sockets.
    let mut stub = open_stub();
    to_stub(&mut stub, 2, NO, &open()).unwrap();
    stub.step(StubStep::Opened(SocketId(2)));
    to_stub(&mut stub, 1, Flags::MORE, &send(&[1; 60])).unwrap();
    to_stub(&mut stub, 2, Flags::MORE, &send(&[1; 40])).unwrap();
    assert_eq!((stub.state.incomplete(), stub.state.waiting()), (100, 0));
    assert_eq!(to_stub(&mut stub, 2, Flags::MORE, &send(&[1])), too_many);
    // A last piece makes room: what is whole is the engine's to bound.
    to_stub(&mut stub, 1, NO, &send(&[1; 60])).unwrap();
    assert_eq!((stub.state.incomplete(), stub.state.waiting()), (40, cost(FrameType::Send, 120)));
    to_stub(&mut stub, 2, Flags::MORE, &send(&[1; 60])).unwrap();
    stub.finish();
}

#[test]
fn pieces_that_never_end() {
    let limit = LIMITS.max_frame;
    let too_long = Err(Violation::Wire(WireError::TooLong { length: limit + 1, limit }));
    let mut stub = StubEnd::new(LIMITS, credit(10, 2), 1 << 20);
    to_stub(&mut stub, 1, NO, &open()).unwrap();
    stub.step(StubStep::Opened(SocketId(1)));
    let mut client = open_client();
    for _ in 0..4 {
        let quarter = vec![0; limit as usize / 4];
        to_stub(&mut stub, 1, Flags::MORE, &send(&quarter)).unwrap();
        to_client(&mut client, 1, Flags::MORE, &datagram(&quarter)).unwrap();
    }
    assert_eq!(to_stub(&mut stub, 1, NO, &send(&[1])), too_long);
    assert_eq!(to_client(&mut client, 1, NO, &datagram(&[1])), too_long);
}

/// An empty piece with more to come costs its sender nothing and gets it nowhere.
#[test]
fn empty_pieces() {
    let short = Err(Violation::Wire(WireError::ShortPayload));
    assert_eq!(to_stub(&mut open_stub(), 1, Flags::MORE, &send(&[])), short);
    assert_eq!(to_client(&mut open_client(), 1, Flags::MORE, &datagram(&[])), short);
}

#[test]
fn bytes_that_are_no_message() {
    let short = Err(Violation::Wire(WireError::ShortPayload));
    let header = |frame_type| Header { length: 13, frame_type, flags: NO, socket: SocketId(1) };
    assert_eq!(open_stub().frame(header(FrameType::Send), &[0]), short);
    assert_eq!(open_client().frame(header(FrameType::Datagram), &[0]), short);
}

/// Each is one line, in words for a person who has to find out which side to update.
#[test]
fn violations_say_what_and_where() {
    let text = state(FrameType::Send, 4, "closing").unwrap_err().to_string();
    assert_eq!(text, "a Send frame on socket #4, which is closing");
    let text = Violation::TooMany { what: "sockets", limit: 3 }.to_string();
    assert_eq!(text, "more than 3 sockets");
    let text = Violation::from(WireError::UnknownType(0x7f)).to_string();
    assert_eq!(text, "unknown frame type 0x7f");
}

/// What is too long is answered, and not decoded; the connection goes on.
#[test]
fn requests_that_are_too_long_are_refused_by_themselves() {
    let mut stub = open_stub();
    let long = |stub: &mut StubEnd, id, message: &Message<'_>, length: usize| {
        let (header, mut payload) = frame(id, NO, message);
        payload.resize(length, 0xff);
        let length = 12 + u32::try_from(length).unwrap();
        stub.frame(Header { length, ..header }, &payload).unwrap();
        assert_eq!(stub.state.waiting(), 0);
        let answer = stub.take_out().pop().unwrap();
        let frame_type = FrameType::from_number(answer[4]).unwrap();
        match Message::decode(frame_type, &answer[12..]).unwrap() {
            Message::OpenFailed(failure) => (failure.errno, failure.text),
            Message::Reply { request: 7, errno, value } => {
                (errno, String::from_utf8(value.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    };
    let most = MAX_REQUEST as usize - 12;
    let set = Message::OptionSet { request: 7, level: 1, name: 2, value: &[] };
    let netns = Message::Netns { request: 7, operation: NetnsRequest::List };
    for (id, message) in [(2, &open()), (1, &set), (0, &netns)] {
        let (errno, text) = long(&mut stub, id, message, most + 1);
        assert_eq!((errno, text.contains("65536 are allowed")), (EMSGSIZE, true), "{text}");
    }
    let (errno, text) = long(&mut stub, 1, &set, 12 + MAX_OPTION + 1);
    assert_eq!((errno, text.contains("32768 are allowed")), (EMSGSIZE, true), "{text}");
    let value = vec![0; MAX_OPTION + 1];
    let options = vec![SocketOption { level: 1, name: 2, value }];
    let open = Message::Open(Open { options, ..opening(credit(9, 9)) });
    let length = frame(3, NO, &open).1.len();
    let (errno, text) = long(&mut stub, 3, &open, length);
    assert_eq!((errno, text.contains("32768 are allowed")), (EMSGSIZE, true), "{text}");
    stub.finish();
}

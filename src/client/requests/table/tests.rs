use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    client::requests::RequestErrorKind,
    nlmsg::{Builder, flags},
    wire::DatagramInfo,
};

const PORTID: u32 = 77;

/// A table, and how often tasks were woken.
struct Fixture {
    table: Table,
    serial: u32,
}

fn fixture() -> Fixture {
    let limits = Limits { in_flight: 100, unread: 1 << 20, tolerates_interrupted: false };
    Fixture { table: Table::new(PORTID, "x86_64", limits), serial: 0 }
}

/// What `take` gives: messages by their payload's first byte, errors by their kind.
type Shown = Vec<Result<u8, RequestErrorKind>>;

impl Fixture {
    fn add(&mut self, datagram: Vec<u8>) -> u32 {
        self.table.add(Outgoing::check(datagram, 0, true).unwrap()).unwrap()
    }

    /// Sends the requests that may be sent; their sequence numbers.
    fn send(&mut self) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some((sequence, _)) = self.table.next_unsent() {
            self.serial += 1;
            self.table.on_sent(sequence, self.serial);
            sent.push(sequence);
        }
        sent
    }

    fn receive_from(&mut self, info: DatagramInfo, messages: &[Vec<u8>]) -> usize {
        let datagram = Datagram::new(messages.concat(), info);
        let mut wakers = Vec::new();
        self.table.on_datagram(&datagram, &mut wakers);
        wakers.len()
    }

    /// Takes in a datagram of the kernel; how many tasks it wakes.
    fn receive(&mut self, messages: &[Vec<u8>]) -> usize {
        self.receive_from(DatagramInfo::default(), messages)
    }

    /// What has come, and whether that is all.
    fn take(&mut self, sequence: u32) -> (Shown, bool) {
        let mut items = VecDeque::new();
        let (taken, _) = self.table.take(sequence, &mut items, &Context::from_waker(Waker::noop()));
        let shown = items.into_iter().map(|item| match item {
            Ok(message) => Ok(message.payload()[0]),
            Err(error) => Err(error.kind()),
        });
        (shown.collect(), matches!(taken, Taken::Last(_)))
    }
}

fn get() -> Vec<u8> {
    Builder::new(18, 0).put(&[0; 16]).finish()
}

fn set() -> Vec<u8> {
    Builder::new(24, flags::ACK).put(&[0; 16]).finish()
}

fn dump() -> Vec<u8> {
    Builder::new(18, flags::DUMP).put(&[0; 16]).finish()
}

fn reply(sequence: u32, flags: u16, first: u8) -> Vec<u8> {
    Builder::new(16, flags).sequence(sequence).put(&[first, 0, 0, 0]).finish()
}

fn part(sequence: u32, first: u8) -> Vec<u8> {
    reply(sequence, flags::MULTI, first)
}

fn end(kind: u16, sequence: u32, errno: i32) -> Vec<u8> {
    Builder::new(kind, 0).sequence(sequence).put(&(-errno).to_ne_bytes()).put(&[0; 16]).finish()
}

fn done(sequence: u32) -> Vec<u8> {
    end(kind::DONE, sequence, 0)
}

#[test]
fn answers_in_one_datagram_go_to_their_requests() {
    let mut t = fixture();
    let (one, two, three) = (t.add(get()), t.add(set()), t.add(dump()));
    assert_eq!((one, two, three), (1, 2, 3));
    assert_eq!(t.send(), [1, 2, 3]);
    t.receive(&[part(3, 30), end(kind::ERROR, 2, 0), reply(1, 0, 10), reply(9, 0, 90), done(3)]);
    assert_eq!(t.take(1), (vec![Ok(10)], true));
    assert_eq!(t.take(2), (vec![], true));
    assert_eq!(t.take(3), (vec![Ok(30)], true));
    assert!(t.table.requests.is_empty());
    assert_eq!((t.table.in_flight, t.table.held), (0, 0));
}

#[test]
fn only_the_kernels_own_answers_count() {
    let mut t = fixture();
    let one = t.add(get());
    t.send();
    t.receive_from(DatagramInfo { portid: 5, ..DatagramInfo::default() }, &[reply(one, 0, 1)]);
    let event = DatagramInfo { group: 1, ..DatagramInfo::default() };
    t.receive_from(event, &[reply(one, 0, 2)]);
    assert_eq!(t.take(one), (vec![], false));
    // An echo comes with the group it went to, and with the port id of the request's socket.
    let mut echo = reply(one, 0, 3);
    echo[12..16].copy_from_slice(&PORTID.to_ne_bytes());
    t.receive_from(event, &[echo]);
    assert_eq!(t.take(one), (vec![Ok(3)], true));
}

#[test]
fn dumps_run_one_at_a_time_and_gets_between() {
    let mut t = fixture();
    let all: Vec<_> = [dump(), dump(), get(), dump()].into_iter().map(|m| t.add(m)).collect();
    assert_eq!(t.send(), [all[0], all[2]]);
    t.receive(&[part(all[0], 1), reply(all[2], 0, 2)]);
    assert!(t.send().is_empty());
    t.receive(&[done(all[0])]);
    assert_eq!(t.send(), [all[1]]);
    t.receive(&[end(kind::ERROR, all[1], 22)]);
    assert_eq!(t.take(all[1]), (vec![Err(RequestErrorKind::Refused)], true));
    assert_eq!(t.send(), [all[3]]);
}

#[test]
fn a_dump_that_was_dropped_ends_before_the_next_begins() {
    let mut t = fixture();
    let (one, two, three) = (t.add(dump()), t.add(dump()), t.add(dump()));
    t.send();
    t.receive(&[part(one, 1)]);
    t.table.forget(one);
    t.table.forget(two);
    assert!(t.send().is_empty());
    t.receive(&[part(one, 2)]);
    assert!(t.send().is_empty());
    t.receive(&[done(one)]);
    assert_eq!(t.send(), [three]);
    // One whose send fails was none.
    let four = t.add(dump());
    t.table.forget(three);
    assert!(t.send().is_empty());
    t.table.on_send_failed(t.serial, RequestError::lost(), &mut Vec::new());
    assert_eq!(t.send(), [four]);
}

#[test]
fn a_loss_fails_what_is_in_flight_and_nothing_else() {
    let mut t = fixture();
    let (one, two, three) = (t.add(get()), t.add(get()), t.add(set()));
    t.send();
    let four = t.add(get());
    t.receive(&[reply(one, 0, 1)]);
    t.table.on_lost(&RequestError::lost(), &mut Vec::new());
    assert_eq!(t.take(one), (vec![Ok(1)], true));
    for sequence in [two, three] {
        assert_eq!(t.take(sequence), (vec![Err(RequestErrorKind::Lost)], true));
    }
    t.receive(&[reply(two, 0, 2)]);
    assert_eq!(t.send(), [four]);
    t.receive(&[reply(four, 0, 4)]);
    assert_eq!(t.take(four), (vec![Ok(4)], true));
    t.table.on_end(RequestError::lost(), &mut Vec::new());
    assert!(t.table.add(Outgoing::check(get(), 0, false).unwrap()).is_err());
    assert!(!t.table.is_reading());
}

/// After a loss the end of a dump may have come or not: the kernel's EBUSY tells.
#[test]
fn a_dump_after_a_loss_waits_only_if_the_kernel_is_busy() {
    let busy = |sequence| end(kind::ERROR, sequence, EBUSY);
    let mut t = fixture();
    let (one, two) = (t.add(dump()), t.add(dump()));
    t.send();
    t.receive(&[part(one, 1)]);
    t.table.on_lost(&RequestError::lost(), &mut Vec::new());
    assert_eq!(t.take(one), (vec![Ok(1), Err(RequestErrorKind::Lost)], true));
    assert_eq!(t.send(), [two]);
    t.receive(&[busy(two)]);
    assert_eq!(t.take(two), (vec![], false));
    assert!(t.send().is_empty(), "the first one runs");
    // Another loss, of a dump that was refused.
    t.table.on_lost(&RequestError::lost(), &mut Vec::new());
    t.receive(&[part(one, 2), done(one)]);
    assert_eq!(t.send(), [two]);
    t.receive(&[part(two, 3), done(two)]);
    assert_eq!(t.take(two), (vec![Ok(3)], true));
    // Of a dump that runs elsewhere nothing is known here.
    let three = t.add(dump());
    assert_eq!(t.send(), [three]);
    t.receive(&[busy(three)]);
    assert_eq!(t.take(three), (vec![Err(RequestErrorKind::Refused)], true));
}

#[test]
fn two_losses_leave_no_dump_waiting_for_one_that_never_ran() {
    let mut t = fixture();
    let (one, two, three) = (t.add(dump()), t.add(dump()), t.add(dump()));
    t.send();
    t.table.on_lost(&RequestError::lost(), &mut Vec::new());
    assert_eq!(t.send(), [two]);
    // The kernel's EBUSY is lost.
    t.table.on_lost(&RequestError::lost(), &mut Vec::new());
    assert_eq!(t.send(), [three]);
    t.receive(&[end(kind::ERROR, three, EBUSY)]);
    assert!(t.send().is_empty());
    t.receive(&[done(one)]);
    assert_eq!(t.send(), [three]);
    t.receive(&[part(three, 1)]);
    assert!(t.table.doubtful.is_empty());
}

#[test]
fn an_interrupted_dump_is_an_error_unless_tolerated() {
    for tolerated in [false, true] {
        let mut t = fixture();
        t.table.limits().tolerates_interrupted = tolerated;
        let one = t.add(dump());
        t.send();
        t.receive(&[reply(one, flags::MULTI | flags::DUMP_INTR, 1), done(one)]);
        let mut expected = vec![Ok(1)];
        if !tolerated {
            expected.push(Err(RequestErrorKind::Interrupted));
        }
        assert_eq!(t.take(one), (expected, true));
    }
}

#[test]
fn the_answer_to_several_has_the_error_of_each_and_ends_with_the_last() {
    let mut t = fixture();
    let parts = [get(), set(), set()].concat();
    let first = t.add(parts);
    let after = t.add(get());
    assert_eq!((first, after), (1, 4));
    t.send();
    t.receive(&[reply(1, 0, 10), end(kind::ERROR, 2, 17)]);
    t.receive(&[end(kind::ERROR, 3, 0), reply(4, 0, 40)]);
    assert_eq!(t.take(1), (vec![Ok(10), Err(RequestErrorKind::Refused)], true));
    assert_eq!(t.take(4), (vec![Ok(40)], true));
}

#[test]
fn an_error_for_its_begin_is_that_of_a_batch() {
    for (kind, is_end) in [(0x10, true), (0x12, false)] {
        let mut t = fixture();
        let begin = Builder::new(kind, 0).put(&[0; 4]).finish();
        let first = t.add([begin, set()].concat());
        t.send();
        t.receive(&[end(kind::ERROR, first, 1)]);
        assert_eq!(t.take(first), (vec![Err(RequestErrorKind::Refused)], is_end));
    }
}

#[test]
fn no_more_are_in_flight_than_allowed() {
    let mut t = fixture();
    t.table.limits().in_flight = 2;
    let all: Vec<_> = [get(), dump(), dump(), get()].into_iter().map(|m| t.add(m)).collect();
    assert_eq!(t.send(), all[..2]);
    t.receive(&[reply(all[0], 0, 1)]);
    assert_eq!(t.send(), [all[3]]);
    t.receive(&[reply(all[3], 0, 1), done(all[1])]);
    assert_eq!(t.send(), [all[2]]);
}

#[test]
fn an_unread_answer_holds_reading_up_until_another_needs_it_and_fails_in_the_end() {
    let mut t = fixture();
    let large = |sequence| Builder::new(16, flags::MULTI).sequence(sequence).put(&[7; 60_000]);
    let one = t.add(dump());
    t.send();
    let mut received = 0;
    while t.table.is_reading() {
        t.receive(&[large(one).finish()]);
        received += 1;
    }
    assert_eq!(received, 5);
    // Another answer needs the datagrams behind those.
    let two = t.add(get());
    t.send();
    assert!(t.table.is_reading());
    t.table.forget(two);
    assert!(!t.table.is_reading());
    assert_eq!(t.take(one).0.len(), 5);
    assert!(t.table.is_reading());
    let three = t.add(get());
    t.send();
    for _ in 0..18 {
        assert!(t.table.is_reading());
        t.receive(&[large(one).finish()]);
    }
    assert_eq!(t.take(one), (vec![Err(RequestErrorKind::Unread)], true));
    assert_eq!((t.table.in_flight, t.table.held), (1, 0));
    let four = t.add(dump());
    t.receive(&[reply(three, 0, 3)]);
    assert!(t.send().is_empty(), "the kernel still runs the dump");
    t.receive(&[done(one)]);
    assert_eq!(t.send(), [four]);
}

/// A far end may repeat what the kernel says once, in the smallest of messages.
#[test]
fn errors_and_small_messages_that_are_left_unread_count() {
    let mut t = fixture();
    for is_error in [true, false] {
        let one = t.add([set(), set()].concat());
        t.send();
        let message = match is_error {
            true => end(kind::ERROR, one, 17),
            false => Builder::new(16, 0).sequence(one).finish(),
        };
        let datagram = vec![message; 1000];
        let mut received = 0;
        while t.table.in_flight > 0 {
            t.receive(&datagram);
            received += 1000;
            assert!(received < 20_000, "a megabyte of them, and no end");
        }
        assert_eq!(t.take(one), (vec![Err(RequestErrorKind::Unread)], true));
    }
}

#[test]
fn sequence_numbers_in_use_are_stepped_over() {
    let mut t = fixture();
    let (one, _) = (t.add(dump()), t.add([set(), set(), set()].concat()));
    t.send();
    t.table.forget(one);
    t.table.next_sequence = u32::MAX;
    assert_eq!(t.add(get()), u32::MAX);
    assert_eq!(t.add(get()), 5, "1 still runs, 2 to 4 are in flight");
    t.table.next_sequence = u32::MAX;
    assert_eq!(t.add([set(), set()].concat()), 6, "their numbers do not wrap");
}

/// A waker that counts.
#[derive(Default)]
struct Counting(AtomicUsize);

impl std::task::Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_task_that_waits_is_woken_once() {
    let mut t = fixture();
    let one = t.add(dump());
    t.send();
    let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let mut items = VecDeque::new();
    for counting in [&first, &second] {
        let waker = Waker::from(Arc::clone(counting));
        t.table.take(one, &mut items, &Context::from_waker(&waker));
    }
    assert_eq!(t.receive(&[part(one, 1), part(one, 2)]), 1);
    assert_eq!(Arc::strong_count(&first), 1, "the last one that polled");
}

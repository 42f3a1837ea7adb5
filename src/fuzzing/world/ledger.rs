//! What was sent and told on each socket, and the invariants of a connection between honest ends:
//!
//! - Nothing is lost, doubled or reordered unless told. The stub takes in each send once, in order and
//!   unchanged; the client gets each datagram that the stub forwards once, in order and unchanged;
//!   the kernel's drops are told with their number.
//! - Each send that fails, and each confirmed one, is answered once; each request likewise, each
//!   open, each close and each ping.
//! - Credit is never negative and never beyond the window: what is sent and not consumed fits into it,
//!   but for the bytes of the last datagram, and for a second window while a confirmed send is
//!   unanswered.
//! - Memory is bounded: the bytes that wait at either end, and those that the stub holds for the kernel.
//! - No deadlock: when nothing can happen any more, nothing waits but for a user who does not read.
//! - All is released: no socket, no request, no queued byte is left after the end.
//!
//! The last three are checked by [`World`](super::World) with this ledger; [`ClientEnd`] and [`StubEnd`]
//! check that each event is one that may come now, and that both ends count the same.

use std::{
    collections::{BTreeMap, VecDeque},
    mem::take,
};

use super::Setup;
use crate::{
    errno::EAGAIN,
    fuzzing::{ClientEnd, StubEnd, StubStep},
    proto::cost,
    wire::{Credit, FrameType, SocketId},
};

/// The most bytes that wait for the other end while that one does not read. Everything is bounded by
/// a credit or a limit of the setup; this is well above their sum.
pub(super) const MOST_UNREAD: usize = 64 * 1024;

/// Datagrams have fewer bytes.
pub(super) const MOST_DATAGRAM: usize = 64;

/// The longest payload of a frame towards the stub.
const MOST_PAYLOAD: usize = MOST_DATAGRAM + 16;

#[derive(Debug)]
struct Send {
    serial: u32,
    data: Vec<u8>,
    is_confirmed: bool,
}

/// One socket's.
#[derive(Debug, Default)]
struct Account {
    /// Sends that the stub has not taken in, and those that the kernel has not.
    under_way: VecDeque<Send>,
    at_kernel: VecDeque<Send>,
    /// Serial, errno, and whether it is a confirmed one: the answers that the client has to get.
    answers: Vec<(u32, i32, bool)>,
    /// Datagrams that the stub has forwarded and the client has not got.
    forwarded: VecDeque<Vec<u8>>,
    /// Bytes of the datagrams got and not read, and of those above.
    outstanding: Credit,
    last: usize,
    has_confirmed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<SocketId, Account>,
    /// Makes every datagram different from the others.
    next: u64,
    pub(super) engine_steps: u64,
}

impl Ledger {
    /// A datagram of this length that no other one equals, if it has a few bytes.
    pub(super) fn datagram(&mut self, length: usize) -> Vec<u8> {
        self.next += 1;
        let mut datagram = self.next.to_le_bytes().repeat(length.div_ceil(8));
        datagram.truncate(length);
        datagram
    }

    /// A datagram that comes to a kernel socket by itself.
    pub(super) fn event(&mut self, _: SocketId, length: u8) -> Vec<u8> {
        self.datagram(usize::from(length))
    }

    pub(super) fn open(&mut self, id: SocketId) {
        assert!(self.accounts.insert(id, Account::default()).is_none(), "{id} is used twice");
    }

    pub(super) fn sent(&mut self, id: SocketId, serial: u32, data: Vec<u8>, is_confirmed: bool) {
        let account = self.accounts.get_mut(&id).unwrap();
        account.has_confirmed |= is_confirmed;
        account.under_way.push_back(Send { serial, data, is_confirmed });
    }

    /// Compares a send that the stub has taken in with the oldest one under way.
    pub(super) fn taken_in(&mut self, id: SocketId, serial: u32, data: &[u8]) {
        let account = self.accounts.get_mut(&id).unwrap();
        let Some(send) = account.under_way.pop_front() else {
            panic!("{id}: the stub has a send {serial} that nobody made")
        };
        assert_eq!((serial, data), (send.serial, send.data.as_slice()), "{id}: another send");
        account.at_kernel.push_back(send);
    }

    /// Takes note of what a step of the engine, which is made next, has to tell.
    pub(super) fn engine(&mut self, stub: &StubEnd, step: StubStep) {
        self.engine_steps += 1;
        match step {
            StubStep::SendDone(id) | StubStep::SendFailed(id) => {
                let account = self.accounts.get_mut(&id).unwrap();
                let send = account.at_kernel.pop_front().unwrap();
                let errno = if step == StubStep::SendDone(id) { 0 } else { EAGAIN };
                if errno != 0 || send.is_confirmed {
                    account.answers.push((send.serial, errno, send.is_confirmed));
                }
            }
            StubStep::Forward(id) => {
                let account = self.accounts.get_mut(&id).unwrap();
                let datagram = stub.first_of_queue(id).unwrap().to_vec();
                account.outstanding.datagrams += 1;
                account.outstanding.bytes += datagram.len() as u64;
                account.last = datagram.len();
                account.forwarded.push_back(datagram);
            }
            _ => {}
        }
    }

    /// Compares the datagrams that the client has got with the oldest that were forwarded.
    pub(super) fn delivered(&mut self, client: &mut ClientEnd) {
        for (id, datagram) in take(&mut client.delivered) {
            let account = self.accounts.get_mut(&id).unwrap();
            let forwarded = account.forwarded.pop_front();
            assert_eq!(Some(datagram), forwarded, "{id}: another datagram");
        }
    }

    /// The invariants that hold at any time.
    pub(super) fn check(&self, setup: &Setup, client: &ClientEnd, stub: &StubEnd) {
        // The credit's last byte may begin a whole datagram.
        let of_each = setup.send_window.bytes + MOST_DATAGRAM as u64;
        let most_waiting = u64::from(setup.limits.max_sockets) * of_each;
        assert!(
            client.state.waiting_bytes() as u64 <= most_waiting,
            "too much waits at the client"
        );
        // The last frame that was taken in may be an open: those have the largest cost.
        let most_waiting = setup.most_queued + cost(FrameType::Open, MOST_PAYLOAD);
        assert!(stub.state.waiting() <= most_waiting, "too much waits at the stub");
        for (id, account) in &self.accounts {
            let view = &client.views[id];
            if view.opened == 0 || view.closing {
                continue;
            }
            let sends = || account.at_kernel.iter().chain(&account.under_way);
            let window = setup.send_window;
            assert!(sends().count() as u64 <= window.datagrams, "{id}: sends beyond the window");
            let bytes: usize = sends().map(|send| send.data.len()).sum();
            let last = sends().last().map_or(0, |send| send.data.len());
            assert!((bytes - last) as u64 <= window.bytes, "{id}: bytes beyond the window");

            let times = 1 + u64::from(account.has_confirmed);
            let unread = account.outstanding.datagrams - view.consumed.datagrams;
            assert!(unread <= view.window.datagrams * times, "{id}: datagrams beyond the window");
            let unread = account.outstanding.bytes - view.consumed.bytes;
            let most = view.window.bytes * times + account.last as u64;
            assert!(unread <= most, "{id}: {unread} bytes, beyond the window of {most}");
        }
    }

    /// The invariants where nothing can happen but that a user reads.
    pub(super) fn check_idle(&self, client: &ClientEnd, stub: &StubEnd) {
        assert!(!client.has_requests(), "a request has no answer");
        for (id, account) in &self.accounts {
            let view = &client.views[id];
            assert!(view.opened + view.failed == 1 || view.closing, "{id}: an open has no answer");
            if view.closing {
                assert!(view.closed.is_some(), "{id}: a close has no answer");
                continue;
            }
            assert!(account.under_way.is_empty(), "{id}: the stub lacks a send");
            assert!(account.at_kernel.is_empty(), "{id}: the kernel lacks a send");
            assert!(account.forwarded.is_empty(), "{id}: the client lacks a datagram");
            let sorted = |answers: &[(u32, i32, bool)]| {
                let mut answers = answers.to_vec();
                answers.sort_unstable();
                answers
            };
            assert_eq!(sorted(&view.answers), sorted(&account.answers), "{id}: answers to sends");
            assert_eq!(view.dropped, stub.drops_of(*id), "{id}: drops told");
            assert!(client.state.may_send(*id, 1).is_ok(), "{id}: no credit comes back");
            let is_left = stub.first_of_queue(*id).is_some();
            assert!(!is_left || !view.unread.is_empty(), "{id}: no user is waited for");
        }
    }
}

//! Every order in which things can happen, for a few sockets that do a few things each.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::*;

/// What the user of one socket does, one after the other.
#[derive(Debug, Clone, Copy)]
enum Do {
    Open,
    /// Bytes; whether it is a confirmed one.
    Send(usize, bool),
    /// Waits until it has read this many datagrams in all.
    Read(usize),
    /// Waits for the answers to as many confirmed sends in all.
    Confirmed(usize),
    /// Needs no waiting, not even for the socket to be open.
    Close,
}

#[derive(Clone, Copy)]
struct Scenario<'a> {
    window: Credit,
    send_window: Credit,
    echo: usize,
    failures: bool,
    max_sockets: u32,
    users: &'a [&'a [Do]],
}

/// One that is simple in everything; scenarios say what they have otherwise.
const PLAIN: Scenario<'static> = Scenario {
    window: credit(64, 4),
    send_window: credit(64, 4),
    echo: 0,
    failures: false,
    max_sockets: 3,
    users: &[],
};

const BRIEF: &[Do] = &[Do::Open, Do::Close];

#[derive(Debug, Clone, Copy)]
enum Event {
    User(usize),
    Wire(Move),
}

struct World<'a> {
    scenario: &'a Scenario<'a>,
    pair: Pair,
    done: Vec<usize>,
    ids: Vec<Option<SocketId>>,
    read: Vec<usize>,
    sent: Vec<u64>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario<'a>) -> Self {
        let max_sockets = scenario.max_sockets;
        let limits = PeerLimits { max_sockets, max_early_send: 8, ..LIMITS };
        let mut pair = Pair::new(limits, scenario.send_window, 4096);
        pair.stub.echo = scenario.echo;
        pair.stub.failures = scenario.failures;
        let n = scenario.users.len();
        Self {
            scenario,
            pair,
            done: vec![0; n],
            ids: vec![None; n],
            read: vec![0; n],
            sent: vec![0; n],
        }
    }

    /// Whether this user can go on.
    fn ready(&self, user: usize) -> bool {
        let Some(what) = self.scenario.users[user].get(self.done[user]) else { return false };
        let Some(id) = self.ids[user] else {
            // Users that do the same are told apart by nothing: one order of them is enough.
            let twin =
                |other: usize| std::ptr::eq(self.scenario.users[other], self.scenario.users[user]);
            if (0..user).any(|other| self.ids[other].is_none() && twin(other)) {
                return false;
            }
            return self.pair.client.state.socket_count() < self.scenario.max_sockets as usize;
        };
        let view = &self.pair.client.views[&id];
        if view.failed > 0 {
            // Nothing comes of it any more: all that is left to do does nothing.
            return true;
        }
        match *what {
            Do::Open => true,
            Do::Send(length, _) => self.pair.client.state.may_send(id, length).is_ok(),
            Do::Read(n) => self.read[user] >= n,
            Do::Confirmed(n) => view.answers.iter().filter(|answer| answer.2).count() >= n,
            Do::Close => true,
        }
    }

    fn events(&self) -> Vec<Event> {
        let users = (0..self.scenario.users.len()).filter(|user| self.ready(*user));
        let moves = self.pair.moves().into_iter().map(Event::Wire);
        users.map(Event::User).chain(moves).collect()
    }

    fn make(&mut self, event: Event) {
        match event {
            Event::Wire(next) => {
                if let (Move::Receive(id), Some(user)) = (next, self.user_of(next)) {
                    assert!(!self.pair.client.views[&id].unread.is_empty());
                    self.read[user] += 1;
                }
                self.pair.make(next).unwrap_or_else(|violation| panic!("{violation}"));
            }
            Event::User(user) => {
                let client = &mut self.pair.client;
                match (self.scenario.users[user][self.done[user]], self.ids[user]) {
                    (Do::Open, _) => {
                        let id = client.open(opening(self.scenario.window));
                        assert!(id.is_some(), "the limit was looked at");
                        self.ids[user] = id;
                    }
                    (Do::Send(length, confirm), Some(id)) if client.views[&id].failed == 0 => {
                        let sent =
                            client.send(id, Destination::default(), confirm, &vec![1; length]);
                        assert!(sent.is_ok(), "{sent:?}");
                        self.sent[user] += 1;
                    }
                    (Do::Close, Some(id)) => {
                        let closes = client.close(id);
                        assert_eq!(closes, client.views[&id].failed == 0);
                    }
                    _ => {}
                }
                self.done[user] += 1;
                self.pair.pump();
            }
        }
    }

    fn user_of(&self, next: Move) -> Option<usize> {
        let Move::Receive(id) = next else { return None };
        self.ids.iter().position(|of| *of == Some(id))
    }

    /// Nothing can happen any more: then everything has to be done.
    fn check_end(&self) {
        for (user, todo) in self.scenario.users.iter().enumerate() {
            assert_eq!(
                self.done[user],
                todo.len(),
                "user {user} is stuck at {:?}",
                todo[self.done[user]]
            );
            let view = &self.pair.client.views[&self.ids[user].unwrap()];
            // An open that was not abandoned has one answer; the ends check that none has two.
            let waited = todo.iter().any(|what| !matches!(what, Do::Open | Do::Close));
            if waited {
                assert_eq!(view.opened + view.failed, 1, "user {user}");
            }
            let counters = view.closed.unwrap();
            if !self.scenario.failures && todo.iter().any(|what| matches!(what, Do::Confirmed(_))) {
                assert_eq!(counters.sent_datagrams, self.sent[user], "user {user}");
            }
        }
        self.pair.check_end();
    }
}

/// Goes through every order of events. Gives the numbers of different situations and of ends.
fn explore(scenario: &Scenario<'_>) -> (usize, usize) {
    let mut seen = HashSet::new();
    let mut ends = 0;
    let mut todo: Vec<Vec<Event>> = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        // The states cannot be copied; but they are deterministic, so they can be made again.
        let mut world = World::new(scenario);
        for event in &path {
            let event = AssertUnwindSafe(|| world.make(*event));
            assert!(catch_unwind(event).is_ok(), "this order of events: {path:#?}");
        }
        if !seen.insert((world.pair.fingerprint(), world.done.clone(), world.ids.clone())) {
            continue;
        }
        assert!(seen.len() < 300_000, "the scenario is too large");
        let events = world.events();
        if events.is_empty() {
            ends += 1;
            let end = AssertUnwindSafe(|| world.check_end());
            assert!(catch_unwind(end).is_ok(), "this order of events: {path:#?}");
        }
        todo.extend(events.into_iter().map(|event| [path.as_slice(), &[event]].concat()));
    }
    println!("{} situations, {ends} ends", seen.len());
    (seen.len(), ends)
}

/// Opens that are waited for, abandoned, refused: the close passes the answer or does not.
#[test]
fn three_sockets_open_and_close_in_any_order() {
    let users: &[&[Do]] = &[BRIEF; 3];
    let (situations, _) = explore(&Scenario { users, ..PLAIN });
    assert!(situations > 1000, "{situations}");
}

#[test]
fn opens_fail_or_not_and_are_closed_anyway() {
    let users: &[&[Do]] = &[BRIEF; 2];
    let (_, ends) = explore(&Scenario { users, failures: true, ..PLAIN });
    // Each was told that it is open, told that it failed, or abandoned.
    assert!(ends >= 9, "{ends}");
}

/// The limit is on sockets whose closed frame has not come: a third waits for it.
#[test]
fn more_sockets_than_allowed_take_turns() {
    let users: &[&[Do]] = &[BRIEF; 3];
    explore(&Scenario { users, max_sockets: 2, ..PLAIN });
    explore(&Scenario { users, max_sockets: 1, failures: true, ..PLAIN });
}

#[test]
fn a_close_overtakes_sends_and_their_answers() {
    let user: &[Do] = &[Do::Open, Do::Send(3, true), Do::Send(2, false), Do::Close];
    explore(&Scenario { users: &[user], failures: true, echo: 1, ..PLAIN });
    explore(&Scenario { users: &[user, BRIEF], echo: 1, ..PLAIN });
}

/// One datagram of credit each way: every send but the first waits for the credit to come back.
#[test]
fn the_smallest_windows_never_block_for_good() {
    let user: &[Do] = &[
        Do::Open,
        Do::Send(5, false),
        Do::Send(5, false),
        Do::Send(5, false),
        Do::Read(3),
        Do::Close,
    ];
    let scenario = Scenario { window: credit(1, 1), send_window: credit(1, 1), echo: 1, ..PLAIN };
    explore(&Scenario { users: &[user], ..scenario });
    let short: &[Do] = &[Do::Open, Do::Send(2, false), Do::Read(1), Do::Close];
    explore(&Scenario { users: &[short, short], ..scenario });
}

/// A user that reads nothing before it has the answer gets it: the overdraft is for this.
#[test]
fn a_confirmed_send_is_answered_though_nobody_reads() {
    let user: &[Do] = &[
        Do::Open,
        Do::Send(5, true),
        Do::Confirmed(1),
        Do::Send(5, true),
        Do::Confirmed(2),
        Do::Close,
    ];
    let scenario = Scenario { window: credit(4, 2), echo: 3, ..PLAIN };
    explore(&Scenario { users: &[user], ..scenario });
}

/// Datagrams larger than a window, in pieces of eight bytes.
#[test]
fn a_datagram_larger_than_both_windows_comes_back() {
    let user: &[Do] = &[
        Do::Open,
        Do::Send(30, false),
        Do::Send(20, true),
        Do::Read(2),
        Do::Confirmed(1),
        Do::Close,
    ];
    explore(&Scenario {
        users: &[user],
        window: credit(3, 9),
        send_window: credit(3, 9),
        echo: 1,
        ..PLAIN
    });
}

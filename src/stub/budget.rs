//! What a server holds for its clients, and how much of it one client or one user may hold.
//!
//! Half of each total is divided evenly among the users that may connect: that part is theirs alone.
//! The other half goes to whoever asks first. So no number of users together takes from another what
//! it needs for its clients. One client may hold a quarter of each total at most, and so leaves room
//! for others of its user. A stub with one client alone has a budget of its own, all of which is that
//! client's.
//!
//! A [`Held`] is given back when it is dropped. It is counted in grains: a byte count that changes
//! with each datagram takes the lock only where it passes a grain, and less than a grain is free.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nix::errno::Errno;

use crate::{
    kernel::{descriptors, failure},
    limits::server::{
        CLIENT_SHARE, MAX_ASKING, MAX_KERNEL_MEMORY, MAX_TASKS, MAX_THREADS, RESERVED_DESCRIPTORS,
    },
    wire::Failure,
};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// Connections whose hello has come.
    Clients,
    /// Descriptors: of streams, sockets, namespaces and pollers.
    Descriptors,
    /// Threads of connections beyond the two that each has.
    Threads,
    /// Bytes that wait in this process: requests, sends, answers that nobody reads.
    Memory,
    /// Bytes of the kernel's buffers, as `SO_RCVBUF` and `SO_SNDBUF` report them, beyond the host's
    /// defaults.
    KernelMemory,
    /// Tasks that run.
    Tasks,
    /// Tasks that ask a container engine.
    Asking,
    /// Streams with a large buffer in the kernel.
    WideStreams,
}

/// The number of resources.
const KINDS: usize = 8;

/// An amount of each resource.
type Amounts = [u64; KINDS];

/// Bytes in which memory is counted.
const MEMORY_GRAIN: u64 = 16 << 10;

/// Grains that a [`Held`] keeps when it shrinks: a count that goes up and down needs no lock then.
const KEPT: u64 = 4;

impl Resource {
    fn grain(self) -> u64 {
        match self {
            Resource::Memory => MEMORY_GRAIN,
            _ => 1,
        }
    }

    /// The name of some of it, in a refusal.
    fn name(self) -> &'static str {
        match self {
            Resource::Clients => "clients",
            Resource::Descriptors => "descriptors",
            Resource::Threads => "threads",
            Resource::Memory => "bytes that wait",
            Resource::KernelMemory => "bytes of kernel buffers",
            Resource::Tasks => "tasks",
            Resource::Asking => "questions to container engines",
            Resource::WideStreams => "wide streams",
        }
    }

    fn errno(self) -> Errno {
        match self {
            Resource::Clients => Errno::EBUSY,
            Resource::Descriptors => Errno::EMFILE,
            Resource::Threads | Resource::Tasks | Resource::Asking => Errno::EAGAIN,
            Resource::Memory => Errno::ENOMEM,
            Resource::KernelMemory | Resource::WideStreams => Errno::ENOBUFS,
        }
    }
}

/// The descriptors of a connection itself: those of its streams, of its poller, and of its wake-up.
pub(super) const CONNECTION: u64 = 4;

/// The most that all clients together hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) clients: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    pub(super) memory: u64,
    pub(super) kernel_memory: u64,
    pub(super) tasks: u64,
    pub(super) asking: u64,
    pub(super) wide_streams: u64,
}

impl Totals {
    fn amounts(self) -> Amounts {
        let Totals {
            clients,
            descriptors,
            threads,
            memory,
            kernel_memory,
            tasks,
            asking,
            wide_streams,
        } = self;
        // In the order of `Resource`.
        [clients, descriptors, threads, memory, kernel_memory, tasks, asking, wide_streams]
    }
}

/// The descriptors that clients may hold, by the limit of this process.
pub(super) fn descriptors_for_clients() -> u64 {
    let limit = descriptors::limit();
    limit.saturating_sub(RESERVED_DESCRIPTORS).max(limit / 2)
}

#[derive(Debug)]
struct Server {
    totals: Amounts,
    /// The part of each total that is one user's alone.
    own: Amounts,
    /// The part of each total that goes to whoever asks first.
    common: Amounts,
    /// The most that one client may hold.
    each: Amounts,
    /// What each user holds.
    users: Mutex<HashMap<u32, Amounts>>,
}

/// The budget of a server, or of a stub that serves one client alone. Clones are the same budget.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Server>);

impl Budget {
    /// The budget of a server to which `users` users may connect.
    pub(super) fn shared(totals: Totals, users: usize) -> Self {
        let totals = totals.amounts();
        let users = users.max(1) as u64;
        let own = totals.map(|total| total / 2 / users);
        // One client at least has its place, however small the total.
        let each = totals.map(|total| (total / CLIENT_SHARE).max(1));
        Self::new(totals, own, users, each)
    }

    /// The budget of one client without a server: that of one client of a server, but for bytes that
    /// wait, of which it has `memory`.
    pub(super) fn alone(memory: u64) -> Self {
        let totals = Totals {
            clients: 1,
            descriptors: descriptors_for_clients(),
            threads: MAX_THREADS as u64 / CLIENT_SHARE,
            memory,
            kernel_memory: MAX_KERNEL_MEMORY / CLIENT_SHARE,
            tasks: MAX_TASKS / CLIENT_SHARE,
            asking: MAX_ASKING / CLIENT_SHARE,
            wide_streams: 1,
        };
        let totals = totals.amounts();
        Self::new(totals, totals, 1, totals)
    }

    fn new(totals: Amounts, own: Amounts, users: u64, each: Amounts) -> Self {
        let mut common = totals;
        for (common, own) in common.iter_mut().zip(own) {
            *common -= own * users;
        }
        Self(Arc::new(Server { totals, own, common, each, users: Mutex::default() }))
    }

    /// The account of a client of this user, which holds nothing yet.
    pub(super) fn account(&self, uid: u32) -> Account {
        let server = Arc::clone(&self.0);
        Account(Arc::new(Client { server, uid, used: Amounts::default().map(AtomicU64::new) }))
    }
}

#[derive(Debug)]
struct Client {
    server: Arc<Server>,
    uid: u32,
    /// Changed with the server's lock held.
    used: [AtomicU64; KINDS],
}

/// What one client holds. Clones are the same account.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<Client>);

impl Account {
    /// The user whose client this is.
    pub(super) fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Takes an amount of a resource, until the result is dropped.
    ///
    /// # Errors
    /// A total, or the part of it that this client or its user may hold, is used up.
    pub(super) fn hold(&self, resource: Resource, amount: u64) -> Result<Held, Refused> {
        let mut held = self.nothing(resource);
        held.set(amount)?;
        Ok(held)
    }

    /// None of a resource, to be set later.
    pub(super) fn nothing(&self, resource: Resource) -> Held {
        Held { account: self.clone(), resource, amount: 0 }
    }
}

impl Server {
    fn users(&self) -> MutexGuard<'_, HashMap<u32, Amounts>> {
        // No code that holds it panics half-way.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn take(&self, resource: Resource, amount: u64) -> Result<(), Refused> {
        let (server, kind) = (&self.server, resource as usize);
        let of = |amounts: &Amounts| amounts.get(kind).copied().unwrap_or_default();
        let (own, common) = (of(&server.own), of(&server.common));
        let refused = |by, used, limit| Refused { resource, by, used, limit };
        let mut users = server.users();
        let mine = self.used.get(kind).map_or(0, |used| used.load(Relaxed));
        if mine + amount > of(&server.each) {
            return Err(refused(By::Client, mine, of(&server.each)));
        }
        let before = users.get(&self.uid).map_or(0, of);
        let shared: u64 = users.values().map(|used| of(used).saturating_sub(own)).sum();
        let more = (before + amount).saturating_sub(own) - before.saturating_sub(own);
        if shared + more > common {
            let all = users.values().map(of).sum();
            return Err(match users.values().filter(|used| of(used) > 0).count() {
                2.. => refused(By::User(self.uid), before, of(&server.totals)),
                _ => refused(By::Server, all, of(&server.totals)),
            });
        }
        let user = users.entry(self.uid).or_default();
        if let (Some(user), Some(mine)) = (user.get_mut(kind), self.used.get(kind)) {
            *user += amount;
            mine.fetch_add(amount, Relaxed);
        }
        Ok(())
    }

    /// How much may be taken.
    fn left(&self, resource: Resource) -> u64 {
        let (server, kind) = (&self.server, resource as usize);
        let of = |amounts: &Amounts| amounts.get(kind).copied().unwrap_or_default();
        let own = of(&server.own);
        let users = server.users();
        let mine = self.used.get(kind).map_or(0, |used| used.load(Relaxed));
        let user = users.get(&self.uid).map_or(0, of);
        let shared: u64 = users.values().map(|used| of(used).saturating_sub(own)).sum();
        let common = of(&server.common).saturating_sub(shared);
        of(&server.each).saturating_sub(mine).min(own.saturating_sub(user) + common)
    }

    fn give_back(&self, resource: Resource, amount: u64) {
        let kind = resource as usize;
        let mut users = self.server.users();
        if let Some(mine) = self.used.get(kind) {
            mine.fetch_sub(amount, Relaxed);
        }
        let Some(user) = users.get_mut(&self.uid) else { return };
        if let Some(used) = user.get_mut(kind) {
            *used -= amount;
        }
        if *user == Amounts::default() {
            users.remove(&self.uid);
        }
    }
}

/// An amount of a resource, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    account: Account,
    resource: Resource,
    /// Whole grains.
    amount: u64,
}

impl Held {
    /// The account that it is held of.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// How much more may be held, now.
    pub(super) fn left(&self) -> u64 {
        self.account.0.left(self.resource)
    }

    /// Changes the amount, which stays as it was where that is refused. Less is never refused.
    ///
    /// # Errors
    /// As [`Account::hold`].
    #[inline]
    pub(super) fn set(&mut self, amount: u64) -> Result<(), Refused> {
        let grain = self.resource.grain();
        // A descriptor is given back at once; of bytes that go up and down some are kept.
        let kept = if grain > 1 { KEPT * grain } else { 0 };
        let wanted = amount - amount % grain;
        if wanted == self.amount
            || wanted < self.amount && self.amount - wanted <= kept && wanted > 0
        {
            return Ok(());
        }
        match wanted.checked_sub(self.amount) {
            Some(more) => self.account.0.take(self.resource, more)?,
            None => self.account.0.give_back(self.resource, self.amount - wanted),
        }
        self.amount = wanted;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.account.0.give_back(self.resource, self.amount);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    User(u32),
    Server,
}

/// A limit that has been reached: which, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    resource: Resource,
    by: By,
    used: u64,
    limit: u64,
}

impl Refused {
    /// The failure of a request for which there is no room.
    pub(super) fn failure(self, step: impl fmt::Display) -> Failure {
        failure(self.resource.errno(), format_args!("{step}: {self}"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { resource, by, used, limit } = self;
        let what = resource.name();
        match by {
            By::Client => write!(f, "this client has {used} {what}, and may have {limit}"),
            By::User(uid) => write!(
                f,
                "uid {uid} has {used} {what}, and the rest of all {limit} is other users'"
            ),
            By::Server => write!(f, "{used} of {limit} {what} are taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTALS: Totals = Totals {
        clients: 16,
        descriptors: 160,
        threads: 160,
        memory: 1 << 20,
        kernel_memory: 160,
        tasks: 16,
        asking: 16,
        wide_streams: 16,
    };

    fn used(budget: &Budget) -> usize {
        budget.0.users().len()
    }

    #[test]
    fn no_users_together_take_another_user_s_part() {
        let budget = Budget::shared(TOTALS, 4);
        let accounts: Vec<_> = (0..4).map(|uid| budget.account(uid)).collect();
        let take_all = |account: &Account| {
            let mut held = Vec::new();
            // Clients of clients: each takes one, so that its own limit does not matter.
            while let Ok(one) = budget.account(account.uid()).hold(Resource::Clients, 1) {
                held.push(one);
            }
            held
        };
        let first = take_all(&accounts[0]);
        assert_eq!(first.len(), 2 + 8, "its own part, and all that is common");
        let others: Vec<_> = accounts[1..].iter().map(take_all).collect();
        assert_eq!(others.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        let refused = accounts[1].hold(Resource::Clients, 1).unwrap_err().to_string();
        assert!(refused.contains("uid 1 has 2 clients"), "{refused}");
        drop(first);
        assert_eq!(take_all(&accounts[1]).len(), 8);
        drop(others);
        assert_eq!(used(&budget), 0);
    }

    #[test]
    fn one_client_leaves_room_for_others_of_its_user() {
        let budget = Budget::shared(TOTALS, 1);
        let (greedy, other) = (budget.account(7), budget.account(7));
        let held = greedy.hold(Resource::Descriptors, 40).unwrap();
        let refused = greedy.hold(Resource::Descriptors, 1).unwrap_err();
        assert_eq!(refused.to_string(), "this client has 40 descriptors, and may have 40");
        assert_eq!(refused.failure("opening").errno, Errno::EMFILE as i32);
        let _more = other.hold(Resource::Descriptors, 40).unwrap();
        drop(held);
        greedy.hold(Resource::Descriptors, 40).unwrap();
    }

    #[test]
    fn a_held_amount_grows_and_shrinks_in_grains() {
        let budget = Budget::shared(TOTALS, 1);
        let account = budget.account(0);
        let mut held = account.nothing(Resource::Memory);
        let total = |held: &Held| {
            assert_eq!(
                held.account.0.used[Resource::Memory as usize].load(Relaxed),
                held.amount,
                "the account has what its client holds"
            );
            held.amount
        };
        held.set(MEMORY_GRAIN - 1).unwrap();
        assert_eq!(total(&held), 0);
        held.set(10 * MEMORY_GRAIN).unwrap();
        held.set(7 * MEMORY_GRAIN).unwrap();
        assert_eq!(total(&held), 10 * MEMORY_GRAIN, "a few grains stay");
        held.set(MEMORY_GRAIN).unwrap();
        assert_eq!(total(&held), MEMORY_GRAIN);
        assert!(held.set(1 << 19).is_err());
        assert_eq!(total(&held), MEMORY_GRAIN, "a refusal changes nothing");
        held.set(0).unwrap();
        assert_eq!(total(&held), 0);
        assert_eq!(used(&budget), 0);
    }

    #[test]
    fn what_is_left_may_be_held() {
        let budget = Budget::shared(TOTALS, 2);
        let (one, other) = (budget.account(1), budget.account(2));
        let left = |account: &Account| account.nothing(Resource::KernelMemory).left();
        // A quarter for each client; of 160, each user has 40 alone, and 80 are common.
        assert_eq!((left(&one), left(&other)), (40, 40));
        let held = one.hold(Resource::KernelMemory, 30).unwrap();
        assert_eq!((left(&one), left(&other)), (10, 40));
        let more: Vec<_> =
            (0..2).map(|_| budget.account(1).hold(Resource::KernelMemory, 40).unwrap()).collect();
        assert_eq!((left(&budget.account(1)), left(&other)), (10, 40), "all but the other's part");
        assert!(budget.account(1).hold(Resource::KernelMemory, 11).is_err());
        drop((held, more));
        assert_eq!(left(&one), 40);
    }

    #[test]
    fn alone_a_client_has_everything() {
        let account = Budget::alone(1 << 20).account(0);
        let all = descriptors_for_clients();
        let _held = account.hold(Resource::Descriptors, all).unwrap();
        account.hold(Resource::Descriptors, 1).unwrap_err();
    }
}

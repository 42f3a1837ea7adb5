//! The loop of a server: accepts connections, has those without a hello wait, and starts the threads
//! of the others.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};

use super::{
    audit::Audit,
    budget::{
        Account, Budget, CONNECTION, Held, Refused, Resource, Totals, descriptors_for_clients,
    },
    events::{ListenEvent, Peer},
    exit::Exit,
    journal::Journal,
    listen_config::ListenConfig,
    lobby::{Lobby, Stranger},
    place::Place,
    plain_refusal::refuse,
    pool::Pool,
    shutdown::Shutdown,
    streams::Streams,
    trimmer::Trimmer,
    watchdog,
};
use crate::{
    errno::words,
    kernel::descriptors,
    limits::server::{ENDING, MAX_ASKING, MAX_STRANGERS, MAX_TASKS, MAX_WIDE_STREAMS},
};

/// Connections that are accepted until others have their turn.
const AT_A_TIME: usize = 32;

/// How long the listener is left alone where neither a descriptor nor the spare one can be had: the
/// connections stay queued.
const REST: Duration = Duration::from_millis(250);

/// How long the log may take to take the last events.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) struct Server<'a> {
    listener: &'a UnixListener,
    config: &'a ListenConfig,
    shutdown: &'a Shutdown,
    journal: Journal,
    budget: Budget,
    pool: Pool,
    lobby: Lobby,
    clients: Arc<AtomicUsize>,
    trimmer: Arc<Trimmer>,
    /// A descriptor that is closed where no other can be had, for a connection to be told so.
    spare: Option<File>,
    /// Until then no connection is accepted.
    rests_until: Option<Instant>,
    /// Connections so far.
    connections: u64,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        listener: &'a UnixListener,
        config: &'a ListenConfig,
        shutdown: &'a Shutdown,
        journal: Journal,
    ) -> io::Result<Self> {
        let descriptors = descriptors_for_clients();
        let totals = Totals {
            clients: config.max_clients as u64,
            descriptors,
            threads: config.max_threads as u64,
            memory: config.max_memory,
            kernel_memory: config.max_kernel_memory,
            tasks: MAX_TASKS,
            asking: MAX_ASKING,
            wide_streams: MAX_WIDE_STREAMS,
        };
        // Strangers leave most descriptors to clients.
        let strangers = usize::try_from(descriptors / 8).unwrap_or(MAX_STRANGERS);
        Ok(Self {
            listener,
            config,
            shutdown,
            journal,
            budget: Budget::shared(totals, config.allowed_uids.len()),
            pool: Pool::shared()?,
            lobby: Lobby::new(strangers.min(MAX_STRANGERS)),
            clients: Arc::default(),
            trimmer: Arc::default(),
            spare: spare(),
            rests_until: None,
            connections: 0,
        })
    }

    /// Serves until the shutdown.
    pub(super) fn run(&mut self) -> io::Result<()> {
        self.journal.push(ListenEvent::Listening);
        let result = self.serve();
        self.journal.push(ListenEvent::Ending);
        self.lobby.close(Errno::ESHUTDOWN, "the server is shutting down");
        let deadline = Instant::now() + ENDING;
        while self.clients.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.journal.end(LAST_WORDS);
        result
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            self.rests_until = self.rests_until.filter(|until| *until > now);
            let rest = self.rests_until.map(|until| until - now);
            let timeout = match [self.lobby.time_left(), rest].into_iter().flatten().min() {
                // A whole millisecond at least: a shorter time would be 0, and the loop busy.
                Some(left) => PollTimeout::try_from(left + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            let readable = PollFlags::POLLIN;
            let accepts = if rest.is_none() { readable } else { PollFlags::empty() };
            let mut fds = vec![
                PollFd::new(self.shutdown.as_fd(), readable),
                PollFd::new(self.listener.as_fd(), accepts),
            ];
            fds.extend(self.lobby.streams().map(|stream| PollFd::new(stream, readable)));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            let [stop, accept, strangers @ ..] = ready.as_slice() else { return Ok(()) };
            if *stop {
                return Ok(());
            }
            for (stranger, verdict) in self.lobby.advance(strangers) {
                match verdict {
                    Ok(()) => self.admit(stranger),
                    Err(exit) => self.turn_away(stranger, &exit),
                }
            }
            if *accept && rest.is_none() {
                self.accept_some();
            }
        }
    }

    fn accept_some(&mut self) {
        for _ in 0..AT_A_TIME {
            match self.listener.accept() {
                Ok((stream, _)) => self.enter(stream),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return,
                    // Of a connection that has ended already.
                    Some(Errno::EINTR | Errno::ECONNABORTED) => {}
                    Some(Errno::EMFILE | Errno::ENFILE) if self.spare.is_some() => {
                        return self.accept_none(&error);
                    }
                    _ => return self.rest(&error),
                },
            }
        }
    }

    /// Has a connection for which there is no descriptor told so.
    fn accept_none(&mut self, error: &io::Error) {
        self.spare = None;
        match self.listener.accept() {
            Ok((stream, _)) => {
                let reason = format!("the server has no descriptor left: {}", words(error));
                if let Some(peer) = self.peer(&stream) {
                    self.journal.push(ListenEvent::Refused { peer, reason: reason.clone() });
                }
                refuse(stream, &reason);
            }
            // Another thread was faster.
            Err(_) => self.rest(error),
        }
        self.spare = spare();
    }

    fn rest(&mut self, error: &io::Error) {
        self.journal.push(ListenEvent::AcceptFailed { reason: words(error) });
        self.rests_until = Some(Instant::now() + REST);
        if self.spare.is_none() {
            self.spare = spare();
        }
    }

    /// Who has connected, as the kernel noted it then.
    fn peer(&mut self, stream: &UnixStream) -> Option<Peer> {
        match getsockopt(stream, PeerCredentials) {
            Ok(credentials) => {
                self.connections += 1;
                Some(Peer::new(self.connections, credentials.uid(), credentials.pid()))
            }
            Err(errno) => {
                let reason = format!("reading a client's uid: {}", errno.desc());
                self.journal.push(ListenEvent::AcceptFailed { reason });
                None
            }
        }
    }

    /// Takes in a new connection, which has not said anything.
    fn enter(&mut self, stream: UnixStream) {
        let Some(peer) = self.peer(&stream) else { return };
        if !self.config.allowed_uids.contains(&peer.uid) {
            let reason = format!("uid {} may not connect here", peer.uid);
            return self.refuse(stream, peer, &reason);
        }
        let account = self.budget.account(peer.uid);
        // Before the hello, where the refusal is the result of connecting. Those that come first with
        // their hello may take the last places all the same.
        if let Err(refused) = account.hold(Resource::Clients, 1) {
            return self.refuse(stream, peer, &refused.to_string());
        }
        let descriptors = match self.descriptors(&account) {
            Ok(descriptors) => descriptors,
            Err(refused) => return self.refuse(stream, peer, &refused.to_string()),
        };
        match streams(&stream, self.config) {
            Ok(streams) => {
                let stranger = Stranger { peer, streams, account, descriptors };
                self.greet(stranger);
            }
            Err(error) => self.refuse(stream, peer, &words(&error)),
        }
    }

    /// The descriptors of a new connection, at the cost of its user's strangers.
    fn descriptors(&mut self, account: &Account) -> Result<Held, Refused> {
        loop {
            let refused = match account.hold(Resource::Descriptors, CONNECTION) {
                Ok(held) => return Ok(held),
                Err(refused) => refused,
            };
            match self.lobby.oldest_of(account.uid()) {
                Some(oldest) => self.evict(oldest),
                None => return Err(refused),
            }
        }
    }

    /// Sends the stub's hello. Most clients have said theirs by then.
    fn greet(&mut self, mut stranger: Stranger) {
        match stranger.streams.greet() {
            Ok(true) => self.admit(stranger),
            Ok(false) => {
                if let Some(oldest) = self.lobby.enter(stranger) {
                    self.evict(oldest);
                }
            }
            Err(exit) => self.turn_away(stranger, &exit),
        }
    }

    fn evict(&self, stranger: Stranger) {
        let reason = "other connections need its place, and it has said no hello";
        self.reject(stranger, Errno::EBUSY, reason);
    }

    fn turn_away(&self, stranger: Stranger, exit: &Exit) {
        self.reject(stranger, Errno::EPROTO, &exit.to_string());
    }

    /// Ends a connection whose client has the stub's hello.
    fn reject(&self, stranger: Stranger, errno: Errno, reason: &str) {
        let Stranger { peer, streams, .. } = stranger;
        streams.refuse(errno, &format!("nlr serve: {reason}"));
        self.journal.push(ListenEvent::Refused { peer, reason: reason.to_owned() });
    }

    /// Ends a connection whose client has no hello.
    fn refuse(&self, stream: UnixStream, peer: Peer, reason: &str) {
        refuse(stream, reason);
        self.journal.push(ListenEvent::Refused { peer, reason: reason.to_owned() });
    }

    /// Starts the threads of a connection whose hello has come.
    fn admit(&self, stranger: Stranger) {
        let client = match stranger.account.hold(Resource::Clients, 1) {
            Ok(client) => client,
            Err(refused) => return self.reject(stranger, Errno::EBUSY, &refused.to_string()),
        };
        // The thread gets the streams once it runs: where none can be had, the client is told so.
        let (give, take) = sync_channel::<Stranger>(1);
        let (clients, trimmer) = (Arc::clone(&self.clients), Arc::clone(&self.trimmer));
        let (journal, pool) = (self.journal.clone(), self.pool.clone());
        let (config, shutdown) = (self.config.stub.clone(), self.shutdown.clone());
        let serve = move || {
            let Ok(Stranger { peer, streams, account, descriptors }) = take.recv() else { return };
            let audit = Audit::new(peer, journal.clone());
            let place = Place { account, pool, audit, descriptors };
            let exit = watchdog::run(streams, config, place, &shutdown);
            journal.push(ListenEvent::Ended { peer, exit });
            // Only then may its user have another.
            drop(client);
            let last = clients.fetch_sub(1, Ordering::AcqRel) == 1;
            trimmer.client_has_gone(last);
        };
        let builder = thread::Builder::new().name("nlr-watch".to_owned()).stack_size(256 * 1024);
        match builder.spawn(serve) {
            Ok(_) => {
                self.clients.fetch_add(1, Ordering::AcqRel);
                self.journal.push(ListenEvent::Accepted { peer: stranger.peer });
                // It waits for this.
                let _ = give.send(stranger);
            }
            Err(error) => {
                let reason = format!("starting a thread: {}", words(&error));
                self.reject(stranger, Errno::EAGAIN, &reason);
            }
        }
    }
}

/// A descriptor that is of no use but to be closed.
fn spare() -> Option<File> {
    let null = File::open("/dev/null").ok()?;
    Some(descriptors::raise(null.into()).into())
}

/// Both directions of a stream.
fn streams(stream: &UnixStream, config: &ListenConfig) -> io::Result<Streams> {
    let copy =
        || -> io::Result<OwnedFd> { Ok(descriptors::raise(stream.as_fd().try_clone_to_owned()?)) };
    Ok(Streams::new(copy()?, copy()?, &config.stub)?)
}

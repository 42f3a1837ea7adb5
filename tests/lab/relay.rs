//! A long way between two ends: holds back what passes, counts it, and can break.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};

/// At most this many pieces of 64 KiB are on their way in each direction.
const ON_THE_WAY: usize = 1024;

/// How often a thread that waits looks whether it still has to.
const TURN: Duration = Duration::from_millis(5);

/// A TCP relay whose way takes a while: each direction by `delay`, without a limit of throughput.
///
/// TCP's own handshake takes its round trip as well, as it would on a real link of that length.
pub(crate) struct Relay {
    address: SocketAddr,
    way: Arc<Way>,
    acceptor: Option<JoinHandle<()>>,
}

struct Way {
    to: SocketAddr,
    delay: Duration,
    over: AtomicBool,
    cut: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    /// The round trips of the longest chain of messages that has arrived at each end.
    arrived_at_client: AtomicU64,
    arrived_at_server: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    ended: AtomicBool,
    /// When the handshake is over, and the round trip that it is.
    established: Instant,
    handshake: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// What is on its way; nothing is the end of a direction.
struct Piece {
    arrives: Instant,
    round_trip: u64,
    bytes: Vec<u8>,
}

impl Relay {
    /// Listens on a port of 127.0.0.1.
    pub(crate) fn new(to: impl Into<SocketAddr>, delay: Duration) -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), to, delay)
    }

    /// Listens on an address; port 0 is any.
    pub(crate) fn listen(at: SocketAddr, to: impl Into<SocketAddr>, delay: Duration) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Way {
            to: to.into(),
            delay,
            over: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            arrived_at_client: AtomicU64::new(0),
            arrived_at_server: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
            threads: Mutex::new(Vec::new()),
        });
        let theirs = Arc::clone(&way);
        let acceptor = thread::spawn(move || accept(&theirs, &listener));
        Self { address, way, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes from the client so far.
    pub(crate) fn bytes_up(&self) -> u64 {
        self.way.up.load(SeqCst)
    }

    /// Bytes from the server so far.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.way.down.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.way.connections.load(SeqCst)
    }

    /// The round trips that the client has waited for: the longest chain of data to the server
    /// and back in which each piece left after the one before had arrived, the handshakes of TCP
    /// included. Never more than the time gone by allows; the delay must be longer than what the
    /// ends take to answer, or pieces that have nothing to do with each other count as answers.
    pub(crate) fn round_trips(&self) -> u64 {
        self.way.arrived_at_client.load(SeqCst)
    }

    /// From now on nothing arrives any more, and nobody hears of it. What was on its way is lost.
    pub(crate) fn cut(&self) {
        self.way.cut.store(true, SeqCst);
    }

    /// Ends every connection with a reset.
    pub(crate) fn reset(&self) {
        self.way.open.lock().unwrap().drain().for_each(|(_, connection)| connection.reset());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.over.store(true, SeqCst);
        // For the acceptor to look up; that it is gone already is fine.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.reset();
        let threads = std::mem::take(&mut *self.way.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn accept(way: &Arc<Way>, listener: &TcpListener) {
    for client in listener.incoming() {
        if way.over.load(SeqCst) {
            return;
        }
        let theirs = Arc::clone(way);
        // One that has gone is no failure of the relay.
        let Ok(client) = client else { continue };
        let thread = thread::spawn(move || theirs.serve(client));
        let mut threads = way.threads.lock().unwrap();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }
}

impl Way {
    fn serve(&self, client: TcpStream) {
        let accepted = Instant::now();
        let number = self.connections.fetch_add(1, SeqCst);
        let handshake = self.arrived_at_client.load(SeqCst) + 1;
        let established = accepted + 2 * self.delay;
        let over = || self.over.load(SeqCst);
        prepare(&client);
        // The server hears of the connection with the third part of the handshake.
        if !sleep_until(established + self.delay, || over() || self.cut.load(SeqCst)) {
            while !over() {
                thread::sleep(TURN);
            }
            return;
        }
        self.arrived_at_client.fetch_max(handshake, SeqCst);
        let Ok(server) = TcpStream::connect(self.to) else {
            // The dropped client gets a reset, the nearest to a refusal.
            linger_not(&client);
            return;
        };
        prepare(&server);
        let connection =
            Connection { client, server, ended: AtomicBool::new(false), established, handshake };
        let connection = Arc::new(connection);
        self.open.lock().unwrap().insert(number, Arc::clone(&connection));
        // A relay that is dropped resets what it finds open, then waits for this thread.
        if over() {
            connection.reset();
        }
        thread::scope(|scope| {
            for direction in [Direction::Up, Direction::Down] {
                let (sender, receiver) = sync_channel(ON_THE_WAY);
                let connection = &connection;
                scope.spawn(move || self.take(connection, direction, &sender));
                scope.spawn(move || self.bring(connection, direction, receiver));
            }
        });
        self.open.lock().unwrap().remove(&number);
    }

    /// Takes what an end sends and puts it on its way.
    fn take(&self, connection: &Connection, direction: Direction, sender: &SyncSender<Piece>) {
        let mut from = match direction {
            Direction::Up => &connection.client,
            Direction::Down => &connection.server,
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // An end that breaks its connection ends it: the relay knows no more of it.
            let length = from.read(&mut buffer).unwrap_or(0);
            if self.cut.load(SeqCst) {
                break;
            }
            let (left, round_trip) = match direction {
                Direction::Up => {
                    self.up.fetch_add(length as u64, SeqCst);
                    let arrived = self.arrived_at_client.load(SeqCst).max(connection.handshake);
                    (Instant::now().max(connection.established), arrived + 1)
                }
                Direction::Down => {
                    self.down.fetch_add(length as u64, SeqCst);
                    let arrived = self.arrived_at_server.load(SeqCst);
                    (Instant::now(), arrived.max(connection.handshake + 1))
                }
            };
            let bytes = buffer[..length].to_vec();
            let piece = Piece { arrives: left + self.delay, round_trip, bytes };
            if sender.send(piece).is_err() || length == 0 {
                break;
            }
        }
        // Nobody reads behind a cut, so the buffers of the sender fill up as they would.
        while self.cut.load(SeqCst) && !connection.ended.load(SeqCst) {
            thread::sleep(TURN);
        }
    }

    /// Brings what is on its way to the other end, when its time has come.
    fn bring(&self, connection: &Connection, direction: Direction, receiver: Receiver<Piece>) {
        let (mut to, arrived) = match direction {
            Direction::Up => (&connection.server, &self.arrived_at_server),
            Direction::Down => (&connection.client, &self.arrived_at_client),
        };
        let stop = || self.cut.load(SeqCst) || connection.ended.load(SeqCst);
        for piece in receiver {
            if !sleep_until(piece.arrives, stop) {
                return;
            }
            if piece.bytes.is_empty() {
                // It may be closed already.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            // Before the other end can answer.
            arrived.fetch_max(piece.round_trip, SeqCst);
            if write_all(&mut to, &piece.bytes, stop).is_err() {
                // An end that is gone: the other one has to hear of it.
                connection.reset();
                return;
            }
        }
    }
}

impl Connection {
    /// Has the threads let go of the sockets, which resets them.
    fn reset(&self) {
        self.ended.store(true, SeqCst);
        for socket in [&self.client, &self.server] {
            linger_not(socket);
            // Wakes the reader and tells the other side nothing.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

/// Has the coming close reset the connection.
fn linger_not(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(socket, sockopt::Linger, &linger).unwrap();
}

fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).unwrap();
    socket.set_write_timeout(Some(TURN)).unwrap();
}

fn write_all(
    to: &mut impl Write,
    mut bytes: &[u8],
    stop: impl Fn() -> bool,
) -> Result<(), io::Error> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !stop() => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if stop() => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether it came to that time, and not to a stop.
fn sleep_until(time: Instant, stop: impl Fn() -> bool) -> bool {
    loop {
        if stop() {
            return false;
        }
        let rest = time.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return true;
        }
        thread::sleep(rest.min(TURN));
    }
}

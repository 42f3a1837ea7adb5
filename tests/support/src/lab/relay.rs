//! A TCP relay with a delay, which counts bytes and round trips and can break.

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

/// The most pieces of 64 KiB under way in each direction.
const UNDER_WAY: usize = 1024;

/// The time between two checks of a thread that waits.
const POLL: Duration = Duration::from_millis(5);

/// A TCP relay that delays each direction by `delay` and does not limit throughput.
///
/// TCP's handshake takes its round trip too, as on a real link of that length.
pub struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

struct Line {
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
    /// The end of the handshake, and the round trips of the chain up to it.
    established: Instant,
    handshake: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// Bytes under way. An empty piece is the end of a direction.
struct Piece {
    arrives: Instant,
    round_trip: u64,
    bytes: Vec<u8>,
}

impl Relay {
    /// A relay on a free port of 127.0.0.1.
    pub fn new(to: impl Into<SocketAddr>, delay: Duration) -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), to, delay)
    }

    /// A relay on an address; port 0 is any free one.
    pub fn listen(at: SocketAddr, to: impl Into<SocketAddr>, delay: Duration) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
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
        let theirs = Arc::clone(&line);
        let acceptor = thread::spawn(move || accept(&theirs, &listener));
        Self { address, line, acceptor: Some(acceptor) }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes from the client so far.
    pub fn bytes_up(&self) -> u64 {
        self.line.up.load(SeqCst)
    }

    /// Bytes from the server so far.
    pub fn bytes_down(&self) -> u64 {
        self.line.down.load(SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.line.connections.load(SeqCst)
    }

    /// The round trips that the client has waited for: the longest chain of data to the server
    /// and back in which each piece left after the arrival of the one before, TCP's handshakes
    /// included. The delay must be longer than the ends take to answer: otherwise unrelated pieces
    /// count as answers.
    pub fn round_trips(&self) -> u64 {
        self.line.arrived_at_client.load(SeqCst)
    }

    /// Loses every byte from now on, those under way included. Neither end gets an error.
    pub fn cut(&self) {
        self.line.cut.store(true, SeqCst);
    }

    /// Ends every connection with a reset.
    pub fn reset(&self) {
        self.line.open.lock().unwrap().drain().for_each(|(_, connection)| connection.reset());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.over.store(true, SeqCst);
        // Wakes the acceptor, which may have ended.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.reset();
        let threads = std::mem::take(&mut *self.line.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn accept(line: &Arc<Line>, listener: &TcpListener) {
    for client in listener.incoming() {
        if line.over.load(SeqCst) {
            return;
        }
        let theirs = Arc::clone(line);
        // A client may be gone already.
        let Ok(client) = client else { continue };
        let thread = thread::spawn(move || theirs.serve(client));
        let mut threads = line.threads.lock().unwrap();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }
}

impl Line {
    fn serve(&self, client: TcpStream) {
        let accepted = Instant::now();
        let number = self.connections.fetch_add(1, SeqCst);
        let handshake = self.arrived_at_client.load(SeqCst) + 1;
        let established = accepted + 2 * self.delay;
        let over = || self.over.load(SeqCst);
        prepare(&client);
        // The third segment of the handshake opens the connection at the server.
        if !sleep_until(established + self.delay, || over() || self.cut.load(SeqCst)) {
            while !over() {
                thread::sleep(POLL);
            }
            return;
        }
        self.arrived_at_client.fetch_max(handshake, SeqCst);
        let Ok(server) = TcpStream::connect(self.to) else {
            // A reset is the nearest to a refusal.
            linger_not(&client);
            return;
        };
        prepare(&server);
        let connection =
            Connection { client, server, ended: AtomicBool::new(false), established, handshake };
        let connection = Arc::new(connection);
        self.open.lock().unwrap().insert(number, Arc::clone(&connection));
        // Drop resets the connections in the map, then waits for this thread.
        if over() {
            connection.reset();
        }
        thread::scope(|scope| {
            for direction in [Direction::Up, Direction::Down] {
                let (sender, receiver) = sync_channel(UNDER_WAY);
                let connection = &connection;
                scope.spawn(move || self.receive(connection, direction, &sender));
                scope.spawn(move || self.deliver(connection, direction, receiver));
            }
        });
        self.open.lock().unwrap().remove(&number);
    }

    /// Reads from one end, and sends each piece on its way.
    fn receive(&self, connection: &Connection, direction: Direction, sender: &SyncSender<Piece>) {
        let mut from = match direction {
            Direction::Up => &connection.client,
            Direction::Down => &connection.server,
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // An error ends the direction as an end of file does.
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
        // After a cut nothing is read, so the sender's buffers fill as on a real link.
        while self.cut.load(SeqCst) && !connection.ended.load(SeqCst) {
            thread::sleep(POLL);
        }
    }

    /// Writes each piece to the other end when its time has come.
    fn deliver(&self, connection: &Connection, direction: Direction, receiver: Receiver<Piece>) {
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
                // The end may have closed it.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            // Counted before the other end can answer.
            arrived.fetch_max(piece.round_trip, SeqCst);
            if write_all(&mut to, &piece.bytes, stop).is_err() {
                // One end is gone: the other gets a reset.
                connection.reset();
                return;
            }
        }
    }
}

impl Connection {
    /// Ends the threads; closing the sockets then resets the connection.
    fn reset(&self) {
        self.ended.store(true, SeqCst);
        for socket in [&self.client, &self.server] {
            linger_not(socket);
            // Wakes the reader, and sends nothing.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

/// Makes close reset the connection.
fn linger_not(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(socket, sockopt::Linger, &linger).unwrap();
}

fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).unwrap();
    socket.set_write_timeout(Some(POLL)).unwrap();
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

/// Sleeps until a time; gives false for an earlier stop.
fn sleep_until(time: Instant, stop: impl Fn() -> bool) -> bool {
    loop {
        if stop() {
            return false;
        }
        let rest = time.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return true;
        }
        thread::sleep(rest.min(POLL));
    }
}

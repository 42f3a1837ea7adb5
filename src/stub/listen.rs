//! Serving many clients on a unix socket.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Read, Write},
    net,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, getsockopt,
            sockopt::PeerCredentials,
        },
        stat::{Mode, fchmod},
    },
    unistd::geteuid,
};

use super::{config::Config, event::Shutdown, exit::Exit, serve::serve};
use crate::kernel::descriptors;

/// How to listen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenConfig {
    /// What each client is allowed.
    pub stub: Config,
    /// Users that may connect, by uid. By default the one that serves, alone: what a client does,
    /// it does with the privileges of the process that serves.
    pub allowed_uids: Vec<u32>,
    /// Mode of the socket's file: 0600. Who may not write to it cannot even ask.
    pub mode: u32,
    /// Clients at a time: 1024.
    pub max_clients: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let allowed_uids = vec![geteuid().as_raw()];
        Self { stub: Config::default(), allowed_uids, mode: 0o600, max_clients: 1024 }
    }
}

/// Something worth a line in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client with this uid has connected.
    Accepted(u32),
    /// A client with this uid was turned away, and why.
    Refused(u32, String),
    /// A client has gone, and why.
    Ended(u32, Exit),
    /// The kernel could not give us a connection; tried again shortly.
    AcceptFailed(String),
}

/// A unix socket that serves clients, each with a stub state of its own.
///
/// Dropping it removes the socket's file, if it is still this one's.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    config: ListenConfig,
}

impl Listener {
    /// Binds to `path`. A socket file that nobody listens on any more is replaced; any other
    /// file is left alone.
    ///
    /// # Errors
    /// `AddrInUse` if someone listens there, or the file is no socket; otherwise as bind(2).
    pub fn bind(path: impl Into<PathBuf>, config: ListenConfig) -> io::Result<Self> {
        let path = path.into();
        // Two that start at the same time would each find the other's file stale.
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let _lock = Flock::lock(File::open(directory)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)?;
        remove_stale(&path)?;
        let socket = unix_socket()?;
        // The file takes its mode from the socket, and has it from its first moment.
        fchmod(&socket, Mode::from_bits_truncate(config.mode))?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        // Less what the umask takes away, which is given back: that only lets more in.
        fs::set_permissions(&path, Permissions::from_mode(config.mode))?;
        let meta = fs::symlink_metadata(&path)?;
        let listener = UnixListener::from(socket);
        let bound = Self { listener, path, inode: (meta.dev(), meta.ino()), config };
        socket::listen(&bound.listener, Backlog::MAXCONN)?;
        Ok(bound)
    }

    /// Serves until `shutdown` is triggered, then ends every client and waits for them, 5 seconds
    /// at most. `log` is called from several threads.
    ///
    /// # Errors
    /// Of poll(2) only: what concerns one client is told to `log`.
    pub fn run(
        &self,
        shutdown: &Shutdown,
        log: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let log = Arc::new(log);
        let clients = Arc::new(AtomicUsize::new(0));
        loop {
            let mut fds = [
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(shutdown.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [_, stop] = fds.map(|fd| fd.any().unwrap_or(true));
            if stop {
                break;
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.client(stream, shutdown, &clients, &log),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Out of descriptors, say: the connection stays queued and will be back.
                    log(Event::AcceptFailed(error.to_string()));
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while clients.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn client<L: Fn(Event) + Send + Sync + 'static>(
        &self,
        stream: UnixStream,
        shutdown: &Shutdown,
        clients: &Arc<AtomicUsize>,
        log: &Arc<L>,
    ) {
        // The kernel noted who connected at that moment; nothing the peer says counts.
        let uid = match getsockopt(&stream, PeerCredentials) {
            Ok(credentials) => credentials.uid(),
            Err(errno) => return log(Event::AcceptFailed(errno.desc().to_owned())),
        };
        if !self.config.allowed_uids.contains(&uid) {
            refuse(stream, &format!("uid {uid} may not connect here"));
            return log(Event::Refused(uid, "this uid is not allowed".to_owned()));
        }
        if clients.load(Ordering::Acquire) >= self.config.max_clients {
            let text = format!("{} clients are connected already", self.config.max_clients);
            refuse(stream, &text);
            return log(Event::Refused(uid, text));
        }
        let raise = |stream: UnixStream| Ok::<_, io::Error>(descriptors::raise(stream.into())?);
        let streams = stream.try_clone().and_then(|copy| Ok((raise(stream)?, raise(copy)?)));
        let (input, output) = match streams {
            Ok(both) => both,
            Err(error) => return log(Event::Refused(uid, error.to_string())),
        };
        clients.fetch_add(1, Ordering::AcqRel);
        log(Event::Accepted(uid));
        let (counted, theirs) = (Arc::clone(clients), Arc::clone(log));
        let (config, shutdown) = (self.config.stub.clone(), shutdown.clone());
        let spawned = thread::Builder::new()
            .name("nlr-watch".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                let exit = serve(input, output, config, &shutdown);
                counted.fetch_sub(1, Ordering::AcqRel);
                theirs(Event::Ended(uid, exit));
            });
        if let Err(error) = spawned {
            clients.fetch_sub(1, Ordering::AcqRel);
            log(Event::Refused(uid, format!("starting a thread: {error}")));
        }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Tells a peer, in plain text, why it is turned away. Waits for nothing: a peer that does not
/// read keeps nobody else from connecting.
fn refuse(mut stream: UnixStream, why: &str) {
    // A peer that has gone needs no explanation.
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(format!("nlr serve: {why}\n").as_bytes()));
    let _ = stream.shutdown(net::Shutdown::Both);
    // A socket closed over unread data resets the connection, and the reason could be lost. After
    // the shutdown no more can come than is there.
    let mut piece = [0; 4096];
    while matches!(stream.read(&mut piece), Ok(1..)) {}
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |text: &str| Err(io::Error::new(ErrorKind::AddrInUse, text.to_owned()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(meta) if !meta.file_type().is_socket() => {
            return in_use("a file that is no socket is there; remove it or choose another path");
        }
        Ok(_) => {}
    }
    // Non-blocking, so that one whose queue is full does not hold us up: it is alive, too.
    match socket::connect(unix_socket()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => in_use("another process listens there"),
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(errno) => Err(errno.into()),
    }
}

/// A unix stream socket, non-blocking and at a high number.
fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    Ok(descriptors::raise(fd)?)
}

//! Serving many clients on a unix socket, as a daemon does.

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

use super::{config::Config, exit::Exit, serve::serve, shutdown::Shutdown};
use crate::{errno::words, kernel::descriptors, limits::server::MAX_CLIENTS};

/// The clients of a [`Listener`], and their limits.
///
/// ```
/// let mut config = netlink_remote::stub::ListenConfig::default();
/// config.max_clients = 16;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenConfig {
    /// The limits of each client.
    pub stub: Config,
    /// Users that may connect, by uid: the effective uid of this process by default. A client has
    /// the privileges of this process, and can use up its memory and descriptors (SECURITY.md,
    /// "Known gaps").
    pub allowed_uids: Vec<u32>,
    /// Mode of the socket's file: 0600. Connecting needs the permission to write.
    pub mode: u32,
    /// Clients at a time: 1024.
    pub max_clients: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let allowed_uids = vec![geteuid().as_raw()];
        Self { stub: Config::default(), allowed_uids, mode: 0o600, max_clients: MAX_CLIENTS }
    }
}

/// An event of a [`Listener`], for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenEvent {
    /// A client has connected.
    #[non_exhaustive]
    Accepted {
        /// The client's effective uid when it connected (`SO_PEERCRED`).
        uid: u32,
    },
    /// A client was refused.
    #[non_exhaustive]
    Refused {
        /// The client's uid.
        uid: u32,
        /// The reason, in words.
        reason: String,
    },
    /// A client's connection has ended.
    #[non_exhaustive]
    Ended {
        /// The client's uid.
        uid: u32,
        /// The reason.
        exit: Exit,
    },
    /// accept(2) failed, mostly because the process has no descriptors left; the listener repeats it
    /// after 100 milliseconds.
    #[non_exhaustive]
    AcceptFailed {
        /// The error, in words.
        reason: String,
    },
}

/// A listening unix socket. Each client has threads of its own.
///
/// Dropping the listener removes the socket's file, unless another file has taken its place.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    config: ListenConfig,
}

impl Listener {
    /// Binds to `path`. Replaces the file of a socket on which no process listens, and no other file.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens at `path`, or the file is no socket; otherwise as bind(2).
    pub fn bind(path: impl Into<PathBuf>, config: ListenConfig) -> io::Result<Self> {
        let path = path.into();
        // Of two processes that start at the same time, each would find the other's file stale.
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let _lock = Flock::lock(File::open(directory)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)?;
        remove_stale(&path)?;
        let socket = unix_socket()?;
        // The file gets its mode from the socket, and so has it from the beginning.
        fchmod(&socket, Mode::from_bits_truncate(config.mode))?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        // The umask has taken bits away. Adding them later only permits more.
        fs::set_permissions(&path, Permissions::from_mode(config.mode))?;
        let meta = fs::symlink_metadata(&path)?;
        let listener = UnixListener::from(socket);
        let bound = Self { listener, path, inode: (meta.dev(), meta.ino()), config };
        socket::listen(&bound.listener, Backlog::MAXCONN)?;
        Ok(bound)
    }

    /// Serves until `shutdown` is triggered; then ends the clients and waits up to 5 seconds for
    /// them. A thread in a system call outlives this call. Blocks the
    /// calling thread. Several threads call `log`.
    ///
    /// # Errors
    /// Those of poll(2); those of a client are events.
    pub fn run(
        &self,
        shutdown: &Shutdown,
        log: impl Fn(ListenEvent) + Send + Sync + 'static,
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
                    // The connection stays queued.
                    log(ListenEvent::AcceptFailed { reason: words(&error) });
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

    fn client<L: Fn(ListenEvent) + Send + Sync + 'static>(
        &self,
        stream: UnixStream,
        shutdown: &Shutdown,
        clients: &Arc<AtomicUsize>,
        log: &Arc<L>,
    ) {
        // As the kernel noted when the client connected; nothing that the client says counts.
        let uid = match getsockopt(&stream, PeerCredentials) {
            Ok(credentials) => credentials.uid(),
            Err(errno) => {
                return log(ListenEvent::AcceptFailed { reason: errno.desc().to_owned() });
            }
        };
        let refused = |reason| ListenEvent::Refused { uid, reason };
        if !self.config.allowed_uids.contains(&uid) {
            refuse(stream, &format!("uid {uid} may not connect here"));
            return log(refused("this uid is not allowed".to_owned()));
        }
        if clients.load(Ordering::Acquire) >= self.config.max_clients {
            let reason = format!("{} clients are connected already", self.config.max_clients);
            refuse(stream, &reason);
            return log(refused(reason));
        }
        let raise = |stream: UnixStream| Ok::<_, io::Error>(descriptors::raise(stream.into())?);
        let streams = stream.try_clone().and_then(|copy| Ok((raise(stream)?, raise(copy)?)));
        let (input, output) = match streams {
            Ok(both) => both,
            Err(error) => return log(refused(words(&error))),
        };
        clients.fetch_add(1, Ordering::AcqRel);
        log(ListenEvent::Accepted { uid });
        let (counted, theirs) = (Arc::clone(clients), Arc::clone(log));
        let (config, shutdown) = (self.config.stub.clone(), shutdown.clone());
        let spawned = thread::Builder::new()
            .name("nlr-watch".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                let exit = serve(input, output, config, &shutdown);
                counted.fetch_sub(1, Ordering::AcqRel);
                theirs(ListenEvent::Ended { uid, exit });
            });
        if let Err(error) = spawned {
            clients.fetch_sub(1, Ordering::AcqRel);
            log(refused(format!("starting a thread: {}", words(&error))));
        }
    }

    /// The path of the socket's file.
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

/// Gives a client the reason of its refusal, in plain text. Waits for nothing, so that a client that
/// does not read keeps no other from connecting.
fn refuse(mut stream: UnixStream, reason: &str) {
    // A client that has gone needs no reason.
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(format!("nlr serve: {reason}\n").as_bytes()));
    let _ = stream.shutdown(net::Shutdown::Both);
    // Closing a socket with unread data resets the connection, and the reason might be lost. After
    // the shutdown no more data can come.
    let mut piece = [0; 4096];
    while matches!(stream.read(&mut piece), Ok(1..)) {}
}

/// Removes the file of a socket on which no process listens.
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
    // Non-blocking: EAGAIN, of a socket whose queue is full, means that a process listens.
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

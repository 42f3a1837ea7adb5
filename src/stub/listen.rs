//! Serving many clients on a unix socket, as a daemon does.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, getsockopt,
            sockopt::{AcceptConn, SockType as TypeOption},
        },
        stat::{Mode, fchmod},
    },
};

use super::{
    events::ListenEvent, journal::Journal, listen_config::ListenConfig, server::Server,
    shutdown::Shutdown,
};
use crate::{
    kernel::{Cancel, descriptors, lock_file},
    limits::server::LOCK_PATIENCE,
};

/// A listening unix socket. Each client has threads of its own.
///
/// Dropping a listener that [`bind`](Self::bind) made removes the socket's file, unless another file
/// has taken its place.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    file: Option<Bound>,
    config: ListenConfig,
}

/// The file of a socket.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: (u64, u64),
}

impl Listener {
    /// Binds to `path`. Replaces the file of a socket on which no process listens, and no other file.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens at `path`, or the file is no socket; `TimedOut` if
    /// another process holds the lock (flock(2)) on the folder for 5 seconds; otherwise as bind(2).
    pub fn bind(path: impl Into<PathBuf>, config: ListenConfig) -> io::Result<Self> {
        let path = path.into();
        // Of two processes that start at the same time, each would find the other's file stale.
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let _lock = lock_file(File::open(directory)?, LOCK_PATIENCE, &Cancel::default())?;
        remove_stale(&path)?;
        let socket = unix_socket()?;
        // The file gets its mode from the socket, and so has it from the beginning.
        fchmod(&socket, Mode::from_bits_truncate(config.mode))?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        // The umask has taken bits away. Adding them later only permits more.
        fs::set_permissions(&path, Permissions::from_mode(config.mode))?;
        let meta = fs::symlink_metadata(&path)?;
        let listener = UnixListener::from(socket);
        let file = Some(Bound { path, inode: (meta.dev(), meta.ino()) });
        let bound = Self { listener, file, config };
        socket::listen(&bound.listener, Backlog::MAXCONN)?;
        Ok(bound)
    }

    /// Serves on a socket that listens already, such as that of a systemd socket unit
    /// ([`activated`](super::activated)). Its file is left alone, also in the end, and
    /// [`ListenConfig::mode`] is without effect.
    ///
    /// # Errors
    /// `InvalidInput` if it is no unix stream socket that listens.
    pub fn from_socket(socket: OwnedFd, config: ListenConfig) -> io::Result<Self> {
        let listens = getsockopt(&socket, AcceptConn).unwrap_or(false);
        let is_stream = getsockopt(&socket, TypeOption).is_ok_and(|kind| kind == SockType::Stream);
        let is_unix = socket::getsockname::<UnixAddr>(socket.as_raw_fd()).is_ok();
        if !(listens && is_stream && is_unix) {
            let text = "the descriptor is no unix stream socket that listens";
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        let listener = UnixListener::from(descriptors::raise(socket));
        listener.set_nonblocking(true)?;
        Ok(Self { listener, file: None, config })
    }

    /// Serves until `shutdown` is triggered; then ends the clients and waits up to 5 seconds for
    /// them. A thread in a system call outlives this call. Blocks the calling thread.
    ///
    /// One thread of its own calls `log`, which may block: events wait for it up to a number, then
    /// they are lost, and [`ListenEvent::Lost`] counts them. In the end `log` has half a second for
    /// what waits.
    ///
    /// # Errors
    /// Those of poll(2) and of starting a thread; those of a client are events.
    pub fn run(
        &self,
        shutdown: &Shutdown,
        log: impl FnMut(ListenEvent) + Send + 'static,
    ) -> io::Result<()> {
        Server::new(&self.listener, &self.config, shutdown, Journal::start(log)?)?.run()
    }

    /// The path of the socket's file, if [`bind`](Self::bind) made it.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(Bound { path, inode }) = &self.file else { return };
        let ours = fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == *inode);
        if ours {
            let _ = fs::remove_file(path);
        }
    }
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
    Ok(descriptors::raise(fd))
}

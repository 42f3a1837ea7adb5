//! The far end: serves kernel netlink sockets over one byte stream, without looking into a
//! single datagram.
//!
//! One thread does all the I/O of a connection: it reads frames, makes the system calls they ask
//! for, reads the kernel sockets that have credit, and writes. A second one watches it: netlink's
//! `sendmsg` runs the request inside the call, `recvmsg` makes the next part of a dump, and both
//! may wait for a lock of the kernel. Where that takes long (a large nft transaction) the watcher
//! starts another I/O thread, while the first goes on waiting for its kernel alone. So a quick
//! request costs no thread switch, and a slow one delays nobody else.
//!
//! Nothing grows without bound: a kernel socket is read only with credit and while the output
//! buffer has room, unfinished sends and answers not yet read are counted, and a client that
//! passes a limit is told so and cut off.

#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod bridge;
mod engine;
mod event;
mod input;
mod listen;
mod output;
mod own;
mod sockets;
mod syscall;
mod watchdog;
mod workers;

use std::{
    fmt,
    io::{stdin, stdout},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::errno::Errno;

#[cfg(feature = "client")]
pub use bridge::serve_stream;
pub use event::Shutdown;
pub use listen::{Event, ListenConfig, Listener};
pub use own::{ARGUMENT, main, serve_if_asked, serve_if_asked_as};
#[cfg(feature = "client")]
pub(crate) use own::{Own, own};

pub use crate::wire::Credit;

use crate::{kernel::descriptors, wire::hello::PeerLimits};

/// How long a client has to take the last words, which tell why it is cut off.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a stub allows its client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What the hello announces.
    pub limits: PeerLimits,
    /// Credit for sends on each socket: 4 MiB and 4096 datagrams.
    pub send_window: Credit,
    /// Bytes of whole sends above which no more frames are taken in until the kernel has done
    /// some, and also the most that sends may come to which have begun and not ended; both over
    /// all sockets: 256 MiB.
    pub max_queued: u64,
    /// Bytes of output above which no kernel socket is read: 256 KiB.
    pub output_high_water: usize,
    /// Bytes of output above which the client is cut off, because it asks without reading: 16 MiB.
    pub output_limit: usize,
    /// How long the client may take to say hello: 60 seconds.
    pub hello_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: PeerLimits::default(),
            send_window: Credit { bytes: 4 << 20, datagrams: 4096 },
            max_queued: 256 << 20,
            output_high_water: 256 << 10,
            output_limit: 16 << 20,
            hello_timeout: Duration::from_secs(60),
        }
    }
}

/// Why serving ended. Every kernel socket is closed by then, but for one whose `sendmsg` has not
/// returned: that one is closed when it does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The client closed the stream, or can no longer be written to.
    ClientGone,
    /// The client has been silent for longer than it said it ever would be.
    ClientSilent,
    /// [`Shutdown`] asked for it.
    Shutdown,
    /// The client ended the connection with a fault, which says why.
    ClientFault(String),
    /// What came does not speak the protocol.
    Handshake(String),
    /// The client broke the protocol.
    Violation(String),
    /// The stream, or a resource of the stub itself, failed.
    Io(String),
}

impl Exit {
    /// The exit code of a stub process: 0, or as in `<sysexits.h>` 74 (`EX_IOERR`) and
    /// 76 (`EX_PROTOCOL`).
    pub fn code(&self) -> u8 {
        match self {
            Exit::ClientGone | Exit::ClientSilent | Exit::Shutdown => 0,
            Exit::Io(_) => 74,
            Exit::ClientFault(_) | Exit::Handshake(_) | Exit::Violation(_) => 76,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::ClientGone => f.write_str("the client has gone"),
            Exit::ClientSilent => f.write_str("the client has been silent for too long"),
            Exit::Shutdown => f.write_str("asked to shut down"),
            Exit::ClientFault(text) => write!(f, "the client ended the connection: {text}"),
            Exit::Handshake(text) => write!(f, "handshake: {text}"),
            Exit::Violation(text) => write!(f, "the client broke the protocol: {text}"),
            Exit::Io(text) => f.write_str(text),
        }
    }
}

/// Serves one client until it goes, breaks the protocol, or `shutdown` is triggered.
///
/// `input` and `output` are the two directions of the stream: pipes, or a socket and its
/// duplicate. They are made non-blocking while this runs, and restored. Blocks the calling thread,
/// which becomes the one that watches; a second thread does the I/O.
pub fn serve(input: OwnedFd, output: OwnedFd, config: Config, shutdown: &Shutdown) -> Exit {
    watchdog::run(input, output, config, shutdown)
}

/// Serves one client on stdin and stdout, as a process of its own does.
///
/// Lets the process have as many descriptors as its hard limit allows.
pub fn serve_stdio(config: Config) -> Exit {
    // Too few descriptors are told when they run out.
    let _ = descriptors::raise_limit();
    let setup = || -> Result<_, Errno> {
        let copy = |fd: BorrowedFd<'_>| {
            let copied = fd.try_clone_to_owned();
            let copied = copied.map_err(|e| e.raw_os_error().map_or(Errno::EBADF, Errno::from_raw));
            copied.and_then(descriptors::raise)
        };
        Ok((copy(stdin().as_fd())?, copy(stdout().as_fd())?, Shutdown::new()?))
    };
    match setup() {
        Ok((input, output, shutdown)) => serve(input, output, config, &shutdown),
        Err(errno) => Exit::Io(format!("stdin and stdout: {}", errno.desc())),
    }
}

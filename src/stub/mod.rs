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
//!
//! # Rights
//!
//! A client may do what the stub's account may, less what its [`Access`] leaves out. Each thread that
//! acts for a read-only client gives its capabilities up first, so the kernel refuses changes. A
//! process that does nothing but serve gives up the rest with [`Confinement`].
//!
//! # Layout
//!
//! `watchdog` runs the threads. The thread at work locks the `engine`, the event loop of one
//! connection, which has the stream (`reader` over `input`, and `output`), the `poller`, and the
//! `connection`: the protocol's state, the kernel `sockets`, open namespaces, and `workers` for
//! tasks that need a thread of their own. The engine gives the thread a `syscall` to make while the
//! engine is unlocked, mostly an `exchange` of datagrams, whose results go into the thread's
//! `buffers`.
//!
//! Many clients are served by a `server`, the loop behind `listen`: connections wait in its `lobby`
//! until their hello has come, and each then has a `place`: its account in the `budget` that all share,
//! the `pool` of threads for tasks, and the `audit` that writes into the `journal`. A stub with one
//! client has a place of its own.

#![forbid(unsafe_code)]

mod access;
mod activation;
mod arguments;
mod audit;
#[cfg(feature = "client")]
mod bridge;
mod budget;
mod buffers;
mod completions;
mod config;
mod confinement;
mod connection;
mod created;
mod engine;
mod events;
mod exchange;
mod exit;
mod handles;
mod input;
mod journal;
mod listen;
mod listen_config;
mod lobby;
mod memory;
mod nonblocking;
mod open_socket;
mod option_request;
mod output;
mod overrun;
mod own;
mod pace;
mod place;
mod plain_refusal;
mod poller;
mod pool;
mod reader;
mod serve;
mod server;
mod shutdown;
mod socket;
mod sockets;
mod streams;
mod syscall;
mod task;
mod trimmer;
mod wake_fd;
mod watchdog;
mod workers;

pub use access::{Access, BadNetnsRule, NetnsRule};
pub use activation::{activated, close_inherited, notify};
#[cfg(feature = "client")]
pub use bridge::serve_stream;
pub use config::Config;
pub use confinement::Confinement;
pub use events::{ListenEvent, Peer};
pub use exit::Exit;
#[cfg(any(test, fuzzing))]
pub(crate) use input::{Input as StubInput, ReadOutcome};
pub use listen::Listener;
pub use listen_config::ListenConfig;
pub use own::{ARGUMENT, main, serve_if_asked, serve_if_asked_as};
#[cfg(feature = "client")]
pub(crate) use own::{Own, own};
pub use serve::{dedicate_process, serve, serve_stdio};
pub use shutdown::Shutdown;

#[doc(inline)]
pub use crate::wire::Credit;

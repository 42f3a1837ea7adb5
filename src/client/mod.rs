//! The near end: connections to stubs, and remote sockets.
//!
//! A [`Client`] is one connection to one stub. [`Client::handshake`] spawns one task for the
//! connection; the task ends when the last client, socket and namespace handle of the connection is
//! dropped. Any task may use any of them.
//!
//! The crate's root has the types of a common program; this module has the others.

mod answer_end;
pub(crate) mod builder;
pub(crate) mod connection;
mod connection_ref;
mod connection_state;
mod deferred;
pub(crate) mod delivery;
mod driver;
#[cfg(feature = "run")]
mod file;
mod gathering;
pub(crate) mod handshake;
mod keepalive;
mod local_fd;
#[cfg(feature = "rust-netlink")]
pub(crate) mod netlink_socket;
mod netns;
mod pings;
mod replies;
pub(crate) mod requests;
pub(crate) mod socket;
mod socket_state;
mod stream;
mod trace;
mod wire_state;

pub use self::{
    builder::options,
    connection::ClientOptions,
    delivery::SentReport,
    netns::{NetnsHandle, RemoteNetns},
    requests::{Answer, RawMessage, RequestError, RequestErrorKind},
};
#[doc(inline)]
pub use crate::wire::{
    ContainerEngine, Counters, DatagramInfo, Destination, FilterInstruction, NetnsEntry, NetnsMode,
    hello::{HostInfo, NetnsId},
};

pub(crate) use connection::Client;

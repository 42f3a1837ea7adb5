//! The near end: connections to stubs, and sockets that live at their hosts.
//!
//! A [`Client`] is one connection to one stub. The connection runs in one task,
//! which [`Client::handshake`] spawns and which ends when the last
//! client, socket and namespace handle of the connection is dropped. Any task may use any of them.
//!
//! The types of every program are at the crate's root; this module has the rest.

mod answer_end;
mod builder;
mod connection;
mod connection_ref;
mod connection_state;
mod deferred;
mod delivery;
mod driver;
mod gathering;
mod handshake;
mod keepalive;
#[cfg(feature = "rust-netlink")]
mod netlink_socket;
mod netns;
mod pings;
mod replies;
mod requests;
mod socket;
mod socket_state;
mod stream;
mod trace;
mod wire_state;

pub use crate::wire::{
    ContainerEngine, Counters, DatagramInfo, Destination, Netns, NetnsEntry, NetnsMode,
    hello::{HostInfo, NetnsId, PeerLimits},
};
pub use builder::{SocketBuilder, options};
pub use connection::{Client, ClientOptions};
pub use delivery::{Datagram, Event, SentReport};
#[cfg(feature = "rust-netlink")]
pub use netlink_socket::NetlinkSocket;
pub use netns::{NetnsHandle, RemoteNetns};
pub use requests::{Answer, RawMessage, RequestError, RequestErrorKind, Requests};
pub use socket::RemoteSocket;

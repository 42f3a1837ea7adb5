//! The near end: connections to stubs, and sockets that live at their hosts.
//!
//! A [`Client`](crate::Client) is one connection to one stub. The connection runs in one task,
//! which [`Client::handshake`](crate::Client::handshake) spawns and which ends when the last
//! client, socket and namespace handle of the connection is dropped. Any task may use any of them.
//!
//! The types of every program are at the crate's root; this module has the rest.

mod builder;
mod connection;
mod driver;
mod gathering;
mod handshake;
#[cfg(feature = "rust-netlink")]
mod netlink_socket;
mod netns;
mod shared;
mod socket;
mod stream;

pub use crate::wire::{
    ContainerEngine, Counters, Credit, DatagramInfo, Destination, Netns, NetnsEntry, NetnsMode,
    SocketOption,
    hello::{HostInfo, NetnsId, PeerLimits},
};
pub use builder::{SocketBuilder, options};
pub use connection::{Client, ClientOptions};
#[cfg(feature = "rust-netlink")]
pub use netlink_socket::NetlinkSocket;
pub use netns::{NetnsHandle, RemoteNetns};
pub use socket::{Datagram, Event, RemoteSocket, SentReport};

#[cfg(feature = "rust-netlink")]
pub(crate) use shared::Delivery;

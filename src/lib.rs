//! A kernel netlink socket in another place: another process, network namespace, container or
//! host.
//!
//! A small *stub* runs at the far end. It opens a kernel netlink socket inside the requested
//! namespace and forwards raw netlink datagrams, never re-encoded, over a byte stream. This side
//! parses them with the crates that people already use: rtnetlink, genetlink and the rest of
//! rust-netlink run on it unmodified.
//!
//! ```no_run
//! # #[cfg(feature = "rust-netlink")]
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use netlink_remote::{Netns, client::NetlinkSocket};
//!
//! let client = netlink_remote::connect("local:").await?;
//! let socket = client.socket(0).netns(Netns::Name("blue".into())).open().await?;
//! let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
//! tokio::spawn(connection);
//! // `handle` is rtnetlink's own: handle.link().get().execute() and so on.
//! # Ok(()) }
//! ```
//!
//! # Layout
//!
//! Dependencies go one way, and the features follow them.
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | [`wire`] | the byte format, with its specification | - |
//! | [`proto`] | the state of both sides, without I/O | - |
//! | `kernel` | kernel sockets and namespaces | `stub` |
//! | `stub` | the serving engine | `stub` |
//! | `client` | connections and remote sockets | `client` |
//! | `client::NetlinkSocket` | the adapter to rust-netlink | `rust-netlink` |
//! | `transport` | byte streams to a stub | `client` |
//! | `bootstrap` | bringing a stub to where there is none | `client` |
//! | `hops` | where a stub runs, written as text | `client` |
//!
//! Words: a *client* opens *remote sockets*; the *stub* opens the *kernel sockets* behind them; a
//! *transport* is the byte stream between; a *frame* carries a *message*; a *datagram* is netlink's,
//! and no stub looks into one.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// Declares a module of the inside: public with the feature `unstable`, for whoever writes another
/// implementation of the protocol or tests this one, and otherwise private, so that its types are
/// no promise.
macro_rules! inside {
    ($($(#[$attribute:meta])* $module:ident,)*) => {$(
        #[cfg(feature = "unstable")]
        $(#[$attribute])*
        pub mod $module;
        #[cfg(not(feature = "unstable"))]
        #[allow(dead_code, unreachable_pub, unused_imports, reason = "public with the feature `unstable`")]
        $(#[$attribute])*
        mod $module;
    )*};
}

inside! {
    #[cfg(feature = "stub")]
    kernel,
    proto,
    wire,
}

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(feature = "client")]
mod bootstrap;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod connect_context;
pub mod errno;
#[cfg(feature = "client")]
pub mod hops;
#[cfg(feature = "client")]
pub mod nlmsg;
#[cfg(feature = "client")]
pub mod prompter;
#[cfg(feature = "stub")]
pub mod stub;
pub mod text;
#[cfg(feature = "client")]
pub mod transport;

mod error;

pub use error::{Error, ErrorKind, Origin, Step};

#[cfg(feature = "rust-netlink")]
pub use client::NetlinkSocket;
#[cfg(feature = "client")]
pub use client::{
    Client, ContainerEngine, Datagram, Event, Netns, NetnsMode, RemoteSocket, SocketBuilder,
};
#[cfg(feature = "client")]
pub use hops::{Connector, Hop, Target, TargetOptions};
#[cfg(feature = "client")]
pub use prompter::{Prompter, Secret};

/// Connects to a target, such as `local:`, `ssh://ci@host,sudo:` or `unix:/run/nlr.sock`; see
/// [`hops`].
///
/// Short for [`Connector::connect`] with default options. A program that connects to several targets
/// keeps a [`Connector`], which shares ssh connections between them.
///
/// Spawns a task on the current tokio runtime. Not cancel-safe, but a dropped future ends every
/// process and connection that it had started.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a text that is no target; otherwise as [`Connector::connect`].
#[cfg(feature = "client")]
pub async fn connect(target: &str) -> Result<Client, Error> {
    Connector::new(TargetOptions::default()).connect(&target.parse()?).await
}

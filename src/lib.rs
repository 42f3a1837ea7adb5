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
//! use netlink_remote::{Netns, NetlinkSocket, Protocol};
//!
//! let client = netlink_remote::connect("local:").await?;
//! let socket = client.socket(Protocol::ROUTE).netns(Netns::Name("blue".into())).open().await?;
//! let (connection, handle, _) = rtnetlink::from_socket(NetlinkSocket::from(socket));
//! tokio::spawn(connection);
//! // `handle` is rtnetlink's own: handle.link().get().execute() and so on.
//! # Ok(()) }
//! ```
//!
//! # Connecting
//!
//! | wanted | call |
//! |---|---|
//! | a client at a target, such as `ssh://ci@host,sudo:` | [`connect`](connect()) |
//! | clients at several targets, passwords, other options | [`Connector::connect`] |
//! | a client over a byte stream that the program has | [`Client::handshake`] |
//! | such a stream from a unix socket, or from a child process | [`transport::unix::dial`], [`transport::process::spawn`] |
//!
//! To *connect* is to reach a target, whose hops may need a dozen steps and questions. A *handshake*
//! needs only the stream: it exchanges two hellos.
//!
//! # Layout
//!
//! The root has the types of a common program, the modules the others:
//!
//! | module | holds | feature |
//! |---|---|---|
//! | [`guide`] | short programs for common tasks; text alone | - |
//! | [`client`] | options, errors and facts of clients, requests and namespaces | `client` |
//! | [`hops`] | the hops of a target, and the stubs to send | `client` |
//! | [`monitor`] | one stream of the events of many targets | `client` |
//! | `nats` | events of monitors by way of a NATS server | `nats` |
//! | [`fleet`] | inventories: many targets from a file | `client` |
//! | [`mirror`] | far-off links, addresses, routes and the like, kept up to date | `client` |
//! | `run` | programs of this host whose netlink sockets are in the far kernel | `run` |
//! | [`prompter`] | questions for secrets and host keys, and the progress of sending a stub | `client` |
//! | [`nlmsg`] | headers and attributes of netlink messages | `client` |
//! | [`transport`] | byte streams to a stub | `client` |
//! | [`stub`] | the far end, for programs that serve | `stub` |
//! | [`errno`] | names and words of errors, numbers of other architectures | - |
//! | [`text`] | far text made harmless before it is shown | - |
//! | `limits` | every limit, with its reason | `unstable` |
//! | `wire` | the byte format, with its specification | `unstable` |
//! | `proto` | the protocol state of both sides, without I/O | `unstable` |
//! | `kernel` | kernel sockets and namespaces | `unstable` and `stub` |
//!
//! | feature | adds |
//! |---|---|
//! | `client` (default) | [`Client`], [`RemoteSocket`], targets, all transports but `ssh://` |
//! | `rust-netlink` (default) | [`NetlinkSocket`], on which rtnetlink and the like run |
//! | `stub` (default) | the serving engine, without an async runtime; with `client` also `stub::serve_stream`, a stub over any async stream |
//! | `ssh` | `ssh://` hops, by libssh2 and the system's OpenSSL |
//! | `vendored-openssl` | OpenSSL built from source, for `ssh` |
//! | `nats` | collectors and consumers of events, over NATS |
//! | `run` | programs that were not written for this crate |
//! | `unstable` | the modules above, without any promise that they stay as they are |
//! | `cli` | the tool `nlr` |
//!
//! Dependencies point one way: base modules (`errno`, `text`, `nlmsg` and the like), then `wire`, then `proto`
//! and `kernel`, then `stub` and `transport`, then `client`, then the hops of targets and the
//! bootstrap of stubs, then the tool. No type of another crate before its version 1.0 is in a
//! public signature, but for [`netlink_sys::AsyncSocket`] under `rust-netlink`, and tokio-util's and
//! nix's types under `unstable`.
//!
//! # Tracing
//!
//! The library emits events of the crate `tracing`. The targets and levels in this table are public
//! behaviour; fields and texts may change:
//!
//! | target | level | events |
//! |---|---|---|
//! | `netlink_remote::client` | debug | connection made and ended; socket opened, not opened, closed |
//! | `netlink_remote::frames` | trace | each frame sent or received: type, socket, length |
//! | every other `netlink_remote::..` | debug | the steps of connecting: configuration, ssh, questions, stub, processes |
//! | `netlink_remote::transport` and below | trace | the keepalive of ssh |
//!
//! The span `connect` (field `to`, the target) holds the steps of connecting, and the span
//! `connection` (field `host`) the events of a client. No event holds a secret or a byte of a
//! datagram. Fields hold text of the far end as it came: [`text::escaped`] makes it harmless.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | client | one connection to one stub, which opens *remote sockets* |
//! | stub | the program at the far end, which opens a *kernel socket* for each remote socket |
//! | near end, far end | the side of the client, and the side of the stub |
//! | target | a chain of *hops*, written as text: the place of a stub |
//! | transport | the byte stream between client and stub |
//! | hello | the first bytes of each side: versions, limits, and the stub's host |
//! | frame | one *message* of the protocol on the stream |
//! | datagram | netlink's: one or several netlink messages, which the stub does not read |
//! | credit | the datagrams and bytes that a sender may still send on a socket |
//! | window | the bound on a socket's unread bytes and datagrams |
//! | pipelined send | returns before the far kernel has the datagram; [`RemoteSocket::recv`] gives its error |
//! | confirmed send | returns with the result of the far kernel's sendmsg(2) |
//! | bootstrap | the start of a stub over the hops, and its sending where it is missing |

// What the root exports of `wire` needs no `unstable`, but would have its badge.
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(feature = "unstable"))))]

/// Declares a module of the inside: public with the feature `unstable`, for authors of another
/// implementation of the protocol and for tests, and otherwise private, so that its types are no
/// promise.
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
    limits,
    proto,
    wire,
}

#[cfg(all(any(test, fuzzing), feature = "client", feature = "stub"))]
pub mod fuzzing;

#[cfg(feature = "client")]
mod authority;
#[cfg(feature = "client")]
mod blocking;
#[cfg(feature = "client")]
mod bootstrap;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod connect_context;
pub mod errno;
#[cfg(feature = "client")]
pub mod fleet;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(feature = "client")]
pub mod hops;
#[cfg(feature = "client")]
pub mod mirror;
#[cfg(feature = "client")]
pub mod monitor;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "client")]
pub mod nlmsg;
#[cfg(feature = "client")]
pub mod prompter;
#[cfg(any(feature = "client", feature = "stub"))]
mod protocol;
#[cfg(feature = "run")]
pub mod run;
#[cfg(feature = "client")]
mod shell;
#[cfg(feature = "stub")]
pub mod stub;
#[cfg(feature = "client")]
mod sync;
pub mod text;
#[cfg(feature = "client")]
pub mod transport;

mod error;

pub use error::{Error, ErrorKind, Origin, Step};
// `wire` is public only with `unstable`: here is the path to promise.
#[doc(inline)]
pub use wire::hello::PeerLimits;

#[cfg(feature = "rust-netlink")]
pub use client::netlink_socket::NetlinkSocket;
#[cfg(any(feature = "client", feature = "stub"))]
pub use protocol::Protocol;
#[cfg(any(feature = "client", feature = "stub"))]
#[doc(inline)]
pub use wire::Netns;
#[cfg(feature = "client")]
pub use {
    client::{
        builder::SocketBuilder,
        connection::Client,
        delivery::{Datagram, Event},
        requests::Requests,
        socket::RemoteSocket,
    },
    hops::{connector::Connector, hop::Hop, options::TargetOptions, target::Target},
    prompter::callbacks::{Prompter, Secret},
    protocol::Group,
};

/// Connects to a target, such as `local:`, `ssh://ci@host,sudo:` or `unix:/run/nlr.sock`; see
/// [`Target`].
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

/// The code in README.md, compiled by `cargo test --doc`.
#[cfg(all(doctest, feature = "rust-netlink"))]
#[doc = include_str!("../README.md")]
struct Readme;

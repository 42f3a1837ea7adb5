//! Events of monitors by way of a [NATS](https://nats.io) server: one process collects them, any number consume
//! them.
//!
//! A [`Collector`] publishes the events of a [`Monitor`](crate::monitor::Monitor): raw datagrams, with what is
//! known of them as headers. A [`Consumer`] gives the same events as the monitor does, so that a
//! [`Mirror`](crate::mirror::Mirror::over) runs on either.
//!
//! ```no_run
//! use netlink_remote::mirror::{Change, Links, Mirror};
//! use netlink_remote::nats::{Consumer, ConsumerOptions};
//!
//! # async fn f() -> Result<(), netlink_remote::Error> {
//! let options = ConsumerOptions::default().with_target("core1");
//! let events = Consumer::connect("nats://127.0.0.1", options).await?;
//! let mut links = Mirror::over(Links, events);
//! while let Some(change) = links.next().await {
//!     println!("{change:?}");
//! }
//! # Ok(()) }
//! ```
//!
//! # Subjects
//! `PREFIX.TARGET.NETNS.PROTOCOL.GROUP`, such as `netlink.core1.blue.route.1`, with `_` for the stub's own
//! namespace; and, for what is no datagram, the event's name in place of the group
//! (`netlink.core1.blue.route.lost`), and `_` for a protocol that there is not. Letters, digits, `-` and `_` stand for
//! themselves in names; other bytes are written as `%` and two digits.
//!
//! # Headers
//! | header | of | value |
//! |---|---|---|
//! | `Nlr-Event` | all | `datagram`, `ready`, `lost`, `unreadable`, `disconnected`, `gone`, `mark` |
//! | `Nlr-Target` | all | the target's name |
//! | `Nlr-Netns` | what concerns a namespace | `current`, `name:NAME`, `path:PATH`, `pid:N`, `docker:NAME`, `podman:NAME` |
//! | `Nlr-Time` | all | nanoseconds since 1970 |
//! | `Nlr-Collector`, `Nlr-Sequence` | all | the collector's run, and its count of the target's events from 1 on |
//! | `Nlr-Protocol` | datagrams and losses | the netlink protocol's number |
//! | `Nlr-Group`, `Nlr-Portid`, `Nlr-Nsid` | datagrams | numbers |
//! | `Nlr-Dropped`, `Nlr-Total` | losses | numbers |
//! | `Nlr-Why`, `Nlr-Errno`, `Nlr-Retry-In` | disconnections | words, a number, milliseconds |
//! | `Nlr-Again` | `ready` | `1` after a reconnection |
//! | `Nlr-Mark` | marks | the mark's number |
//!
//! A consumer that misses numbers of `Nlr-Sequence` gives a [`Lost`](crate::monitor::Happening::Lost) of the target
//! with their count: those messages were dropped by the server or by the consumer's own bound.
//!
//! # Streams
//! With [`CollectorOptions::with_stream`] a JetStream stream of the server stores the events, and a consumer may
//! begin at their beginning ([`ConsumerOptions::with_stream`]). Each event is acknowledged by the server, and sent again
//! until it is.
//!
//! # Bounds
//! A server that is gone, slow or refuses holds the collector up: it keeps 256 events, and the far kernels keep the
//! rest in their receive buffers; what these cannot hold is told as lost, with the kernel's count.
//!
//! # Several collectors
//! Collectors that [share](CollectorOptions::sharing) an inventory watch each target once: a key of the server's
//! key-value store says who has it, and passes to another collector some seconds after its holder has gone.

#![forbid(unsafe_code)]

mod collector;
mod consumer;
mod leases;
mod message;
mod subject;

pub use collector::{Collector, CollectorOptions, Progress};
pub use consumer::{Consumer, ConsumerOptions};

use tokio::sync::mpsc;

use crate::{Error, ErrorKind};

/// The error of an operation on the server.
fn failed(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Connect, what).with_source(error)
}

/// Connects to a server; reconnecting is left to the client library, without an end. Gives also what the
/// server refuses.
async fn connect(
    url: &str,
    name: &str,
    capacity: usize,
    credentials: Option<&std::path::Path>,
) -> Result<(async_nats::Client, mpsc::Receiver<String>), Error> {
    let (sender, refusals) = mpsc::channel(1);
    let mut options = async_nats::ConnectOptions::new()
        .event_callback(move |event| {
            if let async_nats::Event::ServerError(error) = &event {
                // One is enough.
                let _ = sender.try_send(error.to_string());
            }
            tracing::debug!(%event, "NATS");
            std::future::ready(())
        })
        .name(name)
        .client_capacity(capacity)
        .subscription_capacity(SUBSCRIPTION)
        .request_timeout(Some(std::time::Duration::from_secs(2)));
    if let Some(file) = credentials {
        options = options
            .credentials_file(file)
            .await
            .map_err(|error| failed("reading the credentials file", error))?;
    }
    let client = options.connect(url).await;
    let client = client.map_err(|error| failed(&format!("connecting to {}", shown(url)), error))?;
    Ok((client, refusals))
}

/// Messages that wait for a consumer, at most; what comes beyond is dropped, and told as lost.
const SUBSCRIPTION: usize = 4096;

/// A URL without a password in it.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((secret, host)) => match secret.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{host}"),
            None => host.to_owned(),
        },
        None => url.to_owned(),
    }
}

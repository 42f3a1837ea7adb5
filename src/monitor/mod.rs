//! Watching many far-off kernels: one stream of what their netlink sockets receive, through losses and
//! reconnections, in which every gap is told.
//!
//! A [`Monitor`] keeps a connection to each of its *targets*, and on it one kernel socket for each
//! protocol and network namespace (a *place*). It gives a [`Stream`] of [`MonitorEvent`]s:
//!
//! ```no_run
//! use netlink_remote::{Connector, Group, Protocol, TargetOptions};
//! use netlink_remote::monitor::{Happening, Monitor, Subscription, Watched};
//!
//! # async fn f() -> Result<(), netlink_remote::Error> {
//! let connector = Connector::new(TargetOptions::default());
//! let mut monitor = Monitor::builder()
//!     .subscribe(Subscription::new(Protocol::ROUTE).group(Group::LINK))
//!     .watch(Watched::new("ssh://ci@test01,sudo:".parse()?))
//!     .watch(Watched::new("ssh://ci@test02,sudo:".parse()?).all_netns())
//!     .start(connector)?;
//! while let Some(event) = monitor.next().await {
//!     match event.what {
//!         Happening::Datagram { datagram, .. } => println!("{}: {:?}", event.source, datagram.data),
//!         Happening::Lost { dropped, .. } => println!("{}: {dropped} lost", event.source),
//!         other => println!("{}: {other}", event.source),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Order
//! The events of a place are in the order in which its sockets received them; those of several protocols
//! have no order among each other, as in the kernel. [`Ready`](Happening::Ready) comes before the first
//! and after each reconnection; what happened in between is lost, and only a dump tells it:
//! [`mirror`](crate::mirror) does both.
//!
//! # Memory
//! A consumer that does not read stops the reading of the sockets: this side then keeps [`QUEUE`] events,
//! one for each target, and a window for each socket ([`MonitorBuilder::window`]). What comes beyond waits
//! in the far kernel's receive buffers, and what they cannot hold is told as [`Lost`](Happening::Lost), with
//! the kernel's own count. The queue is shared fairly: who has put an event into it waits for all the
//! others that wait.
//!
//! # Reconnecting
//! A connection that ends, or cannot be made, is made again after a pause that doubles each time, with
//! jitter ([`Backoff`]). An error that [lasts](crate::Error::is_lasting) is the end of its target. A silent far end is
//! found by [`TargetOptions::keepalive`](crate::TargetOptions::keepalive): after 15 to 30 seconds by default,
//! a half-open TCP connection included. [`Prompter::remembering`](crate::Prompter::remembering) asks each
//! question once.
//!
//! Every method needs a tokio runtime. Dropping the monitor ends its connections.

#![forbid(unsafe_code)]

mod backoff;
mod builder;
mod dumping;
mod event;
mod generic;
mod namespaces;
mod place;
mod ready;
mod registry;
mod target;
mod targets;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::mpsc;

pub use backoff::Backoff;
pub use builder::{MonitorBuilder, Subscription, Watched};
pub(crate) use dumping::DumpFailed;
pub use event::{Happening, MonitorEvent, Source};
pub use ready::Ready;
#[cfg(feature = "nats")]
pub(crate) use ready::{Relay, Relayed};
pub use registry::TargetState;
pub use targets::Targets;

use crate::Error;
use registry::Registry;

/// Events that wait for the consumer, at most.
pub const QUEUE: usize = 64;

/// A stream of the events of many targets; see the [module](self).
///
/// The stream ends when no target is left: each has failed for good, or was removed. Targets can be
/// added even then.
#[derive(Debug)]
pub struct Monitor {
    events: mpsc::Receiver<MonitorEvent>,
    registry: Arc<Registry>,
}

impl Monitor {
    /// Begins to describe a monitor.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::default()
    }

    fn new(builder: MonitorBuilder, connector: crate::Connector) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(QUEUE);
        let (options, watched) = builder.into_parts();
        let registry = Arc::new(Registry::new(options, connector, sender));
        let monitor = Self { events, registry };
        watched.into_iter().try_for_each(|watched| monitor.targets().add(watched))?;
        Ok(monitor)
    }

    /// The next event; `None` when no target is left. Cancel-safe: a dropped future loses no event.
    pub async fn next(&mut self) -> Option<MonitorEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// An event that has arrived; `None` if there is none.
    pub fn try_next(&mut self) -> Option<MonitorEvent> {
        self.events.try_recv().ok()
    }

    /// The targets, to add and remove some and to read their states, from any task.
    pub fn targets(&self) -> Targets {
        Targets::new(Arc::clone(&self.registry))
    }

    /// Whether the task of any target runs.
    #[cfg(feature = "nats")]
    pub(crate) fn has_targets(&self) -> bool {
        self.registry.is_active()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<MonitorEvent>> {
        if let Poll::Ready(event) = self.events.poll_recv(cx) {
            return Poll::Ready(event);
        }
        match self.registry.poll_idle(cx) {
            Poll::Pending => Poll::Pending,
            // The last target may have left its last event just now.
            Poll::Ready(()) => match self.events.poll_recv(cx) {
                Poll::Ready(event) => Poll::Ready(event),
                Poll::Pending => Poll::Ready(None),
            },
        }
    }
}

impl Stream for Monitor {
    type Item = MonitorEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MonitorEvent>> {
        self.get_mut().poll_event(cx)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.registry.end();
    }
}

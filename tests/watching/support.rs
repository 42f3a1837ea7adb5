//! What the tests share.

use std::time::Duration;

use netlink_remote::{
    Connector, TargetOptions,
    monitor::{Backoff, Happening, Monitor, MonitorBuilder, MonitorEvent, Ready, Watched},
    nlmsg::messages,
};
use testing::{PATIENCE, programs};
use tokio::time::timeout;

/// A connector with the stub of the tests.
pub(crate) fn connector() -> Connector {
    Connector::new(TargetOptions::default().with_stub([programs::stub()]))
}

/// A builder whose pauses are short.
pub(crate) fn builder() -> MonitorBuilder {
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    Monitor::builder().backoff(backoff).look_every(Duration::from_millis(50))
}

pub(crate) fn watched(target: &str) -> Watched {
    Watched::new(target.parse().unwrap())
}

/// The next event, within the tests' patience.
pub(crate) async fn next(monitor: &mut Monitor) -> MonitorEvent {
    timeout(PATIENCE, monitor.next()).await.expect("no event").expect("the end")
}

/// The next event that is no datagram.
pub(crate) async fn next_word(monitor: &mut Monitor) -> MonitorEvent {
    loop {
        let event = next(monitor).await;
        if !matches!(event.what, Happening::Datagram { .. }) {
            return event;
        }
    }
}

/// The connection of the next event, which has to be one of subscriptions that stand.
pub(crate) async fn ready(monitor: &mut Monitor) -> Ready {
    match next_word(monitor).await.what {
        Happening::Ready(ready) => ready,
        other => panic!("{other}"),
    }
}

/// The types of a datagram's messages.
pub(crate) fn types(datagram: &[u8]) -> Vec<u16> {
    messages(datagram).map(|message| message.header.kind).collect()
}

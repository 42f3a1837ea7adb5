//! The rate of events: routes come and go in a namespace of their own.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    figures::{Events, Throughput},
    netlink::{failed, refused},
};
use crate::failure::{Failure, message};
use netlink_remote::{
    Client, ErrorKind, Event, Group, Netns, Protocol, RemoteSocket,
    client::{NetnsHandle, NetnsMode},
    errno::EROFS,
    nlmsg::{Builder, flags, messages},
};

/// Routes in a datagram, which adds or deletes them.
const ROUTES: u8 = 100;

/// Events in flight: enough to fill a long path, and too few to overflow a receive buffer.
const IN_FLIGHT: u64 = 4000;

/// Two sockets in a namespace without a name, which ends with them and the stub.
#[derive(Debug)]
pub(super) struct RouteChurn {
    client: Client,
    _namespace: NetnsHandle,
    changes: RemoteSocket,
    events: RemoteSocket,
}

impl RouteChurn {
    /// Creates the namespace, or returns the reason why the stub cannot.
    pub(super) async fn open(client: &Client) -> Result<Result<Self, String>, Failure> {
        let name = format!("nlr-bench-{}", std::process::id());
        let netns = client.netns();
        let opened = netns.open(Netns::Name(name.clone()), NetnsMode::CreateExclusive).await;
        let namespace = match opened {
            Ok(namespace) => namespace,
            Err(error) if error.kind() == ErrorKind::Namespace => {
                return Ok(Err(match error.is_permission() || error.errno() == Some(EROFS) {
                    true => "creating a namespace needs root at the far end".to_owned(),
                    false => message(&format!("{error:#}")),
                }));
            }
            Err(error) => return Err(failed(error)),
        };
        // Without a name it ends even when this process is killed.
        netns.delete(&name).await.map_err(failed)?;
        let socket = || client.socket(Protocol::ROUTE).netns_handle(&namespace);
        let events = socket().group(Group::IPV4_ROUTE).open().await.map_err(failed)?;
        let changes = socket().open().await.map_err(failed)?;
        let client = client.clone();
        Ok(Ok(Self { client, _namespace: namespace, changes, events }))
    }

    /// Changes routes for so long, and counts the events.
    pub(super) async fn run(self, time: Duration) -> Result<Events, Failure> {
        let architecture = &self.client.host().architecture;
        let start = Instant::now();
        let (mut caused, mut events, mut lost) = (0, 0_u64, 0_u64);
        let mut throughput = Throughput::default();
        let mut number = 0_u32;
        loop {
            while in_flight(caused, events, lost) < IN_FLIGHT && start.elapsed() < time {
                let is_new = number.is_multiple_of(2);
                self.changes.send(&changes(is_new, number)).await.map_err(failed)?;
                number = number.wrapping_add(1);
                caused += u64::from(ROUTES);
            }
            if in_flight(caused, events, lost) == 0 {
                break;
            }
            match self.events.recv().await.map_err(failed)? {
                Event::Datagram(datagram) => {
                    throughput.add(&datagram.data);
                    events += messages(&datagram.data).count() as u64;
                }
                // Each of these events is a datagram.
                Event::Lost { dropped, .. } => lost = lost.saturating_add(dropped),
                _ => {}
            }
            // A refused change causes no event, and the loop would wait for one.
            if let Some(Event::Datagram(refusal)) = self.changes.try_recv().map_err(failed)? {
                let outcome = messages(&refusal.data).find_map(|message| message.outcome());
                return Err(refused(outcome.unwrap_or_default().numbered_as_here(architecture)));
            }
        }
        throughput.elapsed = start.elapsed();
        Ok(Events::Measured { events, lost, throughput })
    }
}

/// The events that are to come. A far end may claim more than were caused.
fn in_flight(caused: u64, events: u64, lost: u64) -> u64 {
    caused.saturating_sub(events).saturating_sub(lost)
}

/// A datagram that adds or deletes blackhole routes: these need no link.
fn changes(is_new: bool, sequence: u32) -> Vec<u8> {
    let (kind, flags) = match is_new {
        true => (libc::RTM_NEWROUTE, flags::REQUEST | flags::CREATE | flags::EXCL),
        false => (libc::RTM_DELROUTE, flags::REQUEST),
    };
    // struct rtmsg: family AF_INET, 32 bits of destination; table main, protocol static, scope
    // universe, type blackhole.
    let header = [2, 32, 0, 0, 254, 4, 0, 6, 0, 0, 0, 0];
    let route = |number| {
        // RTA_DST, an address for benchmarks (RFC 2544).
        let route = Builder::new(kind, flags).sequence(sequence).put(&header);
        route.attribute(libc::RTA_DST, &[198, 18, 0, number]).finish()
    };
    (0..ROUTES).flat_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_events_than_were_caused_are_none_to_come() {
        assert_eq!(in_flight(10, 3, 2), 5);
        assert_eq!((in_flight(10, 11, 0), in_flight(10, 3, u64::MAX)), (0, 0));
    }

    #[test]
    fn each_datagram_changes_as_many_routes() {
        for (is_new, kind) in [(true, libc::RTM_NEWROUTE), (false, libc::RTM_DELROUTE)] {
            let datagram = changes(is_new, 3);
            let changes: Vec<_> = messages(&datagram).collect();
            assert_eq!(changes.len(), usize::from(ROUTES));
            for change in changes {
                assert_eq!((change.header.kind, change.payload.len()), (kind, 20));
            }
        }
    }
}

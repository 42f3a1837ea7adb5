//! How fast events arrive: routes that come and go, in a namespace where nobody minds.

use std::time::Duration;

use nix::errno::Errno;
use tokio::time::Instant;

use super::{
    figures::{Events, Throughput},
    netlink::{CREATE, DEL_ROUTE, NEW_ROUTE, failed, put},
};
use crate::{
    dump::ROUTE,
    failure::{Failure, one_line},
    show::message::messages,
};
use netlink_remote::{
    Client, ErrorKind, Event, Netns, RemoteSocket,
    client::{NetnsHandle, NetnsMode},
};

/// `RTNLGRP_IPV4_ROUTE`.
const GROUP: u32 = 7;

/// Routes that come with one datagram, and go with the next.
const ROUTES: u8 = 100;

/// Events that may be under way: enough to keep a long way busy, and fewer than are lost.
const UNDER_WAY: u64 = 4000;

/// Two sockets in a namespace without a name, which ends with them and the stub.
#[derive(Debug)]
pub(super) struct Storm {
    _namespace: NetnsHandle,
    changes: RemoteSocket,
    listener: RemoteSocket,
}

impl Storm {
    /// Makes the namespace; where that is not permitted, says so instead.
    pub(super) async fn open(client: &Client) -> Result<Result<Self, String>, Failure> {
        let name = format!("nlr-bench-{}", std::process::id());
        let netns = client.netns();
        let opened = netns.open(Netns::Name(name.clone()), NetnsMode::CreateExclusive).await;
        let namespace = match opened {
            Ok(namespace) => namespace,
            Err(error) if error.kind() == ErrorKind::Namespace => {
                let denied = [Errno::EPERM, Errno::EACCES, Errno::EROFS].map(|errno| errno as i32);
                return Ok(Err(match error.errno().is_some_and(|errno| denied.contains(&errno)) {
                    true => "a namespace for them takes root at the far end".to_owned(),
                    false => one_line(&error.to_string()),
                }));
            }
            Err(error) => return Err(failed(error)),
        };
        // Without its name it ends even if this tool is killed.
        netns.delete(&name).await.map_err(failed)?;
        let socket = || client.socket(ROUTE).netns_handle(&namespace);
        let listener = socket().group(GROUP).open().await.map_err(failed)?;
        let changes = socket().open().await.map_err(failed)?;
        Ok(Ok(Self { _namespace: namespace, changes, listener }))
    }

    /// Changes routes for so long, and counts what is told of it.
    pub(super) async fn run(self, time: Duration) -> Result<Events, Failure> {
        let began = Instant::now();
        let (mut caused, mut events, mut lost) = (0, 0, 0);
        let mut throughput = Throughput::default();
        let mut turn = 0_u32;
        loop {
            while caused - events - lost < UNDER_WAY && began.elapsed() < time {
                // First they come, then they go.
                let kind = if turn.is_multiple_of(2) { NEW_ROUTE } else { DEL_ROUTE };
                self.changes.send(&changes(kind, turn)).await.map_err(failed)?;
                turn = turn.wrapping_add(1);
                caused += u64::from(ROUTES);
            }
            if events + lost >= caused {
                break;
            }
            match self.listener.recv().await.map_err(failed)? {
                Event::Datagram(datagram) => {
                    throughput.add(&datagram.data);
                    events += messages(&datagram.data).count() as u64;
                }
                // Each of these events has a datagram of its own.
                Event::Lost { dropped, .. } => lost += dropped,
                // What this version does not know is not an event that arrived.
                _ => {}
            }
            // A refused change causes no event, which would be waited for in vain.
            if let Some(Event::Datagram(refused)) = self.changes.try_recv().map_err(failed)? {
                let errno = messages(&refused.data).find_map(|message| message.u32(0));
                let errno = errno.unwrap_or_default().cast_signed().saturating_neg();
                return Err(Failure::errno(errno, "changing routes was refused"));
            }
        }
        throughput.elapsed = began.elapsed();
        Ok(Events::Measured { events, lost, throughput })
    }
}

/// A datagram that has blackhole routes come or go, which need no link.
fn changes(kind: u16, turn: u32) -> Vec<u8> {
    let flags = if kind == NEW_ROUTE { CREATE } else { 0 };
    let mut datagram = Vec::with_capacity(usize::from(ROUTES) * 36);
    for number in 0..ROUTES {
        // struct rtmsg: family AF_INET, 32 bits of destination; table main, protocol static,
        // scope universe, type blackhole. Then RTA_DST, an address meant for such (RFC 2544).
        let route = [2, 32, 0, 0, 254, 4, 0, 6, 0, 0, 0, 0];
        let mut body = route.to_vec();
        body.extend(8_u16.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend([198, 18, 0, number]);
        put(&mut datagram, kind, flags, turn, &body);
    }
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_datagram_changes_as_many_routes() {
        for kind in [NEW_ROUTE, DEL_ROUTE] {
            let datagram = changes(kind, 3);
            let changes: Vec<_> = messages(&datagram).collect();
            assert_eq!(changes.len(), usize::from(ROUTES));
            assert!(changes.iter().all(|change| change.kind == kind && change.body.len() == 20));
        }
    }
}

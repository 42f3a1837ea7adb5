//! Events as messages.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::HeaderMap;
use bytes::Bytes;

use super::subject::{netns_of, netns_text, subject};
use crate::{
    Datagram, Error, ErrorKind, Origin, Protocol,
    client::DatagramInfo,
    monitor::{Happening, MonitorEvent, Source},
};

/// The headers, as the module's documentation lists them.
pub(super) mod header {
    pub(in super::super) const EVENT: &str = "Nlr-Event";
    pub(in super::super) const TARGET: &str = "Nlr-Target";
    pub(in super::super) const NETNS: &str = "Nlr-Netns";
    pub(in super::super) const TIME: &str = "Nlr-Time";
    pub(in super::super) const COLLECTOR: &str = "Nlr-Collector";
    pub(in super::super) const SEQUENCE: &str = "Nlr-Sequence";
    pub(in super::super) const PROTOCOL: &str = "Nlr-Protocol";
    pub(in super::super) const GROUP: &str = "Nlr-Group";
    pub(in super::super) const PORTID: &str = "Nlr-Portid";
    pub(in super::super) const NSID: &str = "Nlr-Nsid";
    pub(in super::super) const DROPPED: &str = "Nlr-Dropped";
    pub(in super::super) const TOTAL: &str = "Nlr-Total";
    pub(in super::super) const WHY: &str = "Nlr-Why";
    pub(in super::super) const ERRNO: &str = "Nlr-Errno";
    pub(in super::super) const RETRY_IN: &str = "Nlr-Retry-In";
    pub(in super::super) const AGAIN: &str = "Nlr-Again";
    pub(in super::super) const MARK: &str = "Nlr-Mark";
}

/// A message that is to be published.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// Text fit for a header: one line.
fn line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl Outgoing {
    /// The message of an event.
    pub(super) fn new(prefix: &str, event: &MonitorEvent) -> Self {
        let MonitorEvent { source, time, what, .. } = event;
        let mut headers = HeaderMap::new();
        let mut put = |name: &str, value: String| headers.insert(name, value);
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        put(header::TARGET, line(&source.target));
        put(header::TIME, since.as_nanos().to_string());
        if let Some(netns) = &source.netns {
            put(header::NETNS, line(&netns_text(netns)));
        }
        let mut payload = Bytes::new();
        let (name, protocol) = match what {
            Happening::Datagram { protocol, datagram } => {
                put(header::GROUP, datagram.info.group.to_string());
                put(header::PORTID, datagram.info.portid.to_string());
                if let Some(nsid) = datagram.info.nsid {
                    put(header::NSID, nsid.to_string());
                }
                payload = datagram.data.clone();
                ("datagram", Some(*protocol))
            }
            Happening::Ready(ready) => {
                if ready.is_again() {
                    put(header::AGAIN, "1".to_owned());
                }
                ("ready", None)
            }
            Happening::Lost { protocol, dropped, total } => {
                put(header::DROPPED, dropped.to_string());
                put(header::TOTAL, total.to_string());
                ("lost", Some(*protocol))
            }
            Happening::Unreadable { protocol, why } => {
                put(header::WHY, line(&format!("{why:#}")));
                ("unreadable", Some(*protocol))
            }
            Happening::Disconnected { why, retry_in } => {
                put(header::WHY, line(&format!("{why:#}")));
                if let Some(errno) = why.errno() {
                    put(header::ERRNO, errno.to_string());
                }
                if let Some(pause) = retry_in {
                    put(header::RETRY_IN, pause.as_millis().to_string());
                }
                ("disconnected", None)
            }
            Happening::Mark { number } => {
                put(header::MARK, number.to_string());
                ("mark", None)
            }
            Happening::Gone => ("gone", None),
        };
        put(header::EVENT, name.to_owned());
        if let Some(protocol) = protocol {
            put(header::PROTOCOL, protocol.number().to_string());
        }
        let group = match what {
            Happening::Datagram { datagram, .. } => datagram.info.group.to_string(),
            _ => name.to_owned(),
        };
        let subject = subject(prefix, source, protocol, &group);
        Self { subject, headers, payload }
    }

    /// Counts the event as one of a collector and a target.
    pub(super) fn number(&mut self, collector: &str, target: &str, sequence: u64) {
        self.headers.insert(header::COLLECTOR, collector);
        self.headers.insert(header::SEQUENCE, sequence.to_string());
        // JetStream's own header: a message that is sent twice is stored once.
        self.headers.insert("Nats-Msg-Id", line(&format!("{collector}-{target}-{sequence}")));
    }
}

/// A message that has come, without the connection of a `ready`.
#[derive(Debug)]
pub(super) enum Incoming {
    Event(MonitorEvent),
    Ready { source: Arc<Source>, time: SystemTime, again: bool },
    Mark { source: Arc<Source>, time: SystemTime, number: u64 },
}

/// A header's text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(async_nats::HeaderValue::as_str)
}

/// A header's number.
pub(super) fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    text(headers, name)?.parse().ok()
}

/// The source of a message.
pub(super) fn source(headers: &HeaderMap) -> Option<Source> {
    let netns = match text(headers, header::NETNS) {
        Some(text) => Some(netns_of(text)?),
        None => None,
    };
    Some(Source::new(text(headers, header::TARGET)?, netns))
}

/// Reads a message; `None` for one that is none of a collector's.
pub(super) fn read(headers: &HeaderMap, payload: Bytes) -> Option<Incoming> {
    let source = Arc::new(source(headers)?);
    let since = Duration::from_nanos(number(headers, header::TIME)?);
    let time = SystemTime::UNIX_EPOCH.checked_add(since)?;
    let protocol = number(headers, header::PROTOCOL).map(Protocol::new);
    let error = || {
        let text = text(headers, header::WHY).unwrap_or("unknown");
        let errno: Option<i32> = number(headers, header::ERRNO);
        Error::new(ErrorKind::Disconnected, text).with_origin(Origin::Peer).with_errno(errno)
    };
    let what = match text(headers, header::EVENT)? {
        "datagram" => {
            let group = number(headers, header::GROUP).unwrap_or(0);
            let portid = number(headers, header::PORTID).unwrap_or(0);
            let info = DatagramInfo::new(portid, group, number(headers, header::NSID));
            let mut datagram = Datagram::new(payload, info);
            datagram.received = Some(time);
            Happening::Datagram { protocol: protocol?, datagram }
        }
        "lost" => {
            let dropped = number(headers, header::DROPPED)?;
            let total = number(headers, header::TOTAL)?;
            Happening::Lost { protocol: protocol?, dropped, total }
        }
        "unreadable" => Happening::Unreadable { protocol: protocol?, why: error() },
        "disconnected" => {
            let retry_in = number(headers, header::RETRY_IN).map(Duration::from_millis);
            Happening::Disconnected { why: error(), retry_in }
        }
        "gone" => Happening::Gone,
        "ready" => {
            let again = text(headers, header::AGAIN) == Some("1");
            return Some(Incoming::Ready { source, time, again });
        }
        "mark" => {
            let number = number(headers, header::MARK)?;
            return Some(Incoming::Mark { source, time, number });
        }
        _ => return None,
    };
    Some(Incoming::Event(MonitorEvent::new(source, time, what)))
}

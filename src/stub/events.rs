//! What a server tells its log.

use super::exit::Exit;
use crate::{limits::server::LOG_TEXT, text::one_line};

/// A client of a [`Listener`](super::Listener), as the kernel noted it when it connected
/// (`SO_PEERCRED`, unix(7)); nothing that the client says counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The connection's number, counted from 1 for each [`Listener::run`](super::Listener::run).
    pub number: u64,
    /// The effective uid.
    pub uid: u32,
    /// The process id; 0 for a process of a pid namespace that this one cannot see into.
    pub pid: i32,
}

impl Peer {
    pub(super) fn new(number: u64, uid: u32, pid: i32) -> Self {
        Self { number, uid, pid }
    }
}

/// An event of a [`Listener`](super::Listener), for a log. Texts have one line of bounded length,
/// without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenEvent {
    /// Clients can connect.
    Listening,
    /// A client has connected, and has said hello.
    #[non_exhaustive]
    Accepted {
        /// The client.
        peer: Peer,
    },
    /// A connection was refused, or ended before a hello came.
    #[non_exhaustive]
    Refused {
        /// Who connected.
        peer: Peer,
        /// The reason, in words.
        reason: String,
    },
    /// A client has opened a kernel socket, or was refused one.
    #[non_exhaustive]
    Socket {
        /// The client.
        peer: Peer,
        /// The netlink protocol's number.
        protocol: u32,
        /// The network namespace, in words.
        netns: String,
        /// The port id; or the error, in words.
        result: Result<u32, String>,
    },
    /// A client has opened, listed, created or deleted network namespaces, or was refused that.
    #[non_exhaustive]
    Namespace {
        /// The client.
        peer: Peer,
        /// What was asked for, in words.
        request: String,
        /// The error, in words.
        result: Result<(), String>,
    },
    /// A client's connection has ended.
    #[non_exhaustive]
    Ended {
        /// The client.
        peer: Peer,
        /// The reason.
        exit: Exit,
    },
    /// accept(2) failed, mostly because the process or the host has no descriptors left.
    #[non_exhaustive]
    AcceptFailed {
        /// The error, in words.
        reason: String,
    },
    /// The log did not keep up: so many events are missing here.
    #[non_exhaustive]
    Lost {
        /// How many.
        count: u64,
    },
    /// The listener was asked to shut down, and ends its clients.
    Ending,
}

impl ListenEvent {
    /// Whether one client can cause it as often as it likes.
    pub(super) fn is_of_client(&self) -> bool {
        matches!(self, ListenEvent::Socket { .. } | ListenEvent::Namespace { .. })
    }

    /// The event with texts that fit into a log.
    pub(super) fn bounded(mut self) -> Self {
        match &mut self {
            ListenEvent::Refused { reason: text, .. }
            | ListenEvent::AcceptFailed { reason: text }
            | ListenEvent::Ended {
                exit:
                    Exit::ClientFault(text)
                    | Exit::Handshake(text)
                    | Exit::Violation(text)
                    | Exit::Io(text),
                ..
            } => bound(text),
            ListenEvent::Socket { netns, result, .. } => {
                bound(netns);
                if let Err(text) = result {
                    bound(text);
                }
            }
            ListenEvent::Namespace { request, result, .. } => {
                bound(request);
                if let Err(text) = result {
                    bound(text);
                }
            }
            ListenEvent::Listening
            | ListenEvent::Accepted { .. }
            | ListenEvent::Ended { .. }
            | ListenEvent::Lost { .. }
            | ListenEvent::Ending => {}
        }
        self
    }
}

/// Makes a text one line without harmful characters, and cuts it.
fn bound(text: &mut String) {
    if text.len() > LOG_TEXT {
        let end = (0..=LOG_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    *text = one_line(text).into_owned();
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ListenEvent {
        pub(in super::super) fn example_of_client() -> Self {
            let peer = Peer::new(1, 0, 1);
            Self::Socket { peer, protocol: 0, netns: String::new(), result: Ok(1) }
        }
    }

    #[test]
    fn texts_are_short_lines() {
        let peer = Peer::new(1, 0, 1);
        let fault = format!("a\nb\u{202e}{}", "ü".repeat(LOG_TEXT));
        let exit = Exit::ClientFault(fault);
        let ListenEvent::Ended { exit: Exit::ClientFault(text), .. } =
            (ListenEvent::Ended { peer, exit }).bounded()
        else {
            panic!("another event")
        };
        assert!(text.starts_with("a b\u{fffd}ü") && text.ends_with("ü…"), "{text}");
        assert!(text.len() <= LOG_TEXT + 8);
    }
}

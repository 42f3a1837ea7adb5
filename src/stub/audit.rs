//! Notes in a server's log what a client does: sockets and namespaces, and refusals of both.

use std::collections::HashMap;

use super::{
    events::{ListenEvent, Peer},
    journal::Journal,
};
use crate::{
    text,
    wire::{FILE, Failure, NetnsRequest, OWN_LEVEL, Open, Opened, SocketId, SocketOption},
};

/// The notes on one client. A stub without a server takes none.
#[derive(Debug, Default)]
pub(super) struct Audit {
    log: Option<(Peer, Journal)>,
    /// The protocol and the namespace of sockets that are being opened.
    opening: HashMap<SocketId, (u32, String)>,
    /// Requests on namespaces that are being carried out, in words.
    requests: HashMap<u32, String>,
}

impl Audit {
    pub(super) fn new(peer: Peer, journal: Journal) -> Self {
        Self { log: Some((peer, journal)), ..Self::default() }
    }

    pub(super) fn opening(&mut self, id: SocketId, open: &Open) {
        if self.log.is_some() {
            let is_file = |it: &&SocketOption| (it.level, it.name) == (OWN_LEVEL, FILE);
            let file = open
                .options
                .iter()
                .find(is_file)
                .map(|option| format!(", to read {}", text::one_line_of(&option.value)));
            let place = format!("{}{}", open.netns, file.unwrap_or_default());
            self.opening.insert(id, (open.protocol, place));
        }
    }

    pub(super) fn opened(&mut self, id: SocketId, result: Result<&Opened, &Failure>) {
        let Some((peer, journal)) = &self.log else { return };
        let Some((protocol, netns)) = self.opening.remove(&id) else { return };
        let result = result.map(|opened| opened.portid).map_err(|failure| failure.text.clone());
        journal.push(ListenEvent::Socket { peer: *peer, protocol, netns, result });
    }

    pub(super) fn requested(&mut self, number: u32, request: &NetnsRequest) {
        if self.log.is_some() {
            let words = match request {
                NetnsRequest::Open(netns, _) => format!("open {netns}"),
                // It has no effect but for the client's own descriptors.
                NetnsRequest::Close(_) => return,
                NetnsRequest::List => "list the namespaces".to_owned(),
                NetnsRequest::Add(name) => format!("create namespace {name:?}"),
                NetnsRequest::Delete(name) => format!("delete namespace {name:?}"),
            };
            self.requests.insert(number, words);
        }
    }

    pub(super) fn replied(&mut self, number: u32, failure: Option<&Failure>) {
        let Some((peer, journal)) = &self.log else { return };
        let Some(request) = self.requests.remove(&number) else { return };
        let result = failure.map_or(Ok(()), |failure| Err(failure.text.clone()));
        journal.push(ListenEvent::Namespace { peer: *peer, request, result });
    }
}

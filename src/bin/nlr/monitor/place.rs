//! What is known of a namespace.

use std::{collections::VecDeque, time::Duration};

use tokio::time::timeout;

use super::event::{self, Event};
use crate::{
    dump::{self, Dumper},
    failure::{Failure, warn},
    show::{fields::Put, link_request, names::Names, one_link_request},
};
use netlink_remote::{monitor::Ready, nlmsg::Message};

/// The names that are asked for in one datagram, at most, and the time for an answer.
pub(crate) const LOOKUPS: u32 = 8;
const LOOKUP: Duration = Duration::from_secs(1);

/// A namespace whose events are printed.
pub(crate) struct Place {
    names: Names,
    dumper: Option<Dumper>,
    /// Links that the kernel does not have.
    nameless: Nameless,
    /// The kernel is asked for names: it has answered in time so far.
    asks_names: bool,
    /// Datagrams so far, those of them that were in statistics, and datagrams that were lost.
    pub(super) events: u64,
    pub(super) counted: u64,
    pub(super) lost: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            names: Names::local(),
            dumper: None,
            nameless: Nameless::default(),
            asks_names: true,
            events: 0,
            counted: 0,
            lost: 0,
        }
    }
}

/// Numbers of links that the kernel does not have. Old ones are forgotten.
#[derive(Default)]
struct Nameless(VecDeque<u32>);

impl Nameless {
    const MOST: usize = 1024;

    fn contains(&self, index: &u32) -> bool {
        self.0.contains(index)
    }

    fn note(&mut self, index: u32) {
        self.0.push_back(index);
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }
}

/// Learns the names of all links.
pub(crate) async fn learn_links(dumper: &Dumper, names: &mut Names) -> Result<(), Failure> {
    names.forget_links();
    let learned = dumper.dump(link_request(), async |message| {
        names.observe(message);
        Ok(())
    });
    let learned = learned.await;
    if names.is_full() {
        warn("the links there have more names than are kept; the others are shown by number");
    }
    match learned {
        Ok(()) => Ok(()),
        // The events of the changes that interrupted the dump are still to come.
        Err(error) if dump::is_transient(&error) => Ok(()),
        Err(error) => Err(dump::failure(error, "links")),
    }
}

impl Place {
    /// Learns the names of links over a connection whose subscriptions stand.
    pub(crate) async fn begin(&mut self, ready: &Ready) -> Result<(), Failure> {
        self.nameless = Nameless::default();
        self.asks_names = true;
        match Dumper::over(ready).await {
            Ok(dumper) => self.dumper = Some(dumper),
            // Its end is told by the monitor.
            Err(error) if error.is_disconnected() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.learn_links().await
    }

    /// Learns the names of links anew. The end of the connection is told by the monitor.
    pub(super) async fn learn_links(&mut self) -> Result<(), Failure> {
        let Some(dumper) = &self.dumper else { return Ok(()) };
        match learn_links(dumper, &mut self.names).await {
            Err(failure) if failure.is_connection() => {
                self.dumper = None;
                Ok(())
            }
            result => result,
        }
    }

    /// The event of a message, with the names of the links that it is about. Events of a new link may
    /// come before the one that has its name: the kernel is asked for it then.
    pub(crate) async fn event(
        &mut self,
        message: &Message<'_>,
        lookups: &mut u32,
    ) -> Result<Option<Event>, Failure> {
        self.names.take_missed();
        let event = event::parse(message, &mut self.names);
        let missed = self.names.take_missed();
        if missed.is_empty() || event.is_none() || self.names.is_full() {
            return Ok(event);
        }
        let mut has_learned = false;
        let mut unnamed = Vec::new();
        for index in missed {
            let may_ask = self.asks_names && *lookups > 0 && !self.nameless.contains(&index);
            let Some(dumper) = self.dumper.as_ref().filter(|_| may_ask) else {
                unnamed.push(index);
                continue;
            };
            *lookups -= 1;
            match timeout(LOOKUP, dumper.one(one_link_request(index))).await {
                // A kernel whose lock is held: its events are not to wait for it.
                Err(_) => {
                    self.asks_names = false;
                    unnamed.push(index);
                }
                Ok(Ok(Some(link))) => {
                    self.names.observe(&link.message());
                    has_learned = true;
                }
                // Deleted already; asked for once, as its number is not used again soon.
                Ok(Ok(None)) => {
                    unnamed.push(index);
                    self.nameless.note(index);
                }
                // The connection is over.
                Ok(Err(_)) => {
                    self.dumper = None;
                    unnamed.push(index);
                }
            }
        }
        let event = match has_learned {
            // What is not known is missed again.
            true => {
                unnamed.clear();
                event::parse(message, &mut self.names)
            }
            false => event,
        };
        let unnamed = self.names.take_missed().into_iter().chain(unnamed);
        let unnamed: Vec<serde_json::Value> =
            unnamed.map(|index| self.names.link(index).into()).collect();
        Ok(event.map(|mut event| {
            if !unnamed.is_empty() {
                event.data.put("unnamed", unnamed);
            }
            event
        }))
    }
}

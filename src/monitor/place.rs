//! The sockets of one network namespace of a target.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::SystemTime,
};

use tokio::sync::{Notify, mpsc};

use super::{
    builder::{Options, Subscription},
    event::{Happening, MonitorEvent, Source},
    generic,
    ready::{Ready, Way},
};
use crate::{
    Client, Error, ErrorKind, Event, Group, Netns, Protocol, RemoteSocket, Requests,
    client::{NetnsHandle, NetnsId, NetnsMode},
    errno::{EINVAL, ENOENT, ENOPROTOOPT, EPERM},
};

/// The groups of one protocol.
#[derive(Debug)]
pub(super) struct Groups {
    protocol: Protocol,
    /// Each with whether it is left out where the far kernel refuses it.
    numbered: Vec<(Group, bool)>,
    /// Of generic netlink, by family and group.
    generic: Vec<(String, Option<String>)>,
}

/// Subscriptions to one protocol share a socket.
pub(super) fn merged(subscriptions: &[Subscription]) -> Vec<Groups> {
    let mut merged: Vec<Groups> = Vec::new();
    for Subscription { protocol, groups, generic, is_lenient } in subscriptions {
        let index = merged.iter().position(|known| known.protocol == *protocol);
        let index = index.unwrap_or_else(|| {
            let (numbered, generic) = (Vec::new(), Vec::new());
            merged.push(Groups { protocol: *protocol, numbered, generic });
            merged.len() - 1
        });
        if let Some(known) = merged.get_mut(index) {
            known.numbered.extend(groups.iter().map(|group| (*group, *is_lenient)));
            known.generic.extend_from_slice(generic);
        }
    }
    merged
}

/// The end of a place.
#[derive(Debug)]
pub(super) enum End {
    /// With the connection.
    Disconnected,
    /// By [`Place::stop`].
    Stopped,
    /// The subscriptions do not stand.
    Failed(Error),
    /// The consumer is gone.
    Unwanted,
}

/// A namespace, and what to subscribe to in it.
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) netns: Netns,
    pub(super) client: Client,
    pub(super) groups: Arc<Vec<Groups>>,
    pub(super) options: Options,
    pub(super) events: mpsc::Sender<MonitorEvent>,
    /// Whether it stood before.
    pub(super) again: bool,
    /// Notified when the namespace is gone.
    pub(super) stop: Arc<Notify>,
    /// The namespace's identity, once it is open.
    pub(super) id: Arc<OnceLock<NetnsId>>,
}

impl Place {
    /// Subscribes, and tells events until the end.
    pub(super) async fn run(self) -> End {
        match self.subscribe().await {
            Ok((sockets, namespace, refused)) => self.forward(&sockets, namespace, refused).await,
            Err(error) if error.is_disconnected() => End::Disconnected,
            Err(error) => End::Failed(error),
        }
    }

    async fn subscribe(&self) -> Result<Standing, Error> {
        // The sockets are in the namespace whose identity is looked at, whatever has its name by then.
        let handle = match &self.netns {
            Netns::Current => None,
            netns => Some(self.client.netns().open(netns.clone(), NetnsMode::Existing).await?),
        };
        if let Some(handle) = &handle {
            let _ = self.id.set(handle.id());
        }
        let mut sockets = Vec::new();
        let mut refused = Vec::new();
        for Groups { protocol, numbered, generic } in self.groups.iter() {
            let mut groups = numbered.clone();
            if !generic.is_empty() {
                let mut builder = self.client.socket(*protocol);
                if let Some(handle) = &handle {
                    builder = builder.netns_handle(handle);
                }
                let requests = Requests::new(builder.open().await?);
                for (family, group) in generic {
                    let found = generic::groups(&requests, family, group.as_deref()).await?;
                    groups.extend(found.into_iter().map(|group| (group, false)));
                }
            }
            let groups = &groups;
            let mut builder = self.client.socket(*protocol);
            if let Some(handle) = &handle {
                builder = builder.netns_handle(handle);
            }
            let (bytes, datagrams) = self.options.window;
            builder = builder.window(bytes, datagrams);
            if let Some(bytes) = self.options.receive_buffer {
                builder = builder.receive_buffer(bytes);
            }
            let timed = builder.clone().times();
            let opened = match open(&timed, *protocol, groups, &mut refused).await {
                // A stub that is older than this library.
                Err(error) if error.errno() == Some(ENOPROTOOPT) => {
                    open(&builder, *protocol, groups, &mut refused).await
                }
                opened => opened,
            };
            sockets.push(Subscribed { protocol: *protocol, socket: opened? });
        }
        Ok((sockets, handle, refused))
    }

    async fn forward(
        &self,
        sockets: &[Subscribed],
        namespace: Option<NetnsHandle>,
        refused: Vec<(Protocol, Group)>,
    ) -> End {
        let (marker, mut marks) = mpsc::unbounded_channel();
        let (again, client) = (self.again, self.client.clone());
        let way = Way::Direct { client, namespace, marks: marker };
        let ready = Ready { again, refused, way };
        let ready = Happening::Ready(ready);
        if !self.tell(ready, None).await {
            return End::Unwanted;
        }
        let mut turn = 0;
        let mut marking: Option<Marking<'_>> = None;
        // Marks that were asked for since.
        let mut asked = Vec::new();
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.notified() => {
                    let told = self.drain(sockets).await && self.tell(Happening::Gone, None).await;
                    return if told { End::Stopped } else { End::Unwanted };
                }
                Some(number) = marks.recv() => {
                    asked.push(number);
                    if marking.is_none() {
                        marking = Some((std::mem::take(&mut asked), Box::pin(drained(sockets))));
                    }
                    continue;
                }
                numbers = marked(&mut marking) => {
                    marking = match asked.is_empty() {
                        true => None,
                        false => Some((std::mem::take(&mut asked), Box::pin(drained(sockets)))),
                    };
                    if !self.drain(sockets).await {
                        return End::Unwanted;
                    }
                    for number in numbers {
                        if !self.tell(Happening::Mark { number }, None).await {
                            return End::Unwanted;
                        }
                    }
                    continue;
                }
                event = next(sockets, &mut turn) => event,
            };
            match event {
                (_, Err(error)) if error.kind() != ErrorKind::Receive => return End::Disconnected,
                (protocol, event) => {
                    if !self.tell_event(protocol, event).await {
                        return End::Unwanted;
                    }
                }
            }
        }
    }

    /// Tells what has arrived; false where the consumer is gone.
    async fn drain(&self, sockets: &[Subscribed]) -> bool {
        // Whatever arrived so far has credit, or merges.
        let most = self.options.window.1.saturating_mul(2).saturating_add(1);
        for Subscribed { protocol, socket } in sockets {
            for _ in 0..most {
                let event = match socket.try_recv() {
                    Ok(Some(event)) => Ok(event),
                    Ok(None) => break,
                    Err(error) if error.kind() != ErrorKind::Receive => break,
                    Err(error) => Err(error),
                };
                if !self.tell_event(*protocol, event).await {
                    return false;
                }
            }
        }
        true
    }

    async fn tell_event(&self, protocol: Protocol, event: Result<Event, Error>) -> bool {
        let (what, time) = match event {
            Ok(Event::Datagram(datagram)) => {
                let time = datagram.received;
                (Happening::Datagram { protocol, datagram }, time)
            }
            Ok(Event::Lost { dropped, total }) => {
                (Happening::Lost { protocol, dropped, total }, None)
            }
            Err(why) => (Happening::Unreadable { protocol, why }, None),
        };
        self.tell(what, time).await
    }

    /// Tells; false where the consumer is gone.
    async fn tell(&self, what: Happening, time: Option<SystemTime>) -> bool {
        let time = time.unwrap_or_else(SystemTime::now);
        let source = Arc::clone(&self.source);
        self.events.send(MonitorEvent { source, time, what }).await.is_ok()
    }
}

/// A socket with its protocol.
struct Subscribed {
    protocol: Protocol,
    socket: RemoteSocket,
}

/// The sockets of a place, its namespace, and the groups that are left out.
type Standing = (Vec<Subscribed>, Option<NetnsHandle>, Vec<(Protocol, Group)>);

/// Marks that are awaited.
type Marking<'a> = (Vec<u64>, Pin<Box<dyn Future<Output = ()> + Send + 'a>>);

async fn marked(marking: &mut Option<Marking<'_>>) -> Vec<u64> {
    match marking {
        Some((numbers, drained)) => {
            drained.await;
            std::mem::take(numbers)
        }
        None => pending().await,
    }
}

/// Waits until what the kernel has queued by now has arrived.
async fn drained(sockets: &[Subscribed]) {
    for Subscribed { socket, .. } in sockets {
        // A stub that is older than this library cannot tell: then it is what has arrived by then.
        let _ = socket.drained().await;
    }
}

/// The next event of any socket, each in its turn.
async fn next(sockets: &[Subscribed], turn: &mut usize) -> (Protocol, Result<Event, Error>) {
    poll_fn(|cx| {
        for step in 0..sockets.len() {
            let index = (*turn + step) % sockets.len();
            let Some(Subscribed { protocol, socket }) = sockets.get(index) else { continue };
            if let Poll::Ready(event) = socket.poll_recv(cx) {
                *turn = index + 1;
                return Poll::Ready((*protocol, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Opens a socket in its groups, without those that are refused and may be left out.
async fn open(
    builder: &crate::SocketBuilder,
    protocol: Protocol,
    groups: &[(Group, bool)],
    refused: &mut Vec<(Protocol, Group)>,
) -> Result<RemoteSocket, Error> {
    let all = groups.iter().fold(builder.clone(), |builder, (group, _)| builder.group(*group));
    let error = match all.open().await {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    if groups.is_empty() || !is_refused_group(&error) {
        return Err(error);
    }
    // Joined one by one: the error then belongs to a group.
    let socket = builder.clone().open().await?;
    for (group, is_lenient) in groups {
        match socket.join(*group).await {
            Ok(()) => {}
            Err(error) if *is_lenient && is_refused_group(&error) => {
                refused.push((protocol, *group));
            }
            Err(error) => {
                let name = group.name(protocol).map_or_else(|| group.to_string(), str::to_owned);
                return Err(error.context(format_args!("group {name}")));
            }
        }
    }
    Ok(socket)
}

/// Whether the errno may mean that the kernel refuses a group.
fn is_refused_group(error: &Error) -> bool {
    matches!(error.errno(), Some(EINVAL | EPERM | ENOENT))
        && matches!(error.kind(), ErrorKind::Open | ErrorKind::Request)
}

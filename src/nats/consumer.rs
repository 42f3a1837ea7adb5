//! Events that a collector has published.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use async_nats::{
    Client, HeaderMap,
    jetstream::{
        self,
        consumer::{DeliverPolicy, pull},
    },
};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{
    SUBSCRIPTION, connect, failed,
    message::{Incoming, header, number, read, text},
    subject::{netns_text, token},
};
use crate::{
    Error, ErrorKind, Netns, Origin, Protocol,
    errno::EINTR,
    monitor::{Happening, MonitorEvent, Ready, Relay, Relayed, Source},
    sync::lock,
};

/// The time without a part of a dump's answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Options of a consumer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// What subjects begin with: `netlink`.
    pub prefix: String,
    /// The target, by name: all.
    pub target: Option<String>,
    /// Its namespace: all.
    pub netns: Option<Netns>,
    /// The JetStream stream that is read from its beginning, before new events: none.
    pub stream: Option<String>,
    /// A file of credentials (JWT and seed).
    pub credentials: Option<PathBuf>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        let prefix = "netlink".to_owned();
        Self { prefix, target: None, netns: None, stream: None, credentials: None }
    }
}

impl ConsumerOptions {
    /// Sets [`prefix`](Self::prefix).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets [`target`](Self::target).
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets [`netns`](Self::netns).
    #[must_use]
    pub fn with_netns(mut self, netns: Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// Sets [`stream`](Self::stream).
    #[must_use]
    pub fn with_stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Sets [`credentials`](Self::credentials).
    #[must_use]
    pub fn with_credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    fn subject(&self) -> String {
        // All of a target's, whatever the namespace: only so are gaps seen.
        let target = self.target.as_deref().map_or_else(|| "*".to_owned(), token);
        format!("{}.{target}.>", self.prefix)
    }

    /// Whether an event of a source is wanted.
    fn wants(&self, source: &Source) -> bool {
        self.target.as_deref().is_none_or(|target| target == &*source.target)
            && match (&self.netns, &source.netns) {
                (Some(wanted), Some(netns)) => wanted == netns,
                _ => true,
            }
    }
}

type Messages = Pin<Box<dyn Stream<Item = (HeaderMap, Bytes)> + Send + Sync>>;

/// A stream of the events that collectors publish; see the [module](super).
///
/// Subscriptions that stood before the consumer came are told by a [`Ready`](Happening::Ready) of their own. The
/// `Ready` of a consumer has no connection: dumps and marks go by way of the collector.
pub struct Consumer {
    messages: Messages,
    standing: Messages,
    shared: Arc<Shared>,
    options: ConsumerOptions,
    /// The collector of each target, and its last number.
    sequences: HashMap<String, (String, u64)>,
    events: VecDeque<MonitorEvent>,
}

/// What the connections of a consumer share.
struct Shared {
    client: Client,
    prefix: String,
    /// Marks that were asked for: the numbers on their way, and those of the caller.
    marks: Mutex<HashMap<u64, u64>>,
}

impl Consumer {
    /// Connects to a server, such as `nats://127.0.0.1:4222`.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] for a server that cannot be reached, or a stream that it does not have.
    pub async fn connect(url: &str, options: ConsumerOptions) -> Result<Self, Error> {
        let credentials = options.credentials.as_deref();
        let (client, _) =
            connect(url, "netlink-remote consumer", SUBSCRIPTION, credentials).await?;
        let messages: Messages = match &options.stream {
            Some(name) => {
                let context = jetstream::new(client.clone());
                let opening = |error| failed(&format!("opening the stream {name}"), error);
                let stream = context.get_stream(name).await.map_err(opening)?;
                let config = pull::OrderedConfig {
                    filter_subject: options.subject(),
                    deliver_policy: DeliverPolicy::All,
                    ..Default::default()
                };
                let consumer = stream.create_consumer(config).await;
                let consumer = consumer.map_err(|error| failed("reading the stream", error))?;
                let messages = consumer.messages().await;
                let messages = messages.map_err(|error| failed("reading the stream", error))?;
                Box::pin(Locked::new(messages.filter_map(async |message| {
                    let message = message.ok()?;
                    Some((message.headers.clone().unwrap_or_default(), message.payload.clone()))
                })))
            }
            None => {
                let subscriber = client.subscribe(options.subject()).await;
                let subscriber = subscriber.map_err(|error| failed("subscribing", error))?;
                Box::pin(Locked::new(subscriber.map(parts)))
            }
        };
        // What stands is asked for once events come.
        let inbox = client.new_inbox();
        let standing = client.subscribe(inbox.clone()).await;
        let standing = standing.map_err(|error| failed("subscribing", error))?;
        let asked = client.publish_with_reply(
            format!("{}-control.list", options.prefix),
            inbox,
            Bytes::new(),
        );
        asked.await.map_err(|error| failed("asking the collectors", error))?;
        client.flush().await.map_err(|error| failed("asking the collectors", error))?;
        let prefix = options.prefix.clone();
        Ok(Self {
            messages,
            standing: Box::pin(Locked::new(standing.map(parts))),
            shared: Arc::new(Shared { client, prefix, marks: Mutex::default() }),
            options,
            sequences: HashMap::new(),
            events: VecDeque::new(),
        })
    }

    /// The next event; `None` once the connection to the server has ended for good. Cancel-safe: a dropped
    /// future loses no event.
    pub async fn next(&mut self) -> Option<MonitorEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<MonitorEvent>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(event));
            }
            if let Poll::Ready(Some((headers, payload))) = self.standing.as_mut().poll_next(cx) {
                self.take(&headers, payload);
                continue;
            }
            match self.messages.as_mut().poll_next(cx) {
                Poll::Ready(Some((headers, payload))) => {
                    self.count(&headers);
                    self.take(&headers, payload);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tells numbers that are missing.
    fn count(&mut self, headers: &HeaderMap) {
        let (Some(collector), Some(target), Some(sequence)) = (
            text(headers, header::COLLECTOR),
            text(headers, header::TARGET),
            number::<u64>(headers, header::SEQUENCE),
        ) else {
            return;
        };
        let last = match self.sequences.get_mut(target) {
            Some((known, last)) if known == collector => Some(std::mem::replace(last, sequence)),
            // Another run, whose `ready` says that it begins.
            _ => {
                self.sequences.insert(target.to_owned(), (collector.to_owned(), sequence));
                None
            }
        };
        let missing = last.map_or(0, |last| sequence.saturating_sub(last.saturating_add(1)));
        if missing == 0 {
            return;
        }
        let source = Arc::new(Source::new(target, None));
        let what = Happening::Lost { protocol: Protocol::ROUTE, dropped: missing, total: missing };
        self.events.push_back(MonitorEvent::new(source, SystemTime::now(), what));
    }

    fn take(&mut self, headers: &HeaderMap, payload: Bytes) {
        let event = match read(headers, payload) {
            Some(Incoming::Event(event)) => event,
            Some(Incoming::Ready { source, time, again }) => {
                let relay =
                    Arc::new(Far { shared: Arc::clone(&self.shared), source: (*source).clone() });
                let what = Happening::Ready(Ready::relayed(again, relay));
                MonitorEvent::new(source, time, what)
            }
            Some(Incoming::Mark { source, time, number }) => {
                // Others have theirs.
                let Some(number) = lock(&self.shared.marks).remove(&number) else { return };
                MonitorEvent::new(source, time, Happening::Mark { number })
            }
            None => return,
        };
        if self.options.wants(&event.source) {
            self.events.push_back(event);
        }
    }
}

fn parts(message: async_nats::Message) -> (HeaderMap, Bytes) {
    (message.headers.unwrap_or_default(), message.payload)
}

impl Stream for Consumer {
    type Item = MonitorEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MonitorEvent>> {
        self.get_mut().poll_event(cx)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A stream that several threads may refer to: it is polled by whoever has it alone.
struct Locked<S>(Mutex<Pin<Box<S>>>);

impl<S> Locked<S> {
    fn new(stream: S) -> Self {
        Self(Mutex::new(Box::pin(stream)))
    }
}

impl<S: Stream> Stream for Locked<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let stream = self.get_mut().0.get_mut();
        let stream = stream.unwrap_or_else(std::sync::PoisonError::into_inner);
        stream.as_mut().poll_next(cx)
    }
}

/// A namespace, by way of its collector.
struct Far {
    shared: Arc<Shared>,
    source: Source,
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Far").field(&self.source).finish()
    }
}

impl Far {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::TARGET, &*self.source.target);
        if let Some(netns) = &self.source.netns {
            headers.insert(header::NETNS, netns_text(netns));
        }
        headers
    }
}

impl Relay for Far {
    fn mark(&self, number: u64) {
        use std::hash::{BuildHasher, Hasher, RandomState};
        // Consumers ask for marks in the same namespaces: no two have the same number.
        let own = RandomState::new().build_hasher().finish();
        {
            let mut marks = lock(&self.shared.marks);
            // Those of subscriptions that have ended never come.
            if marks.len() >= 1024 {
                marks.clear();
            }
            marks.insert(own, number);
        }
        let mut headers = self.headers();
        headers.insert(header::MARK, own.to_string());
        let (client, subject) =
            (self.shared.client.clone(), format!("{}-control.mark", self.shared.prefix));
        tokio::spawn(async move {
            let _ = client.publish_with_headers(subject, headers, Bytes::new()).await;
        });
    }

    fn dump(&self, protocol: Protocol, request: Vec<u8>) -> Relayed {
        let mut headers = self.headers();
        headers.insert(header::PROTOCOL, protocol.number().to_string());
        let (client, subject) =
            (self.shared.client.clone(), format!("{}-control.dump", self.shared.prefix));
        Box::pin(dump(client, subject, headers, request))
    }
}

async fn dump(
    client: Client,
    subject: String,
    headers: HeaderMap,
    request: Vec<u8>,
) -> Result<Vec<Bytes>, Error> {
    let inbox = client.new_inbox();
    let answers = client.subscribe(inbox.clone()).await;
    let mut answers = answers.map_err(|error| failed("asking for a list", error))?;
    let asked = client.publish_with_reply_and_headers(subject, inbox, headers, request.into());
    asked.await.map_err(|error| failed("asking for a list", error))?;
    let mut datagrams = Vec::new();
    loop {
        let answer = timeout(SILENCE, answers.next()).await.ok().flatten();
        let Some(answer) = answer else {
            // The collector may come back: the same as an interruption.
            let error = Error::new(ErrorKind::Timeout, "no collector has answered");
            return Err(error.with_errno(EINTR));
        };
        let headers = answer.headers.unwrap_or_default();
        let why = || text(&headers, header::WHY).unwrap_or("refused").to_owned();
        match text(&headers, header::EVENT) {
            None => datagrams.push(answer.payload),
            Some("end") => return Ok(datagrams),
            Some("interrupted") => {
                return Err(Error::new(ErrorKind::Request, "interrupted").with_errno(EINTR));
            }
            Some("disconnected") => {
                return Err(Error::new(ErrorKind::Disconnected, "the collector has lost the host"));
            }
            Some(_) => {
                let error = Error::new(ErrorKind::Request, why()).with_origin(Origin::Kernel);
                return Err(error.with_errno(number::<i32>(&headers, header::ERRNO)));
            }
        }
    }
}

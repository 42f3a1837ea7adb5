//! Publishing the events of a monitor.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_nats::{
    Client, HeaderMap, Message, Subscriber,
    jetstream::{self, stream},
};
use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    connect, failed,
    leases::{Change, Leases, RENEWAL},
    message::{Outgoing, header, number, source, text},
};
use crate::{
    Connector, Error, Protocol,
    fleet::Entry,
    monitor::{
        DumpFailed, Happening, Monitor, MonitorBuilder, MonitorEvent, Ready, Source, Targets,
        Watched,
    },
};

/// Events that wait to be written to the server, or for its acknowledgement.
const IN_FLIGHT: usize = 256;

/// The pause before an event is sent again that was not acknowledged.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of a dump in one message, by and large: a server takes 1 MiB.
const PIECE: usize = 64 << 10;

/// Dumps for consumers that are made at a time.
const DUMPS: usize = 16;

/// Options of a collector.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CollectorOptions {
    /// What subjects begin with: `netlink`.
    pub prefix: String,
    /// The collector's name, the only one of its kind; by default one that is made up.
    pub name: String,
    /// The JetStream stream that stores the events: none. It is made where there is none of this name, with
    /// the subjects of the prefix.
    pub stream: Option<String>,
    /// Whether several collectors share the targets: false.
    pub shares: bool,
    /// Whether every named network namespace of each target is watched: false.
    pub all_netns: bool,
    /// A file of credentials (JWT and seed).
    pub credentials: Option<PathBuf>,
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self {
            prefix: "netlink".to_owned(),
            name: format!("collector-{}", nuid()),
            stream: None,
            shares: false,
            all_netns: false,
            credentials: None,
        }
    }
}

/// A name that nobody else has.
fn nuid() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The keys of a hasher are random, and need no crate.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

impl CollectorOptions {
    /// Sets [`prefix`](Self::prefix).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`stream`](Self::stream).
    #[must_use]
    pub fn with_stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Shares the targets with other collectors of the same prefix.
    #[must_use]
    pub fn sharing(mut self) -> Self {
        self.shares = true;
        self
    }

    /// Sets [`credentials`](Self::credentials).
    #[must_use]
    pub fn with_credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }
}

/// What can be read of a collector while it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress {
    targets: Targets,
    published: Arc<AtomicU64>,
}

impl Progress {
    /// The targets and their states.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Events that were published.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

/// Publishes the events of targets; see the [module](super).
pub struct Collector {
    client: Client,
    options: CollectorOptions,
    jetstream: Option<jetstream::Context>,
    leases: Option<Leases>,
    control: Subscriber,
    /// What the server has refused.
    refusals: mpsc::Receiver<String>,
    /// The targets, by name.
    targets: HashMap<Arc<str>, Watched>,
    monitor: Monitor,
    ready: HashMap<Arc<Source>, Ready>,
    /// The name, and what tells this run from others of the same name.
    instance: String,
    /// Events that were published of each target.
    sequences: HashMap<Arc<str>, u64>,
    published: Arc<AtomicU64>,
    in_flight: Arc<Semaphore>,
    dumps: Arc<Semaphore>,
}

impl Collector {
    /// Connects to a server, such as `nats://127.0.0.1:4222`, and starts to watch the entries; `builder` has
    /// the subscriptions.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) for a server that cannot be reached, or has no JetStream where
    /// that is asked for; otherwise as [`MonitorBuilder::start`].
    pub async fn start(
        url: &str,
        options: CollectorOptions,
        builder: MonitorBuilder,
        connector: Connector,
        entries: &[Entry],
    ) -> Result<Self, Error> {
        let credentials = options.credentials.as_deref();
        let (client, refusals) = connect(url, &options.name, IN_FLIGHT, credentials).await?;
        let context = jetstream::new(client.clone());
        let prefix = &options.prefix;
        let jetstream = match &options.stream {
            Some(name) => {
                let config = stream::Config {
                    name: name.clone(),
                    subjects: vec![format!("{prefix}.>")],
                    ..Default::default()
                };
                let made = context.get_or_create_stream(config).await;
                made.map_err(|error| failed(&format!("making the stream {name}"), error))?;
                Some(context.clone())
            }
            None => None,
        };
        let leases = match options.shares {
            true => Some(Leases::new(&context, prefix, &options.name).await?),
            false => None,
        };
        let control = client.subscribe(format!("{prefix}-control.>")).await;
        let control = control.map_err(|error| failed("subscribing to requests", error))?;
        let watched = entries.iter().map(|entry| {
            let watched = entry.watched();
            let watched = if options.all_netns { watched.all_netns() } else { watched };
            (Arc::clone(&entry.name), watched)
        });
        let watched: HashMap<_, _> = watched.collect();
        let mut builder = builder;
        if leases.is_none() {
            for watched in watched.values() {
                builder = builder.watch(watched.clone());
            }
        }
        let monitor = builder.start(connector)?;
        Ok(Self {
            client,
            jetstream,
            leases,
            control,
            targets: watched,
            monitor,
            ready: HashMap::new(),
            instance: format!("{}.{}", options.name, nuid()),
            sequences: HashMap::new(),
            refusals,
            published: Arc::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            dumps: Arc::new(Semaphore::new(DUMPS)),
            options,
        })
    }

    /// The monitor, for the states of the targets.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// What can be read of the collector while it runs.
    pub fn progress(&self) -> Progress {
        Progress { targets: self.monitor.targets(), published: Arc::clone(&self.published) }
    }

    /// Publishes events and answers consumers, until no target is left. Cancel-safe, but for the event at
    /// hand: it may be published or not.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) where the server has ended the connection for good, or
    /// refuses the subjects (its permissions).
    pub async fn run(&mut self) -> Result<(), Error> {
        let mut renewals = interval(RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_shared = self.leases.is_some();
            tokio::select! {
                biased;
                _ = renewals.tick(), if is_shared => self.renew().await,
                Some(refused) = self.refusals.recv() => {
                    let text = format!("the NATS server refuses what is published: {refused}");
                    return Err(Error::new(crate::ErrorKind::Connect, text).lasting());
                }
                request = self.control.next() => match request {
                    Some(request) => self.serve(request).await?,
                    None => {
                        let text = "the connection to the NATS server has ended";
                        return Err(Error::new(crate::ErrorKind::Connect, text));
                    }
                },
                event = self.monitor.next(), if !is_shared || self.monitor.has_targets() => match event {
                    Some(event) => self.publish(event).await?,
                    None if is_shared => {}
                    None => return Ok(()),
                },
            }
        }
    }

    /// Gives back what other collectors may have, and waits until what is published is written.
    pub async fn end(mut self) {
        if let Some(leases) = &mut self.leases {
            leases.end().await;
        }
        let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        let flushed = async {
            let _ = self.in_flight.acquire_many(all).await;
            let _ = self.client.flush().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), flushed).await;
    }

    async fn renew(&mut self) {
        let Some(leases) = &mut self.leases else { return };
        for (name, watched) in &self.targets {
            match leases.renew(name).await {
                Some(Change::Taken) => {
                    // Fails for one that is watched still: its lease was lost for a moment.
                    let _ = self.monitor.targets().add(watched.clone());
                }
                Some(Change::Lost) => {
                    self.monitor.targets().remove(name);
                    self.ready.retain(|source, _| source.target != *name);
                }
                None => {}
            }
        }
    }

    async fn publish(&mut self, event: MonitorEvent) -> Result<(), Error> {
        match &event.what {
            Happening::Ready(ready) => {
                self.ready.insert(Arc::clone(&event.source), ready.clone());
            }
            Happening::Gone => {
                self.ready.remove(&event.source);
            }
            Happening::Disconnected { .. } => {
                let target = &event.source.target;
                let is_of = |source: &Source| match &event.source.netns {
                    Some(netns) => source.target == *target && source.netns.as_ref() == Some(netns),
                    None => source.target == *target,
                };
                self.ready.retain(|source, _| !is_of(source));
            }
            _ => {}
        }
        let mut message = Outgoing::new(&self.options.prefix, &event);
        let sequence = self.sequences.entry(Arc::clone(&event.source.target)).or_default();
        *sequence += 1;
        message.number(&self.instance, &event.source.target, *sequence);
        self.published.fetch_add(1, Ordering::Relaxed);
        let Outgoing { subject, headers, payload } = message;
        let Some(context) = &self.jetstream else {
            // Waits while the server is away, or slow: the far kernels keep their events meanwhile.
            let published = self.client.publish_with_headers(subject, headers, payload).await;
            return published.map_err(|error| failed("publishing", error));
        };
        let permit = Arc::clone(&self.in_flight).acquire_owned().await;
        let Ok(permit) = permit else { return Ok(()) };
        let message = Outgoing { subject, headers, payload };
        let first = send(context, &message).await;
        tokio::spawn(acknowledged(context.clone(), message, first, permit));
        Ok(())
    }

    /// Answers a consumer.
    async fn serve(&mut self, request: Message) -> Result<(), Error> {
        let prefix = format!("{}-control.", self.options.prefix);
        let Some(what) = request.subject.strip_prefix(&prefix) else { return Ok(()) };
        let headers = request.headers.unwrap_or_default();
        match (what, request.reply) {
            ("list", Some(reply)) => {
                for (source, ready) in &self.ready {
                    let what = Happening::Ready(ready.clone());
                    let event = MonitorEvent::new(Arc::clone(source), SystemTime::now(), what);
                    let Outgoing { headers, payload, .. } =
                        Outgoing::new(&self.options.prefix, &event);
                    let told =
                        self.client.publish_with_headers(reply.clone(), headers, payload).await;
                    told.map_err(|error| failed("answering", error))?;
                }
            }
            ("mark", _) => {
                let ready = source(&headers).and_then(|source| self.ready.get(&source));
                if let (Some(ready), Some(number)) = (ready, number(&headers, header::MARK)) {
                    ready.mark(number);
                }
            }
            ("dump", Some(reply)) => {
                let ready = source(&headers).and_then(|source| self.ready.get(&source)).cloned();
                let Some(ready) = ready else { return Ok(()) };
                let protocol = Protocol::new(number(&headers, header::PROTOCOL).unwrap_or(0));
                let (client, request) = (self.client.clone(), request.payload.to_vec());
                if let Ok(permit) = Arc::clone(&self.dumps).acquire_owned().await {
                    tokio::spawn(async move {
                        dump(&client, &reply, &ready, protocol, request).await;
                        drop(permit);
                    });
                }
            }
            _ => tracing::debug!(what, version = text(&headers, header::EVENT), "unknown request"),
        }
        Ok(())
    }
}

/// Answers a request for a dump: messages of datagrams, and a last one with the result.
async fn dump(
    client: &Client,
    reply: &async_nats::Subject,
    ready: &Ready,
    protocol: Protocol,
    request: Vec<u8>,
) {
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    let result = ready.dump(protocol, vec![request], |message| {
        let header = message.header;
        if pieces.last().is_none_or(|piece| piece.len() + message.payload.len() > PIECE) {
            pieces.push(Vec::new());
        }
        let Some(piece) = pieces.last_mut() else { return };
        piece.extend(header.length.to_ne_bytes());
        piece.extend(header.kind.to_ne_bytes());
        piece.extend(header.flags.to_ne_bytes());
        piece.extend(header.sequence.to_ne_bytes());
        piece.extend(header.portid.to_ne_bytes());
        piece.extend(message.payload);
        piece.resize(piece.len().next_multiple_of(4), 0);
    });
    let mut end = HeaderMap::new();
    match result.await {
        Ok(()) => {
            end.insert(header::EVENT, "end");
            for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
                if client.publish(reply.clone(), piece.into()).await.is_err() {
                    return;
                }
            }
        }
        Err(DumpFailed::Interrupted) => end.insert(header::EVENT, "interrupted"),
        Err(DumpFailed::Disconnected) => end.insert(header::EVENT, "disconnected"),
        Err(DumpFailed::Refused(error)) => {
            end.insert(header::EVENT, "refused");
            end.insert(header::WHY, error.to_string().replace(char::is_control, " "));
            if let Some(errno) = error.errno() {
                end.insert(header::ERRNO, errno.to_string());
            }
        }
    }
    let _ = client.publish_with_headers(reply.clone(), end, bytes::Bytes::new()).await;
}

type Sent = Result<jetstream::context::PublishAckFuture, jetstream::context::PublishError>;

async fn send(context: &jetstream::Context, message: &Outgoing) -> Sent {
    let Outgoing { subject, headers, payload } = message.clone();
    context.publish_with_headers(subject, headers, payload).await
}

/// Sends an event again until the server has it.
async fn acknowledged(
    context: jetstream::Context,
    message: Outgoing,
    first: Sent,
    permit: OwnedSemaphorePermit,
) {
    let mut sent = first;
    loop {
        let result = match sent {
            Ok(acknowledgement) => acknowledgement.await.map(drop),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => break,
            Err(error) => tracing::debug!(subject = message.subject, %error, "not stored yet"),
        }
        sleep(PAUSE).await;
        sent = send(&context, &message).await;
    }
    drop(permit);
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("options", &self.options).finish_non_exhaustive()
    }
}

//! Which of several collectors has a target.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{Context, kv, stream};
use bytes::Bytes;

use super::{failed, subject::token};
use crate::Error;

/// A lease that is not renewed ends after this time.
const TERM: Duration = Duration::from_secs(9);

/// The time between renewals.
pub(super) const RENEWAL: Duration = Duration::from_secs(2);

/// A holder that cannot renew its lease lets go after this time, before another can have it.
const PATIENCE: Duration = Duration::from_secs(6);

/// The leases of one collector.
pub(super) struct Leases {
    store: kv::Store,
    /// The collector's name.
    name: String,
    held: HashMap<Arc<str>, Lease>,
}

struct Lease {
    revision: u64,
    renewed: Instant,
}

/// What has become of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Taken,
    Lost,
}

impl Leases {
    pub(super) async fn new(context: &Context, prefix: &str, name: &str) -> Result<Self, Error> {
        let bucket = format!("{}-leases", prefix.replace('.', "-"));
        // As `create_key_value` has it, which wants a server of 2.10.
        let config = stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            description: Some("which collector watches which target".to_owned()),
            max_messages_per_subject: 1,
            max_age: TERM,
            duplicate_window: TERM,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            storage: stream::StorageType::Memory,
            ..Default::default()
        };
        let made = context.get_or_create_stream(config).await;
        made.map_err(|error| failed("creating the leases", error))?;
        let store = context.get_key_value(bucket).await;
        let store = store.map_err(|error| failed("opening the leases", error))?;
        Ok(Self { store, name: name.to_owned(), held: HashMap::new() })
    }

    /// Renews a lease that is held, or tries to take one that is not; gives what has changed.
    pub(super) async fn renew(&mut self, target: &Arc<str>) -> Option<Change> {
        // A key of the store has no percent sign.
        let key = token(target).replace('%', "=");
        let value = Bytes::from(self.name.clone());
        let Some(lease) = self.held.get_mut(target) else {
            let began = Instant::now();
            let revision = self.store.create(&key, value).await.ok()?;
            self.held.insert(Arc::clone(target), Lease { revision, renewed: began });
            return Some(Change::Taken);
        };
        let began = Instant::now();
        match self.store.update(&key, value, lease.revision).await {
            Ok(revision) => {
                *lease = Lease { revision, renewed: began };
                None
            }
            // Another one has it, or the server is away.
            Err(error) => {
                let is_lost = error.kind() == kv::UpdateErrorKind::WrongLastRevision
                    || lease.renewed.elapsed() >= PATIENCE;
                if !is_lost {
                    return None;
                }
                self.held.remove(target);
                Some(Change::Lost)
            }
        }
    }

    /// Gives all leases back.
    pub(super) async fn end(&mut self) {
        for target in std::mem::take(&mut self.held).into_keys() {
            let key = token(&target).replace('%', "=");
            let _ = self.store.purge(&key).await;
        }
    }
}

//! Dumping all objects.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{entries::Entries, kind::Kind};
use crate::{
    monitor::{DumpFailed, Ready},
    nlmsg::Message,
};

/// A dump under way.
pub(super) type Dump<K> = Pin<Box<dyn Future<Output = Result<Entries<K>, DumpFailed>> + Send>>;

/// Dumps all objects.
pub(super) async fn dump<K: Kind>(kind: Arc<K>, ready: Ready) -> Result<Entries<K>, DumpFailed> {
    let mut entries = Entries::default();
    let add = |message: &Message<'_>| entries.add(&*kind, message);
    ready.dump(kind.protocol(), kind.requests(), add).await?;
    Ok(entries)
}

//! Dumping all objects.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{entries::Entries, kind::Kind};
use crate::{
    Error, Requests,
    client::{RequestError, RequestErrorKind, options},
    errno::{EAFNOSUPPORT, EOPNOTSUPP},
    monitor::Ready,
    nlmsg::{add_flags, flags},
};

/// A dump under way.
pub(super) type Dump<K> = Pin<Box<dyn Future<Output = Result<Entries<K>, Failed>> + Send>>;

/// A dump that has not succeeded.
pub(super) enum Failed {
    /// It has to be repeated.
    Interrupted,
    /// The connection ended.
    Disconnected,
    /// The far kernel, or the stub, refuses.
    Refused(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error.is_disconnected() {
            true => Self::Disconnected,
            false => Self::Refused(error),
        }
    }
}

/// Dumps all objects.
pub(super) async fn dump<K: Kind>(kind: Arc<K>, ready: Ready) -> Result<Entries<K>, Failed> {
    let socket = ready.socket(kind.protocol()).netlink_option(options::GET_STRICT_CHK, true);
    let requests = Requests::new(socket.open().await?);
    let mut entries = Entries::default();
    for mut request in kind.requests() {
        add_flags(&mut request, flags::DUMP);
        let mut answer = requests.send(request);
        while let Some(message) = answer.next().await {
            match message {
                Ok(message) => entries.add(&*kind, &message.message()),
                Err(error) if is_nothing(&error) => break,
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(entries)
}

/// Whether the kernel has no such objects at all.
fn is_nothing(error: &RequestError) -> bool {
    error.kind() == RequestErrorKind::Refused
        && matches!(error.errno(), Some(EOPNOTSUPP | EAFNOSUPPORT))
}

fn failed(error: RequestError) -> Failed {
    match error.kind() {
        RequestErrorKind::Interrupted | RequestErrorKind::Lost => Failed::Interrupted,
        _ => Error::from(error).into(),
    }
}

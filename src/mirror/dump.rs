//! Dumping all objects.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{entries::Entries, kind::Kind};
use crate::{
    Error, Protocol, Requests,
    client::{RequestError, RequestErrorKind, options},
    errno::{EAFNOSUPPORT, EOPNOTSUPP},
    monitor::Ready,
    nlmsg::{Builder, add_flags, flags},
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
    wait_for_lock(&requests, kind.protocol()).await?;
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

/// Waits until a change is complete that the kernel has told of already.
///
/// The kernel tells that a link is down before it deletes the link's routes, all of it under one lock
/// (`rtnl_lock`), and dumps of routes and the like take no lock. To look up a link does, even one that there
/// cannot be (`net/core/rtnetlink.c`).
async fn wait_for_lock(requests: &Requests, protocol: Protocol) -> Result<(), Failed> {
    const GETLINK: u16 = 18;
    const HEADER: usize = 16;
    if protocol != Protocol::ROUTE {
        return Ok(());
    }
    let mut header = [0; HEADER];
    if let Some(index) = header.get_mut(4..8) {
        index.copy_from_slice(&i32::MAX.to_ne_bytes());
    }
    match requests.one(Builder::new(GETLINK, 0).put(&header).finish()).await {
        Err(error) if error.kind() != RequestErrorKind::Refused => Err(failed(error)),
        _ => Ok(()),
    }
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

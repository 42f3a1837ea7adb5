//! Dumps over the connection of subscriptions.

use super::ready::Ready;
#[cfg(feature = "nats")]
use super::ready::Way;
use crate::{
    Error, Protocol, Requests,
    client::{RequestError, RequestErrorKind, options},
    errno::{EAFNOSUPPORT, EOPNOTSUPP},
    nlmsg::{Builder, Message, add_flags, flags},
};
#[cfg(feature = "nats")]
use crate::{errno::EINTR, nlmsg::messages};

/// A dump that has not succeeded.
#[derive(Debug)]
pub(crate) enum DumpFailed {
    /// It has to be repeated.
    Interrupted,
    /// The connection ended.
    Disconnected,
    /// The far kernel, or the stub, refuses.
    Refused(Error),
}

impl From<Error> for DumpFailed {
    fn from(error: Error) -> Self {
        match error.is_disconnected() {
            true => Self::Disconnected,
            false => Self::Refused(error),
        }
    }
}

impl Ready {
    /// Makes dumps, one after the other, and gives each message of them to `each`. A dump that the kernel
    /// refuses with EOPNOTSUPP or EAFNOSUPPORT has none.
    pub(crate) async fn dump(
        &self,
        protocol: Protocol,
        dumps: Vec<Vec<u8>>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), DumpFailed> {
        #[cfg(feature = "nats")]
        if let Way::Relayed(relay) = &self.way {
            for request in dumps {
                match relay.dump(protocol, request).await {
                    Ok(datagrams) => {
                        let messages = datagrams.iter().flat_map(|data| messages(data));
                        messages.for_each(|message| each(&message));
                    }
                    Err(error) if error.errno() == Some(EINTR) => {
                        return Err(DumpFailed::Interrupted);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(());
        }
        let Some(builder) = self.socket(protocol) else { return Err(DumpFailed::Disconnected) };
        let socket = builder.netlink_option(options::GET_STRICT_CHK, true).open().await?;
        let requests = Requests::new(socket);
        wait_for_lock(&requests, protocol).await?;
        for mut request in dumps {
            add_flags(&mut request, flags::DUMP);
            let mut answer = requests.send(request);
            while let Some(message) = answer.next().await {
                match message {
                    Ok(message) => each(&message.message()),
                    Err(error) if is_nothing(&error) => break,
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(())
    }
}

/// Waits until a change is complete that the kernel has told of already.
///
/// The kernel tells that a link is down before it deletes the link's routes, all of it under one lock
/// (`rtnl_lock`), and dumps of routes and the like take no lock. To look up a link does, even one that there
/// cannot be (`net/core/rtnetlink.c`).
async fn wait_for_lock(requests: &Requests, protocol: Protocol) -> Result<(), DumpFailed> {
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

fn failed(error: RequestError) -> DumpFailed {
    match error.kind() {
        RequestErrorKind::Interrupted | RequestErrorKind::Lost => DumpFailed::Interrupted,
        _ => Error::from(error).into(),
    }
}

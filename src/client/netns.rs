//! Network namespaces at the far end.

#![forbid(unsafe_code)]

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::shared::Handle;
use crate::{
    Error, ErrorKind,
    proto::netns_message,
    wire::{
        Message, Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, SocketId, hello::NetnsId,
    },
};

/// How long an operation on namespaces may take: creating one can, on a busy host.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Operations on the namespaces of the far end's host, made by
/// [`Client::netns`](super::Client::netns).
///
/// Names are those of ip-netns(8), in `/run/netns`: what this makes, `ip netns` sees, and the
/// other way round. All methods are cancel-safe in that a dropped one leaves nothing open, but
/// what it asked for may still happen; each waits for 60 seconds at most. Each gives
/// [`ErrorKind::Invalid`] for a name that is larger than the connection carries.
#[derive(Clone)]
pub struct RemoteNetns {
    handle: Handle,
}

impl RemoteNetns {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Opens a namespace and keeps it open at the far end.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with the errno: ENOENT, ESRCH, EINVAL for a file that is no
    /// network namespace, EEXIST for an exclusive creation, EPERM; [`ErrorKind::Disconnected`].
    /// For a container: ENOENT where it or its engine's program is not there, ESRCH where it is
    /// not running, EACCES and EPERM, ECONNREFUSED where the engine is not running, ETIMEDOUT
    /// where it does not answer within 10 seconds, EIO for whatever else it says;
    /// [`ErrorKind::Invalid`] for what no container can be called.
    pub async fn open(&self, netns: Netns, mode: NetnsMode) -> Result<NetnsHandle, Error> {
        check_container(&netns)?;
        let value = self.request(NetnsRequest::Open(netns, mode)).await?;
        let opened = NetnsOpened::decode(&value)?;
        let connection = self.handle.clone();
        Ok(NetnsHandle(Arc::new(OpenNetns { connection, opened })))
    }

    /// The named namespaces, sorted by name.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with the errno; [`ErrorKind::Disconnected`].
    pub async fn list(&self) -> Result<Vec<NetnsEntry>, Error> {
        let value = self.request(NetnsRequest::List).await?;
        Ok(NetnsEntry::decode_list(&value)?)
    }

    /// Creates a named namespace, as `ip netns add` does.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with EEXIST, EPERM, or EINVAL for what cannot be a name;
    /// [`ErrorKind::Disconnected`].
    pub async fn add(&self, name: &str) -> Result<(), Error> {
        self.request(NetnsRequest::Add(name.to_owned())).await.map(drop)
    }

    /// Deletes a named namespace, as `ip netns delete` does.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with ENOENT, EPERM, or EINVAL for what cannot be a name;
    /// [`ErrorKind::Disconnected`].
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.request(NetnsRequest::Delete(name.to_owned())).await.map(drop)
    }

    async fn request(&self, operation: NetnsRequest) -> Result<Bytes, Error> {
        let opens_netns = matches!(operation, NetnsRequest::Open(..));
        let message = netns_message(operation);
        let kind = ErrorKind::Namespace;
        let wait = request(&self.handle, SocketId::CONNECTION, message, kind, opens_netns);
        timeout(TIMEOUT, wait).await.unwrap_or_else(|_| {
            let text = format!("the far end did not answer within {TIMEOUT:?}");
            Err(Error::new(ErrorKind::Timeout, text))
        })
    }
}

/// Refuses what no container can be called: to the far end it would be a breach of the protocol.
pub(super) fn check_container(netns: &Netns) -> Result<(), Error> {
    if netns.is_well_named() {
        return Ok(());
    }
    let rule = "a letter or digit, then letters, digits, `_`, `.` and `-`, 255 at most";
    Err(Error::invalid(format!("{netns} cannot be: a container's name is {rule}")))
}

impl std::fmt::Debug for RemoteNetns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteNetns").finish_non_exhaustive()
    }
}

/// A namespace that the stub keeps open until the last clone of this is dropped.
#[derive(Clone, Debug)]
pub struct NetnsHandle(Arc<OpenNetns>);

struct OpenNetns {
    connection: Handle,
    opened: NetnsOpened,
}

impl NetnsHandle {
    /// The number of the *stub's* descriptor, for messages that carry one: `IFLA_NET_NS_FD` and
    /// its like, sent through sockets of the same connection. It is a high number, because the
    /// stub keeps low ones free: one made up gives EBADF, and does not hit something by accident.
    pub fn fd(&self) -> u32 {
        self.0.opened.fd
    }

    /// The namespace's identity.
    pub fn id(&self) -> NetnsId {
        self.0.opened.id
    }
}

impl Drop for OpenNetns {
    fn drop(&mut self) {
        let _ = self.connection.with(|inner, _| {
            inner.close_netns(self.opened.fd);
            Ok(())
        });
    }
}

impl std::fmt::Debug for OpenNetns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenNetns").field(&self.opened).finish()
    }
}

/// Makes a numbered request and waits for its reply; forgotten when dropped.
pub(super) async fn request<'m>(
    handle: &Handle,
    socket: SocketId,
    message: impl FnOnce(u32) -> Message<'m>,
    kind: ErrorKind,
    opens_netns: bool,
) -> Result<Bytes, Error> {
    struct Guard<'a> {
        handle: &'a Handle,
        number: u32,
        opens_netns: bool,
    }
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.handle.run(|inner, _| inner.abandon_request(self.number, self.opens_netns));
        }
    }

    let number = handle.request(socket, message).await?;
    let guard = Guard { handle, number, opens_netns };
    let reply = poll_fn(|cx| {
        let polled = handle.run(|inner, _| inner.poll_reply(number, cx));
        polled.map(|reply| reply.map_err(|error| error.into_error(kind)))
    })
    .await;
    if reply.is_ok() {
        // The reply is ours now, and so is what it opened.
        std::mem::forget(guard);
    }
    reply
}

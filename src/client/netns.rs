//! Network namespaces at the far end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::connection_ref::ConnectionRef;
use crate::{
    Error, ErrorKind,
    limits::client::NETNS_TIMEOUT,
    proto::netns_message,
    wire::{Netns, NetnsEntry, NetnsMode, NetnsOpened, NetnsRequest, SocketId, hello::NetnsId},
};

/// Operations on the namespaces of the far end's host, made by
/// [`Client::netns`](super::Client::netns).
///
/// Names are those of ip-netns(8), in `/run/netns`: `ip netns` sees the namespaces made here, and
/// the other way round. A dropped `open` leaves no namespace open at the stub; a dropped `add` or
/// `delete` may still be carried out.
///
/// # Errors
/// Each method fails with [`ErrorKind::Timeout`] after 60 seconds, while the operation may still
/// happen, and with [`ErrorKind::Invalid`] for a name or path of more than 64 KiB.
#[derive(Clone)]
pub struct RemoteNetns {
    connection: ConnectionRef,
}

impl RemoteNetns {
    pub(super) fn new(connection: ConnectionRef) -> Self {
        Self { connection }
    }

    /// Opens a namespace and keeps it open at the far end.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with the errno: ENOENT, ESRCH, EINVAL for a file that is no
    /// network namespace and for the creation of a namespace given otherwise than by name, EEXIST for
    /// an exclusive creation, EPERM; [`ErrorKind::Disconnected`].
    /// For a container: ENOENT for a container or an engine's program that is not there, ESRCH for
    /// a container that is not running, EACCES and EPERM, ECONNREFUSED for an engine that is not
    /// running, ETIMEDOUT for one that does not answer within 10 seconds, EIO for its other
    /// failures; [`ErrorKind::Invalid`] for a name that no container can have.
    pub async fn open(&self, netns: Netns, mode: NetnsMode) -> Result<NetnsHandle, Error> {
        check_container(&netns)?;
        let value = self.request(NetnsRequest::Open(netns, mode)).await?;
        let opened = NetnsOpened::decode(&value)?;
        let connection = self.connection.clone();
        Ok(NetnsHandle(Arc::new(OpenNetns { connection, opened })))
    }

    /// The named namespaces, sorted by name.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with the errno; [`ErrorKind::Disconnected`].
    pub async fn list(&self) -> Result<Vec<NetnsEntry>, Error> {
        let mut list = self.list_unsorted().await?;
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// The named namespaces, in the order of the far host's directory.
    pub(crate) async fn list_unsorted(&self) -> Result<Vec<NetnsEntry>, Error> {
        let value = self.request(NetnsRequest::List).await?;
        Ok(NetnsEntry::decode_list(&value)?)
    }

    /// Creates a named namespace, as `ip netns add` does.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with EEXIST, EPERM, or EINVAL for a name that none can have;
    /// [`ErrorKind::Disconnected`].
    pub async fn add(&self, name: &str) -> Result<(), Error> {
        self.request(NetnsRequest::Add(name.to_owned())).await.map(drop)
    }

    /// Deletes a named namespace, as `ip netns delete` does.
    ///
    /// # Errors
    /// [`ErrorKind::Namespace`] with ENOENT, EPERM, or EINVAL for a name that none can have;
    /// [`ErrorKind::Disconnected`].
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.request(NetnsRequest::Delete(name.to_owned())).await.map(drop)
    }

    async fn request(&self, operation: NetnsRequest) -> Result<Bytes, Error> {
        let opens_netns = matches!(operation, NetnsRequest::Open(..));
        let message = netns_message(operation);
        let reply = self.connection.request(SocketId::CONNECTION, message, opens_netns);
        match timeout(NETNS_TIMEOUT, reply).await {
            Ok(reply) => reply.map_err(|error| error.into_error(ErrorKind::Namespace)),
            Err(_) => {
                let text = format!("the far end did not answer within {NETNS_TIMEOUT:?}");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }
}

/// Refuses a name that no container can have: to the stub it would be a violation of the protocol.
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
    connection: ConnectionRef,
    opened: NetnsOpened,
}

impl NetnsHandle {
    /// The number of the *stub's* descriptor, for attributes such as `IFLA_NET_NS_FD` in messages
    /// that are sent through sockets of the same connection. The number is high, since the stub
    /// keeps low ones free: a number made up gives EBADF, and hits no descriptor by accident.
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
        let _ = self.connection.with(|state, _| {
            let (replies, wire, _) = state.replies();
            replies.close_netns(wire, self.opened.fd);
            Ok(())
        });
    }
}

impl std::fmt::Debug for OpenNetns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenNetns").field(&self.opened).finish()
    }
}

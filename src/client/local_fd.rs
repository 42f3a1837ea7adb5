//! A remote socket as a descriptor of this host, for code that takes one.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net,
    },
    sync::Arc,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socketpair, sockopt},
};
use tokio::{net::UnixDatagram, time::timeout};

use super::{delivery::Event, socket::RemoteSocket};
use crate::{
    Error, ErrorKind,
    errno::{EMSGSIZE, ENOBUFS},
    nlmsg::{Builder, aligned, kind, messages},
};

/// Room of the local pair that is asked for: a dump's datagrams have 32 KiB, and several should fit.
const ROOM: usize = 1 << 20;

/// Bytes of one datagram from the local end, at most.
const MOST: usize = 1 << 20;

/// Time for datagrams that were sent before the end.
const LAST_SENDS: Duration = Duration::from_secs(5);

impl RemoteSocket {
    /// Makes the socket a descriptor of this process: one end of a pair of AF_UNIX sockets of SOCK_SEQPACKET, whose
    /// datagrams are those of the far socket, for code that takes a descriptor (`use_socket` of pyroute2,
    /// `nl_socket_set_fd`, `mnl_socket_fdopen`). The descriptor blocks, and is closed on exec.
    ///
    /// Spawns a task on the current tokio runtime, as [`serve_fd`](Self::serve_fd).
    ///
    /// It is a handle, and no netlink socket: getsockname(2) says AF_UNIX, and so does the address of a datagram,
    /// which `mnl_socket_recvfrom` and libnl refuse; options are those of the pair. Code that does not wait and
    /// takes EAGAIN for the end of a dump, as nft does, sees an end where only the network was slow. For whole
    /// programs there is `run`.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        tokio::spawn(async move {
            if let Err(error) = self.serve_fd(near).await {
                tracing::debug!(%error, "a descriptor of a remote socket has ended");
            }
        });
        Ok(far)
    }

    /// Carries datagrams between this socket and the local end of a pair of AF_UNIX sockets of SOCK_SEQPACKET or
    /// SOCK_DGRAM, until the other end is closed; then everything sent before has reached the far kernel.
    ///
    /// Back-pressure is kept: while nobody reads the pair, the far kernel's queue fills. What the far kernel dropped
    /// comes as a message `NLMSG_ERROR` of sequence number 0 with ENOBUFS, at its place; a datagram that the far
    /// kernel refuses likewise, with its errno. Datagrams larger than the pair takes are divided between messages.
    ///
    /// Sets the descriptor to not block, and so the other descriptors of the same open file. A dropped future closes
    /// both.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for another descriptor; [`ErrorKind::Disconnected`].
    pub async fn serve_fd(self, fd: OwnedFd) -> Result<(), Error> {
        let invalid = |what: &str, error: io::Error| {
            Error::invalid(format!("{what}: {}", crate::errno::words(&error)))
        };
        let kind = getsockopt(&fd, sockopt::SockType);
        if !matches!(kind, Ok(SockType::SeqPacket | SockType::Datagram)) {
            let text = "the descriptor is no socket of SOCK_SEQPACKET or SOCK_DGRAM";
            return Err(Error::invalid(text));
        }
        // Without privilege as much as net.core.wmem_max allows.
        if setsockopt(&fd, sockopt::SndBufForce, &ROOM).is_err() {
            let _ = setsockopt(&fd, sockopt::SndBuf, &ROOM);
        }
        let near = net::UnixDatagram::from(fd);
        near.set_nonblocking(true).map_err(|error| invalid("the descriptor", error))?;
        let near =
            UnixDatagram::from_std(near).map_err(|error| invalid("the descriptor", error))?;
        let socket = Arc::new(self);
        tokio::select! {
            ended = to_far(&near, &socket) => {
                ended?;
                // Closing the socket would discard what is not written yet.
                let _ = timeout(LAST_SENDS, socket.drained()).await;
                Ok(())
            }
            ended = from_far(&near, &socket) => ended,
        }
    }
}

/// Sends what comes from the local end, until that is closed.
async fn to_far(near: &UnixDatagram, socket: &RemoteSocket) -> Result<(), Error> {
    let mut room = vec![0; MOST];
    loop {
        let length = match near.recv(&mut room).await {
            // An empty datagram, or the end.
            Ok(0) if is_closed(near) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => {
                let text = format!("reading the descriptor: {}", crate::errno::words(&error));
                return Err(Error::new(ErrorKind::Send, text).with_source(error));
            }
        };
        match socket.send(room.get(..length).unwrap_or_default()).await {
            Err(error) if error.kind() == ErrorKind::Send => {
                tell(near, error.errno().unwrap_or(EMSGSIZE)).await?;
            }
            sent => sent?,
        }
    }
}

fn is_closed(near: &UnixDatagram) -> bool {
    let mut polled = [PollFd::new(near.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut polled, PollTimeout::ZERO);
    let events = polled.iter().filter_map(|polled| polled.revents()).next();
    debug_assert!(near.as_raw_fd() >= 0);
    events.is_none_or(|events| events.contains(PollFlags::POLLHUP))
}

/// Gives the local end what comes from the far one.
async fn from_far(near: &UnixDatagram, socket: &RemoteSocket) -> Result<(), Error> {
    loop {
        match socket.recv().await {
            Ok(Event::Datagram(datagram)) => give(near, &datagram.data).await?,
            Ok(Event::Lost { .. }) => tell(near, ENOBUFS).await?,
            Err(error) if matches!(error.kind(), ErrorKind::Send | ErrorKind::Receive) => {
                tell(near, error.errno().unwrap_or(EMSGSIZE)).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the local end has room for a datagram; one that it can never have room for goes in parts.
async fn give(near: &UnixDatagram, datagram: &[u8]) -> Result<(), Error> {
    match put(near, datagram).await {
        Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {}
        result => return result.or_else(of_reader),
    }
    let mut at = 0;
    for message in messages(datagram) {
        let end = (at + aligned(message.header.length as usize)).min(datagram.len());
        match put(near, datagram.get(at..end).unwrap_or_default()).await {
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => tell(near, EMSGSIZE).await?,
            result => result.or_else(of_reader)?,
        }
        at = end;
    }
    Ok(())
}

async fn put(near: &UnixDatagram, datagram: &[u8]) -> io::Result<()> {
    loop {
        match near.send(datagram).await {
            Ok(_) => return Ok(()),
            // The kernel's memory for sockets, not that of this one.
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A reader that has gone is no error: the end comes by the other direction.
fn of_reader(error: io::Error) -> Result<(), Error> {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::ConnectionRefused => Ok(()),
        _ => {
            let text = format!("writing to the descriptor: {}", crate::errno::words(&error));
            Err(Error::new(ErrorKind::Receive, text).with_source(error))
        }
    }
}

/// Tells an errno as a message.
async fn tell(near: &UnixDatagram, errno: i32) -> Result<(), Error> {
    let message = Builder::new(kind::ERROR, 0).put(&(-errno).to_ne_bytes()).put(&[0; 16]).finish();
    put(near, &message).await.or_else(of_reader)
}

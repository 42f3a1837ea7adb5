//! TCP connections to ssh servers.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::{
    fault,
    host::{AddressFamily, SshHost},
};
use crate::{Error, ErrorKind, blocking, text::one_line};

/// Connects to the first of a name's addresses that answers, within `limit` for all of them.
///
/// Addresses are tried one after the other, each for its share of the time that is left.
pub(super) async fn connect(host: &SshHost, limit: Duration) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + limit;
    let addresses = resolve(host, deadline).await?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        tracing::debug!(%address, ?share, "connecting by TCP");
        let error = match tokio::time::timeout(share, connect_to(*address, host)).await {
            Ok(Ok(stream)) => {
                tracing::debug!(%address, "connected by TCP");
                return configure(stream).map_err(|error| failed(address, error));
            }
            Ok(Err(error)) => failed(address, error),
            Err(_) => timed_out(address, share),
        };
        tracing::debug!("no TCP connection: {error:#}");
        last = Some(error);
    }
    let no_address = || {
        let family = match host.family {
            None => "",
            Some(AddressFamily::Inet) => " of IPv4, and AddressFamily wants one",
            Some(AddressFamily::Inet6) => " of IPv6, and AddressFamily wants one",
        };
        fault::connect(format!("{} has no address{family}", one_line(&host.host_name)))
    };
    let error = last.unwrap_or_else(no_address);
    match addresses.len() {
        0 | 1 => Err(error),
        others => Err(error.with_note(&format!(" (the last of {others} addresses tried)"))),
    }
}

/// Connects from the address and interface of the configuration.
async fn connect_to(address: SocketAddr, host: &SshHost) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(interface) = &host.bind_interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(from) = host.bind_address {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(address).await
}

async fn resolve(host: &SshHost, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
    let name = host.host_name.as_str();
    let asked = (name.to_owned(), host.port);
    let lookup =
        blocking::run(move || io::Result::Ok(asked.to_socket_addrs()?.collect::<Vec<_>>()));
    let name = one_line(name);
    match tokio::time::timeout_at(deadline, lookup).await.map(|found| found.and_then(|found| found))
    {
        Ok(Ok(mut addresses)) => {
            addresses.retain(|address| match host.family {
                None => true,
                Some(AddressFamily::Inet) => address.is_ipv4(),
                Some(AddressFamily::Inet6) => address.is_ipv6(),
            });
            Ok(addresses)
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            let text = text.rsplit(": ").next().unwrap_or_default();
            let remedy = "check the name, or set HostName in ~/.ssh/config";
            Err(fault::connect(format!("the name {name} is not found ({text}); {remedy}")))
        }
        Err(_) => {
            let text = format!("the name {name} is not resolved in time; is a DNS server down?");
            Err(Error::new(ErrorKind::Timeout, text))
        }
    }
}

/// Sends small frames at once (TCP_NODELAY), and has the kernel notice a host that is gone
/// (SO_KEEPALIVE).
fn configure(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    setsockopt(&stream, sockopt::KeepAlive, &true)?;
    Ok(stream)
}

fn failed(address: &SocketAddr, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is sshd running there, and on this port?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "; check the address and the routes to it"
        }
        io::ErrorKind::TimedOut => "; is the host up, and does a firewall drop it?",
        _ => "",
    };
    Error::new(ErrorKind::Connect, address.to_string()).with_source(error).with_note(remedy)
}

fn timed_out(address: &SocketAddr, share: Duration) -> Error {
    let text = format!(
        "{address}: no answer within {share:.1?}; is the host up, and does a firewall drop it?"
    );
    Error::new(ErrorKind::Timeout, text)
}

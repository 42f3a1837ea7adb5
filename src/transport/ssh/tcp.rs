//! Reaching a host over TCP.

#![forbid(unsafe_code)]

use std::{io, net::SocketAddr, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, time::Instant};

use super::{fault, host::SshHost};
use crate::{Error, ErrorKind, errno::describe};

/// Connects to the first of a name's addresses that answers, all of them within the time.
///
/// Addresses are tried one after the other, each for its share of the time that is left.
pub(super) async fn connect(host: &SshHost, limit: Duration) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + limit;
    let addresses = resolve(host, deadline).await?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return prepare(stream).map_err(|error| failed(address, &error)),
            Ok(Err(error)) => last = Some(failed(address, &error)),
            Err(_) => last = Some(silent(address, share)),
        }
    }
    let nowhere = || fault::connect(format!("{} has no address", host.host_name));
    let error = last.unwrap_or_else(nowhere);
    match addresses.len() {
        0 | 1 => Err(error),
        others => Err(error.with_note(&format!(" (the last of {others} addresses tried)"))),
    }
}

async fn resolve(host: &SshHost, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
    let name = host.host_name.as_str();
    let looking = tokio::net::lookup_host((name, host.port));
    match tokio::time::timeout_at(deadline, looking).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
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

/// Small frames go out at once, and a host that is gone is noticed some day.
fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    setsockopt(&stream, sockopt::KeepAlive, &true)?;
    Ok(stream)
}

fn failed(address: &SocketAddr, error: &io::Error) -> Error {
    let errno = error.raw_os_error();
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is sshd running there, and on this port?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "; check the address and the routes to it"
        }
        io::ErrorKind::TimedOut => "; is the host up, and does a firewall drop it?",
        _ => "",
    };
    let text = format!("{address}: {}{remedy}", describe(errno.unwrap_or_default()));
    Error::new(ErrorKind::Connect, text).with_errno(errno)
}

fn silent(address: &SocketAddr, share: Duration) -> Error {
    let text = format!(
        "{address}: no answer within {share:.1?}; is the host up, and does a firewall drop it?"
    );
    Error::new(ErrorKind::Timeout, text)
}

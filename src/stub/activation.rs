//! Socket units and readiness: sd_listen_fds(3) and sd_notify(3) of systemd, whose protocols are two
//! environment variables and a datagram.

use std::{
    env,
    ffi::OsStr,
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram},
    },
    process,
};

use crate::kernel::descriptors;

/// The number of the first socket that is passed on, `SD_LISTEN_FDS_START`.
const FIRST: u32 = 3;

/// The sockets that a service manager has opened for this process, with their names, in the order of
/// its unit; none for a process that was started otherwise (sd_listen_fds(3)).
///
/// Each call gives copies, with close-on-exec set. The descriptors of the manager, from number 3 on,
/// stay open, and are not inherited by programs that this process starts.
///
/// # Errors
/// `InvalidData` for environment variables that no manager writes, and those of fcntl(2).
pub fn activated() -> io::Result<Vec<(String, OwnedFd)>> {
    let variable = |name: &str| env::var(name).ok();
    let is_ours = variable("LISTEN_PID").is_some_and(|pid| pid == process::id().to_string());
    let Some(count) = variable("LISTEN_FDS").filter(|_| is_ours) else { return Ok(Vec::new()) };
    let count: u32 = count.parse().map_err(|_| {
        io::Error::new(ErrorKind::InvalidData, format!("LISTEN_FDS={count} is no number"))
    })?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let numbers = FIRST..FIRST.saturating_add(count);
    let socket = |number| {
        // sd_listen_fds(3) calls one without a name so.
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        Ok((name, descriptors::adopted(number)?))
    };
    numbers.map(socket).collect()
}

/// Closes every descriptor that this process has inherited, but for stdin, stdout, stderr and the
/// sockets of a service manager ([`activated`]): a client could name them in messages, such as
/// `IFLA_NET_NS_FD`.
///
/// To be called first in `main`: descriptors that this process has opened by itself are closed, too,
/// and whoever owns one then closes or uses another's. Does nothing before Linux 5.9, which cannot
/// close them all (close_range(2)).
pub fn close_inherited() {
    let variable = |name: &str| env::var(name).ok();
    let is_ours = variable("LISTEN_PID").is_some_and(|pid| pid == process::id().to_string());
    let count = variable("LISTEN_FDS").filter(|_| is_ours).and_then(|count| count.parse().ok());
    let _ = descriptors::close_from(FIRST.saturating_add(count.unwrap_or(0)));
}

/// Tells the service manager that started this process about its state, such as `READY=1` or
/// `STOPPING=1` (sd_notify(3)). Without such a manager it does nothing.
///
/// # Errors
/// Those of sendto(2) to the socket that `NOTIFY_SOCKET` names.
pub fn notify(state: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    send(&path, state)
}

fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read delays no service.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_go_to_paths_and_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut state = [0; 16];
        assert_eq!(manager.recv(&mut state).unwrap(), 7);
        assert_eq!(&state[..7], b"READY=1");

        let name = format!("nlr-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(manager.recv(&mut state).unwrap(), 10);
        assert!(send(OsStr::new("relative/nothing"), "READY=1").is_err());
    }
}

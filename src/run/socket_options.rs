//! Names, groups and options of a program's socket.

use std::{sync::Arc, time::Duration};

use super::{
    handle::Handle,
    outcome::{Outcome, errno_of},
};
use crate::{
    client::{Destination, FilterInstruction, options},
    nlmsg,
    sync::lock,
};

/// Options of SOL_NETLINK that are on or off, and that no kernel refuses.
const SWITCHES: [i32; 6] = [
    options::PKTINFO,
    options::BROADCAST_ERROR,
    options::NO_ENOBUFS,
    options::CAP_ACK,
    options::EXT_ACK,
    options::GET_STRICT_CHK,
];

impl Handle {
    /// Takes in a SO_RCVTIMEO, which the kernel sets on the program's end, too.
    pub(super) fn set_receive_timeout(&self, value: &[u8]) {
        if let Some(timeout) = time_of(value) {
            lock(&self.state).receive_timeout = timeout;
        }
    }

    /// bind(2).
    pub(super) async fn bind(self: &Arc<Self>, portid: u32, mask: u32) -> Outcome {
        // No socket that is bound has port id 0.
        let waits = {
            let mut state = lock(&self.state);
            if state.is_bound && state.portid != portid {
                return Err(libc::EINVAL);
            }
            if !state.is_bound && portid != 0 {
                // A socket that was opened for its options has another port id.
                state.close();
                state.portid = portid;
            }
            portid != 0 || mask != 0 || state.socket.is_some()
        };
        let before = lock(&self.state).groups.clone();
        let is_open = lock(&self.state).socket.is_some();
        for group in 1..=32 {
            let is_wanted = mask & (1 << (group - 1)) != 0;
            if is_wanted == before.contains(&group) {
                continue;
            }
            if is_open {
                self.member(group, is_wanted).await?;
            } else if is_wanted {
                // In the frame that opens the socket.
                lock(&self.state).groups.insert(group);
            } else {
                lock(&self.state).groups.remove(&group);
            }
        }
        // Otherwise the first call that needs the far socket opens it, or a send of the program to it.
        let opened = if waits { self.opened().await.map(drop) } else { Ok(()) };
        let mut state = lock(&self.state);
        if opened.is_err() {
            (state.portid, state.groups) = (0, before);
        }
        opened?;
        state.bound();
        Ok(0)
    }

    /// Joins or leaves a multicast group.
    async fn member(self: &Arc<Self>, group: u32, joins: bool) -> Outcome {
        let is_open = lock(&self.state).socket.is_some();
        let result = match (is_open, joins) {
            // In the frame that opens the socket.
            (false, true) => {
                lock(&self.state).groups.insert(group);
                let opened = self.opened().await;
                opened.map(drop).inspect_err(|_| {
                    lock(&self.state).groups.remove(&group);
                })
            }
            (_, true) => self.opened().await?.join(group).await.map_err(|error| errno_of(&error)),
            (_, false) => self.opened().await?.leave(group).await.map_err(|error| errno_of(&error)),
        };
        result?;
        let groups = &mut lock(&self.state).groups;
        if joins {
            groups.insert(group)
        } else {
            groups.remove(&group)
        };
        Ok(0)
    }

    /// connect(2).
    pub(super) fn connect(&self, destination: Destination) -> Outcome {
        let mut state = lock(&self.state);
        state.destination = destination;
        state.bound();
        Ok(0)
    }

    /// The port id and groups of the program's socket, and those that it is connected to.
    pub(super) fn names(&self) -> [(u32, u32); 2] {
        let state = lock(&self.state);
        let portid = if state.is_bound { state.portid } else { 0 };
        let mask = state.groups.iter().filter(|group| **group <= 32);
        let mask = mask.fold(0, |mask, group| mask | 1 << (group - 1));
        [(portid, mask), (state.destination.portid, state.destination.groups)]
    }

    /// setsockopt(2).
    pub(super) async fn set_option(
        self: &Arc<Self>,
        level: i32,
        name: i32,
        value: Vec<u8>,
    ) -> Outcome {
        // The kernel takes a short value of SOL_NETLINK for 0.
        let int = || match nlmsg::read_u32(&value, 0) {
            None if level == options::SOL_NETLINK => Ok(0),
            value => value.ok_or(libc::EINVAL),
        };
        match (level, name) {
            (options::SOL_NETLINK, options::ADD_MEMBERSHIP) => {
                return self.member(int()?, true).await;
            }
            (options::SOL_NETLINK, options::DROP_MEMBERSHIP) => {
                return self.member(int()?, false).await;
            }
            _ => {}
        }
        let value = int()?.to_ne_bytes().to_vec();
        let is_harmless = match level {
            options::SOL_NETLINK => SWITCHES.contains(&name),
            libc::SOL_SOCKET => matches!(name, libc::SO_SNDBUF | libc::SO_RCVBUF),
            _ => false,
        };
        let here = level == libc::SOL_SOCKET
            && matches!(name, libc::SO_PASSCRED | libc::SO_REUSEADDR | libc::SO_TIMESTAMP);
        let is_open = lock(&self.state).socket.is_some();
        // Options that nothing can refuse travel in the frame that opens the socket.
        if !here && (is_open || !is_harmless) {
            let set = self.opened().await?.set_option(level, name, &value).await;
            set.map_err(|error| errno_of(&error))?;
        }
        let options = &mut lock(&self.state).options;
        options.retain(|(of, known, _)| (*of, *known) != (level, name));
        options.push((level, name, value));
        Ok(0)
    }

    /// SO_ATTACH_FILTER.
    pub(super) async fn attach_filter(
        self: &Arc<Self>,
        instructions: &[FilterInstruction],
    ) -> Outcome {
        let attached = self.opened().await?.attach_filter(instructions).await;
        attached.map(|()| 0).map_err(|error| errno_of(&error))
    }

    /// getsockopt(2), with room for so many bytes.
    pub(super) async fn option(
        self: &Arc<Self>,
        level: i32,
        name: i32,
        room: u32,
    ) -> Result<Vec<u8>, i32> {
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => int(self.kind),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(libc::AF_NETLINK),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(self.protocol as i32),
            (libc::SOL_SOCKET, libc::SO_ERROR | libc::SO_ACCEPTCONN) => int(0),
            (libc::SOL_SOCKET, libc::SO_PASSCRED | libc::SO_REUSEADDR | libc::SO_TIMESTAMP) => {
                int(lock(&self.state).switch(level, name).into())
            }
            (options::SOL_NETLINK, name) if SWITCHES.contains(&name) => {
                int(lock(&self.state).switch(level, name).into())
            }
            _ => {
                let value = self.opened().await?.option(level, name, room).await;
                value.map(|value| value.to_vec()).map_err(|error| errno_of(&error))
            }
        }
    }
}

/// A `struct timeval`: `None` inside for no limit.
fn time_of(value: &[u8]) -> Option<Option<Duration>> {
    let long = |at: usize| value.get(at..at + 8)?.try_into().ok().map(i64::from_ne_bytes);
    let (seconds, micros) = (long(0)?, u32::try_from(long(8)?).ok()?);
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let time = Duration::new(seconds, micros.checked_mul(1000)?);
    Some((!time.is_zero()).then_some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs() {
        let time = |seconds: i64, micros: i64| {
            time_of(&[seconds.to_ne_bytes(), micros.to_ne_bytes()].concat())
        };
        assert_eq!(time(0, 0), Some(None));
        assert_eq!(time(1, 500_000), Some(Some(Duration::from_millis(1500))));
        assert_eq!(time(0, -1), None);
        assert_eq!(time_of(&[0; 8]), None);
    }
}

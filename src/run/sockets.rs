//! Calls that make sockets, name them, and set their options.

use std::{os::fd::OwnedFd, sync::Arc};

use nix::errno::Errno;

use super::{
    handle::Handle,
    memory::{ADDRESS, Memory, address, parse_address},
    outcome::{Outcome, errno_of},
    supervisor::{Answer, Supervisor},
    sys::Call,
};
use crate::{
    Protocol,
    client::{Destination, FilterInstruction, options},
    nlmsg::{read_u16, read_u32},
};

/// Protocols that every kernel with networking has: a socket of them is not waited for.
const USUAL: [u32; 4] = [0, 4, 12, 16];

/// The flags in the type of a socket.
const TYPE: i32 = 0xf;

/// Bytes of an option, at most, as the stub takes them.
const LONGEST_OPTION: u64 = 32 << 10;

/// Instructions of a filter, as the kernel has it (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: u16 = 4096;

impl Supervisor {
    /// socket(2).
    pub(super) fn socket(self: &Arc<Self>, call: &Call) -> Answer {
        let (family, kind, protocol) = (call.int(0), call.int(1), call.int(2));
        if family != libc::AF_NETLINK {
            let what = match family {
                libc::AF_PACKET => "a packet socket acts on this host",
                libc::AF_INET | libc::AF_INET6 => "a raw socket acts on this host",
                _ => "a socket of this family acts on this host",
            };
            self.notices.refused(call.tid, what);
            return Answer::error(libc::EPERM);
        }
        // As the kernel checks them.
        if !matches!(kind & TYPE, libc::SOCK_RAW | libc::SOCK_DGRAM) {
            return Answer::error(libc::ESOCKTNOSUPPORT);
        }
        let Ok(number) = u32::try_from(protocol) else {
            return Answer::error(libc::EPROTONOSUPPORT);
        };
        if number >= 32 {
            return Answer::error(libc::EPROTONOSUPPORT);
        }
        // Here rather than at the send: ip(8) ends with 0 where a dump request cannot be sent.
        if self.client.is_over() {
            let this = Arc::clone(self);
            return Answer::later(
                async move { Answer::error(errno_of(&this.client.closed().await)) },
            );
        }
        let space = self.spaces.of(call.tid);
        let mut builder = self.client.socket(Protocol::new(number));
        if let Some(handle) = &space.handle {
            builder = builder.netns_handle(handle);
        }
        let is_nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        let close_on_exec = kind & libc::SOCK_CLOEXEC != 0;
        let shown = Arc::clone(&self.shown);
        // The stub switches extended acks on by itself; the buffers are the kernel's.
        builder = builder.receive_buffer(0);
        if self.knows(options::EXT_ACK) {
            builder = builder.netlink_option(options::EXT_ACK, false);
        }
        let made = Handle::new(builder, number, kind & TYPE, is_nonblocking, shown);
        let (handle, far): (_, OwnedFd) = match made {
            Ok(made) => made,
            Err(errno) => return errno.into(),
        };
        self.add(Arc::clone(&handle));
        let answer = Answer::Descriptor {
            descriptor: Arc::new(far),
            at_handles: true,
            names: None,
            close_on_exec,
        };
        if USUAL.contains(&number) {
            return answer;
        }
        Answer::later(async move {
            match handle.ready().await {
                Ok(()) => answer,
                Err(errno) => Answer::error(errno),
            }
        })
    }

    /// An address that a call points at; `None` for none.
    fn address(
        &self,
        memory: &Memory,
        at: u64,
        length: u32,
    ) -> Result<Option<(i32, Destination)>, Errno> {
        if at == 0 || length == 0 {
            return Ok(None);
        }
        address_of(&memory.bytes(at, length.min(128) as usize)?)
    }

    /// The destination of a send; `None` for that of the socket.
    pub(super) fn destination(
        &self,
        memory: &Memory,
        at: u64,
        length: u32,
    ) -> Result<Option<Destination>, Errno> {
        if at == 0 || length == 0 {
            return Ok(None);
        }
        destination_of(&memory.bytes(at, length.min(128) as usize)?)
    }

    pub(super) fn bind(&self, call: &Call, handle: Arc<Handle>) -> Answer {
        let memory = Memory::of(call.tid);
        match self.address(&memory, call.argument(1), call.int(2) as u32) {
            Ok(Some((libc::AF_NETLINK, to))) => {
                Answer::later(async move { handle.bind(to.portid, to.groups).await.into() })
            }
            Ok(_) => Answer::error(libc::EINVAL),
            Err(errno) => errno.into(),
        }
    }

    pub(super) fn connect(&self, call: &Call, handle: Arc<Handle>) -> Answer {
        let memory = Memory::of(call.tid);
        match self.address(&memory, call.argument(1), call.int(2) as u32) {
            Ok(Some((libc::AF_NETLINK, to))) => handle.connect(to).into(),
            Ok(Some((libc::AF_UNSPEC, _))) => handle.connect(Destination::default()).into(),
            Ok(_) => Answer::error(libc::EINVAL),
            Err(errno) => errno.into(),
        }
    }

    /// getsockname(2), getpeername(2).
    pub(super) fn name(&self, call: &Call, handle: &Handle, of_peer: bool) -> Answer {
        let [own, peer] = handle.names();
        let (portid, groups) = if of_peer { peer } else { own };
        let name = address(portid, groups);
        self.write_sized(call, call.argument(1), call.argument(2), &name).into()
    }

    /// Writes as much of a value as a length in memory allows, and its whole length there.
    fn write_sized(&self, call: &Call, at: u64, length_at: u64, value: &[u8]) -> Outcome {
        if !self.waits(call) {
            return Ok(0);
        }
        let memory = Memory::of(call.tid);
        let write = || {
            let room = memory.u32(length_at)?;
            if room > i32::MAX as u32 {
                return Err(Errno::EINVAL);
            }
            let fits = value.get(..room as usize).unwrap_or(value);
            memory.write(at, fits)?;
            memory.write(length_at, &(value.len() as u32).to_ne_bytes())
        };
        write().map(|()| 0).map_err(|errno| errno as i32)
    }

    pub(super) fn set_option(&self, call: &Call, handle: Arc<Handle>) -> Answer {
        let (level, name) = (call.int(1), call.int(2));
        let (at, length) = (call.argument(3), call.int(4));
        let memory = Memory::of(call.tid);
        let Ok(length) = u64::try_from(length) else { return Answer::error(libc::EINVAL) };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER) => match filter(&memory, at, length) {
                Ok(filter) => {
                    Answer::later(async move { handle.attach_filter(&filter).await.into() })
                }
                Err(errno) => errno.into(),
            },
            (libc::SOL_SOCKET, libc::SO_ATTACH_BPF) => {
                self.notices
                    .say(call.tid, "a BPF program stays on this host: SO_ATTACH_BPF is refused");
                Answer::error(libc::EPERM)
            }
            // Kept by the program's end: the kernel rounds it.
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => Answer::GoOn,
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => {
                if let Ok(value) = memory.bytes(at, length.min(16) as usize) {
                    handle.set_receive_timeout(&value);
                }
                Answer::GoOn
            }
            (options::SOL_NETLINK, name) if !self.knows(name) => Answer::error(libc::ENOPROTOOPT),
            _ => match memory.bytes(at, length.min(LONGEST_OPTION) as usize) {
                Ok(value) => {
                    Answer::later(async move { handle.set_option(level, name, value).await.into() })
                }
                Err(errno) => errno.into(),
            },
        }
    }

    /// Whether the far kernel knows an option of SOL_NETLINK. The options travel in the frame that opens the
    /// socket: a kernel that refuses one would refuse the socket.
    fn knows(&self, name: i32) -> bool {
        is_known(&self.client.host().kernel_release, name)
    }

    pub(super) fn get_option(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        let (this, call) = (Arc::clone(self), *call);
        let (level, name) = (call.int(1), call.int(2));
        let (at, length_at) = (call.argument(3), call.argument(4));
        if level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) {
            return Answer::GoOn;
        }
        let memory = Memory::of(call.tid);
        let room = match memory.u32(length_at) {
            Ok(room) if room <= i32::MAX as u32 => room,
            Ok(_) => return Answer::error(libc::EINVAL),
            Err(errno) => return errno.into(),
        };
        Answer::later(async move {
            let value = match handle.option(level, name, room).await {
                Ok(value) => value,
                Err(errno) => return Answer::error(errno),
            };
            // An option of SOL_SOCKET is cut, and the length says how much there is.
            let is_cut = level == libc::SOL_SOCKET && value.len() > room as usize;
            let value = if is_cut { value.get(..room as usize).unwrap_or(&value) } else { &value };
            if level != libc::SOL_SOCKET && value.len() > room as usize && room < 4 {
                return Answer::error(libc::EINVAL);
            }
            this.write_sized(&call, at, length_at, value).into()
        })
    }

    /// dup(2) and F_DUPFD of a handle: the copy has a number of the same range.
    pub(super) fn duplicate(&self, call: &Call) -> Answer {
        let close_on_exec = call.number == libc::SYS_fcntl && call.int(1) == libc::F_DUPFD_CLOEXEC;
        match self.copy(call.tid, call.int(0)) {
            Some(copy) => Answer::Descriptor {
                descriptor: Arc::new(copy),
                at_handles: true,
                names: None,
                close_on_exec,
            },
            None => Answer::GoOn,
        }
    }
}

/// Whether a kernel of this release knows an option of SOL_NETLINK (netlink(7)).
fn is_known(release: &str, name: i32) -> bool {
    let since = match name {
        options::CAP_ACK => (4, 3),
        options::EXT_ACK => (4, 12),
        options::GET_STRICT_CHK => (4, 20),
        _ => return true,
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= since,
        _ => true,
    }
}

/// The family of an address, and the rest of one of AF_NETLINK; `None` for no bytes.
fn address_of(bytes: &[u8]) -> Result<Option<(i32, Destination)>, Errno> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() < ADDRESS {
        // connect(2) to AF_UNSPEC needs no more than the family.
        return match read_u16(bytes, 0).map(i32::from) {
            Some(libc::AF_UNSPEC) => Ok(Some((libc::AF_UNSPEC, Destination::default()))),
            _ => Err(Errno::EINVAL),
        };
    }
    let (family, portid, groups) = parse_address(bytes).ok_or(Errno::EINVAL)?;
    Ok(Some((family, Destination::new(portid, groups))))
}

/// The destination of a send by an address; `None` for that of the socket.
pub(super) fn destination_of(bytes: &[u8]) -> Result<Option<Destination>, Errno> {
    match address_of(bytes)? {
        None => Ok(None),
        Some((libc::AF_NETLINK, destination)) => Ok(Some(destination)),
        Some(_) => Err(Errno::EINVAL),
    }
}

/// `struct sock_fprog` and its instructions.
fn filter(memory: &Memory, at: u64, length: u64) -> Result<Vec<FilterInstruction>, Errno> {
    if length != 16 {
        return Err(Errno::EINVAL);
    }
    let program = memory.bytes(at, 16)?;
    let count = read_u16(&program, 0).filter(|count| (1..=MOST_INSTRUCTIONS).contains(count));
    let count = usize::from(count.ok_or(Errno::EINVAL)?);
    let pointer = program.get(8..16).and_then(|bytes| bytes.try_into().ok());
    let code = memory.bytes(u64::from_ne_bytes(pointer.ok_or(Errno::EINVAL)?), 8 * count)?;
    let instruction = |bytes: &[u8]| {
        Some(FilterInstruction {
            code: read_u16(bytes, 0)?,
            jt: *bytes.get(2)?,
            jf: *bytes.get(3)?,
            k: read_u32(bytes, 4)?,
        })
    };
    let code: Option<_> = code.chunks_exact(8).map(instruction).collect();
    code.ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_old_kernels() {
        for (release, name, known) in [
            ("4.19.0-27-amd64", options::GET_STRICT_CHK, false),
            ("4.20.0", options::GET_STRICT_CHK, true),
            ("6.1.0-9-amd64", options::GET_STRICT_CHK, true),
            ("4.9.337", options::EXT_ACK, false),
            ("4.12.0", options::EXT_ACK, true),
            ("3.10.0-1160.el7.x86_64", options::CAP_ACK, false),
            ("3.10.0-1160.el7.x86_64", options::PKTINFO, true),
            ("", options::EXT_ACK, true),
        ] {
            assert_eq!(is_known(release, name), known, "{release} {name}");
        }
    }
}

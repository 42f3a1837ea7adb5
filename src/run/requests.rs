//! Calls by ioctl(2), numbers of descriptors in messages, and files of the far host.

use std::{ffi::CString, sync::Arc};

use super::{
    filter::{FIONBIO, SOCKET_REQUESTS, TUNSETIFF},
    memory::Memory,
    outcome::errno_of,
    spaces::Space,
    supervisor::{Answer, Supervisor},
    sys::{self, Call},
};
use crate::{
    Protocol, Requests,
    client::RequestErrorKind,
    nlmsg::{Builder, Message, aligned, flags, messages, read_u16, read_u32},
};

/// Requests of `<linux/sockios.h>` about one interface, that only read: they are answered by the far kernel.
const GET_NAME: u32 = 0x8910;
const GET_FLAGS: u32 = 0x8913;
const GET_MTU: u32 = 0x8921;
const GET_HARDWARE_ADDRESS: u32 = 0x8927;
const GET_INDEX: u32 = 0x8933;
const GET_QUEUE_LENGTH: u32 = 0x8942;
/// Requests about a socket itself, below those about routes and interfaces.
const OF_ROUTES: u32 = 0x890b;

/// Names of requests that programs make, most of them where netlink would do.
const NAMES: [(u32, &str); 22] = [
    (0x890b, "SIOCADDRT"),
    (0x890c, "SIOCDELRT"),
    (0x8912, "SIOCGIFCONF"),
    (0x8914, "SIOCSIFFLAGS"),
    (0x8915, "SIOCGIFADDR"),
    (0x8916, "SIOCSIFADDR"),
    (0x891c, "SIOCSIFNETMASK"),
    (0x8922, "SIOCSIFMTU"),
    (0x8924, "SIOCSIFHWADDR"),
    (0x8931, "SIOCADDMULTI"),
    (0x8932, "SIOCDELMULTI"),
    (0x8946, "SIOCETHTOOL"),
    (0x8955, "SIOCSARP"),
    (0x8970, "SIOCGIFMAP"),
    (0x8983, "SIOCSIFVLAN"),
    (0x8990, "SIOCBONDENSLAVE"),
    (0x89a0, "SIOCBRADDBR"),
    (0x89a1, "SIOCBRDELBR"),
    (0x89a2, "SIOCBRADDIF"),
    (0x89a3, "SIOCBRDELIF"),
    (0x89f0, "SIOCGETTUNNEL"),
    (0x89f1, "SIOCADDTUNNEL"),
];

/// `FIONREAD` and `TIOCOUTQ`, which no netlink socket has.
const QUEUED: [u32; 2] = [0x541b, 0x5411];

/// Bytes of `struct ifreq`: a name of 16, and a union.
const NAME: usize = 16;
const REQUEST: usize = 40;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_NSID: u16 = 88;
const GET_NSID: u16 = 90;
const LINK_HEADER: usize = 16;

/// `IFLA_IFNAME`, `_MTU`, `_TXQLEN`, `_ADDRESS`, `_LINKINFO`, `_NET_NS_FD`, and `NETNSA_FD`.
const IFNAME: u16 = 3;
const ADDRESS: u16 = 1;
const MTU: u16 = 4;
const TXQLEN: u16 = 13;
const LINKINFO: u16 = 18;
const NET_NS_FD: u16 = 28;
const NETNSA_FD: u16 = 3;
/// `IFLA_INFO_KIND`, `_DATA`, and the peer in the data of kinds that have one.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PEER: u16 = 1;

/// Attributes are of this kind below the flags for nested ones and for byte orders.
const KIND: u16 = 0x3fff;

impl Supervisor {
    /// ioctl(2).
    pub(super) fn control(self: &Arc<Self>, call: &Call) -> Answer {
        let request = call.argument(1) as u32;
        if request == TUNSETIFF && !self.permits.local {
            self.notices.refused(call.tid, "TUNSETIFF makes a device of this host");
            return Answer::error(libc::EPERM);
        }
        if QUEUED.contains(&request) && self.handle(call.tid, call.int(0)).is_some() {
            return Answer::error(libc::ENOTTY);
        }
        if request == FIONBIO
            && let Some(handle) = self.handle(call.tid, call.int(0))
            && let Ok(value) = Memory::of(call.tid).u32(call.argument(2))
        {
            handle.set_nonblocking(value != 0);
        }
        if !SOCKET_REQUESTS.contains(&request) || request < OF_ROUTES {
            return Answer::GoOn;
        }
        match request {
            GET_NAME | GET_INDEX | GET_FLAGS | GET_MTU | GET_HARDWARE_ADDRESS
            | GET_QUEUE_LENGTH => self.interface(call, request),
            _ if self.permits.local => Answer::GoOn,
            _ => {
                let what = match NAMES.iter().find(|(number, _)| *number == request) {
                    Some((_, name)) => format!("ioctl {request:#x} ({name}) acts on this host"),
                    None => format!("ioctl {request:#x} acts on this host"),
                };
                self.notices.refused(call.tid, &what);
                Answer::error(libc::EOPNOTSUPP)
            }
        }
    }

    /// A question about an interface, answered by the far kernel.
    fn interface(self: &Arc<Self>, call: &Call, request: u32) -> Answer {
        let (this, call) = (Arc::clone(self), *call);
        let memory = Memory::of(call.tid);
        let asked = match memory.bytes(call.argument(2), REQUEST) {
            Ok(asked) => asked,
            Err(errno) => return errno.into(),
        };
        let space = self.spaces.of(call.tid);
        Answer::later(async move {
            let answer = async {
                let requests = this.requests(&space).await?;
                let link = requests.one(question(&asked, request)).await.map_err(|error| {
                    let gone = error.errno().unwrap_or(libc::EIO);
                    match error.kind() {
                        RequestErrorKind::Refused => gone,
                        _ => libc::EIO,
                    }
                })?;
                let filled = fill(&asked, request, &link.message()).ok_or(libc::EIO)?;
                if !this.waits(&call) {
                    return Ok(0);
                }
                memory.write(call.argument(2), &filled).map_err(|errno| errno as i32)?;
                Ok(0)
            };
            let outcome: Result<i64, i32> = answer.await;
            outcome.into()
        })
    }

    /// A socket of this side's own in a namespace.
    async fn requests(&self, space: &Arc<Space>) -> Result<Requests, i32> {
        let made = space.requests.get_or_try_init(|| async {
            let mut builder = self.client.socket(Protocol::ROUTE);
            if let Some(handle) = &space.handle {
                builder = builder.netns_handle(handle);
            }
            builder.open().await.map(Requests::new).map_err(|error| errno_of(&error))
        });
        made.await.cloned()
    }

    /// Puts the numbers of the stub's descriptors in place of the program's, in messages that give a link a
    /// namespace, or ask for the id of one.
    pub(super) async fn translate(
        &self,
        tid: i32,
        protocol: u32,
        data: &mut [u8],
    ) -> Result<(), i32> {
        if protocol != 0 || !self.spaces.has_files() {
            return Ok(());
        }
        for place in places(data) {
            let number = read_u32(data, place).unwrap_or(u32::MAX);
            let Ok(fd) = i32::try_from(number) else { continue };
            let Some(space) = self.spaces.by_descriptor(tid, fd) else {
                // A number of this host's that happens to be one of the stub's must not hit that.
                return Err(libc::EINVAL);
            };
            let number = self.spaces.number(&space).await?;
            if let Some(bytes) = data.get_mut(place..place + 4) {
                bytes.copy_from_slice(&number.to_ne_bytes());
            }
        }
        Ok(())
    }

    /// Opens a file below /proc/net or /proc/sys/net of the far host, as it is now.
    pub(super) fn open_file(
        self: &Arc<Self>,
        call: &Call,
        space: Arc<Space>,
        path: String,
        writes: bool,
        close_on_exec: bool,
    ) -> Answer {
        if writes {
            if self.permits.local {
                return Answer::GoOn;
            }
            self.notices.refused(call.tid, &format!("writing /proc/{path} changes this host"));
            return Answer::error(libc::EACCES);
        }
        let (this, call) = (Arc::clone(self), *call);
        Answer::later(async move {
            let content = this.client.file(space.handle.as_ref(), &path).await;
            let content = match content {
                Ok(content) => content,
                Err(error) => {
                    let errno = errno_of(&error);
                    // Those that do not exist are asked for in passing.
                    if errno != libc::ENOENT {
                        let line = format!("/proc/{path} of the far host cannot be read: {error}");
                        this.notices.say(call.tid, &line);
                    }
                    return Answer::error(errno);
                }
            };
            let name = CString::new(path).unwrap_or_default();
            let file = sys::memory_file(&name).and_then(|file| {
                let mut rest = &*content;
                while !rest.is_empty() {
                    let written = nix::unistd::write(&file, rest)?;
                    rest = rest.get(written..).unwrap_or_default();
                }
                nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekSet)?;
                Ok(file)
            });
            match file {
                Ok(file) => Answer::Descriptor {
                    descriptor: Arc::new(file),
                    at_handles: false,
                    names: None,
                    close_on_exec,
                },
                Err(errno) => errno.into(),
            }
        })
    }
}

/// `RTM_GETLINK` for a question about an interface.
fn question(asked: &[u8], request: u32) -> Vec<u8> {
    let mut header = [0_u8; LINK_HEADER];
    let by_index = request == GET_NAME;
    if by_index && let (Some(to), Some(from)) = (header.get_mut(4..8), asked.get(NAME..NAME + 4)) {
        to.copy_from_slice(from);
    }
    let message = Builder::new(GET_LINK, flags::REQUEST).put(&header);
    if by_index {
        return message.finish();
    }
    let name = asked.get(..NAME).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME - 1);
    let mut name = name.get(..end).unwrap_or_default().to_vec();
    name.push(0);
    message.attribute(IFNAME, &name).finish()
}

/// The `struct ifreq` that answers a question.
fn fill(asked: &[u8], request: u32, link: &Message<'_>) -> Option<Vec<u8>> {
    let attributes = link.attributes(LINK_HEADER);
    let mut out = asked.to_vec();
    let mut put = |at: usize, bytes: &[u8]| {
        out.get_mut(at..at + bytes.len()).map(|place| place.copy_from_slice(bytes))
    };
    match request {
        GET_NAME => {
            let name = attributes.bytes(IFNAME)?;
            put(0, &[0; NAME])?;
            put(0, name.get(..name.len().min(NAME))?)?;
        }
        GET_INDEX => put(NAME, &link.u32(4)?.to_ne_bytes())?,
        // A short: the lower half.
        GET_FLAGS => put(NAME, &(link.u32(8)? as u16).to_ne_bytes())?,
        GET_MTU => put(NAME, &attributes.u32(MTU)?.to_ne_bytes())?,
        GET_QUEUE_LENGTH => put(NAME, &attributes.u32(TXQLEN)?.to_ne_bytes())?,
        _ => {
            put(NAME, &[0; 16])?;
            put(NAME, &link.u16(2)?.to_ne_bytes())?;
            let address = attributes.bytes(ADDRESS).unwrap_or_default();
            put(NAME + 2, address.get(..address.len().min(14))?)?;
        }
    }
    Some(out)
}

/// Places of descriptors' numbers in a datagram of rtnetlink.
fn places(data: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    for message in messages(data) {
        let end = at + message.header.length as usize;
        match message.header.kind {
            NEW_LINK..=SET_LINK => link_places(data, at + 16 + LINK_HEADER, end, &mut found),
            NEW_NSID..=GET_NSID => {
                for (kind, value, _) in attributes(data, at + 16 + 4, end) {
                    if kind == NETNSA_FD {
                        found.push(value);
                    }
                }
            }
            _ => {}
        }
        at += aligned(message.header.length as usize);
    }
    found
}

fn link_places(data: &[u8], at: usize, end: usize, found: &mut Vec<usize>) {
    for (kind, value, value_end) in attributes(data, at, end) {
        match kind {
            NET_NS_FD if value_end - value >= 4 => found.push(value),
            LINKINFO => {
                let parts = attributes(data, value, value_end);
                let has_peer = parts.iter().any(|(kind, from, to)| {
                    let name = data.get(*from..*to).unwrap_or_default();
                    let name = name.strip_suffix(&[0]).unwrap_or(name);
                    *kind == INFO_KIND && [&b"veth"[..], b"vxcan", b"netkit"].contains(&name)
                });
                for (kind, from, to) in parts {
                    if has_peer && kind == INFO_DATA {
                        for (kind, from, to) in attributes(data, from, to) {
                            if kind == INFO_PEER {
                                link_places(data, from + LINK_HEADER, to, found);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Kinds of attributes, and where their values begin and end.
fn attributes(data: &[u8], mut at: usize, end: usize) -> Vec<(u16, usize, usize)> {
    let mut out = Vec::new();
    while let (Some(length), Some(kind)) = (read_u16(data, at), read_u16(data, at + 2)) {
        let value_end = at + usize::from(length);
        if length < 4 || value_end > end.min(data.len()) {
            break;
        }
        out.push((kind & KIND, at + 4, value_end));
        at = aligned(value_end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_in_messages_are_found() {
        let fd = 7_u32.to_ne_bytes();
        let mut peer = vec![0; LINK_HEADER];
        peer.extend(&Builder::new(0, 0).attribute(NET_NS_FD, &fd).finish()[16..]);
        let data = Builder::new(0, 0).attribute(INFO_PEER, &peer).finish();
        let info =
            Builder::new(0, 0).attribute(INFO_KIND, b"veth").attribute(INFO_DATA, &data[16..]);
        let link = Builder::new(NEW_LINK, 0)
            .put(&[0; LINK_HEADER])
            .attribute(NET_NS_FD, &fd)
            .attribute(LINKINFO, &info.finish()[16..])
            .finish();
        let id = Builder::new(GET_NSID, 0).put(&[0; 4]).attribute(NETNSA_FD, &fd).finish();
        let other = Builder::new(24, 0).put(&[0; 12]).attribute(NET_NS_FD, &fd).finish();
        let all = [other, link, id].concat();
        let places = places(&all);
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|place| read_u32(&all, *place) == Some(7)));
    }

    #[test]
    fn attributes_that_are_cut_end_the_search() {
        let link = Builder::new(NEW_LINK, 0).put(&[0; LINK_HEADER]).attribute(NET_NS_FD, &[1; 4]);
        let mut link = link.finish();
        link[32..34].copy_from_slice(&200_u16.to_ne_bytes());
        assert_eq!(places(&link), Vec::<usize>::new());
    }
}

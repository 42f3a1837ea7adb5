//! Calls that send and receive.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nix::errno::Errno;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    handle::Handle,
    memory::{MULTIPLE, Memory, MessageHeader, Piece, address, scattered},
    socket_state::Taken,
    sockets::destination_of,
    spaces::field,
    supervisor::{Answer, RESTART, Supervisor},
    sys::Call,
};
use crate::{
    client::{Destination, options},
    nlmsg::{Header, aligned, flags},
    sync::lock,
};

/// How often a receive that waits looks for signals, at first and later.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// Time for an answer without sleeping.
const SPIN: Duration = Duration::from_micros(80);

/// Messages of one sendmmsg(2) or recvmmsg(2), as the kernel allows them (`UIO_MAXIOV`).
const MOST_MESSAGES: u64 = 1024;

/// A datagram of a program, and where it is to go.
type Outgoing = (Vec<u8>, Option<Destination>);

/// Where a receive puts a datagram.
struct Incoming {
    pieces: Vec<Piece>,
    flags: i32,
    /// A `struct msghdr`.
    header: Option<MessageHeader>,
    /// Places of an address and its length.
    address: Option<(u64, u64)>,
}

impl Incoming {
    fn room(&self) -> usize {
        self.pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.length))
    }

    fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}

impl Supervisor {
    fn outgoing(&self, call: &Call, memory: &Memory) -> Result<Outgoing, Errno> {
        let (at, length) = (call.argument(1), call.argument(2));
        let one = |length: u64| match usize::try_from(length) {
            Ok(length) => Ok(vec![Piece { at, length }]),
            Err(_) => Err(Errno::EMSGSIZE),
        };
        match call.number {
            libc::SYS_sendmsg => self.message(memory, at, call.int(2)),
            libc::SYS_writev => {
                Ok((memory.gather(&memory.pieces(at, length, Errno::EINVAL)?)?, None))
            }
            libc::SYS_sendto => {
                check_flags(call.int(3))?;
                let to = self.destination(memory, call.argument(4), call.int(5) as u32)?;
                Ok((memory.gather(&one(length)?)?, to))
            }
            _ => Ok((memory.gather(&one(length)?)?, None)),
        }
    }

    /// The datagram of a `struct msghdr`.
    fn message(&self, memory: &Memory, at: u64, flags: i32) -> Result<Outgoing, Errno> {
        check_flags(flags)?;
        let (header, around) = memory.message_header(at)?;
        let pieces = memory.message_pieces(&header, &around)?;
        let name = memory.message_name(&header, &around)?;
        Ok((memory.gather(&pieces)?, destination_of(&name)?))
    }

    /// Sends; what was read of the program's memory is its own only if the call still waits.
    pub(super) fn send(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        let (mut data, to) = match self.outgoing(call, &Memory::of(call.tid)) {
            Ok(outgoing) => outgoing,
            Err(errno) => return errno.into(),
        };
        if !self.waits(call) {
            return Answer::GoOn;
        }
        if self.is_waited_for(&handle, &data, to) {
            return Answer::later(async move {
                let sent = handle.send_unsettled(data, to);
                // It is on its way before the program goes on.
                tokio::task::yield_now().await;
                sent.into()
            });
        }
        let (this, tid) = (Arc::clone(self), call.tid);
        Answer::later(async move {
            if let Err(errno) = this.translate(tid, handle.protocol, &mut data).await {
                return Answer::error(errno);
            }
            this.open_receivers(&handle, to).await;
            handle.send(data, to).await.into()
        })
    }

    /// Opens the far sockets behind all that a program has bound, where it sends to one that is not the kernel's.
    async fn open_receivers(&self, handle: &Handle, to: Option<Destination>) {
        if handle.destination(to) != Destination::default() {
            let all: Vec<_> = lock(&self.sockets).values().cloned().collect();
            for other in all.into_iter().filter(|other| other.is_bound()) {
                // What failed is told by its own next call.
                let _ = other.ready().await;
            }
        }
    }

    /// Whether a send need not be waited for: whoever sent it waits for the answer, and sees nothing else before.
    fn is_waited_for(&self, handle: &Handle, data: &[u8], to: Option<Destination>) -> bool {
        let to_kernel = handle.destination(to) == Destination::default();
        to_kernel
            && !self.shown.load(Ordering::Relaxed)
            && !self.spaces.has_files()
            && has_answer(handle.protocol, data)
    }

    pub(super) fn send_many(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        let (this, call) = (Arc::clone(self), *call);
        Answer::later(async move {
            let memory = Memory::of(call.tid);
            let mut sent: u64 = 0;
            while sent < call.argument(2).min(MOST_MESSAGES) {
                let at = call.argument(1).wrapping_add(sent * MULTIPLE);
                let outgoing = this.message(&memory, at, call.int(3)).map_err(|errno| errno as i32);
                let length = match outgoing {
                    _ if !this.waits(&call) => return Answer::GoOn,
                    Err(errno) => Err(errno),
                    Ok((mut data, to)) => {
                        match this.translate(call.tid, handle.protocol, &mut data).await {
                            Ok(()) => {
                                this.open_receivers(&handle, to).await;
                                handle.send(data, to).await
                            }
                            Err(errno) => Err(errno),
                        }
                    }
                };
                match length {
                    Ok(length) => {
                        let _ = memory.write(at.wrapping_add(56), &(length as u32).to_ne_bytes());
                        sent += 1;
                    }
                    Err(errno) if sent == 0 => return Answer::error(errno),
                    Err(_) => break,
                }
            }
            Answer::Is(Ok(sent as i64))
        })
    }

    fn incoming(&self, call: &Call, memory: &Memory) -> Result<Incoming, Errno> {
        let (at, length) = (call.argument(1), call.argument(2));
        let piece = Piece { at, length: usize::try_from(length).unwrap_or(usize::MAX) };
        match call.number {
            libc::SYS_recvmsg => incoming_message(memory, at, call.int(2)),
            libc::SYS_readv => {
                let pieces = memory.pieces(at, length, Errno::EINVAL)?;
                Ok(Incoming { pieces, flags: 0, header: None, address: None })
            }
            libc::SYS_recvfrom => {
                let address = (call.argument(4) != 0).then(|| (call.argument(4), call.argument(5)));
                let (pieces, flags) = (vec![piece], call.int(3));
                Ok(Incoming { pieces, flags, header: None, address })
            }
            _ => Ok(Incoming { pieces: vec![piece], flags: 0, header: None, address: None }),
        }
    }

    pub(super) fn receive(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        let incoming = match self.incoming(call, &Memory::of(call.tid)) {
            Ok(incoming) => incoming,
            Err(errno) => return errno.into(),
        };
        if incoming.has(libc::MSG_OOB) {
            return Answer::error(libc::EOPNOTSUPP);
        }
        match self.try_take(call, &handle, &incoming) {
            Ok(Some(taken)) => self.deliver(call, &handle, &incoming, &taken),
            Err(errno) => Answer::error(errno),
            Ok(None) => {
                let (this, call) = (Arc::clone(self), *call);
                Answer::later(async move {
                    match this.wait(&call, &handle, &incoming).await {
                        Ok(taken) => this.deliver(&call, &handle, &incoming, &taken),
                        Err(answer) => answer,
                    }
                })
            }
        }
    }

    pub(super) fn receive_many(self: &Arc<Self>, call: &Call, handle: Arc<Handle>) -> Answer {
        let (this, call) = (Arc::clone(self), *call);
        Answer::later(async move {
            let memory = Memory::of(call.tid);
            let mut received: u64 = 0;
            let mut flags = call.int(3);
            while received < call.argument(2).min(MOST_MESSAGES) {
                let at = call.argument(1).wrapping_add(received * MULTIPLE);
                let answer = match incoming_message(&memory, at, flags & !libc::MSG_WAITFORONE) {
                    Err(errno) => errno.into(),
                    Ok(incoming) => match this.wait(&call, &handle, &incoming).await {
                        Ok(taken) => this.deliver(&call, &handle, &incoming, &taken),
                        Err(answer) => answer,
                    },
                };
                match answer {
                    Answer::Is(Ok(length)) => {
                        let _ = memory.write(at.wrapping_add(56), &(length as u32).to_ne_bytes());
                        received += 1;
                    }
                    answer if received == 0 => return answer,
                    _ => break,
                }
                if flags & libc::MSG_WAITFORONE != 0 {
                    flags |= libc::MSG_DONTWAIT;
                }
            }
            Answer::Is(Ok(received as i64))
        })
    }

    fn try_take(
        &self,
        call: &Call,
        handle: &Handle,
        incoming: &Incoming,
    ) -> Result<Option<Taken>, i32> {
        let copy = || self.copy(call.tid, call.int(0));
        handle.take(incoming.room(), incoming.has(libc::MSG_PEEK), copy)
    }

    /// Waits for a datagram as the call and its socket allow.
    async fn wait(
        &self,
        call: &Call,
        handle: &Arc<Handle>,
        incoming: &Incoming,
    ) -> Result<Taken, Answer> {
        let take = || self.try_take(call, handle, incoming).map_err(Answer::error);
        if let Some(taken) = take()? {
            return Ok(taken);
        }
        // A local kernel makes the next part of a dump inside the call: it is there for one that does not
        // wait, too.
        let waits_not = incoming.has(libc::MSG_DONTWAIT) || handle.is_nonblocking();
        if waits_not && !handle.in_dump() {
            // What the kernel would have queued by now.
            handle.settle().await;
            return match take()? {
                Some(taken) => Ok(taken),
                None => Err(Answer::error(libc::EAGAIN)),
            };
        }
        // A near stub has answered before this thread would have slept and woken.
        let began = Instant::now();
        while !handle.is_settled() && began.elapsed() < SPIN {
            tokio::task::yield_now().await;
            if let Some(taken) = take()? {
                return Ok(taken);
            }
        }
        let limit = handle.receive_timeout();
        let ends = limit.map(|limit| Instant::now() + limit);
        let mut look = FIRST_LOOK;
        loop {
            tokio::select! {
                arrived = handle.arrival() => arrived.map_err(Answer::error)?,
                () = sleep(look) => {
                    look = (look * 2).min(LAST_LOOK);
                    if !self.waits(call) {
                        return Err(Answer::GoOn);
                    }
                    if has_signal(call.tid) {
                        return Err(Answer::error(if ends.is_some() { libc::EINTR } else { RESTART }));
                    }
                }
                () = async {
                    match ends {
                        Some(ends) => sleep_until(ends).await,
                        None => std::future::pending().await,
                    }
                } => return Err(Answer::error(libc::EAGAIN)),
            }
            if let Some(taken) = take()? {
                return Ok(taken);
            }
        }
    }

    /// Writes a datagram into the program's memory.
    fn deliver(&self, call: &Call, handle: &Handle, to: &Incoming, taken: &Taken) -> Answer {
        if !self.waits(call) {
            return Answer::GoOn;
        }
        let memory = Memory::of(call.tid);
        match write(&memory, handle, to, taken) {
            Ok(()) if to.has(libc::MSG_TRUNC) => Answer::Is(Ok(taken.whole as i64)),
            Ok(()) => Answer::Is(Ok(taken.data.len() as i64)),
            Err(errno) => errno.into(),
        }
    }
}

/// Whether a datagram is a single request that has an answer.
fn has_answer(protocol: u32, data: &[u8]) -> bool {
    let Some(header) = Header::parse(data) else { return false };
    let is_single = header.length as usize == data.len();
    // In messages that change something, these bits are others.
    let is_dump = protocol != 0 && header.flags & flags::DUMP == flags::DUMP;
    // The kinds of messages of rtnetlink come in fours: new, delete, get, set.
    let is_get = protocol == 0 && header.kind >= 16 && header.kind % 4 == 2;
    is_single
        && header.flags & flags::REQUEST != 0
        && (header.flags & flags::ACK != 0 || is_get || is_dump)
}

fn check_flags(flags: i32) -> Result<(), Errno> {
    if flags & libc::MSG_OOB != 0 { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

fn incoming_message(memory: &Memory, at: u64, flags: i32) -> Result<Incoming, Errno> {
    let (header, around) = memory.message_header(at)?;
    let pieces = memory.message_pieces(&header, &around)?;
    Ok(Incoming { pieces, flags, header: Some(header), address: None })
}

fn write(memory: &Memory, handle: &Handle, to: &Incoming, taken: &Taken) -> Result<(), Errno> {
    let mut parts = scattered(&to.pieces, &taken.data);
    let mask = match taken.info.group {
        group @ 1..=32 => 1 << (group - 1),
        _ => 0,
    };
    let name = address(taken.info.portid, mask);
    let length = (name.len() as u32).to_ne_bytes();
    if let Some((at, length_at)) = to.address {
        let room = memory.u32(length_at)? as usize;
        parts.push((at, name.get(..room).unwrap_or(&name)));
        parts.push((length_at, &length));
    }
    let Some(header) = to.header else { return memory.write_all(&parts) };
    if header.name != 0 {
        let room = header.name_length as usize;
        parts.push((header.name, name.get(..room).unwrap_or(&name)));
        parts.push((header.at.wrapping_add(8), &length));
    }
    let mut flags = if taken.whole > taken.data.len() { libc::MSG_TRUNC } else { 0 };
    let (control, is_cut) = control(handle, taken, header.control_length as usize);
    if is_cut {
        flags |= libc::MSG_CTRUNC;
    }
    if header.control != 0 {
        parts.push((header.control, &control));
    }
    let mut end = (control.len() as u64).to_ne_bytes().to_vec();
    end.extend(flags.to_ne_bytes());
    parts.push((header.at.wrapping_add(40), &end));
    memory.write_all(&parts)
}

/// Control messages of a datagram, cut to the room, and whether they were cut: `put_cmsg` of the kernel.
fn control(handle: &Handle, taken: &Taken, room: usize) -> (Vec<u8>, bool) {
    let mut messages: Vec<(i32, i32, Vec<u8>)> = Vec::new();
    if handle.is_on(options::PKTINFO) {
        let group = taken.info.group.to_ne_bytes().to_vec();
        messages.push((options::SOL_NETLINK, options::PKTINFO, group));
    }
    if let Some(nsid) = taken.info.nsid
        && handle.is_on(options::LISTEN_ALL_NSID)
    {
        let nsid = nsid.to_ne_bytes().to_vec();
        messages.push((options::SOL_NETLINK, options::LISTEN_ALL_NSID, nsid));
    }
    if handle.has_credentials() {
        // The kernel's: pid, uid and gid.
        messages.push((libc::SOL_SOCKET, libc::SCM_CREDENTIALS, vec![0; 12]));
    }
    put(&messages, room)
}

fn put(messages: &[(i32, i32, Vec<u8>)], room: usize) -> (Vec<u8>, bool) {
    const HEADER: usize = 16;
    let (mut out, mut is_cut) = (Vec::new(), false);
    for (level, kind, data) in messages {
        let left = room - out.len().min(room);
        if left < HEADER {
            is_cut = true;
            break;
        }
        let length = HEADER + data.len();
        let fits = length.min(left);
        is_cut |= fits < length;
        let space = aligned(length).next_multiple_of(8).min(left);
        let end = out.len() + space;
        out.extend((fits as u64).to_ne_bytes());
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data.get(..fits - HEADER).unwrap_or(data));
        out.resize(end, 0);
    }
    (out, is_cut)
}

/// Whether a signal waits for a thread that would handle it: with
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` only one that kills ends the wait by itself.
fn has_signal(tid: i32) -> bool {
    let mask = |name| {
        field(tid, name).and_then(|mask| u64::from_str_radix(&mask, 16).ok()).unwrap_or_default()
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !mask("SigIgn:") != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_with_answers() {
        use crate::nlmsg::Builder;
        const GET: u16 = 18;
        const NEW: u16 = 16;
        let message = |kind, flags| Builder::new(kind, flags).finish();
        for (protocol, data, answers) in [
            (0, message(GET, flags::REQUEST), true),
            (0, message(NEW, flags::REQUEST), false),
            (0, message(NEW, flags::REQUEST | flags::CREATE | flags::EXCL | flags::REPLACE), false),
            (0, message(NEW, flags::REQUEST | flags::ACK), true),
            (0, message(GET, 0), false),
            (16, message(GET, flags::REQUEST), false),
            (16, message(NEW, flags::REQUEST | flags::DUMP), true),
            (16, message(NEW, flags::REQUEST | flags::ACK), true),
            (0, [message(GET, flags::REQUEST), message(GET, flags::REQUEST)].concat(), false),
            (0, b"short".to_vec(), false),
        ] {
            assert_eq!(has_answer(protocol, &data), answers, "{protocol} {data:?}");
        }
    }

    #[test]
    fn control_messages_are_cut_as_the_kernel_cuts_them() {
        let messages = [(270, 3, vec![7, 0, 0, 0]), (1, 2, vec![0; 12])];
        let (all, is_cut) = put(&messages, 100);
        assert_eq!((all.len(), is_cut), (24 + 32, false));
        assert_eq!(all.first(), Some(&20));
        assert_eq!(put(&messages, 24), (all[..24].to_vec(), true));
        let (cut, is_cut) = put(&messages, 18);
        assert_eq!((cut.len(), cut[0], is_cut), (18, 18, true));
        assert_eq!(put(&messages, 0), (vec![], true));
        assert_eq!(put(&[], 0), (vec![], false));
    }
}

//! The few messages that are sent to a kernel to see how long it takes.

use crate::{
    failure::Failure,
    show::message::{Message, messages},
};
use netlink_remote::{Error, Event, RemoteSocket, errno::describe};

/// `RTM_GETLINK` and its like, of `linux/rtnetlink.h`.
pub(super) const GET_LINK: u16 = 18;
pub(super) const NEW_ROUTE: u16 = 24;
pub(super) const DEL_ROUTE: u16 = 25;
pub(super) const GET_ROUTE: u16 = 26;

/// `NLM_F_REQUEST`, `NLM_F_DUMP`, and `NLM_F_CREATE | NLM_F_EXCL`.
pub(super) const REQUEST: u16 = 0x1;
pub(super) const DUMP: u16 = 0x300;
pub(super) const CREATE: u16 = 0x600;

/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Appends a message, whose body is a multiple of four bytes long.
pub(super) fn put(datagram: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    datagram.extend(length.to_ne_bytes());
    datagram.extend(kind.to_ne_bytes());
    datagram.extend((REQUEST | flags).to_ne_bytes());
    datagram.extend(sequence.to_ne_bytes());
    // The port id is the kernel's to fill in.
    datagram.extend([0; 4]);
    datagram.extend(body);
}

/// Asks for the link of index 1, which every namespace has.
pub(super) fn get_link(sequence: u32) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(32);
    // struct ifinfomsg: the index is in its bytes 4 to 7.
    let mut body = [0; 16];
    if let Some(index) = body.get_mut(4..8) {
        index.copy_from_slice(&1_u32.to_ne_bytes());
    }
    put(&mut datagram, GET_LINK, 0, sequence, &body);
    datagram
}

/// Asks for all routes of all families.
pub(super) fn dump_routes(sequence: u32) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(28);
    put(&mut datagram, GET_ROUTE, DUMP, sequence, &[0; 12]);
    datagram
}

/// What of an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Objects in this datagram.
    pub(super) objects: u64,
    /// Whether it ends the answer to a dump.
    pub(super) is_last: bool,
}

/// Receives the next datagram of an answer, and looks at no more of it than it must.
pub(super) async fn receive(
    socket: &RemoteSocket,
    sequence: u32,
    mut each: impl FnMut(&[u8]),
) -> Result<Part, Failure> {
    loop {
        let datagram = match socket.recv().await.map_err(failed)? {
            // Any process may send to our port id; the kernel alone is asked.
            Event::Datagram(datagram) if datagram.info.portid == 0 => datagram.data,
            Event::Datagram(_) => continue,
            _ => {
                return Err(Failure::request("the kernel dropped an answer, for want of memory"));
            }
        };
        let mut answers = messages(&datagram).filter(|message| message.sequence == sequence);
        let mut part = Part { objects: 0, is_last: false };
        let is_mine = answers.try_fold(false, |_, message| {
            add(&mut part, &message)?;
            Ok::<_, Failure>(true)
        })?;
        if is_mine {
            each(&datagram);
            return Ok(part);
        }
    }
}

fn add(part: &mut Part, message: &Message<'_>) -> Result<(), Failure> {
    if !matches!(message.kind, ERROR | DONE) {
        part.objects += 1;
        return Ok(());
    }
    part.is_last = true;
    match message.u32(0).unwrap_or_default().cast_signed().saturating_neg() {
        0 => Ok(()),
        errno => {
            let text = format_args!("the kernel refused to answer: {}", describe(errno));
            Err(Failure::errno(errno, text))
        }
    }
}

/// A socket or connection that failed while it was measured.
pub(super) fn failed(error: Error) -> Failure {
    error.context("measuring").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_kernel_wants_them() {
        let datagram = get_link(7);
        let message = messages(&datagram).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (18, 1, 7));
        assert_eq!((message.body.len(), message.u32(4)), (16, Some(1)));
        let datagram = dump_routes(8);
        let message = messages(&datagram).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (26, 0x301, 8));
    }

    #[test]
    fn an_answer_ends_with_done_or_an_errno() {
        let message = |kind, body| Message { kind, flags: 0, sequence: 1, body };
        let mut part = Part { objects: 0, is_last: false };
        add(&mut part, &message(24, &[0; 12])).unwrap();
        assert_eq!(part, Part { objects: 1, is_last: false });
        add(&mut part, &message(DONE, &[0; 4])).unwrap();
        assert_eq!(part, Part { objects: 1, is_last: true });
        let refused = (-1_i32).to_ne_bytes();
        assert!(add(&mut part, &message(ERROR, &refused)).is_err());
    }
}

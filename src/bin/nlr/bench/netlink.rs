//! The requests that are measured, and their answers.

use netlink_remote::{
    Error, Event, RemoteSocket,
    errno::describe,
    nlmsg::{Builder, Message, flags, messages},
};

use crate::failure::Failure;

/// The request for the link of index 1, which every namespace has.
pub(super) fn get_link(sequence: u32) -> Vec<u8> {
    // struct ifinfomsg: family and type, index, flags, change mask.
    let [family_and_type, flags, change] = [[0; 4]; 3];
    let header = [family_and_type, 1_u32.to_ne_bytes(), flags, change];
    let request = Builder::new(libc::RTM_GETLINK, flags::REQUEST);
    request.sequence(sequence).put(header.as_flattened()).finish()
}

/// The request for all routes of all families.
pub(super) fn dump_routes(sequence: u32) -> Vec<u8> {
    let request = Builder::new(libc::RTM_GETROUTE, flags::REQUEST | flags::DUMP);
    request.sequence(sequence).put(&[0; 12]).finish()
}

/// One datagram of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of objects.
    pub(super) objects: u64,
    /// Whether it ends the answer to a dump.
    pub(super) is_last: bool,
}

/// Receives the next datagram of an answer, and parses no more of it than message headers.
pub(super) async fn receive(
    socket: &RemoteSocket,
    sequence: u32,
    mut each: impl FnMut(&[u8]),
) -> Result<Part, Failure> {
    loop {
        let datagram = match socket.recv().await.map_err(failed)? {
            Event::Datagram(datagram) if datagram.info.portid == 0 => datagram.data,
            // From another process; the kernel's port id is 0.
            Event::Datagram(_) => continue,
            _ => return Err(Failure::request("the kernel dropped an answer, for want of memory")),
        };
        let mut answers = messages(&datagram).filter(|answer| answer.header.sequence == sequence);
        let mut part = Part::default();
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
    match message.outcome().map(|outcome| outcome.errno) {
        None => part.objects += 1,
        Some(0) => part.is_last = true,
        Some(errno) => {
            let text = format_args!("the kernel refused a request: {}", describe(errno));
            return Err(Failure::errno(errno, text));
        }
    }
    Ok(())
}

/// The failure of a measurement by an error of its socket or connection.
pub(super) fn failed(error: Error) -> Failure {
    error.context("measuring").into()
}

#[cfg(test)]
mod tests {
    use netlink_remote::nlmsg::kind;

    use super::*;

    #[test]
    fn requests_are_as_the_kernel_wants_them() {
        let datagram = get_link(7);
        let message = messages(&datagram).next().unwrap();
        let header = message.header;
        assert_eq!((header.kind, header.flags, header.sequence), (18, 1, 7));
        assert_eq!((message.payload.len(), message.u32(4)), (16, Some(1)));
        let datagram = dump_routes(8);
        let header = messages(&datagram).next().unwrap().header;
        assert_eq!((header.kind, header.flags, header.sequence), (26, 0x301, 8));
    }

    #[test]
    fn an_answer_ends_with_done_or_an_errno() {
        let mut part = Part::default();
        let mut add = |kind, payload: &[u8]| {
            let message = Builder::new(kind, 0).put(payload).finish();
            let result = add(&mut part, &messages(&message).next().unwrap());
            result.map(|()| (part.objects, part.is_last))
        };
        assert_eq!(add(24, &[0; 12]).unwrap(), (1, false));
        assert_eq!(add(kind::DONE, &[0; 4]).unwrap(), (1, true));
        assert!(add(kind::ERROR, &(-1_i32).to_ne_bytes()).is_err());
    }
}

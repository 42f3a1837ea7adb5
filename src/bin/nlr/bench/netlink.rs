//! The requests that are measured.

use netlink_remote::{
    Error, Event, RemoteSocket,
    errno::describe,
    nlmsg::{Builder, Outcome, flags, messages},
};

use crate::failure::Failure;

/// The request for the link of index 1, which every namespace has.
pub(super) fn get_link() -> Vec<u8> {
    // struct ifinfomsg: family and type, index, flags, change mask.
    let [family_and_type, flags, change] = [[0; 4]; 3];
    let header = [family_and_type, 1_u32.to_ne_bytes(), flags, change];
    Builder::new(libc::RTM_GETLINK, flags::REQUEST).put(header.as_flattened()).finish()
}

/// The request for all routes of all families.
pub(super) fn dump_routes() -> Vec<u8> {
    Builder::new(libc::RTM_GETROUTE, flags::REQUEST | flags::DUMP).put(&[0; 12]).finish()
}

/// Receives the answer to the only request in flight on a socket, on a host of an architecture.
pub(super) async fn receive(socket: &RemoteSocket, architecture: &str) -> Result<(), Failure> {
    let answer = loop {
        match socket.recv().await.map_err(failed)? {
            Event::Datagram(datagram) if datagram.info.portid == 0 => break datagram.data,
            // From another process; the kernel's port id is 0.
            Event::Datagram(_) => {}
            _ => return Err(Failure::request("measuring: the far kernel dropped an answer")),
        }
    };
    match messages(&answer).find_map(|message| message.outcome()) {
        None => Ok(()),
        Some(outcome) => Err(refused(outcome.numbered_as_here(architecture))),
    }
}

/// The failure of a measurement by an error of the kernel.
pub(super) fn refused(outcome: Outcome) -> Failure {
    let words = describe(outcome.errno);
    Failure::errno(outcome.errno, format_args!("measuring: the kernel refused a request: {words}"))
}

/// The failure of a measurement by an error of its socket or connection.
pub(super) fn failed(error: Error) -> Failure {
    error.context("measuring").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_kernel_wants_them() {
        let datagram = get_link();
        let message = messages(&datagram).next().unwrap();
        assert_eq!((message.header.kind, message.header.flags), (18, 1));
        assert_eq!((message.payload.len(), message.u32(4)), (16, Some(1)));
        let datagram = dump_routes();
        let header = messages(&datagram).next().unwrap().header;
        assert_eq!((header.kind, header.flags), (26, 0x301));
    }
}

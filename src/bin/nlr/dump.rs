//! Asking a kernel for all objects of a kind.

use super::{
    failure::Failure,
    show::message::{Attributes, Message, Request, messages},
};
use netlink_remote::{Client, Error, Event, Netns, RemoteSocket, client::options, errno::describe};

/// `NETLINK_ROUTE`.
pub(super) const ROUTE: u32 = 0;

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: objects changed while they were listed.
const INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: an error has only the header of the request it is about.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow that explain.
const EXPLAINED: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const EXPLANATION: u16 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Why there is no list, or none to rely on.
#[derive(Debug)]
pub(super) enum Unlisted {
    /// Objects changed meanwhile, so that some may be missing or there twice.
    Interrupted,
    /// The kernel said no, with an errno and perhaps an explanation.
    Refused { errno: i32, explanation: Option<String> },
    /// The socket or the connection failed.
    Failed(Error),
}

impl Unlisted {
    /// As a failure to list `what`.
    pub(super) fn into_failure(self, what: &str) -> Failure {
        match self {
            Self::Interrupted => Failure::request(format_args!(
                "the {what} went on changing while they were listed; try again when they change \
                 less"
            )),
            Self::Refused { errno, explanation } => {
                let said = explanation.map(|text| format!(" ({text})")).unwrap_or_default();
                let text = format_args!("listing the {what}: {}{said}", describe(errno));
                Failure::errno(errno, text)
            }
            Self::Failed(error) => error.context(format_args!("listing the {what}")).into(),
        }
    }
}

/// A socket for dumps, one after the other. It is in no group: an answer that a burst of events
/// crowded out would be missed for ever.
#[derive(Debug)]
pub(super) struct Dumper {
    socket: RemoteSocket,
    sequence: u32,
}

impl Dumper {
    pub(super) async fn open(client: &Client, netns: &Netns) -> Result<Self, Failure> {
        let builder = client.socket(ROUTE).netns(netns.clone());
        let opened = builder.netlink_option(options::GET_STRICT_CHK, true).open().await;
        let socket = opened.map_err(|error| Failure::opening(error, netns))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and gives each message of the answer to `each`. What was given counts only
    /// if this succeeds.
    pub(super) async fn dump(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Unlisted> {
        self.sequence += 1;
        let sent = self.socket.send(&request.datagram(self.sequence)).await;
        sent.map_err(Unlisted::Failed)?;
        let mut interrupted = false;
        loop {
            let datagram = match self.socket.recv().await.map_err(Unlisted::Failed)? {
                Event::Datagram(datagram) if datagram.info.portid == 0 => datagram.data,
                // Any process may send to our port id; the kernel alone is asked.
                Event::Datagram(_) => continue,
                _ => {
                    interrupted = true;
                    continue;
                }
            };
            let mine = |message: &Message<'_>| message.sequence == self.sequence;
            for message in messages(&datagram).filter(mine) {
                interrupted |= message.flags & INTERRUPTED != 0;
                match message.kind {
                    ERROR | DONE => return end(&message, interrupted),
                    _ => each(&message),
                }
            }
        }
    }
}

/// What the last message of an answer says.
fn end(message: &Message<'_>, interrupted: bool) -> Result<(), Unlisted> {
    // Neither kind is valid without a number, but then there is nothing wrong to tell either.
    let errno = message.u32(0).unwrap_or_default().cast_signed().saturating_neg();
    match errno {
        0 if interrupted => Err(Unlisted::Interrupted),
        0 => Ok(()),
        _ => Err(Unlisted::Refused { errno, explanation: explanation(message) }),
    }
}

/// The kernel's own words about an error.
fn explanation(message: &Message<'_>) -> Option<String> {
    if message.flags & EXPLAINED == 0 {
        return None;
    }
    // The number, then of an error the request: its header at least.
    let before = match message.kind {
        ERROR if message.flags & CAPPED != 0 => 4 + HEADER,
        ERROR => 4 + usize::try_from(message.u32(4)?).ok()?.max(HEADER),
        _ => 4,
    };
    let attributes: Attributes<'_> = message.attributes(before);
    attributes.text(EXPLANATION).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Message<'_> {
        Message { kind, flags, sequence: 1, body }
    }

    fn refused(message: &Message<'_>) -> (i32, Option<String>) {
        match end(message, false) {
            Err(Unlisted::Refused { errno, explanation }) => (errno, explanation),
            other => panic!("{other:?}"),
        }
    }

    /// An errno, `request` bytes of a request whose header says so, and an explanation.
    fn body(errno: i32, request: u32, shown: usize) -> Vec<u8> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        if request > 0 {
            body.extend(request.to_ne_bytes());
            body.resize(4 + shown, 0xee);
        }
        // NLMSGERR_ATTR_OFFS (2), then NLMSGERR_ATTR_MSG.
        for (kind, value) in [(2_u16, b"\x10\0\0\0".as_slice()), (1, b"bad table\0")] {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    #[test]
    fn the_kernels_words_are_found() {
        let said = Some("bad table".to_owned());
        assert_eq!(refused(&message(DONE, EXPLAINED, &body(22, 0, 0))), (22, said.clone()));
        assert_eq!(refused(&message(ERROR, EXPLAINED, &body(22, 29, 32))), (22, said.clone()));
        let capped = body(22, 29, HEADER);
        assert_eq!(refused(&message(ERROR, EXPLAINED | CAPPED, &capped)), (22, said));
        assert_eq!(refused(&message(ERROR, 0, &body(1, 29, 32))), (1, None));
        assert_eq!(refused(&message(ERROR, EXPLAINED, &body(1, u32::MAX, 32))), (1, None));
    }

    #[test]
    fn an_interrupted_answer_is_none() {
        assert!(end(&message(DONE, 0, &[0; 4]), false).is_ok());
        assert!(matches!(end(&message(DONE, 0, &[0; 4]), true), Err(Unlisted::Interrupted)));
        assert!(matches!(
            end(&message(DONE, 0, &(-2_i32).to_ne_bytes()), true),
            Err(Unlisted::Refused { errno: 2, .. })
        ));
    }
}

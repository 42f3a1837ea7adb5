//! Dumps: lists of a kernel's objects.

use netlink_remote::{
    Client, Error, Event, Netns, RemoteSocket,
    client::options,
    errno::describe,
    nlmsg::{Message, Outcome, flags, messages, set_sequence},
};

use super::failure::Failure;

/// `NETLINK_ROUTE`.
pub(crate) const ROUTE: u32 = 0;

/// The failure of a dump.
#[derive(Debug)]
pub(crate) enum DumpError {
    /// Objects changed meanwhile (`NLM_F_DUMP_INTR`): some may be missing, or listed twice.
    Interrupted,
    /// The kernel's error, with an explanation by extended ack.
    Refused { errno: i32, explanation: Option<String> },
    /// The socket or the connection failed.
    Failed(Error),
}

impl DumpError {
    /// The failure to list objects of this name, in plural.
    pub(crate) fn into_failure(self, objects: &str) -> Failure {
        match self {
            Self::Interrupted => Failure::request(format_args!(
                "listing the {objects}: they kept changing meanwhile; try again when they change \
                 less often"
            )),
            Self::Refused { errno, explanation } => {
                let explanation = explanation.map(|text| format!(" ({text})")).unwrap_or_default();
                let text = format_args!("listing the {objects}: {}{explanation}", describe(errno));
                Failure::errno(errno, text)
            }
            Self::Failed(error) => error.context(format_args!("listing the {objects}")).into(),
        }
    }
}

/// A socket for one dump after the other. It is in no group: a burst of events in its receive
/// buffer would leave no room for an answer.
#[derive(Debug)]
pub(crate) struct Dumper {
    socket: RemoteSocket,
    sequence: u32,
}

impl Dumper {
    /// Opens a socket on which the kernel filters by the request's header and attributes
    /// (`NETLINK_GET_STRICT_CHK`).
    pub(crate) async fn open(client: &Client, netns: &Netns) -> Result<Self, Failure> {
        let builder = client.socket(ROUTE).netns(netns.clone());
        let opened = builder.netlink_option(options::GET_STRICT_CHK, true).open().await;
        let socket = opened.map_err(|error| Failure::opening(error, netns))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and passes each message of the answer to `each`. After an error the
    /// messages passed so far are no list.
    pub(crate) async fn dump(
        &mut self,
        mut request: Vec<u8>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), DumpError> {
        self.sequence = self.sequence.wrapping_add(1);
        set_sequence(&mut request, self.sequence);
        self.socket.send(&request).await.map_err(DumpError::Failed)?;
        let mut interrupted = false;
        loop {
            let datagram = match self.socket.recv().await.map_err(DumpError::Failed)? {
                Event::Datagram(datagram) if datagram.info.portid == 0 => datagram.data,
                // From another process; the kernel's port id is 0.
                Event::Datagram(_) => continue,
                _ => {
                    interrupted = true;
                    continue;
                }
            };
            let mine = |message: &Message<'_>| message.header.sequence == self.sequence;
            for message in messages(&datagram).filter(mine) {
                interrupted |= message.header.flags & flags::DUMP_INTR != 0;
                match message.outcome() {
                    None => each(&message),
                    Some(outcome) => return result(outcome, interrupted),
                }
            }
        }
    }
}

/// The result of a dump that ended so.
fn result(outcome: Outcome, interrupted: bool) -> Result<(), DumpError> {
    match outcome.errno {
        0 if interrupted => Err(DumpError::Interrupted),
        0 => Ok(()),
        errno => Err(DumpError::Refused { errno, explanation: outcome.text }),
    }
}

#[cfg(test)]
mod tests {
    use netlink_remote::nlmsg::{Builder, kind};

    use super::*;

    #[test]
    fn an_interrupted_answer_is_none() {
        let done = |errno: i32, interrupted| {
            let message = Builder::new(kind::DONE, 0).put(&(-errno).to_ne_bytes()).finish();
            result(messages(&message).next().unwrap().outcome().unwrap(), interrupted)
        };
        assert!(done(0, false).is_ok());
        assert!(matches!(done(0, true), Err(DumpError::Interrupted)));
        assert!(matches!(done(2, true), Err(DumpError::Refused { errno: 2, .. })));
    }
}

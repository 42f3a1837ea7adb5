//! The requests of netlink-proto that await their answers, and the errors made for them here.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::{
    client::answer_end::{End, Place, Progress},
    errno::{EINTR, translate},
    limits::client::REMEMBERED_SENDS,
    nlmsg::{Builder, HEADER_LEN, Message, aligned, kind, messages},
};

/// The requests in flight, by their sequence numbers, which are netlink-proto's.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    requests: HashMap<u32, Progress>,
    /// Sequence numbers of the sends made, by their serial, while they may still fail.
    sends: VecDeque<(u32, Vec<u32>)>,
    /// Sequence numbers to be answered with an errno.
    failed: Vec<(u32, i32)>,
    tolerates_interrupted: bool,
    /// The far host's architecture, as `uname -m` names it: it may number errors otherwise.
    architecture: String,
}

impl InFlight {
    /// Without requests, of a host of an architecture.
    pub(super) fn new(architecture: &str) -> Self {
        Self { architecture: architecture.to_owned(), ..Self::default() }
    }

    /// Lets interrupted dumps end as if they were whole.
    pub(super) fn tolerate_interrupted(&mut self) {
        self.tolerates_interrupted = true;
    }

    /// Notes the requests of a datagram that was sent.
    pub(super) fn on_sent(&mut self, serial: u32, datagram: &[u8]) {
        let sequences = self.add(datagram);
        if self.sends.len() >= REMEMBERED_SENDS {
            self.sends.pop_front();
        }
        self.sends.push_back((serial, sequences));
    }

    /// Fails the requests of a datagram that was not sent.
    pub(super) fn on_refused(&mut self, datagram: &[u8], errno: i32) {
        let sequences = self.add(datagram);
        self.failed.extend(sequences.into_iter().map(|sequence| (sequence, errno)));
    }

    fn add(&mut self, datagram: &[u8]) -> Vec<u32> {
        let requests = messages(datagram).map(|message| message.header);
        let add = |header: crate::nlmsg::Header| {
            self.requests.insert(header.sequence, Progress::new(header.flags));
            header.sequence
        };
        requests.map(add).collect()
    }

    /// Fails the requests of a send that failed at the far end.
    pub(super) fn on_send_failed(&mut self, serial: u32, errno: i32) {
        let found = self.sends.iter().position(|(number, _)| *number == serial);
        let Some((_, sequences)) = found.and_then(|at| self.sends.remove(at)) else { return };
        self.failed.extend(sequences.into_iter().map(|sequence| (sequence, errno)));
    }

    /// Fails every request: the connection has ended.
    pub(super) fn fail_all(&mut self, errno: i32) {
        self.sends.clear();
        self.failed.extend(self.requests.keys().map(|sequence| (*sequence, errno)));
    }

    /// The errors of the requests that failed, as one datagram; `None` without any.
    pub(super) fn take_errors(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        for (sequence, errno) in self.failed.drain(..) {
            if self.requests.remove(&sequence).is_some() {
                out.extend_from_slice(&error(sequence, errno));
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// Takes in a datagram of answers. In the result the end of a dump that failed is an error,
    /// because netlink-proto looks neither at the errno of a DONE nor at `NLM_F_DUMP_INTR`; and each
    /// errno is this host's, because rust-netlink makes an `io::Error` of it.
    pub(super) fn on_datagram(&mut self, datagram: Bytes) -> Bytes {
        let mut replaced: Option<BytesMut> = None;
        for message in messages(&datagram) {
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            let end = message.offset.saturating_add(aligned(length)).min(datagram.len());
            let bytes = datagram.get(message.offset..end).unwrap_or_default();
            match (self.replacement(&message, bytes), &mut replaced) {
                (Some(error), replaced) => {
                    let before = datagram.get(..message.offset).unwrap_or_default();
                    replaced.get_or_insert_with(|| before.into()).extend_from_slice(&error);
                }
                (None, Some(replaced)) => replaced.extend_from_slice(bytes),
                (None, None) => {}
            }
        }
        replaced.map_or(datagram, BytesMut::freeze)
    }

    /// Takes in a message of an answer, which has these bytes. Gives the error in place of a DONE,
    /// or of an error that this host numbers otherwise.
    fn replacement(&mut self, message: &Message<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
        let sequence = message.header.sequence;
        let end = match self.requests.get_mut(&sequence)?.next(message) {
            Place::Part => return None,
            Place::Last => None,
            Place::End(end) => Some(end),
        };
        self.requests.remove(&sequence);
        let is_dump = message.header.kind == kind::DONE;
        match end {
            Some(End::Refused(outcome)) => {
                let errno = translate(outcome.errno, &self.architecture);
                match is_dump {
                    true => Some(error(sequence, errno)),
                    false => (errno != outcome.errno).then(|| renumbered(bytes, errno)),
                }
            }
            Some(End::Interrupted) if is_dump && !self.tolerates_interrupted => {
                Some(error(sequence, EINTR))
            }
            Some(End::Interrupted | End::Success) | None => None,
        }
    }
}

/// An `NLMSG_ERROR` that answers `sequence`, with an empty message in place of the request.
fn error(sequence: u32, errno: i32) -> Vec<u8> {
    let request = Builder::new(0, 0).sequence(sequence).finish();
    let error = Builder::new(kind::ERROR, 0).sequence(sequence);
    error.put(&errno.saturating_neg().to_ne_bytes()).put(&request).finish()
}

/// An `NLMSG_ERROR` with another errno.
fn renumbered(message: &[u8], errno: i32) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(place) = message.get_mut(HEADER_LEN..).and_then(<[u8]>::first_chunk_mut) {
        *place = errno.saturating_neg().to_ne_bytes();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nlmsg::flags;

    /// A message of this type, with these flags, sequence number and payload.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        Builder::new(kind, flags).sequence(sequence).put(payload).finish()
    }

    fn joined(parts: &[Vec<u8>]) -> Bytes {
        parts.concat().into()
    }

    /// Type, sequence number and errno of each message.
    fn summary(datagram: &[u8]) -> Vec<(u16, u32, i32)> {
        let errno = |m: &Message<'_>| m.outcome().map_or(0, |outcome| outcome.errno);
        messages(datagram).map(|m| (m.header.kind, m.header.sequence, errno(&m))).collect()
    }

    fn with_dump(sequence: u32) -> InFlight {
        let mut in_flight = InFlight::default();
        in_flight.on_sent(1, &message(18, 0x301, sequence, &[0; 16]));
        in_flight
    }

    #[test]
    fn a_dump_that_ends_with_an_error_code_becomes_that_error() {
        let mut in_flight = with_dump(7);
        let part = message(16, flags::MULTI, 7, &[1; 5]);
        let done = message(kind::DONE, flags::MULTI, 7, &(-105_i32).to_ne_bytes());
        let after = message(16, 0, 0, &[2; 8]);
        let datagram = in_flight.on_datagram(joined(&[part.clone(), done, after.clone()]));
        assert_eq!(summary(&datagram)[1], (kind::ERROR, 7, 105));
        assert_eq!(datagram[..part.len()], part[..]);
        assert_eq!(datagram[datagram.len() - after.len()..], after[..]);
        assert!(in_flight.requests.is_empty());
    }

    #[test]
    fn an_interrupted_dump_becomes_eintr_unless_tolerated() {
        for tolerated in [false, true] {
            let mut in_flight = with_dump(7);
            if tolerated {
                in_flight.tolerate_interrupted();
            }
            in_flight.on_datagram(joined(&[message(16, 0x2 | 0x10, 7, &[1; 8])]));
            let done: Bytes = message(kind::DONE, flags::MULTI, 7, &[0; 4]).into();
            let datagram = in_flight.on_datagram(done.clone());
            if tolerated {
                assert_eq!(datagram, done);
            } else {
                assert_eq!(summary(&datagram), [(kind::ERROR, 7, EINTR)]);
            }
        }
    }

    #[test]
    fn a_whole_dump_passes_as_it_is_and_in_the_same_memory() {
        let mut in_flight = with_dump(7);
        let dump = joined(&[
            message(16, flags::MULTI, 7, &[1; 8]),
            message(kind::DONE, flags::MULTI, 7, &[0; 4]),
        ]);
        let passed = in_flight.on_datagram(dump.clone());
        assert_eq!(passed.as_ptr(), dump.as_ptr());
        assert_eq!(passed, dump);
    }

    #[test]
    fn in_flight_ends_with_the_ack_where_one_was_asked_for() {
        let mut in_flight = InFlight::default();
        in_flight.on_sent(1, &message(18, 0x1 | flags::ACK, 7, &[0; 16]));
        in_flight.on_datagram(message(16, 0, 7, &[1; 8]).into());
        assert!(in_flight.requests.contains_key(&7), "the ack is still to come");
        in_flight.on_datagram(message(kind::ERROR, 0, 7, &[0; 20]).into());
        assert!(in_flight.requests.is_empty());
        in_flight.on_sent(2, &message(18, 0x1, 8, &[0; 16]));
        in_flight.on_datagram(message(16, 0, 8, &[1; 8]).into());
        assert!(in_flight.requests.is_empty(), "without one, the answer is the end");
    }

    #[test]
    fn a_failed_send_answers_its_requests_and_no_others() {
        let mut in_flight = InFlight::default();
        in_flight.on_sent(1, &message(18, 0x1, 7, &[0; 16]));
        in_flight.on_sent(2, &message(18, 0x1, 8, &[0; 16]));
        in_flight.on_send_failed(2, 1);
        assert_eq!(summary(&in_flight.take_errors().unwrap()), [(kind::ERROR, 8, 1)]);
        assert!(in_flight.take_errors().is_none());
        assert!(in_flight.requests.contains_key(&7));
    }

    #[test]
    fn errors_of_another_architecture_are_numbered_as_here() {
        use crate::errno::{EMSGSIZE, EOPNOTSUPP, EPERM};
        let request = |sequence| message(18, 0x1 | flags::ACK, sequence, &[0; 16]);
        let refusal = |sequence, errno: i32| {
            let payload =
                [&(-errno).to_ne_bytes()[..], &request(sequence)[..16], b"words"].concat();
            message(kind::ERROR, flags::ACK_TLVS, sequence, &payload)
        };
        let done = message(kind::DONE, flags::MULTI, 9, &(-97_i32).to_ne_bytes());
        let datagram = joined(&[refusal(7, 122), refusal(8, EPERM), done]);
        let mut in_flight = InFlight::new("mips");
        in_flight.on_sent(1, &[request(7), request(8), request(9)].concat());
        let translated = in_flight.on_datagram(datagram.clone());
        let errors =
            [(kind::ERROR, 7, EOPNOTSUPP), (kind::ERROR, 8, EPERM), (kind::ERROR, 9, EMSGSIZE)];
        assert_eq!(summary(&translated), errors);
        // Nothing but the errno is another.
        assert_eq!((&translated[..16], &translated[20..44]), (&datagram[..16], &datagram[20..44]));
    }

    #[test]
    fn malformed_datagrams_are_passed_on_untouched() {
        let mut in_flight = with_dump(7);
        for bytes in [
            &b""[..],
            &[1, 2, 3],
            &[0; 40],
            &[0xff; 64],
            &[15, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(in_flight.on_datagram(Bytes::copy_from_slice(bytes)), bytes);
        }
    }
}

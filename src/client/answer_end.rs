//! The end of an answer, by the flags of its request and of its messages.

use crate::nlmsg::{Message, Outcome, flags, kind};

/// The part of an answer that has come.
///
/// An answer ends with an `NLMSG_ERROR` (an acknowledgement is one with errno 0), with an
/// `NLMSG_DONE`, or, where the request asks for no acknowledgement, with its first message that is
/// not one of several (`NLM_F_MULTI`). A kernel that starts a dump sends no acknowledgement, even
/// where the request asks for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    expects_ack: bool,
    is_interrupted: bool,
}

/// The place of a message in its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Another message follows.
    Part,
    /// The last message, and itself a part of the answer.
    Last,
    /// The end, and no part of the answer.
    End(End),
}

/// The end of an answer in a message of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Success,
    /// A dump during which objects changed (`NLM_F_DUMP_INTR`).
    Interrupted,
    Refused(Outcome),
}

impl Progress {
    /// Of a request with these flags, to which no message has come.
    pub(super) fn new(request_flags: u16) -> Self {
        Self { expects_ack: request_flags & flags::ACK != 0, is_interrupted: false }
    }

    /// Takes in the answer's next message.
    pub(super) fn next(&mut self, message: &Message<'_>) -> Place {
        self.is_interrupted |= message.header.flags & flags::DUMP_INTR != 0;
        match message.outcome() {
            Some(outcome) if outcome.errno != 0 => Place::End(End::Refused(outcome)),
            Some(_) if self.is_interrupted => Place::End(End::Interrupted),
            Some(_) => Place::End(End::Success),
            None if message.header.kind == kind::NOOP => Place::Part,
            None if message.header.flags & flags::MULTI != 0 || self.expects_ack => Place::Part,
            None => Place::Last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nlmsg::{Builder, messages};

    fn places(request_flags: u16, answer: &[(u16, u16, i32)]) -> Vec<Place> {
        let mut progress = Progress::new(request_flags);
        let message = |&(kind, flags, errno): &(u16, u16, i32)| {
            let bytes = Builder::new(kind, flags).put(&(-errno).to_ne_bytes()).finish();
            progress.next(&messages(&bytes).next().unwrap())
        };
        answer.iter().map(message).collect()
    }

    #[test]
    fn an_answer_ends_as_its_flags_say() {
        use Place::{Last, Part};
        let success = || Place::End(End::Success);
        let (ack, multi, done) = (flags::ACK, flags::MULTI, (kind::DONE, flags::MULTI, 0));
        assert_eq!(places(0, &[(16, 0, 0)]), [Last]);
        assert_eq!(places(ack, &[(16, 0, 0), (kind::ERROR, 0, 0)]), [Part, success()]);
        let dump = [(16, multi, 0), (16, multi, 0), done];
        assert_eq!(places(flags::DUMP, &dump), [Part, Part, success()]);
        assert_eq!(places(flags::DUMP | ack, &dump), [Part, Part, success()]);
        assert_eq!(places(0, &dump), [Part, Part, success()], "several messages to no dump");
        let refused = Place::End(End::Refused(Outcome { errno: 22, ..Outcome::default() }));
        assert_eq!(places(ack, &[(kind::ERROR, 0, 22)]), [refused]);
    }

    #[test]
    fn an_interruption_is_told_at_the_end() {
        let intr = flags::MULTI | flags::DUMP_INTR;
        let end = |code| places(flags::DUMP, &[(16, intr, 0), (kind::DONE, flags::MULTI, code)]);
        assert_eq!(end(0), [Place::Part, Place::End(End::Interrupted)]);
        let refused = Outcome { errno: 105, ..Outcome::default() };
        assert_eq!(end(105), [Place::Part, Place::End(End::Refused(refused))]);
        let done = places(flags::DUMP, &[(kind::DONE, intr, 0)]);
        assert_eq!(done, [Place::End(End::Interrupted)]);
    }
}

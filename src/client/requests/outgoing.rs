//! A datagram of requests, checked and numbered.

use super::error::RequestError;
use crate::{
    client::answer_end::Progress,
    nlmsg::{self, HEADER_LEN, Header, add_flags, aligned, flags, set_sequence},
};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` of `linux/netfilter/nfnetlink.h`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// A datagram of one request, or of several.
///
/// The kernel carries them out in order, and so answers them. The answer to several ends with the
/// acknowledgement of the last one, for which it is asked here.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    /// The message whose end is that of the answer.
    pub(super) last: u32,
    /// The part of that message's answer that has come: none.
    pub(super) progress: Progress,
    /// Whether it starts a dump, of which a kernel socket runs one at a time.
    pub(super) is_dump: bool,
    /// Whether it is a batch of nfnetlink. An error in answer to its first message, the begin of
    /// the batch, is the only answer.
    pub(super) is_batch: bool,
}

impl Outgoing {
    /// Checks the lengths in a datagram, and sets the flag of requests in its messages; in the one
    /// whose end is that of the answer also `with_flags` and, if it is one of several, the flag
    /// that asks for its acknowledgement.
    pub(super) fn check(
        mut bytes: Vec<u8>,
        with_flags: u16,
        is_netfilter: bool,
    ) -> Result<Self, RequestError> {
        let headers = headers(&bytes)?;
        let (Some((_, first)), Some((_, end))) = (headers.first(), headers.last()) else {
            return Err(RequestError::invalid("a request of no bytes"));
        };
        let count = headers.len();
        let is_batch = is_netfilter && first.kind == BATCH_BEGIN;
        let behind_last = if is_batch && end.kind == BATCH_END { 2 } else { 1 };
        let last = count.saturating_sub(behind_last);
        if is_batch && last == 0 {
            return Err(RequestError::invalid("a batch of no messages"));
        }
        let mut is_dump = false;
        let mut progress = Progress::new(0);
        for (index, (offset, header)) in headers.iter().enumerate() {
            let ack = if count > 1 { flags::ACK } else { 0 };
            let more = if index == last { with_flags | ack } else { 0 };
            let all = header.flags | more;
            is_dump |= all & flags::DUMP == flags::DUMP;
            if index == last {
                progress = Progress::new(all);
            }
            add_flags(bytes.get_mut(*offset..).unwrap_or_default(), flags::REQUEST | more);
        }
        if is_dump && count > 1 {
            return Err(RequestError::invalid("a dump among several messages of one datagram"));
        }
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let (count, last) = (number(count), number(last));
        Ok(Self { bytes, count, last, progress, is_dump, is_batch })
    }

    /// Numbers the messages, from `first` on.
    pub(super) fn number(&mut self, first: u32) {
        let offsets: Vec<_> = nlmsg::messages(&self.bytes).map(|message| message.offset).collect();
        let mut sequence = first;
        for offset in offsets {
            set_sequence(self.bytes.get_mut(offset..).unwrap_or_default(), sequence);
            sequence = sequence.wrapping_add(1);
        }
    }
}

/// The headers of the messages that fill a datagram, each with its offset.
fn headers(datagram: &[u8]) -> Result<Vec<(usize, Header)>, RequestError> {
    let mut headers = Vec::new();
    let mut offset = 0;
    while let Some(rest @ [_, ..]) = datagram.get(offset..) {
        let header = Header::parse(rest);
        let length = header.and_then(|header| usize::try_from(header.length).ok());
        match (header, length) {
            (Some(header), Some(length @ HEADER_LEN..)) if length <= rest.len() => {
                headers.push((offset, header));
                offset += aligned(length);
            }
            _ => {
                let text = format!(
                    "no netlink message begins at byte {offset} of the datagram: its length would \
                     be {} of the {} bytes left",
                    length.unwrap_or_default(),
                    rest.len()
                );
                return Err(RequestError::invalid(text));
            }
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::requests::RequestErrorKind;
    use crate::nlmsg::{Builder, messages};

    fn message(kind: u16, flags: u16) -> Vec<u8> {
        Builder::new(kind, flags).put(&[0; 4]).finish()
    }

    fn checked(parts: &[Vec<u8>], is_netfilter: bool) -> Result<Outgoing, String> {
        let checked = Outgoing::check(parts.concat(), 0, is_netfilter);
        checked.map_err(|error| {
            assert_eq!(error.kind(), RequestErrorKind::Invalid);
            error.to_string()
        })
    }

    #[test]
    fn several_are_numbered_and_the_last_is_acknowledged() {
        let mut sent = checked(&[message(16, 0), message(17, 0), message(18, 0)], false).unwrap();
        sent.number(u32::MAX - 2);
        assert_eq!((sent.count, sent.last, sent.is_dump, sent.is_batch), (3, 2, false, false));
        let headers: Vec<_> = messages(&sent.bytes).map(|message| message.header).collect();
        let sequences: Vec<_> = headers.iter().map(|header| header.sequence).collect();
        assert_eq!(sequences, [u32::MAX - 2, u32::MAX - 1, u32::MAX]);
        let all_flags: Vec<_> = headers.iter().map(|header| header.flags).collect();
        assert_eq!(all_flags, [1, 1, 5]);
        assert_eq!(checked(&[message(18, 0)], true).unwrap().last, 0);
    }

    #[test]
    fn a_batch_ends_with_the_message_before_its_end() {
        let [begin, end] = [BATCH_BEGIN, BATCH_END].map(|kind| message(kind, 0));
        let parts = [begin.clone(), message(0xa00, 0), message(0xa03, 0), end.clone()];
        let batch = checked(&parts, true).unwrap();
        assert!(batch.is_batch);
        assert_eq!((batch.count, batch.last), (4, 2));
        // The same types of rtnetlink are RTM_NEWLINK and RTM_DELLINK.
        assert_eq!(checked(&parts, false).unwrap().last, 3);
        assert!(checked(&[begin, end], true).unwrap_err().contains("batch of no messages"));
    }

    #[test]
    fn lengths_are_checked() {
        let good = message(16, 0);
        let mut long = good.clone();
        long[0] = 24;
        let mut short = good.clone();
        short[0] = 15;
        for bad in [long, short, good[..10].to_vec(), [good.as_slice(), &[0; 4]].concat()] {
            assert!(checked(&[bad], false).unwrap_err().contains("no netlink message begins"));
        }
        assert!(checked(&[], false).unwrap_err().contains("no bytes"));
        let mut unpadded = good.clone();
        unpadded[0] = 19;
        assert!(checked(&[unpadded], false).is_ok(), "padding is no message");
        assert!(checked(&[good, message(18, flags::DUMP)], false).unwrap_err().contains("a dump"));
    }
}

//! Which sends a stub may make in one system call: see [`Flags::GATHER`](crate::wire::Flags::GATHER).

use crate::{
    nlmsg::{self, Header, flags},
    proto::SendMode,
};

/// How the far end is to make a send.
pub(super) fn send_mode(confirm: bool, datagram: &[u8]) -> SendMode {
    match kind(datagram) {
        _ if confirm => SendMode::Confirmed,
        Some(kind) => SendMode::Gathered(kind),
        None => SendMode::Pipelined,
    }
}

/// The message type of a datagram that is one message and starts no dump; `None` for all others.
///
/// Most families dump at either flag of `NLM_F_DUMP`; beside `NLM_F_CREATE` each means something
/// else. A message in the byte order of another host is none that fills the datagram.
fn kind(datagram: &[u8]) -> Option<u16> {
    let header = Header::parse(datagram)?;
    let length = usize::try_from(header.length).ok()?;
    let is_one = (nlmsg::HEADER_LEN..=datagram.len()).contains(&length)
        && nlmsg::aligned(length) >= datagram.len();
    let dump = header.flags & flags::DUMP;
    let dumps = dump == flags::DUMP || dump != 0 && header.flags & flags::CREATE == 0;
    (is_one && !dumps).then_some(header.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nlmsg::Builder;

    fn message(flags: u16) -> Vec<u8> {
        Builder::new(18, flags).put(&[0; 16]).finish()
    }

    #[test]
    fn requests_and_changes_are_gathered_and_dumps_are_not() {
        for (flags, expected) in [
            (flags::REQUEST, Some(18)),
            (flags::REQUEST | flags::ACK | flags::CREATE | flags::EXCL, Some(18)),
            (flags::REQUEST | flags::CREATE | flags::REPLACE, Some(18)),
            (flags::REQUEST | flags::DUMP, None),
            (flags::REQUEST | flags::DUMP | flags::CREATE, None),
            (flags::REQUEST | flags::ROOT, None),
            (flags::REQUEST | flags::MATCH, None),
        ] {
            assert_eq!(kind(&message(flags)), expected, "{flags:#x}");
        }
        let sent = message(flags::REQUEST);
        assert_eq!(send_mode(false, &sent), SendMode::Gathered(18));
        assert_eq!(send_mode(true, &sent), SendMode::Confirmed);
        assert_eq!(send_mode(false, &message(flags::DUMP)), SendMode::Pipelined);
    }

    #[test]
    fn a_datagram_has_to_be_one_whole_message() {
        let one = message(flags::REQUEST);
        assert_eq!(kind(&[one.as_slice(), &one].concat()), None);
        assert_eq!(kind(&one[..31]), None);
        assert_eq!(kind(&one[..15]), None);
        assert_eq!(kind(&[]), None);
        let mut unpadded = one.clone();
        unpadded[..4].copy_from_slice(&29_u32.to_ne_bytes());
        assert_eq!(kind(&unpadded), Some(18), "padding is no message");
        assert_eq!(kind(&unpadded[..29]), Some(18));
        unpadded[..4].copy_from_slice(&28_u32.to_ne_bytes());
        assert_eq!(kind(&unpadded), None);
        let mut foreign = one;
        foreign[..4].reverse();
        assert_eq!(kind(&foreign), None);
    }
}

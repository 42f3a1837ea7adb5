//! The beginning of what a server sends: its greeting and its offer of algorithms (RFC 4253, sections
//! 4.2 and 7.1). libssh2 keeps them to itself, and an error has to name them.

use super::key_blob::take_string;
use crate::text::one_line;

/// The greeting and the offer, as far as they have come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    /// `SSH-2.0-OpenSSH_9.2p1`, made harmless.
    pub(super) version: Option<String>,
    /// The first line, where the server greets as none of ssh.
    pub(super) said: Option<String>,
    /// The name-lists of the server's KEXINIT up to the compressions, in their order.
    pub(super) offers: Option<[String; 8]>,
}

impl Greeting {
    /// The most letters quoted of a line.
    const QUOTED: usize = 100;

    pub(super) fn parse(heard: &[u8]) -> Self {
        let quoted = |line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            one_line(text.trim_end()).chars().take(Self::QUOTED).collect::<String>()
        };
        let mut rest = heard;
        // Other lines may come before the greeting.
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if line.starts_with(b"SSH-") {
                let version = Some(quoted(line));
                return Self { version, said: None, offers: offers(rest) };
            }
        }
        let first = heard.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let said = Some(quoted(first)).filter(|line| !line.trim().is_empty());
        Self { version: None, said, offers: None }
    }
}

/// The name-lists of an unencrypted packet that is a KEXINIT.
fn offers(packet: &[u8]) -> Option<[String; 8]> {
    const KEXINIT: u8 = 20;
    const COOKIE: usize = 16;
    let (_length, rest) = packet.split_first_chunk::<4>()?;
    let (_padding, rest) = rest.split_first()?;
    let mut rest = rest.strip_prefix(&[KEXINIT])?.get(COOKIE..)?;
    let mut lists: [String; 8] = Default::default();
    for list in &mut lists {
        *list = String::from_utf8_lossy(take_string(&mut rest)?).into_owned();
    }
    Some(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit() -> Vec<u8> {
        let mut packet = vec![0, 0, 0, 99, 4, 20];
        packet.extend([7; 16]);
        for list in ["kex1,kex2", "key", "c1", "c2", "m1", "m2", "none", "none"] {
            packet.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            packet.extend(list.as_bytes());
        }
        packet
    }

    #[test]
    fn greetings_cut_anywhere() {
        let whole = [b"hello\r\nSSH-2.0-x\x1b y\r\n".as_slice(), &kexinit()].concat();
        let greeting = Greeting::parse(&whole);
        assert_eq!(greeting.version.as_deref(), Some("SSH-2.0-x\u{fffd} y"));
        assert_eq!(greeting.offers.as_ref().unwrap()[0], "kex1,kex2");
        for length in 0..whole.len() {
            assert_eq!(Greeting::parse(&whole[..length]).offers, None, "{length}");
        }
    }

    #[test]
    fn other_servers() {
        let said = |bytes: &[u8]| Greeting::parse(bytes).said;
        assert_eq!(said(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap(), "HTTP/1.1 400 Bad Request");
        assert_eq!(said(b"220 ftp").unwrap(), "220 ftp");
        assert_eq!(said(b""), None);
        assert_eq!(said(&[b'x'; 9999]).unwrap().len(), Greeting::QUOTED);
    }
}

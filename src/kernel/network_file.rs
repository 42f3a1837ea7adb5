//! Files of the host's network below /proc, for a client.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use nix::errno::Errno;

use super::failure::{explained, io_failure};
use crate::wire::Failure;

/// A file that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct NetworkFile(File);

/// The path of a file that may be asked for, below /proc.
fn path_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 512)?;
    let is_plain = |part: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(letters)
    };
    let rest = text.strip_prefix("net/").map(|rest| (rest, "thread-self/net"));
    let (rest, folder) =
        rest.or_else(|| text.strip_prefix("sys/net/").map(|rest| (rest, "sys/net")))?;
    rest.split('/').all(is_plain).then(|| format!("/proc/{folder}/{rest}"))
}

impl NetworkFile {
    /// Opens a file in the namespace of this thread, if everybody may read it: the stub may have privileges that
    /// its client has not.
    ///
    /// # Errors
    /// EACCES for another path and another file, and those of open(2).
    pub(super) fn open(path: &[u8]) -> Result<Self, Failure> {
        let shown = String::from_utf8_lossy(path);
        let refused = |reason: &str| explained(Errno::EACCES, format!("{shown:?}: {reason}"));
        let path = path_of(path)
            .ok_or_else(|| refused("the stub reads files below net/ and sys/net/ alone"))?;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let file = opened.map_err(|error| io_failure(&error, format_args!("opening {path}")))?;
        let facts = file.metadata().map_err(|error| io_failure(&error, format_args!("{path}")))?;
        if !facts.is_file() || facts.mode() & 0o004 == 0 {
            return Err(refused("the stub reads files alone that everybody there may read"));
        }
        Ok(Self(file))
    }

    /// The next piece, of so many bytes; a shorter one is the last.
    pub(super) fn read(&self, most: usize) -> Result<Vec<u8>, Errno> {
        let mut piece = Vec::new();
        // One read(2) of a file below /proc gives as many whole lines as it likes.
        let read = (&self.0).take(most as u64).read_to_end(&mut piece);
        read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_two_folders() {
        for (text, path) in [
            ("net/route", Some("/proc/thread-self/net/route")),
            ("net/dev_snmp6/lo", Some("/proc/thread-self/net/dev_snmp6/lo")),
            ("sys/net/ipv4/conf/eth0.7/mtu", Some("/proc/sys/net/ipv4/conf/eth0.7/mtu")),
            ("net/../environ", None),
            ("net/", None),
            ("net//route", None),
            ("sys/kernel/hostname", None),
            ("/proc/net/route", None),
            ("net/a b", None),
            ("", None),
        ] {
            assert_eq!(path_of(text.as_bytes()).as_deref(), path, "{text}");
        }
    }

    #[test]
    fn what_everybody_may_read_is_read() {
        let file = NetworkFile::open(b"net/dev").unwrap();
        let begin = file.read(8).unwrap();
        assert_eq!(begin, b"Inter-| ");
        while file.read(100).unwrap().len() == 100 {}
        for (path, errno) in [
            (&b"net/nosuch"[..], libc::ENOENT),
            (b"sys/net/ipv4/tcp_fastopen_key", libc::EACCES),
            (b"sys/net/ipv4", libc::EACCES),
            (b"../etc/passwd", libc::EACCES),
        ] {
            assert_eq!(NetworkFile::open(path).unwrap_err().errno, errno, "{path:?}");
        }
    }
}

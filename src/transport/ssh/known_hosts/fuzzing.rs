//! known_hosts files of any text, for the fuzzers.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how these functions say that they have found something"
)]

use super::{
    line::{self, Marker, SALT_LEN},
    lookup::{KnownHosts, Verdict, name_of},
};
use crate::transport::ssh::{
    config::parse_destination,
    host::{SshHost, StrictChecking},
    memory_file::MemoryFile,
};

/// Looks up the host of the first line, `host[:port]`, in the file that is the other lines.
///
/// A key on file is known unless it is revoked, another one is not, and a line that is written for a
/// key is found again, plain and hashed.
pub(crate) fn known_hosts(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (host, content) = data.split_at(at);
    let host = String::from_utf8_lossy(host);
    let Ok((_, host_name, port)) = parse_destination(&host) else { return };
    let file = MemoryFile::new(content.get(1..).unwrap_or_default());
    let host = SshHost {
        hop: format!("ssh://{host}"),
        user_known_hosts: vec![file.path()],
        strict: StrictChecking::Yes,
        ..SshHost::bare(&host_name, port.unwrap_or(22), "u")
    };
    let known = KnownHosts::read(&host).unwrap();
    let has = |marker, key: &[u8]| {
        known.keys.iter().any(|known| known.line.marker == marker && known.line.key == key)
    };
    assert!(known.preferred().len() <= 6);
    let name = name_of(&host);
    for key in &known.keys {
        let blob = key.line.key.as_slice();
        let is_expected = match known.judge(blob) {
            Verdict::Known => has(Marker::None, blob),
            Verdict::Revoked(by) => by.line.marker == Marker::Revoked && by.line.key == blob,
            Verdict::Changed(by) => by.line.marker == Marker::None && by.line.key != blob,
            // Of an authority, say, or known without the port alone.
            Verdict::New => !has(Marker::None, blob),
        };
        assert!(is_expected, "{key:?}");
        if has(Marker::None, blob) {
            assert!(matches!(known.judge(blob), Verdict::Known | Verdict::Revoked(_)));
        }
        let written = |name: &str| line::format(name, blob).unwrap();
        let hashed = line::hashed(&[7; SALT_LEN], &name).unwrap();
        for line in [written(&name), written(&hashed)] {
            let found = line::parse_for(line.as_bytes(), &name).unwrap();
            assert_eq!((found.marker, found.key.as_slice()), (Marker::None, blob), "{line}");
        }
        assert!(
            line::parse_for(written("another.example").as_bytes(), &name).is_none()
                || name == "another.example"
        );
    }
    let stranger = line::parse_for(b"h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAQ==", "h");
    let stranger = stranger.map_or_else(Vec::new, |line| line.key);
    if !known.keys.iter().any(|key| key.line.key == stranger) {
        assert!(!matches!(known.judge(&stranger), Verdict::Revoked(_)) || port.is_some());
    }
}

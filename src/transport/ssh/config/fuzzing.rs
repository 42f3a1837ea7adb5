//! Configurations of any text, for the fuzzers.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how these functions say that they have found something"
)]

use std::path::PathBuf;

use super::{ConfigSource, account::LocalAccount, parse_destination, resolve_for};
use crate::{authority, text::is_harmful, transport::ssh::memory_file::MemoryFile};

/// Resolves the host of the first line by the configuration in the other lines.
///
/// The result is the same each time, its host, user and jumps are such as ssh takes, and an error is
/// harmless to show. Files are not included: the fuzzer would read this machine's.
pub(crate) fn ssh_config(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (host, content) = data.split_at(at);
    let includes = content.windows(7).any(|word| word.eq_ignore_ascii_case(b"include"));
    if includes && content.contains(&b'/') {
        return;
    }
    let host = String::from_utf8_lossy(host);
    let local = LocalAccount {
        home: PathBuf::from("/nonexistent"),
        user: Some("me".to_owned()),
        uid: 1000,
        etc: PathBuf::from("/nonexistent"),
        env: |name| (name == "SSH_AUTH_SOCK").then(|| "/agent".to_owned()),
        // A fuzzer runs nothing.
        run: |_| Ok(false),
    };
    let file = MemoryFile::new(content);
    let source = ConfigSource::File(file.path());
    let hop = format!("ssh://{host}");
    let resolved = resolve_for(&local, &hop, None, &host, None, &source);
    let again = resolve_for(&local, &hop, None, &host, None, &source);
    match (resolved, again) {
        (Ok(resolved), Ok(again)) => {
            assert_eq!(resolved, again);
            authority::check_host(&resolved.host_name).unwrap();
            authority::check_user(&resolved.user).unwrap();
            assert_ne!(resolved.port, 0);
            for jump in &resolved.jumps {
                parse_destination(jump).unwrap();
            }
        }
        (Err(error), Err(again)) => {
            let shown = error.to_string();
            assert_eq!(shown, again.to_string());
            assert!(!shown.contains(is_harmful), "{shown:?}");
        }
        (one, other) => panic!("{one:?}, then {other:?}"),
    }
}

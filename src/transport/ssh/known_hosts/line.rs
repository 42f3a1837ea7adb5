//! One line of a known_hosts file; see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::transport::ssh::{key_blob::key_type, pattern};

/// The meaning of a line's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// The host's own key.
    None,
    /// The key of an authority that signs the host's: `@cert-authority`.
    Authority,
    /// A key that must not be used any more: `@revoked`.
    Revoked,
}

/// A line about a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownHostsLine {
    pub(super) marker: Marker,
    pub(super) key_type: &'static str,
    /// The key's blob.
    pub(super) key: Vec<u8>,
}

/// The known types of keys; a line with another one is skipped, as ssh does.
const KEY_TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "ssh-dss",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const BLANKS: [char; 2] = [' ', '\t'];

/// Parses a line if it is about the host of this name; `None` for a malformed line too.
pub(super) fn parse_for(line: &[u8], name: &str) -> Option<KnownHostsLine> {
    let line = String::from_utf8_lossy(line);
    let mut rest = line.trim_matches([' ', '\t', '\r', '\n']);
    let mut marker = Marker::None;
    if rest.starts_with('@') {
        let (word, after) = rest.split_once(BLANKS)?;
        marker = match word {
            "@cert-authority" => Marker::Authority,
            "@revoked" => Marker::Revoked,
            _ => return None,
        };
        rest = after.trim_start_matches(BLANKS);
    }
    // A second marker, or a comment.
    if rest.starts_with(['@', '#']) {
        return None;
    }
    let (names, rest) = rest.split_once(BLANKS)?;
    if !names_match(names, name) {
        return None;
    }
    let (type_word, rest) = rest.trim_start_matches(BLANKS).split_once(BLANKS)?;
    let known_type = KEY_TYPES.into_iter().find(|known| *known == type_word)?;
    let encoded = rest.trim_start_matches(BLANKS).split(BLANKS).next()?;
    let key = BASE64_STANDARD.decode(encoded).ok()?;
    (key_type(&key)? == known_type).then_some(KnownHostsLine { marker, key_type: known_type, key })
}

/// Whether a line's names, a list of patterns or one hashed name, match a name.
fn names_match(names: &str, name: &str) -> bool {
    let Some(hashed) = names.strip_prefix('|') else { return pattern::names_match(name, names) };
    let Some((salt, sum)) = hashed.strip_prefix("1|").and_then(|hashed| hashed.split_once('|'))
    else {
        return false;
    };
    let decode = |text: &str| BASE64_STANDARD.decode(text);
    let (Ok(salt), Ok(sum)) = (decode(salt), decode(sum)) else { return false };
    salt.len() == SALT_LEN && hash(&salt, name).is_some_and(|hash| hash == sum)
}

/// The length of a salt in bytes: that of the hash.
pub(super) const SALT_LEN: usize = 20;

fn hash(salt: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

/// A name in hashed form (`HashKnownHosts`).
pub(super) fn hashed(salt: &[u8; SALT_LEN], name: &str) -> Option<String> {
    let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    Some(format!("|1|{}|{}", encode(salt), encode(&hash(salt, name)?)))
}

/// The line for a key, with its newline.
pub(super) fn format(name: &str, key: &[u8]) -> Option<String> {
    Some(format!("{name} {} {}\n", key_type(key)?, BASE64_STANDARD.encode(key)))
}

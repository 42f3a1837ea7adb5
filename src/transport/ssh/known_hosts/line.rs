//! One line of a known_hosts file, see sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::transport::ssh::config::pattern;

/// What a line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It is the host's.
    None,
    /// It vouches for the host's: `@cert-authority`.
    Authority,
    /// It must not be used any more: `@revoked`.
    Revoked,
}

/// A line about a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) marker: Marker,
    pub(super) key_type: &'static str,
    pub(super) key: Vec<u8>,
}

/// The types of keys that there are; a line with another one is skipped, as ssh does.
const TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "ssh-dss",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const BLANK: [char; 2] = [' ', '\t'];

/// Reads a line; `None` where it is not about the host or not well formed.
pub(super) fn about(line: &[u8], name: &str) -> Option<Line> {
    let line = String::from_utf8_lossy(line);
    let mut rest = line.trim_matches([' ', '\t', '\r', '\n']);
    let mut marker = Marker::None;
    if rest.starts_with('@') {
        let (word, after) = rest.split_once(BLANK)?;
        marker = match word {
            "@cert-authority" => Marker::Authority,
            "@revoked" => Marker::Revoked,
            _ => return None,
        };
        rest = after.trim_start_matches(BLANK);
    }
    // A second marker, a comment, or nothing.
    if rest.starts_with(['@', '#']) {
        return None;
    }
    let (names, rest) = rest.split_once(BLANK)?;
    if !names_are(names, name) {
        return None;
    }
    let (key_type, rest) = rest.trim_start_matches(BLANK).split_once(BLANK)?;
    let key_type = TYPES.into_iter().find(|known| *known == key_type)?;
    let encoded = rest.trim_start_matches(BLANK).split(BLANK).next()?;
    let key = BASE64.decode(encoded).ok()?;
    (type_of(&key)? == key_type).then_some(Line { marker, key_type, key })
}

/// The type that a key names in front.
pub(super) fn type_of(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    str::from_utf8(rest.get(..length)?).ok()
}

fn names_are(names: &str, name: &str) -> bool {
    let Some(hashed) = names.strip_prefix('|') else { return pattern::names_match(name, names) };
    let Some((salt, sum)) = hashed.strip_prefix("1|").and_then(|hashed| hashed.split_once('|'))
    else {
        return false;
    };
    let (Ok(salt), Ok(sum)) = (BASE64.decode(salt), BASE64.decode(sum)) else { return false };
    salt.len() == SALT && hash(&salt, name).is_some_and(|hash| hash == sum)
}

/// How long a salt is: as long as the hash.
pub(super) const SALT: usize = 20;

fn hash(salt: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

/// A name as it is written in hashed form.
pub(super) fn hashed(salt: &[u8; SALT], name: &str) -> Option<String> {
    let encode = |bytes: &[u8]| BASE64.encode(bytes);
    Some(format!("|1|{}|{}", encode(salt), encode(&hash(salt, name)?)))
}

/// A line for a new key.
pub(super) fn written(name: &str, key: &[u8]) -> Option<String> {
    let encoded = BASE64.encode(key);
    Some(format!("{name} {} {encoded}\n", type_of(key)?))
}

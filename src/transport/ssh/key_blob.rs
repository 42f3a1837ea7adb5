//! Public keys in the form in which ssh sends them: a blob that begins with the key's type (RFC 4253,
//! section 6.6).

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

/// Takes a `string` of the ssh protocol (RFC 4251, section 5) off the front: a length in four bytes,
/// then the bytes.
pub(super) fn take_string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (taken, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

/// The type that a key's blob begins with: `ssh-ed25519`.
pub(super) fn key_type(blob: &[u8]) -> Option<&str> {
    str::from_utf8(take_string(&mut &*blob)?).ok()
}

/// A key's fingerprint as ssh shows it: `SHA256:` and base64.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

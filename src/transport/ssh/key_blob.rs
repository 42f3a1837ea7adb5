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

/// The size of an RSA key, or of an RSA key in a certificate; `None` for another type.
pub(super) fn rsa_bits(blob: &[u8]) -> Option<u32> {
    let mut rest = blob;
    let kind = take_string(&mut rest)?;
    if kind == b"ssh-rsa-cert-v01@openssh.com" {
        let _nonce = take_string(&mut rest)?;
    } else if kind != b"ssh-rsa" {
        return None;
    }
    let _exponent = take_string(&mut rest)?;
    let modulus = take_string(&mut rest)?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    let digits = modulus.get(start..)?;
    let bits = u32::try_from(digits.len()).ok()?.checked_mul(8)?;
    Some(bits - digits.first()?.leading_zeros())
}

/// Whether a certificate is one of a key: the same fields follow its type and nonce.
pub(super) fn is_certificate_of(certificate: &[u8], key: &[u8]) -> bool {
    let (mut certified, mut fields) = (certificate, key);
    let Some(kinds) = take_string(&mut certified).zip(take_string(&mut fields)) else {
        return false;
    };
    kinds.0.strip_suffix(b"-cert-v01@openssh.com") == Some(kinds.1)
        && take_string(&mut certified).is_some()
        && certified.starts_with(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(strings: &[&[u8]]) -> Vec<u8> {
        let lengths = strings.iter().map(|string| u32::try_from(string.len()).unwrap());
        let parts = lengths.zip(strings);
        parts.flat_map(|(length, string)| [&length.to_be_bytes(), *string].concat()).collect()
    }

    #[test]
    fn sizes_of_rsa_keys() {
        let modulus = [&[0, 0x80][..], &[1; 127]].concat();
        assert_eq!(rsa_bits(&blob(&[b"ssh-rsa", &[3], &modulus])), Some(1024));
        assert_eq!(rsa_bits(&blob(&[b"ssh-rsa", &[3], &[0x7f, 1]])), Some(15));
        let certificate = blob(&[b"ssh-rsa-cert-v01@openssh.com", b"nonce", &[3], &modulus]);
        assert_eq!(rsa_bits(&certificate), Some(1024));
        for other in [blob(&[b"ssh-ed25519", b"x"]), blob(&[b"ssh-rsa", &[3], &[0]]), vec![0, 0]] {
            assert_eq!(rsa_bits(&other), None);
        }
    }

    #[test]
    fn certificates_of_keys() {
        let key = blob(&[b"ssh-ed25519", b"point"]);
        let kind = b"ssh-ed25519-cert-v01@openssh.com";
        assert!(is_certificate_of(&blob(&[kind, b"nonce", b"point", b"serial"]), &key));
        assert!(!is_certificate_of(&blob(&[kind, b"nonce", b"other", b"serial"]), &key));
        assert!(!is_certificate_of(&key, &key) && !is_certificate_of(&[], &key));
    }
}

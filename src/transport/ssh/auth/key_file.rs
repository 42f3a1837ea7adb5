//! Private keys in files, and the facts that they show without their passphrase.

use std::{io, io::Read, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::transport::ssh::key_blob::{key_type, take_string};

/// The most bytes read of a file: more than any key has.
const MAX_FILE: u64 = 1 << 20;

/// The content of a key file.
pub(super) struct KeyFile {
    /// The private key's text; `None` for a file with a public key only.
    pub(super) private: Option<Zeroizing<String>>,
    /// The public key as a `.pub` file has it: from one, or from the private key's own header.
    pub(super) public: Option<String>,
    pub(super) is_encrypted: bool,
}

impl KeyFile {
    /// Reads a private key, and the `.pub` file beside it if there is one. Blocks.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = read_text(path)?;
        if blob_of(&text).is_some() {
            return Ok(Self { private: None, public: Some(text.to_string()), is_encrypted: false });
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        let beside = read_text(Path::new(&name)).ok().filter(|text| blob_of(text).is_some());
        let header = OpenSshHeader::parse(&text);
        let is_encrypted = match &header {
            Some(header) => header.is_encrypted,
            None => text.contains("ENCRYPTED"),
        };
        // The private key's own header comes first: a `.pub` file may be another key's.
        let own = header.and_then(|header| line_of(&header.public));
        let public = own.or_else(|| beside.map(|text| text.to_string()));
        Ok(Self { private: Some(text), public, is_encrypted })
    }

    /// The public key's blob, as agents have it.
    pub(super) fn blob(&self) -> Option<Vec<u8>> {
        blob_of(self.public.as_deref()?)
    }
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut file = std::fs::File::open(path)?.take(MAX_FILE);
    // Large from the start: a growing buffer leaves copies of its content in memory.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The blob in a line such as `ssh-ed25519 AAAA... comment`: its second word, decoded.
fn blob_of(line: &str) -> Option<Vec<u8>> {
    let mut words = line.lines().next()?.split_ascii_whitespace();
    let kind = words.next()?;
    let blob = BASE64_STANDARD.decode(words.next()?).ok()?;
    (take_string(&mut blob.as_slice())? == kind.as_bytes()).then_some(blob)
}

fn line_of(blob: &[u8]) -> Option<String> {
    Some(format!("{} {}", key_type(blob)?, BASE64_STANDARD.encode(blob)))
}

/// The unencrypted part of a key in OpenSSH's own format; see OpenSSH's PROTOCOL.key.
struct OpenSshHeader {
    is_encrypted: bool,
    public: Vec<u8>,
}

impl OpenSshHeader {
    fn parse(text: &str) -> Option<Self> {
        let body = text.split("-----BEGIN OPENSSH PRIVATE KEY-----").nth(1)?;
        let body = body.split("-----END").next()?;
        let mut letters = Zeroizing::new(String::with_capacity(body.len()));
        letters.extend(body.chars().filter(|letter| !letter.is_ascii_whitespace()));
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(letters.as_bytes()).ok()?);
        let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
        let cipher = take_string(&mut rest)?;
        let _kdf = take_string(&mut rest)?;
        let _kdf_options = take_string(&mut rest)?;
        let (_count, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(Self { is_encrypted: cipher != b"none", public: take_string(&mut rest)?.to_vec() })
    }
}

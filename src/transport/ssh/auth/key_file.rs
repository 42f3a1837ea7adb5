//! Private keys in files, and what can be known of them without their passphrase.

use std::{io, io::Read, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

/// Longer than any key.
const LONGEST: u64 = 1 << 20;

/// A key file as it was read.
pub(super) struct KeyFile {
    /// The private key's text; a file may have a public one only.
    pub(super) private: Option<Zeroizing<String>>,
    /// The public key as `.pub` files have it: from one, or from the private key's own header.
    pub(super) public: Option<String>,
    pub(super) encrypted: bool,
}

impl KeyFile {
    /// Reads a private key and the `.pub` file beside it, if there is one. Blocks.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = read_text(path)?;
        if blob_of(&text).is_some() {
            return Ok(Self { private: None, public: Some(text.to_string()), encrypted: false });
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        let beside = read_text(Path::new(&name)).ok().filter(|text| blob_of(text).is_some());
        let header = Header::parse(&text);
        let encrypted = match &header {
            Some(header) => header.encrypted,
            None => text.contains("ENCRYPTED"),
        };
        // The private key's own word is better: a `.pub` file may be another key's.
        let own = header.and_then(|header| line_of(&header.public));
        let public = own.or_else(|| beside.map(|text| text.to_string()));
        Ok(Self { private: Some(text), public, encrypted })
    }

    /// The public key's blob, as agents have it.
    pub(super) fn blob(&self) -> Option<Vec<u8>> {
        blob_of(self.public.as_deref()?)
    }
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut file = std::fs::File::open(path)?.take(LONGEST);
    // Grown buffers would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The second word of a line such as `ssh-ed25519 AAAA... comment`.
fn blob_of(line: &str) -> Option<Vec<u8>> {
    let mut words = line.lines().next()?.split_ascii_whitespace();
    let kind = words.next()?;
    let blob = BASE64_STANDARD.decode(words.next()?).ok()?;
    (take_string(&mut blob.as_slice())? == kind.as_bytes()).then_some(blob)
}

fn line_of(blob: &[u8]) -> Option<String> {
    let kind = std::str::from_utf8(take_string(&mut &*blob)?).ok()?;
    Some(format!("{kind} {}", BASE64_STANDARD.encode(blob)))
}

/// The part in clear of a key in OpenSSH's own format; see its PROTOCOL.key.
struct Header {
    encrypted: bool,
    public: Vec<u8>,
}

impl Header {
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
        Some(Self { encrypted: cipher != b"none", public: take_string(&mut rest)?.to_vec() })
    }
}

/// A string as the ssh protocol has it: a length in four bytes, and the bytes.
pub(super) fn take_string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (taken, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

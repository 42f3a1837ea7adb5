//! Private keys in files, and the facts that they show without their passphrase.

use std::{
    fs::File,
    io,
    io::Read,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::transport::ssh::key_blob::{key_type, take_string};

/// The most bytes read of a file: more than any key has.
const MAX_FILE: u64 = 1 << 20;

/// The content of a key file.
#[derive(Clone)]
pub(super) struct KeyFile {
    /// The private key's text; `None` for a file with a public key only.
    pub(super) private: Option<Zeroizing<String>>,
    /// The public key as a `.pub` file has it: from one, or from the private key's own header.
    pub(super) public: Option<String>,
    pub(super) is_encrypted: bool,
}

impl KeyFile {
    /// Reads a private key, and the `.pub` file beside it if there is one; or that file alone, which
    /// names a key of the agent. Blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] without an errno for a private key of this user's that
    /// others may read: as for ssh, it is none.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let beside = || read_text(&with_suffix(path, ".pub")).ok().filter(|text| is_public(text));
        let of_agent = |text: Zeroizing<String>| Self {
            private: None,
            public: Some(text.to_string()),
            is_encrypted: false,
        };
        let (text, is_open) = match read_private(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return beside().map(of_agent).ok_or(error);
            }
            read => read?,
        };
        if is_public(&text) {
            return Ok(of_agent(text));
        }
        if is_open {
            let text = "others may read it, so it is not used: chmod 600 it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let beside = beside();
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

/// The certificate of a file, as its only line has it. Blocks.
pub(super) fn read_certificate(path: &Path) -> io::Result<Certificate> {
    let text = read_text(path)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a certificate");
    let blob = blob_of(&text).ok_or_else(invalid)?;
    match key_type(&blob) {
        Some(kind) if kind.ends_with(CERTIFICATE) => {
            Ok(Certificate { text: text.to_string(), blob })
        }
        _ => Err(invalid()),
    }
}

/// The end of a certificate's type.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// A user certificate.
#[derive(Clone)]
pub(super) struct Certificate {
    /// The line of its file.
    pub(super) text: String,
    pub(super) blob: Vec<u8>,
}

/// A path with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn is_public(text: &str) -> bool {
    blob_of(text).is_some()
}

/// The text of a private key's file, and whether others may read it. A file of another user's is that
/// user's affair, as for ssh.
fn read_private(path: &Path) -> io::Result<(Zeroizing<String>, bool)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let is_own = about.uid() == nix::unistd::Uid::current().as_raw();
    Ok((read_from(file)?, is_own && about.mode() & 0o077 != 0))
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    read_from(File::open(path)?)
}

fn read_from(file: File) -> io::Result<Zeroizing<String>> {
    let mut file = file.take(MAX_FILE);
    // Large from the start: a growing buffer leaves copies of its content in memory.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The blob in a line such as `ssh-ed25519 AAAA... comment`: its second word, decoded.
pub(super) fn blob_of(line: &str) -> Option<Vec<u8>> {
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

//! Which keys a host has: known_hosts, as ssh checks it.
//!
//! A host is known by any key at all: another one than those written down is a changed one, also
//! when it is of another type. What is changed or revoked is refused, whatever the configuration
//! says: with `StrictHostKeyChecking no` ssh would go on without passwords, where this does not.

#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the transport on top of it comes next")]

mod append;
mod line;
#[cfg(test)]
mod tests;

use std::{fs, io, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use self::line::{Line, Marker};
use super::host::{SshHost, Strict};
use crate::{Error, ErrorKind, Origin, connect_context::ConnectContext, prompter::HostKeyQuestion};

/// What is written down about a host.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    entries: Vec<Entry>,
    /// By the name without the port, where the port is not 22: only what matches counts.
    elsewhere: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    line: Line,
    file: Arc<Path>,
    number: usize,
    name: Arc<str>,
}

enum Verdict<'a> {
    Known,
    New,
    Changed(&'a Entry),
    Revoked(&'a Entry),
}

impl KnownHosts {
    /// Reads the files. Those that are not there are empty; one that cannot be read is an error,
    /// for a key in it might say otherwise.
    ///
    /// Blocks.
    pub(crate) fn read(host: &SshHost) -> Result<Self, Error> {
        let name: Arc<str> = name_of(host).into();
        let portless = (host.host_key_alias.is_none() && host.port != 22)
            .then(|| Arc::from(host.host_name.to_ascii_lowercase()));
        let mut known = Self { entries: Vec::new(), elsewhere: Vec::new() };
        for path in host.user_known_hosts.iter().chain(&host.global_known_hosts) {
            let content = content_of(path)?;
            let file: Arc<Path> = Arc::from(path.as_path());
            for (index, bytes) in content.split(|byte| *byte == b'\n').enumerate() {
                let entry = |name: &Arc<str>| {
                    let line = line::about(bytes, name)?;
                    let (file, name) = (Arc::clone(&file), Arc::clone(name));
                    Some(Entry { line, file, number: index + 1, name })
                };
                known.entries.extend(entry(&name));
                known.elsewhere.extend(portless.as_ref().and_then(entry));
            }
        }
        Ok(known)
    }

    /// The host key algorithms to ask for first, so that a host with several keys shows one that
    /// is known. Empty where none is known.
    pub(crate) fn preferred(&self) -> Vec<&'static str> {
        let own = |entries: &[Entry], known: &str| {
            entries
                .iter()
                .any(|entry| entry.line.marker == Marker::None && entry.line.key_type == known)
        };
        let found = |entries: &[Entry]| {
            let types = ALGORITHMS.iter().filter(|(known, _)| own(entries, known));
            types.flat_map(|(_, algorithms)| *algorithms).copied().collect::<Vec<_>>()
        };
        // ssh only looks without the port once nothing is found with it.
        match found(&self.entries) {
            none if none.is_empty() => found(&self.elsewhere),
            some => some,
        }
    }

    /// Whether to trust the key that a host has shown; it may be written down.
    ///
    /// A key that is accepted, but cannot be written down, is refused: it would be taken for new,
    /// and so would any other, each time. With `StrictHostKeyChecking no` that is what is wanted,
    /// and without a `UserKnownHostsFile` there is nothing to write to.
    pub(crate) async fn check(
        &self,
        host: &SshHost,
        key: &[u8],
        context: &ConnectContext,
    ) -> Result<(), Error> {
        let name = name_of(host);
        let key_type = line::type_of(key).ok_or_else(|| refused("the host key has no type"))?;
        // It is shown, and written into a file.
        if key_type.is_empty() || !key_type.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("the host key's type is no name"));
        }
        if self.settled(key)? {
            return Ok(());
        }
        let fingerprint = fingerprint(key);
        match host.strict {
            Strict::No | Strict::AcceptNew => {}
            Strict::Ask if context.judges_host_keys() => {
                let question = HostKeyQuestion {
                    hop: host.hop.clone(),
                    host: name.clone(),
                    key_type: key_type.to_owned(),
                    fingerprint: fingerprint.clone(),
                };
                if !context.host_key(question).await {
                    return Err(refused(format!(
                        "the key of {name}, {key_type} {fingerprint}, was not accepted"
                    )));
                }
            }
            Strict::Ask | Strict::Yes => {
                return Err(refused(self.unknown(host, &name, key_type, &fingerprint)));
            }
        }
        write_down(host, name, key).await
    }

    /// Whether the key is known; an error where it must not be trusted.
    fn settled(&self, key: &[u8]) -> Result<bool, Error> {
        match self.judge(key) {
            Verdict::Known => Ok(true),
            Verdict::New => Ok(false),
            Verdict::Changed(entry) => {
                let Entry { line, file, number, name } = entry;
                let file = file.display();
                Err(refused(format!(
                    "the host key of {name} has CHANGED: it now shows {} {}, but {file}:{number} has {} {}; \
                     someone may be listening in; if the change is known to be right, `ssh-keygen -R {} -f {}`",
                    line::type_of(key).unwrap_or_default(),
                    fingerprint(key),
                    line.key_type,
                    fingerprint(&line.key),
                    quoted(name),
                    quoted(&file.to_string()),
                )))
            }
            Verdict::Revoked(entry) => Err(refused(format!(
                "the host key of {}, {}, is revoked by {}:{}; do not use the host until it has another one",
                entry.name,
                fingerprint(key),
                entry.file.display(),
                entry.number
            ))),
        }
    }

    fn judge(&self, key: &[u8]) -> Verdict<'_> {
        let is = |entry: &Entry, marker| entry.line.marker == marker && entry.line.key == key;
        // Here ssh warns about one that is revoked without the port, and goes on; this does not.
        let mut all = self.entries.iter().chain(&self.elsewhere);
        if let Some(entry) = all.find(|entry| is(entry, Marker::Revoked)) {
            return Verdict::Revoked(entry);
        }
        if self.entries.iter().any(|entry| is(entry, Marker::None)) {
            return Verdict::Known;
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.line.marker == Marker::None) {
            return Verdict::Changed(entry);
        }
        match self.elsewhere.iter().any(|entry| is(entry, Marker::None)) {
            true => Verdict::Known,
            false => Verdict::New,
        }
    }

    fn unknown(&self, host: &SshHost, name: &str, key_type: &str, fingerprint: &str) -> String {
        let authority = self.entries.iter().find(|entry| entry.line.marker == Marker::Authority);
        if let Some(Entry { file, number, .. }) = authority {
            let file = file.display();
            return format!(
                "{name} is only known by the certificate authority at {file}:{number}, which is not supported; \
                 use openssh:// for it, which is ssh itself, or write down its own key, {key_type} {fingerprint}"
            );
        }
        let asked = match host.strict {
            Strict::Ask => ", and there is nobody to ask",
            _ => "",
        };
        let port = match host.port {
            22 => String::new(),
            port => format!("-p {port} "),
        };
        let address = &host.host_name;
        let file = host
            .user_known_hosts
            .first()
            .map_or_else(|| "a UserKnownHostsFile".to_owned(), |file| file.display().to_string());
        format!(
            "{name} is not known{asked}; its key is {key_type} {fingerprint}; if that is right, \
             connect to it once with `ssh`, or add what `ssh-keyscan {port}{address}` says to {file}"
        )
    }
}

/// What is asked of libssh2 for each type of key.
const ALGORITHMS: [(&str, &[&str]); 5] = [
    ("ssh-ed25519", &["ssh-ed25519"]),
    ("ecdsa-sha2-nistp256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-sha2-nistp384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-sha2-nistp521", &["ecdsa-sha2-nistp521"]),
    // ssh-rsa itself stands for SHA-1.
    ("ssh-rsa", &["rsa-sha2-512", "rsa-sha2-256"]),
];

/// What a host is looked up by.
fn name_of(host: &SshHost) -> String {
    let name = match (&host.host_key_alias, host.port) {
        (Some(alias), _) => alias.clone(),
        (None, 22) => host.host_name.clone(),
        (None, port) => format!("[{}]:{port}", host.host_name),
    };
    name.to_ascii_lowercase()
}

fn content_of(path: &Path) -> Result<Vec<u8>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        Err(error) => {
            let text = format!("reading {}", path.display());
            Err(Error::new(ErrorKind::Connect, text).with_source(error))
        }
    }
}

/// `SHA256:` and base64, as ssh shows it.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// For a shell, where it would see more in it than a word.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/.-_:@%+,".contains(letter);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn write_down(host: &SshHost, name: String, key: &[u8]) -> Result<(), Error> {
    let Some(path) = host.user_known_hosts.first().cloned() else { return Ok(()) };
    let (host, key) = (host.clone(), key.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        append::alone(|| {
            // Meanwhile another connection may have written it down, or even another key.
            if KnownHosts::read(&host)?.settled(&key)? {
                return Ok(());
            }
            let done = append::append(&path, &name, &key, host.hash_known_hosts);
            done.or_else(|error| match host.strict {
                Strict::No => Ok(()),
                _ => Err(cannot_write(&path, &name, error)),
            })
        })
    });
    let gone =
        || Error::new(ErrorKind::Connect, "the runtime is ending").with_origin(Origin::Library);
    written.await.map_err(|_| gone())?
}

fn cannot_write(path: &Path, name: &str, error: io::Error) -> Error {
    let text = format!("writing the key of {name} to {}", path.display());
    let remedy = "; make it writable, or set UserKnownHostsFile to another file, or to none";
    Error::new(ErrorKind::Connect, text).with_source(error).with_note(remedy)
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Connect, text)
}

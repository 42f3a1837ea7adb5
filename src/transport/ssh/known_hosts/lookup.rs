//! The keys that the known_hosts files have of a host.

use std::{fs, io, path::Path, sync::Arc};

use super::line::{self, KnownHostsLine, Marker};
use crate::{
    Error, ErrorKind,
    transport::ssh::{bounded, host::SshHost},
};

/// The keys on file for a host.
#[derive(Debug)]
pub(in crate::transport::ssh) struct KnownHosts {
    pub(super) keys: Vec<KnownKey>,
    /// For a port other than 22, the keys under the name without the port. Only one that equals the
    /// host's key counts.
    portless_keys: Vec<KnownKey>,
}

/// A key on file, and its place.
#[derive(Debug)]
pub(super) struct KnownKey {
    pub(super) line: KnownHostsLine,
    pub(super) file: Arc<Path>,
    /// The line's number, from 1.
    pub(super) number: usize,
    /// The name that it was found by.
    pub(super) name: Arc<str>,
}

/// The judgement of a key that a host shows.
pub(super) enum Verdict<'a> {
    Known,
    New,
    /// The host has this key on file instead.
    Changed(&'a KnownKey),
    Revoked(&'a KnownKey),
}

impl KnownHosts {
    /// Reads the files. A missing file counts as empty; one that cannot be read is an error, since
    /// a key in it might decide otherwise. Blocks.
    pub(in crate::transport::ssh) fn read(host: &SshHost) -> Result<Self, Error> {
        let name: Arc<str> = name_of(host).into();
        let portless = (host.host_key_alias.is_none() && host.port != 22)
            .then(|| Arc::from(host.host_name.to_ascii_lowercase()));
        let mut known = Self { keys: Vec::new(), portless_keys: Vec::new() };
        for path in host.user_known_hosts.iter().chain(&host.global_known_hosts) {
            let content = content_of(path)?;
            let file: Arc<Path> = Arc::from(path.as_path());
            for (index, bytes) in content.split(|byte| *byte == b'\n').enumerate() {
                let key = |name: &Arc<str>| {
                    let line = line::parse_for(bytes, name)?;
                    let (file, name) = (Arc::clone(&file), Arc::clone(name));
                    Some(KnownKey { line, file, number: index + 1, name })
                };
                known.keys.extend(key(&name));
                known.portless_keys.extend(portless.as_ref().and_then(key));
            }
        }
        Ok(known)
    }

    /// The host key algorithms to prefer, so that a host with several keys shows a known one. Empty
    /// for an unknown host.
    pub(in crate::transport::ssh) fn preferred(&self) -> Vec<&'static str> {
        let has = |keys: &[KnownKey], key_type: &str| {
            keys.iter().any(|key| key.line.marker == Marker::None && key.line.key_type == key_type)
        };
        let algorithms = |keys: &[KnownKey]| {
            let types = ALGORITHMS.iter().filter(|(key_type, _)| has(keys, key_type));
            types.flat_map(|(_, algorithms)| *algorithms).copied().collect::<Vec<_>>()
        };
        // As ssh does, looks without the port only if nothing is found with it.
        match algorithms(&self.keys) {
            none if none.is_empty() => algorithms(&self.portless_keys),
            some => some,
        }
    }

    pub(super) fn judge(&self, blob: &[u8]) -> Verdict<'_> {
        let is = |key: &KnownKey, marker| key.line.marker == marker && key.line.key == blob;
        // Stricter than ssh, which warns about a key revoked without the port, and continues.
        let mut all = self.keys.iter().chain(&self.portless_keys);
        if let Some(key) = all.find(|key| is(key, Marker::Revoked)) {
            return Verdict::Revoked(key);
        }
        if self.keys.iter().any(|key| is(key, Marker::None)) {
            return Verdict::Known;
        }
        if let Some(key) = self.keys.iter().find(|key| key.line.marker == Marker::None) {
            return Verdict::Changed(key);
        }
        match self.portless_keys.iter().any(|key| is(key, Marker::None)) {
            true => Verdict::Known,
            false => Verdict::New,
        }
    }

    /// The line of a certificate authority that vouches for the host.
    pub(super) fn authority(&self) -> Option<&KnownKey> {
        self.keys.iter().find(|key| key.line.marker == Marker::Authority)
    }
}

/// libssh2's algorithms for each type of key.
const ALGORITHMS: [(&str, &[&str]); 5] = [
    ("ssh-ed25519", &["ssh-ed25519"]),
    ("ecdsa-sha2-nistp256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-sha2-nistp384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-sha2-nistp521", &["ecdsa-sha2-nistp521"]),
    // The algorithm `ssh-rsa` is left out: it signs by SHA-1.
    ("ssh-rsa", &["rsa-sha2-512", "rsa-sha2-256"]),
];

/// The name that a host is looked up by: `host`, or `[host]:port`.
pub(super) fn name_of(host: &SshHost) -> String {
    let name = match (&host.host_key_alias, host.port) {
        (Some(alias), _) => alias.clone(),
        (None, 22) => host.host_name.clone(),
        (None, port) => format!("[{}]:{port}", host.host_name),
    };
    name.to_ascii_lowercase()
}

fn content_of(path: &Path) -> Result<Vec<u8>, Error> {
    match fs::File::open(path).and_then(bounded::read) {
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

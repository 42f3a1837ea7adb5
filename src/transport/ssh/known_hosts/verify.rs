//! The decision about the key that a host shows: trust it, ask, or refuse.

use std::{io, path::Path};

use super::{
    append,
    lookup::{KnownHosts, KnownKey, Verdict, name_of},
};
use crate::{
    Error, ErrorKind, Origin, blocking,
    connect_context::ConnectContext,
    prompter::HostKeyQuestion,
    shell,
    transport::ssh::{
        fault,
        host::{SshHost, StrictChecking},
        key_blob::{fingerprint, key_type, rsa_bits},
    },
};

/// Verifies the key that a host shows; a new one that is accepted is appended to the first of the
/// user's files.
///
/// An accepted key that cannot be appended is refused: the next connection would take it for new
/// again, and any other key too. `StrictHostKeyChecking no` wants just that, and without a
/// `UserKnownHostsFile` there is nothing to append to.
pub(in crate::transport::ssh) async fn verify(
    known: &KnownHosts,
    host: &SshHost,
    blob: &[u8],
    is_local: bool,
    context: &ConnectContext,
) -> Result<(), Error> {
    let shown = ShownKey::new(host, blob)?;
    if let Some(bits) = rsa_bits(blob).filter(|bits| *bits < host.required_rsa_bits) {
        return Err(fault::refused(format!(
            "the host key of {} is an RSA key of {bits} bits, and RequiredRSASize wants {} at least",
            shown.name, host.required_rsa_bits
        )));
    }
    if host.trusts_localhost && is_local && host.host_key_alias.is_none() {
        tracing::debug!(key = %shown, "host key of this machine not verified");
        return Ok(());
    }
    if is_known(known, blob)? {
        tracing::debug!(key = %shown, "host key known");
        return Ok(());
    }
    match host.strict {
        StrictChecking::No | StrictChecking::AcceptNew => {}
        StrictChecking::Ask if context.judges_host_keys() => {
            let question = HostKeyQuestion {
                hop: host.hop.clone(),
                host: shown.name.clone(),
                key_type: shown.key_type.to_owned(),
                fingerprint: shown.fingerprint.clone(),
            };
            if !context.host_key(question).await {
                let text = format!("the key of {}, {shown}, was not accepted", shown.name);
                return Err(fault::refused(text));
            }
        }
        StrictChecking::Ask | StrictChecking::Yes => {
            return Err(fault::refused(unknown_text(known, host, &shown)));
        }
    }
    tracing::debug!(key = %shown, "host key accepted");
    append_key(host, shown.name, blob).await
}

/// The key that a host shows, in words.
struct ShownKey<'a> {
    /// The host's name in known_hosts.
    name: String,
    key_type: &'a str,
    fingerprint: String,
}

impl<'a> ShownKey<'a> {
    fn new(host: &SshHost, blob: &'a [u8]) -> Result<Self, Error> {
        let key_type = key_type(blob).ok_or_else(|| fault::refused("the host key has no type"))?;
        // The type is shown, and written into a file.
        if key_type.is_empty() || !key_type.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault::refused("the host key's type is no name"));
        }
        Ok(Self { name: name_of(host), key_type, fingerprint: fingerprint(blob) })
    }
}

impl std::fmt::Display for ShownKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.key_type, self.fingerprint)
    }
}

/// Whether the key is on file; an error for one that must not be trusted.
fn is_known(known: &KnownHosts, blob: &[u8]) -> Result<bool, Error> {
    match known.judge(blob) {
        Verdict::Known => Ok(true),
        Verdict::New => Ok(false),
        Verdict::Changed(KnownKey { line, file, number, name }) => {
            let file = file.display();
            Err(fault::refused(format!(
                "the host key of {name} has CHANGED: it now shows {} {}, but {file}:{number} has {} {}; \
                 someone may be listening in; if the change is known to be right, `ssh-keygen -R {} -f {}`",
                key_type(blob).unwrap_or_default(),
                fingerprint(blob),
                line.key_type,
                fingerprint(&line.key),
                shell::quote_word(name),
                shell::quote_word(&file.to_string()),
            )))
        }
        Verdict::Revoked(KnownKey { file, number, name, .. }) => Err(fault::refused(format!(
            "the host key of {name}, {}, is revoked by {}:{number}; do not use the host until it has another one",
            fingerprint(blob),
            file.display(),
        ))),
    }
}

fn unknown_text(known: &KnownHosts, host: &SshHost, shown: &ShownKey<'_>) -> String {
    let name = &shown.name;
    if let Some(KnownKey { file, number, .. }) = known.authority() {
        let file = file.display();
        return format!(
            "{name} is only known by the certificate authority at {file}:{number}, which is not supported; \
             use openssh:// for it, which is ssh itself, or write down its own key, {shown}"
        );
    }
    let asked = match host.strict {
        StrictChecking::Ask => ", and there is nobody to ask",
        _ => "",
    };
    let port = match host.port {
        22 => String::new(),
        port => format!("-p {port} "),
    };
    // The line has to begin with the name that is looked up.
    let renamed = match &host.host_key_alias {
        Some(alias) => format!(" | sed 's/^[^ ]*/{alias}/'"),
        None => String::new(),
    };
    let address = &host.host_name;
    let file = host
        .user_known_hosts
        .first()
        .map_or_else(|| "a UserKnownHostsFile".to_owned(), |file| file.display().to_string());
    format!(
        "{name} is not known{asked}; its key is {shown}; if that is right, \
         connect to it once with `ssh`, or add what `ssh-keyscan {port}{address}{renamed}` says to {file}"
    )
}

async fn append_key(host: &SshHost, name: String, blob: &[u8]) -> Result<(), Error> {
    let Some(path) = host.user_known_hosts.first().cloned() else { return Ok(()) };
    let (host, blob) = (host.clone(), blob.to_owned());
    let appended = blocking::run(move || {
        append::exclusively(|| {
            // Another connection may have appended the key meanwhile, or even another one.
            if is_known(&KnownHosts::read(&host)?, &blob)? {
                return Ok(());
            }
            let appended = append::append(&path, &name, &blob, host.hash_known_hosts);
            appended.or_else(|error| match host.strict {
                StrictChecking::No => Ok(()),
                _ => Err(cannot_append(&path, &name, error)),
            })
        })
    });
    appended.await.map_err(|error| {
        let text = "adding the host key to known_hosts";
        Error::new(ErrorKind::Connect, text).with_source(error).with_origin(Origin::Library)
    })?
}

fn cannot_append(path: &Path, name: &str, error: io::Error) -> Error {
    let text = format!("writing the key of {name} to {}", path.display());
    let remedy = "; make it writable, or set UserKnownHostsFile to another file, or to none";
    Error::new(ErrorKind::Connect, text).with_source(error).with_note(remedy)
}

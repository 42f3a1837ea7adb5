//! The method `publickey` (RFC 4252, section 7), by keys of the agent and of files, in ssh's order.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use async_ssh2_lite::ssh2;
use zeroize::Zeroizing;

use super::{
    agent,
    authenticator::{Attempts, Authenticator, MethodOutcome},
    key_file::{KeyFile, blob_of, read_certificate, with_suffix},
};
use crate::{
    Error, blocking, errno,
    prompter::{Secret, SecretKind},
    text::one_line,
    transport::ssh::{
        fault::{self, code},
        host::SshHost,
        key_blob::{fingerprint, is_certificate_of, key_type, rsa_bits},
    },
};

/// A key to try.
enum CandidateKey {
    /// A key of the agent, by its blob.
    Agent(Vec<u8>),
    File(PathBuf, KeyFile),
    /// A certificate's file, its text, and the private key that it is of.
    Certificate(PathBuf, String, PathBuf, KeyFile),
}

/// The keys that have not been tried.
#[derive(Default)]
pub(super) struct PublicKeys {
    /// `None` until they have been listed.
    untried: Option<VecDeque<CandidateKey>>,
    tried_of_agent: usize,
    /// Keys among them that the server would have taken.
    unsigned_of_agent: usize,
}

/// The server's answer to a key.
#[derive(Debug)]
enum KeyAnswer {
    /// It accepted the signature; another method may be required as well.
    Accepted,
    /// It does not accept the key.
    Refused,
    /// No signature was made, and so none was sent.
    Unsigned,
}

impl KeyAnswer {
    fn of(result: Result<(), ssh2::Error>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(error) => match fault::code_of(&error) {
                code::AUTHENTICATION_FAILED => Self::Refused,
                code::PUBLICKEY_UNVERIFIED if !error.message().starts_with("Callback") => {
                    Self::Accepted
                }
                _ => Self::Unsigned,
            },
        }
    }
}

impl PublicKeys {
    /// Tries keys until the server accepts one.
    pub(super) async fn next(
        &mut self,
        authenticator: &Authenticator<'_>,
        attempts: &mut Attempts,
    ) -> Result<MethodOutcome, Error> {
        let Attempts { tried, refusals, .. } = attempts;
        if self.untried.is_none() {
            self.untried = Some(list(authenticator, tried).await);
        }
        while let Some(candidate) = self.untried.as_mut().and_then(VecDeque::pop_front) {
            let answer = match candidate {
                CandidateKey::Agent(blob) => {
                    self.count_agent_key(tried);
                    let key = fingerprint(&blob);
                    let answer = by_agent(authenticator, blob).await;
                    tracing::debug!(key, ?answer, "key of the agent");
                    if let KeyAnswer::Unsigned = answer {
                        self.unsigned_of_agent += 1;
                        self.note_agent(tried);
                    }
                    answer
                }
                CandidateKey::Certificate(path, text, of, file) => {
                    let file = KeyFile { public: Some(text), ..file };
                    let answer = by_file(authenticator, &path, &of, file, tried).await;
                    tracing::debug!(certificate = shown(&path), ?answer, "certificate of a file");
                    answer
                }
                CandidateKey::File(path, file) => {
                    let key = file.blob().as_deref().map(fingerprint);
                    let answer = by_file(authenticator, &path, &path, file, tried).await;
                    tracing::debug!(key, file = shown(&path), ?answer, "key of a file");
                    answer
                }
            };
            match answer {
                KeyAnswer::Accepted => return Ok(MethodOutcome::Accepted),
                KeyAnswer::Refused => *refusals += 1,
                KeyAnswer::Unsigned => {}
            }
        }
        Ok(MethodOutcome::Exhausted)
    }

    fn count_agent_key(&mut self, tried: &mut Vec<String>) {
        self.tried_of_agent += 1;
        self.note_agent(tried);
    }

    /// Keeps one entry of `tried` for all keys of the agent.
    fn note_agent(&self, tried: &mut Vec<String>) {
        let keys = if self.tried_of_agent == 1 { "key" } else { "keys" };
        let unsigned = match (self.unsigned_of_agent, self.tried_of_agent) {
            (0, _) => String::new(),
            (unsigned, all) if unsigned == all => ", which it refused to sign with".to_owned(),
            (unsigned, _) => format!(", {unsigned} of which it refused to sign with"),
        };
        let entry = format!("agent ({} {keys}{unsigned})", self.tried_of_agent);
        match tried.iter_mut().find(|entry| entry.starts_with("agent (")) {
            Some(old) => *old = entry,
            None => tried.push(entry),
        }
    }
}

/// The keys to try, in ssh's order: certificates of files, keys of the agent that files name, the
/// agent's others, then the keys of files that the agent does not hold.
async fn list(
    authenticator: &Authenticator<'_>,
    tried: &mut Vec<String>,
) -> VecDeque<CandidateKey> {
    let host = authenticator.host;
    let mut files = Vec::new();
    for path in host.identity_files.clone() {
        let named = path.clone();
        match blocking::run(move || KeyFile::read(&named)).await.and_then(|read| read) {
            Ok(file) => files.push((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tried.push(format!("{} ({})", shown(&path), errno::words(&error))),
        }
    }
    let mut in_agent = match &host.agent {
        None => Vec::new(),
        Some(path) => agent::keys(path).await.unwrap_or_else(|error| {
            tried.push(format!("agent at {} ({})", shown(path), errno::words(&error)));
            Vec::new()
        }),
    };
    tracing::debug!(agent = in_agent.len(), files = files.len(), "keys to try");
    let mut candidates = certificates(host, &files, &in_agent, tried).await;
    // A certificate is the key of a file too.
    let certified: Vec<Vec<u8>> = candidates.iter().filter_map(CandidateKey::of_agent).collect();
    in_agent.retain(|held| !certified.contains(held));
    files.retain(|(_, file)| {
        let blob = file.blob();
        let Some(index) = in_agent.iter().position(|held| Some(held) == blob.as_ref()) else {
            return file.private.is_some();
        };
        candidates.push(CandidateKey::Agent(in_agent.remove(index)));
        false
    });
    if !host.identities_only {
        candidates.extend(in_agent.into_iter().map(CandidateKey::Agent));
    }
    candidates.extend(files.into_iter().map(|(path, file)| CandidateKey::File(path, file)));
    candidates.retain(|candidate| is_permitted(host, candidate, tried));
    candidates.into()
}

/// The certificates of files that can be used: those that the configuration names, or those beside the
/// private keys.
async fn certificates(
    host: &SshHost,
    files: &[(PathBuf, KeyFile)],
    in_agent: &[Vec<u8>],
    tried: &mut Vec<String>,
) -> Vec<CandidateKey> {
    let is_explicit = host.certificates.is_some();
    let beside = || files.iter().map(|(path, _)| with_suffix(path, "-cert.pub")).collect();
    let paths = host.certificates.clone().unwrap_or_else(beside);
    let mut candidates = Vec::new();
    for path in paths {
        let named = path.clone();
        let read = blocking::run(move || read_certificate(&named)).await.and_then(|read| read);
        let certificate = match read {
            Ok(certificate) => certificate,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                tried.push(format!("{} ({})", shown(&path), errno::words(&error)));
                continue;
            }
        };
        if in_agent.contains(&certificate.blob) {
            candidates.push(CandidateKey::Agent(certificate.blob));
            continue;
        }
        // A key in an older format shows its public half only once it is decrypted.
        let is_its_key = |(name, file): &&(PathBuf, KeyFile)| match file.blob() {
            Some(blob) => is_certificate_of(&certificate.blob, &blob),
            None => !is_explicit && with_suffix(name, "-cert.pub") == path,
        };
        let of = files.iter().find(|pair| pair.1.private.is_some() && is_its_key(pair));
        match of {
            Some((of, file)) => candidates.push(CandidateKey::Certificate(
                path,
                certificate.text,
                of.clone(),
                file.clone(),
            )),
            None => tried.push(format!(
                "{} (its private key is in no file, and an agent needs the certificate itself: ssh-add)",
                shown(&path)
            )),
        }
    }
    candidates
}

impl CandidateKey {
    fn of_agent(&self) -> Option<Vec<u8>> {
        match self {
            Self::Agent(blob) => Some(blob.clone()),
            _ => None,
        }
    }

    /// The public half, where it is known.
    fn blob(&self) -> Option<Vec<u8>> {
        match self {
            Self::Agent(blob) => Some(blob.clone()),
            Self::File(_, file) => file.blob(),
            Self::Certificate(_, text, ..) => blob_of(text),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Agent(blob) => format!("{} of the agent", fingerprint(blob)),
            Self::File(path, _) | Self::Certificate(path, ..) => shown(path),
        }
    }
}

/// Whether `PubkeyAcceptedAlgorithms` and `RequiredRSASize` let a key be used.
fn is_permitted(host: &SshHost, candidate: &CandidateKey, tried: &mut Vec<String>) -> bool {
    let Some(blob) = candidate.blob() else { return true };
    if let Some(bits) = rsa_bits(&blob).filter(|bits| *bits < host.required_rsa_bits) {
        let least = host.required_rsa_bits;
        tried.push(format!("{} ({bits} bits; RequiredRSASize {least})", candidate.name()));
        return false;
    }
    let Some(list) = &host.algorithms.user_keys else { return true };
    let kind = key_type(&blob).unwrap_or_default();
    let signatures: &[&str] = match kind {
        "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"],
        "ssh-rsa-cert-v01@openssh.com" => {
            &["rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com"]
        }
        kind => &[kind],
    };
    let is_accepted =
        signatures.iter().any(|name| list.has(name, signatures)) || list.has(kind, &[]);
    if !is_accepted {
        tried.push(format!("{} ({kind}; PubkeyAcceptedAlgorithms)", candidate.name()));
    }
    is_accepted
}

async fn by_agent(authenticator: &Authenticator<'_>, blob: Vec<u8>) -> KeyAnswer {
    let Some(path) = authenticator.host.agent.clone() else { return KeyAnswer::Unsigned };
    let user = authenticator.host.user.clone();
    let mut connected = None;
    let result = authenticator
        .on_thread(move |session| {
            let agent = match &connected {
                Some(agent) => agent,
                None => {
                    let mut agent = session.agent()?;
                    agent.set_identity_path(&path)?;
                    agent.connect()?;
                    agent.list_identities()?;
                    connected.insert(agent)
                }
            };
            let key = agent.identities()?.into_iter().find(|key| key.blob() == blob);
            match key {
                Some(key) => agent.userauth(&user, &key),
                None => Err(ssh2::Error::from_errno(ssh2::ErrorCode::Session(code::FILE))),
            }
        })
        .await;
    KeyAnswer::of(result)
}

/// Tries the key of a file. `path` is that of the key or of its certificate, `of` that of the private key.
async fn by_file(
    authenticator: &Authenticator<'_>,
    path: &Path,
    of: &Path,
    file: KeyFile,
    tried: &mut Vec<String>,
) -> KeyAnswer {
    let name = shown(path);
    let Some(private) = file.private else { return KeyAnswer::Unsigned };
    let public = file.public.clone();
    // Without the passphrase the server can still say whether it accepts the key at all.
    if !file.is_encrypted || public.is_some() {
        let answer = sign(authenticator, public.clone(), private.clone(), None).await;
        match answer {
            KeyAnswer::Unsigned if file.is_encrypted => {}
            KeyAnswer::Unsigned => {
                tried.push(format!("{name} (not readable as a key)"));
                return answer;
            }
            KeyAnswer::Accepted | KeyAnswer::Refused => {
                tried.push(name);
                return answer;
            }
        }
    }
    let prompts = match authenticator.prompts() {
        Ok(prompts) => prompts,
        Err(reason) => {
            tried.push(format!("{name} (its passphrase: {reason})"));
            return KeyAnswer::Unsigned;
        }
    };
    for attempt in 1..=prompts {
        let prompt = format!("Passphrase for {}: ", shown(of));
        let asked = authenticator.ask(SecretKind::Passphrase, prompt, Some(of), attempt).await;
        let Some(passphrase) = asked else {
            let why = if attempt > 1 { "wrong passphrase" } else { "its passphrase: none given" };
            tried.push(format!("{name} ({why})"));
            return KeyAnswer::Unsigned;
        };
        let answer = sign(authenticator, public.clone(), private.clone(), Some(passphrase)).await;
        if !matches!(answer, KeyAnswer::Unsigned) {
            tried.push(name);
            return answer;
        }
    }
    tried.push(format!("{name} (wrong passphrase)"));
    KeyAnswer::Unsigned
}

async fn sign(
    authenticator: &Authenticator<'_>,
    public: Option<String>,
    private: Zeroizing<String>,
    passphrase: Option<Secret>,
) -> KeyAnswer {
    let user = authenticator.host.user.clone();
    let result = authenticator
        .on_thread(move |session| {
            let passphrase = passphrase.as_ref().map(|secret| secret.expose());
            session.userauth_pubkey_memory(&user, public.as_deref(), &private, passphrase)
        })
        .await;
    KeyAnswer::of(result)
}

/// A path as its user writes it, with `~` for the home folder.
fn shown(path: &Path) -> String {
    let home =
        std::env::var_os("HOME").map(PathBuf::from).filter(|home| !home.as_os_str().is_empty());
    let shown = match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    };
    one_line(&shown).into_owned()
}

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
    key_file::KeyFile,
};
use crate::{
    Error, blocking, errno,
    prompter::{Secret, SecretKind},
    text::one_line,
    transport::ssh::{
        fault::{self, code},
        key_blob::fingerprint,
    },
};

/// A key to try.
enum CandidateKey {
    /// A key of the agent, by its blob.
    Agent(Vec<u8>),
    File(PathBuf, KeyFile),
}

/// The keys that have not been tried.
#[derive(Default)]
pub(super) struct PublicKeys {
    /// `None` until they have been listed.
    untried: Option<VecDeque<CandidateKey>>,
    tried_of_agent: usize,
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
                    answer
                }
                CandidateKey::File(path, file) => {
                    let key = file.blob().as_deref().map(fingerprint);
                    let answer = by_file(authenticator, &path, file, tried).await;
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

    /// Keeps one entry of `tried` for all keys of the agent.
    fn count_agent_key(&mut self, tried: &mut Vec<String>) {
        self.tried_of_agent += 1;
        let keys = if self.tried_of_agent == 1 { "key" } else { "keys" };
        let entry = format!("agent ({} {keys})", self.tried_of_agent);
        match tried.iter_mut().find(|entry| entry.starts_with("agent (")) {
            Some(old) => *old = entry,
            None => tried.push(entry),
        }
    }
}

/// The keys to try: those of the agent that files name, the agent's others, then the keys of files
/// that the agent does not hold.
async fn list(
    authenticator: &Authenticator<'_>,
    tried: &mut Vec<String>,
) -> VecDeque<CandidateKey> {
    let mut files = Vec::new();
    for path in authenticator.host.identity_files.clone() {
        let named = path.clone();
        match blocking::run(move || KeyFile::read(&named)).await.and_then(|read| read) {
            Ok(file) => files.push((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tried.push(format!("{} ({})", shown(&path), errno::words(&error))),
        }
    }
    let mut in_agent = match &authenticator.host.agent {
        None => Vec::new(),
        Some(path) => agent::keys(path).await.unwrap_or_else(|error| {
            tried.push(format!("agent at {} ({})", shown(path), errno::words(&error)));
            Vec::new()
        }),
    };
    tracing::debug!(agent = in_agent.len(), files = files.len(), "keys to try");
    let mut candidates = Vec::new();
    files.retain(|(_, file)| {
        let blob = file.blob();
        let Some(index) = in_agent.iter().position(|held| Some(held) == blob.as_ref()) else {
            return file.private.is_some();
        };
        candidates.push(CandidateKey::Agent(in_agent.remove(index)));
        false
    });
    if !authenticator.host.identities_only {
        candidates.extend(in_agent.into_iter().map(CandidateKey::Agent));
    }
    candidates.extend(files.into_iter().map(|(path, file)| CandidateKey::File(path, file)));
    candidates.into()
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

async fn by_file(
    authenticator: &Authenticator<'_>,
    path: &Path,
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
        let prompt = format!("Passphrase for {name}: ");
        let asked = authenticator.ask(SecretKind::Passphrase, prompt, Some(path), attempt).await;
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

//! Keys, from the agent and from files, in ssh's order.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use async_ssh2_lite::ssh2;

use super::{ATTEMPTS, Method, Outcome, agent, keys::KeyFile};
use crate::{
    Error,
    prompter::SecretKind,
    transport::ssh::fault::{self, code},
};

enum Candidate {
    /// One in the agent, by its blob.
    Agent(Vec<u8>),
    File(PathBuf, KeyFile),
}

/// The keys that have not been tried.
#[derive(Default)]
pub(super) struct PublicKeys {
    left: Option<VecDeque<Candidate>>,
    from_agent: usize,
}

/// What a server made of a key.
enum Answer {
    /// It took the signature, whether it is content or not.
    Signed,
    /// It does not want the key.
    Refused,
    /// There was no signature.
    Unsigned,
}

fn answer_of(result: Result<(), ssh2::Error>) -> Answer {
    match result {
        Ok(()) => Answer::Signed,
        Err(error) => match fault::code_of(&error) {
            code::AUTHENTICATION_FAILED => Answer::Refused,
            code::PUBLICKEY_UNVERIFIED if !error.message().starts_with("Callback") => {
                Answer::Signed
            }
            _ => Answer::Unsigned,
        },
    }
}

impl PublicKeys {
    /// Tries keys until the server takes one.
    pub(super) async fn next(
        &mut self,
        method: &Method<'_>,
        tried: &mut Vec<String>,
    ) -> Result<Outcome, Error> {
        if self.left.is_none() {
            self.left = Some(self.gather(method, tried).await);
        }
        while let Some(candidate) = self.left.as_mut().and_then(VecDeque::pop_front) {
            let answer = match candidate {
                Candidate::Agent(blob) => {
                    self.count_agent(tried);
                    by_agent(method, blob).await
                }
                Candidate::File(path, key) => by_file(method, &path, key, tried).await,
            };
            if let Answer::Signed = answer {
                return Ok(Outcome::Ask);
            }
        }
        Ok(Outcome::Exhausted)
    }

    /// Keeps one entry for all of the agent's keys.
    fn count_agent(&mut self, tried: &mut Vec<String>) {
        self.from_agent += 1;
        let keys = if self.from_agent == 1 { "key" } else { "keys" };
        let entry = format!("agent ({} {keys})", self.from_agent);
        match tried.iter_mut().find(|entry| entry.starts_with("agent (")) {
            Some(old) => *old = entry,
            None => tried.push(entry),
        }
    }

    /// The agent's keys that files name, the agent's others, then the keys in files that the agent
    /// has not got.
    async fn gather(&self, method: &Method<'_>, tried: &mut Vec<String>) -> VecDeque<Candidate> {
        let mut files = Vec::new();
        for path in method.host.identity_files.clone() {
            let named = path.clone();
            match tokio::task::spawn_blocking(move || KeyFile::read(&named)).await {
                Ok(Ok(key)) => files.push((path, key)),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Ok(Err(error)) => tried.push(format!("{} ({})", shown(&path), error.kind())),
                Err(_) => {}
            }
        }
        let mut in_agent = match &method.host.agent {
            None => Vec::new(),
            Some(path) => agent::keys(path).await.unwrap_or_else(|error| {
                tried.push(format!("agent at {} ({})", path.display(), error.kind()));
                Vec::new()
            }),
        };
        let mut named = Vec::new();
        files.retain(|(_, key)| {
            let blob = key.blob();
            let Some(index) = in_agent.iter().position(|held| Some(held) == blob.as_ref()) else {
                return key.private.is_some();
            };
            named.push(Candidate::Agent(in_agent.remove(index)));
            false
        });
        if !method.host.identities_only {
            named.extend(in_agent.into_iter().map(Candidate::Agent));
        }
        named.extend(files.into_iter().map(|(path, key)| Candidate::File(path, key)));
        named.into()
    }
}

async fn by_agent(method: &Method<'_>, blob: Vec<u8>) -> Answer {
    let Some(path) = method.host.agent.clone() else { return Answer::Unsigned };
    let user = method.host.user.clone();
    let mut connected = None;
    let result = method
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
    answer_of(result)
}

async fn by_file(
    method: &Method<'_>,
    path: &Path,
    key: KeyFile,
    tried: &mut Vec<String>,
) -> Answer {
    let name = shown(path);
    let Some(private) = key.private else { return Answer::Unsigned };
    let public = key.public.clone();
    // Without a passphrase the server can still say whether it wants the key at all.
    if !key.encrypted || public.is_some() {
        let answer = sign(method, public.clone(), private.clone(), None).await;
        match answer {
            Answer::Unsigned if key.encrypted => {}
            Answer::Unsigned => {
                tried.push(format!("{name} (not readable as a key)"));
                return answer;
            }
            Answer::Signed | Answer::Refused => {
                tried.push(name);
                return answer;
            }
        }
    }
    for attempt in 1..=ATTEMPTS {
        let prompt = format!("Passphrase for {name}: ");
        let asked = method.ask(SecretKind::Passphrase, prompt, attempt).await;
        let Some(passphrase) = asked else {
            let why = if method.context.has_secrets() { "none given" } else { "nobody to ask" };
            tried.push(format!("{name} (its passphrase: {why})"));
            return Answer::Unsigned;
        };
        let answer = sign(method, public.clone(), private.clone(), Some(passphrase)).await;
        if !matches!(answer, Answer::Unsigned) {
            tried.push(name);
            return answer;
        }
    }
    tried.push(format!("{name} (wrong passphrase)"));
    Answer::Unsigned
}

async fn sign(
    method: &Method<'_>,
    public: Option<String>,
    private: zeroize::Zeroizing<String>,
    passphrase: Option<crate::prompter::Secret>,
) -> Answer {
    let user = method.host.user.clone();
    let result = method
        .on_thread(move |session| {
            let passphrase = passphrase.as_ref().map(|secret| secret.expose());
            session.userauth_pubkey_memory(&user, public.as_deref(), &private, passphrase)
        })
        .await;
    answer_of(result)
}

/// A path as one would write it.
fn shown(path: &Path) -> String {
    let home =
        std::env::var_os("HOME").map(PathBuf::from).filter(|home| !home.as_os_str().is_empty());
    let shown = match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    };
    shown.chars().filter(|letter| !letter.is_control()).collect()
}

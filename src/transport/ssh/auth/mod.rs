//! Proving to a server who one is: what it accepts, in ssh's order.

#![forbid(unsafe_code)]

mod agent;
mod interactive;
mod keys;
mod public_key;

use std::sync::Arc;

use async_ssh2_lite::{AsyncSession, ssh2};

use super::{
    fault::{self, code, would_block},
    host::SshHost,
    thread::on_thread,
    wire::Wire,
};
use crate::{
    Error, ErrorKind,
    connect_context::ConnectContext,
    prompter::{Secret, SecretKind, SecretRequest},
};
use public_key::PublicKeys;

/// How often a secret is asked for: `NumberOfPasswordPrompts`.
const ATTEMPTS: u32 = 3;

/// How often a server may ask for one thing more.
const ROUNDS: u32 = 16;

/// What the ways to prove it have in common.
struct Method<'a> {
    host: &'a SshHost,
    session: &'a AsyncSession<Wire>,
    wire: &'a Wire,
    context: &'a ConnectContext,
}

/// What came of one of them.
enum Outcome {
    /// The server may be content, or want something else now.
    Ask,
    /// It accepts none of this.
    Exhausted,
}

/// Proves who the user is, and gives the session to be shared.
pub(super) async fn authenticate(
    host: &Arc<SshHost>,
    session: AsyncSession<Wire>,
    wire: &Wire,
    context: &ConnectContext,
) -> Result<ssh2::Session, Error> {
    let method = Method { host, session: &session, wire, context };
    method.prove().await?;
    wire.session().ok_or_else(|| failure("the session is not there"))
}

impl Method<'_> {
    async fn prove(&self) -> Result<(), Error> {
        let mut tried = Vec::new();
        let mut keys = PublicKeys::default();
        let mut spent: Vec<&str> = Vec::new();
        let mut offered = self.offered(&tried).await?;
        for _ in 0..ROUNDS {
            let Some(accepts) = &offered else { return Ok(()) };
            let all = ["publickey", "keyboard-interactive", "password"];
            let usable = |name: &&str| accepts.split(',').any(|other| other == *name);
            let next = all.into_iter().filter(usable).find(|name| !spent.contains(name));
            let outcome = match next {
                Some("publickey") => keys.next(self, &mut tried).await?,
                Some("keyboard-interactive") => self.interactive(&mut tried).await?,
                Some(_) => self.password(&mut tried).await?,
                None => return Err(self.refused(accepts, &tried)),
            };
            let now = match outcome {
                Outcome::Ask => self.offered(&tried).await?,
                Outcome::Exhausted => offered.clone(),
            };
            if now == offered {
                // A key may be one of several that are wanted; the rest of them comes first.
                if next != Some("publickey") || matches!(outcome, Outcome::Exhausted) {
                    spent.extend(next);
                }
            } else {
                // In part it is content, and what was no use before may be now.
                spent.clear();
            }
            offered = now;
        }
        Err(self.refused(offered.as_deref().unwrap_or_default(), &tried))
    }

    /// What the server accepts now; `None` once it is content.
    async fn offered(&self, tried: &[String]) -> Result<Option<String>, Error> {
        if self.session.authenticated() {
            return Ok(None);
        }
        let user = self.host.user.clone();
        let asked = self.on_thread(move |session| session.auth_methods(&user).map(str::to_owned));
        match asked.await {
            Ok(_) if self.session.authenticated() => Ok(None),
            Ok(offered) => Ok(Some(offered)),
            Err(error) => Err(self.broken(&error, tried)),
        }
    }

    /// Several conversations, until the server is content or has had enough.
    async fn interactive(&self, tried: &mut Vec<String>) -> Result<Outcome, Error> {
        if !self.context.has_secrets() {
            tried.push("keyboard-interactive (nobody to ask)".into());
            return Ok(Outcome::Exhausted);
        }
        let before = self.offered(tried).await?;
        for attempt in 1..=ATTEMPTS {
            let (result, declined) = interactive::converse(self, attempt).await;
            if result.is_ok() {
                return Ok(Outcome::Ask);
            }
            if declined {
                tried.push("keyboard-interactive (no answer)".into());
                return Ok(Outcome::Exhausted);
            }
            if attempt == ATTEMPTS {
                tried.push(format!("keyboard-interactive ({ATTEMPTS} times)"));
            }
            if self.offered(tried).await? != before {
                return Ok(Outcome::Ask);
            }
        }
        Ok(Outcome::Exhausted)
    }

    async fn password(&self, tried: &mut Vec<String>) -> Result<Outcome, Error> {
        if !self.context.has_secrets() {
            tried.push("password (nobody to ask)".into());
            return Ok(Outcome::Exhausted);
        }
        let before = self.offered(tried).await?;
        for attempt in 1..=ATTEMPTS {
            let prompt = format!("Password for {}: ", self.who());
            let Some(secret) = self.ask(SecretKind::Password, prompt, attempt).await else {
                tried.push("password (none given)".into());
                return Ok(Outcome::Exhausted);
            };
            let user = self.host.user.clone();
            let sent =
                self.on_thread(move |session| session.userauth_password(&user, secret.expose()));
            match sent.await {
                Ok(()) => return Ok(Outcome::Ask),
                Err(error) if fault::code_of(&error) == code::PASSWORD_EXPIRED => {
                    let text = "the password has expired; change it with ssh first";
                    return Err(failure(text));
                }
                Err(_) => {}
            }
            if attempt == ATTEMPTS {
                tried.push(format!("password ({ATTEMPTS} times)"));
            }
            if self.offered(tried).await? != before {
                return Ok(Outcome::Ask);
            }
        }
        Ok(Outcome::Exhausted)
    }

    /// `ci@host`.
    fn who(&self) -> String {
        format!("{}@{}", self.host.user, self.host.host_name)
    }

    async fn ask(&self, kind: SecretKind, prompt: String, attempt: u32) -> Option<Secret> {
        let hop = self.host.hop.clone();
        self.context.secret(SecretRequest { kind, hop, prompt, echo: false, attempt }).await
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        op: impl FnMut(&ssh2::Session) -> Result<T, ssh2::Error> + Send + 'static,
    ) -> Result<T, ssh2::Error> {
        on_thread(self.wire, op).await
    }

    /// The connection ended on the way.
    fn broken(&self, error: &ssh2::Error, tried: &[String]) -> Error {
        let after =
            if tried.is_empty() { String::new() } else { format!(" after {}", tried.join(", ")) };
        let remedy = match tried.len() {
            0 => "see the server's log",
            _ => "if that was too many for it (MaxAuthTries), set IdentityFile and IdentitiesOnly",
        };
        let said = if fault::is_loss(error) {
            "the server closed the connection".to_owned()
        } else {
            fault::words(error)
        };
        failure(format!("{said}{after}; {remedy}"))
    }

    fn refused(&self, accepts: &str, tried: &[String]) -> Error {
        let tried = if tried.is_empty() { "nothing".to_owned() } else { tried.join(", ") };
        let remedy = if accepts.split(',').any(|name| name == "publickey") {
            "add a key to the agent or as IdentityFile that is in the account's authorized_keys"
        } else {
            "a password has to be given"
        };
        let accepts: String = accepts.chars().filter(|letter| !letter.is_control()).collect();
        failure(format!("the server accepts {accepts}; tried {tried}; {remedy}"))
    }
}

fn failure(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Connect, text)
}

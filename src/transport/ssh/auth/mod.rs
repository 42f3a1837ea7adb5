//! User authentication (RFC 4252): the methods that the server accepts, in ssh's order.

mod agent;
mod authenticator;
mod interactive;
mod key_file;
mod password;
mod public_key;

use std::sync::{Arc, Mutex};

use async_ssh2_lite::{AsyncSession, ssh2};

use self::{
    authenticator::{Attempts, Authenticator, MethodOutcome},
    public_key::PublicKeys,
};
use super::{fault, host::SshHost, socket::SshSocket};
use crate::{Error, connect_context::ConnectContext, sync::lock, text::one_line};

/// The most rounds: how often a server may accept one method and require another.
const ROUNDS: u32 = 16;

/// Authenticates the user, and returns the session to be shared.
pub(super) async fn authenticate(
    host: &Arc<SshHost>,
    session: AsyncSession<SshSocket>,
    socket: &SshSocket,
    said: Arc<Mutex<String>>,
    context: &ConnectContext,
) -> Result<ssh2::Session, Error> {
    let authenticator = Authenticator { host, session: &session, socket, context, said };
    run(&authenticator).await?;
    tracing::debug!(user = host.user, "authenticated");
    socket.session().ok_or_else(|| fault::connect("the session is not there"))
}

/// The words for an authentication that was not done in time.
pub(super) fn unfinished(said: &Mutex<String>) -> String {
    match banner_words(&lock(said)) {
        words if words.is_empty() => String::new(),
        words => format!("{words}; do what it asks for, and give more time by --connect-timeout"),
    }
}

/// The server's words, for an error: they may say why.
fn banner_words(said: &str) -> String {
    /// More of them would hide the error.
    const QUOTED: usize = 300;
    let words: String = one_line(said.trim()).chars().take(QUOTED).collect();
    match words.is_empty() {
        true => String::new(),
        false => format!("; the server says: {words}"),
    }
}

async fn run(authenticator: &Authenticator<'_>) -> Result<(), Error> {
    let mut attempts = Attempts::default();
    let mut keys = PublicKeys::default();
    let mut exhausted: Vec<&str> = Vec::new();
    let mut accepted = authenticator.accepted_methods(&mut attempts).await?;
    for _ in 0..ROUNDS {
        let Some(methods) = &accepted else { return Ok(()) };
        let is_usable = |name: &&str| {
            methods.split(',').any(|other| other == *name)
                && !exhausted.contains(name)
                && !(attempts.has_abandoned && *name == "keyboard-interactive")
        };
        let next = authenticator.host.methods.iter().copied().find(is_usable);
        let outcome = match next {
            Some("publickey") => keys.next(authenticator, &mut attempts).await?,
            Some("keyboard-interactive") => {
                interactive::authenticate(authenticator, methods, &mut attempts).await?
            }
            Some(_) => password::authenticate(authenticator, methods, &mut attempts).await?,
            // The last answer may have been a part of what the server wants.
            None if attempts.is_unsure => MethodOutcome::Accepted,
            None => return Err(refused(authenticator, methods, &attempts)),
        };
        let now = match outcome {
            MethodOutcome::Accepted => authenticator.accepted_methods(&mut attempts).await?,
            MethodOutcome::Changed(now) => now,
            MethodOutcome::Exhausted => {
                exhausted.extend(next);
                continue;
            }
        };
        if now != accepted {
            // Partial success: a method that was of no use before may be now.
            exhausted.clear();
            accepted = now;
        }
    }
    Err(refused(authenticator, accepted.as_deref().unwrap_or_default(), &attempts))
}

fn refused(authenticator: &Authenticator<'_>, accepted: &str, attempts: &Attempts) -> Error {
    let tried = match attempts.tried.as_slice() {
        [] => "nothing".to_owned(),
        tried => tried.join(", "),
    };
    let accepts = |method: &str| accepted.split(',').any(|name| name == method);
    let allowed = &authenticator.host.methods;
    let is_refused = |how: &str| attempts.tried.iter().any(|entry| entry.contains(how));
    let remedy = if attempts.refused_answers > 0 {
        "the password is wrong, or the account may not log in".to_owned()
    } else if !allowed.iter().any(|method| accepts(method)) {
        let foreign = match accepted.split(',').any(|name| ALL_METHODS.contains(&name)) {
            true => {
                "the ssh configuration forbids these methods (PreferredAuthentications, \
                     PubkeyAuthentication, PasswordAuthentication, KbdInteractiveAuthentication)"
            }
            false => {
                "write `openssh:` in place of `ssh:` to use the program ssh, which knows more methods"
            }
        };
        foreign.to_owned()
    } else if is_refused("wrong passphrase") {
        "the passphrase is wrong".to_owned()
    } else if is_refused("refused to sign") {
        "the agent holds a key that it does not use without a confirmation (ssh-add -c)".to_owned()
    } else if let Some(folder) = no_key(authenticator.host)
        && accepts("publickey")
    {
        format!(
            "no key was found: {} has none (id_ed25519, id_ecdsa, id_rsa), no IdentityFile is set, and there \
             is no agent (SSH_AUTH_SOCK)",
            folder.display()
        )
    } else if accepts("publickey") && allowed.contains(&"publickey") {
        "the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, \
         or set IdentityFile"
            .to_owned()
    } else {
        "give a password".to_owned()
    };
    let (accepted, banner) = (one_line(accepted), authenticator.banner());
    fault::refused(format!("the server accepts {accepted}; tried {tried}; {remedy}{banner}"))
}

/// The folder that was searched, where there is no key at all.
fn no_key(host: &SshHost) -> Option<&std::path::Path> {
    let has_none = host.identity_files.is_empty() && host.agent.is_none();
    host.key_folder.as_deref().filter(|_| has_none && host.methods.contains(&"publickey"))
}

/// The methods of this crate.
const ALL_METHODS: [&str; 3] = ["publickey", "keyboard-interactive", "password"];

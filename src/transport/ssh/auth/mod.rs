//! User authentication (RFC 4252): the methods that the server accepts, in ssh's order.

mod agent;
mod authenticator;
mod interactive;
mod key_file;
mod password;
mod public_key;

use std::sync::Arc;

use async_ssh2_lite::{AsyncSession, ssh2};

use self::{
    authenticator::{Authenticator, MethodOutcome},
    public_key::PublicKeys,
};
use super::{fault, host::SshHost, socket::SshSocket};
use crate::{Error, connect_context::ConnectContext, text::one_line};

/// The most rounds: how often a server may accept one method and require another.
const ROUNDS: u32 = 16;

/// The supported methods, in the order in which they are tried.
const METHODS: [&str; 3] = ["publickey", "keyboard-interactive", "password"];

/// Authenticates the user, and returns the session to be shared.
pub(super) async fn authenticate(
    host: &Arc<SshHost>,
    session: AsyncSession<SshSocket>,
    socket: &SshSocket,
    context: &ConnectContext,
) -> Result<ssh2::Session, Error> {
    let authenticator = Authenticator { host, session: &session, socket, context };
    run(&authenticator).await?;
    tracing::debug!(user = host.user, "authenticated");
    socket.session().ok_or_else(|| fault::connect("the session is not there"))
}

async fn run(authenticator: &Authenticator<'_>) -> Result<(), Error> {
    let mut tried = Vec::new();
    let mut keys = PublicKeys::default();
    let mut exhausted: Vec<&str> = Vec::new();
    let mut accepted = authenticator.accepted_methods(&tried).await?;
    for _ in 0..ROUNDS {
        let Some(names) = &accepted else { return Ok(()) };
        let is_accepted = |name: &&str| names.split(',').any(|other| other == *name);
        let next = METHODS.into_iter().filter(is_accepted).find(|name| !exhausted.contains(name));
        let outcome = match next {
            Some("publickey") => keys.next(authenticator, &mut tried).await?,
            Some("keyboard-interactive") => {
                interactive::authenticate(authenticator, &mut tried).await?
            }
            Some(_) => password::authenticate(authenticator, &mut tried).await?,
            None => return Err(refused(names, &tried)),
        };
        let now = match outcome {
            MethodOutcome::CheckServer => authenticator.accepted_methods(&tried).await?,
            MethodOutcome::Exhausted => accepted.clone(),
        };
        if now == accepted {
            // The server may require several keys: the rest of them comes before another method.
            if next != Some("publickey") || matches!(outcome, MethodOutcome::Exhausted) {
                exhausted.extend(next);
            }
        } else {
            // Partial success: a method that was of no use before may be now.
            exhausted.clear();
        }
        accepted = now;
    }
    Err(refused(accepted.as_deref().unwrap_or_default(), &tried))
}

fn refused(accepted: &str, tried: &[String]) -> Error {
    let tried = if tried.is_empty() { "nothing".to_owned() } else { tried.join(", ") };
    let remedy = if accepted.split(',').any(|name| name == "publickey") {
        "the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, \
         or set IdentityFile"
    } else {
        "give a password"
    };
    let accepted = one_line(accepted);
    fault::connect(format!("the server accepts {accepted}; tried {tried}; {remedy}"))
}

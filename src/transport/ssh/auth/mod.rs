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
    authenticator::{Attempts, Authenticator, MethodOutcome},
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
        let next = METHODS.into_iter().find(is_usable);
        let outcome = match next {
            Some("publickey") => keys.next(authenticator, &mut attempts).await?,
            Some("keyboard-interactive") => {
                interactive::authenticate(authenticator, methods, &mut attempts).await?
            }
            Some(_) => password::authenticate(authenticator, methods, &mut attempts).await?,
            // The last answer may have been a part of what the server wants.
            None if attempts.is_unsure => MethodOutcome::Accepted,
            None => return Err(refused(methods, &attempts)),
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
    Err(refused(accepted.as_deref().unwrap_or_default(), &attempts))
}

fn refused(accepted: &str, attempts: &Attempts) -> Error {
    let tried = match attempts.tried.as_slice() {
        [] => "nothing".to_owned(),
        tried => tried.join(", "),
    };
    let accepts = |method: &str| accepted.split(',').any(|name| name == method);
    let remedy = if attempts.refused_answers > 0 {
        "the password is wrong, or the account may not log in"
    } else if accepts("publickey") {
        "the account's authorized_keys holds none of the keys tried: load one of its keys into the agent, \
         or set IdentityFile"
    } else {
        "give a password"
    };
    let accepted = one_line(accepted);
    fault::connect(format!("the server accepts {accepted}; tried {tried}; {remedy}"))
}

//! The state that all authentication methods share.

use std::sync::Arc;

use async_ssh2_lite::{AsyncSession, ssh2};

use crate::{
    Error,
    connect_context::ConnectContext,
    prompter::{Secret, SecretKind, SecretRequest},
    text::one_line,
    transport::ssh::{fault, host::SshHost, socket::SshSocket, thread::on_thread},
};

/// How often a secret is asked for: the default of `NumberOfPasswordPrompts`.
pub(super) const ATTEMPTS: u32 = 3;

/// The state that all methods share.
pub(super) struct Authenticator<'a> {
    pub(super) host: &'a Arc<SshHost>,
    pub(super) session: &'a AsyncSession<SshSocket>,
    pub(super) socket: &'a SshSocket,
    pub(super) context: &'a ConnectContext,
}

/// The outcome of one method.
pub(super) enum MethodOutcome {
    /// The server may be satisfied, or accept other methods now.
    CheckServer,
    /// The method has nothing left to try.
    Exhausted,
}

impl Authenticator<'_> {
    /// The methods that the server accepts now; `None` once the user is authenticated.
    pub(super) async fn accepted_methods(&self, tried: &[String]) -> Result<Option<String>, Error> {
        if self.session.authenticated() {
            return Ok(None);
        }
        let user = self.host.user.clone();
        let asked = self.on_thread(move |session| session.auth_methods(&user).map(str::to_owned));
        match asked.await {
            Ok(_) if self.session.authenticated() => Ok(None),
            Ok(accepted) => {
                tracing::debug!(methods = %one_line(&accepted), "the server accepts");
                Ok(Some(accepted))
            }
            Err(error) => Err(broken(&error, tried)),
        }
    }

    /// The account as ssh's prompts have it: `ci@host`.
    pub(super) fn account(&self) -> String {
        format!("{}@{}", self.host.user, self.host.host_name)
    }

    /// Asks for a secret; `None` where the callback gives none.
    pub(super) async fn ask(
        &self,
        kind: SecretKind,
        prompt: String,
        attempt: u32,
    ) -> Option<Secret> {
        let hop = self.host.hop.clone();
        self.context.secret(SecretRequest { kind, hop, prompt, echo: false, attempt }).await
    }

    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        op: impl FnMut(&ssh2::Session) -> Result<T, ssh2::Error> + Send + 'static,
    ) -> Result<T, ssh2::Error> {
        on_thread(self.socket, op).await
    }
}

/// Logs an attempt by a method, and the server's answer.
pub(super) fn log_attempt(method: &str, attempt: u32, result: &Result<(), ssh2::Error>) {
    match result {
        Ok(()) => tracing::debug!(method, attempt, "accepted"),
        Err(error) => tracing::debug!(method, attempt, reason = %fault::words(error), "refused"),
    }
}

/// The error of a connection that ended during authentication.
fn broken(error: &ssh2::Error, tried: &[String]) -> Error {
    let after =
        if tried.is_empty() { String::new() } else { format!(" after {}", tried.join(", ")) };
    let remedy = match tried.len() {
        0 => "see the server's log",
        _ => "if these were too many for it (MaxAuthTries), set IdentityFile and IdentitiesOnly",
    };
    let said = match fault::is_loss(error) {
        true => "the server closed the connection".to_owned(),
        false => fault::words(error),
    };
    fault::connect(format!("{said}{after}; {remedy}"))
}

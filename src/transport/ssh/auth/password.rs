//! The method `password` (RFC 4252, section 8).

use super::authenticator::{ATTEMPTS, Authenticator, MethodOutcome, log_attempt};
use crate::{
    Error,
    prompter::SecretKind,
    transport::ssh::fault::{self, code},
};

/// Asks for the password until the server accepts it, or other methods.
pub(super) async fn authenticate(
    authenticator: &Authenticator<'_>,
    tried: &mut Vec<String>,
) -> Result<MethodOutcome, Error> {
    if !authenticator.context.has_secrets() {
        tried.push("password (nobody to ask)".into());
        return Ok(MethodOutcome::Exhausted);
    }
    let before = authenticator.accepted_methods(tried).await?;
    for attempt in 1..=ATTEMPTS {
        let prompt = format!("Password for {}: ", authenticator.account());
        let asked = authenticator.ask(SecretKind::Password, prompt, attempt).await;
        let Some(secret) = asked else {
            tried.push("password (none given)".into());
            return Ok(MethodOutcome::Exhausted);
        };
        let user = authenticator.host.user.clone();
        let sent = authenticator
            .on_thread(move |session| session.userauth_password(&user, secret.expose()))
            .await;
        log_attempt("password", attempt, &sent);
        match sent {
            Ok(()) => return Ok(MethodOutcome::CheckServer),
            Err(error) if fault::code_of(&error) == code::PASSWORD_EXPIRED => {
                let text = "the password has expired; change it with ssh first";
                return Err(fault::connect(text));
            }
            Err(_) => {}
        }
        if attempt == ATTEMPTS {
            tried.push(format!("password ({ATTEMPTS} times)"));
        }
        if authenticator.accepted_methods(tried).await? != before {
            return Ok(MethodOutcome::CheckServer);
        }
    }
    Ok(MethodOutcome::Exhausted)
}

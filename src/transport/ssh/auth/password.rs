//! The method `password` (RFC 4252, section 8).

use super::authenticator::{Attempts, Authenticator, MethodOutcome, log_attempt};
use crate::{
    Error,
    prompter::SecretKind,
    transport::ssh::fault::{self, code},
};

/// Asks for the password until the server accepts it, or other methods than `methods`.
pub(super) async fn authenticate(
    authenticator: &Authenticator<'_>,
    methods: &str,
    attempts: &mut Attempts,
) -> Result<MethodOutcome, Error> {
    let prompts = match authenticator.prompts() {
        Ok(prompts) => prompts,
        Err(reason) => {
            attempts.tried.push(format!("password ({reason})"));
            return Ok(MethodOutcome::Exhausted);
        }
    };
    for number in 1..=prompts {
        let attempt = attempts.refused_answers + 1;
        let prompt = format!("Password for {}: ", authenticator.account());
        let asked = authenticator.ask(SecretKind::Password, prompt, None, attempt).await;
        let Some(secret) = asked else {
            attempts.note_silence("password");
            return Ok(MethodOutcome::Exhausted);
        };
        let user = authenticator.host.user.clone();
        let sent = authenticator
            .on_thread(move |session| session.userauth_password(&user, secret.expose()))
            .await;
        log_attempt("password", attempt, &sent);
        let error = match sent {
            Ok(()) => return Ok(MethodOutcome::Accepted),
            Err(error) => error,
        };
        if fault::code_of(&error) == code::PASSWORD_EXPIRED {
            let text = "the password has expired; change it with ssh first";
            return Err(fault::connect(text));
        }
        attempts.note_refused_answer("password", number);
        let left = prompts - number;
        let after = authenticator.after_refusal(&error, methods, left, attempts).await?;
        if let Some(outcome) = after {
            return Ok(outcome);
        }
    }
    Ok(MethodOutcome::Exhausted)
}

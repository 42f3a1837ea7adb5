//! The method `keyboard-interactive` (RFC 4256): the server's own questions.

use async_ssh2_lite::ssh2::{self, KeyboardInteractivePrompt, Prompt};
use tokio::{runtime::Handle, sync::Semaphore};

use super::authenticator::{ATTEMPTS, Authenticator, MethodOutcome, log_attempt};
use crate::{
    Error,
    connect_context::ConnectContext,
    prompter::{SecretKind, SecretRequest},
    text::one_line,
    transport::ssh::fault::would_block,
};

/// The most conversations at a time in the process: each occupies a thread while the user is asked,
/// and the question another one.
static CONVERSATIONS: Semaphore = Semaphore::const_new(16);

/// Holds conversations until the server accepts one, or other methods.
pub(super) async fn authenticate(
    authenticator: &Authenticator<'_>,
    tried: &mut Vec<String>,
) -> Result<MethodOutcome, Error> {
    if !authenticator.context.has_secrets() {
        tried.push("keyboard-interactive (nobody to ask)".into());
        return Ok(MethodOutcome::Exhausted);
    }
    let before = authenticator.accepted_methods(tried).await?;
    for attempt in 1..=ATTEMPTS {
        let (result, is_declined) = converse(authenticator, attempt).await;
        log_attempt("keyboard-interactive", attempt, &result);
        if result.is_ok() {
            return Ok(MethodOutcome::CheckServer);
        }
        if is_declined {
            tried.push("keyboard-interactive (no answer)".into());
            return Ok(MethodOutcome::Exhausted);
        }
        if attempt == ATTEMPTS {
            tried.push(format!("keyboard-interactive ({ATTEMPTS} times)"));
        }
        if authenticator.accepted_methods(tried).await? != before {
            return Ok(MethodOutcome::CheckServer);
        }
    }
    Ok(MethodOutcome::Exhausted)
}

/// Holds one conversation. Returns its result, and whether the user declined to answer.
async fn converse(
    authenticator: &Authenticator<'_>,
    attempt: u32,
) -> (Result<(), ssh2::Error>, bool) {
    let _permit = CONVERSATIONS.acquire().await;
    let mut conversation = Conversation {
        context: authenticator.context.clone(),
        runtime: Handle::current(),
        hop: authenticator.host.hop.clone(),
        account: authenticator.account(),
        attempt,
        is_declined: false,
    };
    let user = authenticator.host.user.clone();
    let result = authenticator
        .on_thread(move |session| {
            match session.userauth_keyboard_interactive(&user, &mut conversation) {
                Err(error) if would_block(&error) => Err(error),
                done => Ok((done, conversation.is_declined)),
            }
        })
        .await;
    match result {
        Ok(done) => done,
        Err(error) => (Err(error), false),
    }
}

/// Answers the server's questions at once, on libssh2's thread, as libssh2 requires.
struct Conversation {
    context: ConnectContext,
    runtime: Handle,
    hop: String,
    /// `ci@host`, which ssh too puts before the server's question.
    account: String,
    attempt: u32,
    is_declined: bool,
}

impl KeyboardInteractivePrompt for Conversation {
    fn prompt(&mut self, _: &str, instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        let mut answers = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            let instructions = if index == 0 { instructions.trim() } else { "" };
            let gap = if instructions.is_empty() { "" } else { " " };
            let (instructions, question) = (one_line(instructions), one_line(&prompt.text));
            let request = SecretRequest {
                kind: SecretKind::Interactive,
                hop: self.hop.clone(),
                prompt: format!("({}) {instructions}{gap}{question}", self.account),
                echo: prompt.echo,
                attempt: self.attempt,
            };
            let answer = match self.is_declined {
                true => None,
                false => self.runtime.block_on(self.context.secret(request)),
            };
            self.is_declined |= answer.is_none();
            // libssh2 takes copies over, and does not wipe them.
            answers.push(answer.map(|secret| secret.expose().to_owned()).unwrap_or_default());
        }
        answers
    }
}

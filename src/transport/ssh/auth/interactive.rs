//! The method `keyboard-interactive` (RFC 4256): the server's own questions.

use async_ssh2_lite::ssh2::{self, KeyboardInteractivePrompt, Prompt};
use tokio::{runtime::Handle, sync::Semaphore};
use zeroize::Zeroizing;

use super::authenticator::{Attempts, Authenticator, MethodOutcome, log_attempt};
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

const METHOD: &str = "keyboard-interactive";

/// Longer than a packet of libssh2's: it sends no part of a conversation with such an answer.
/// Uncompressed, that is; see `choose_compression` of the handshake.
const UNSENDABLE: usize = 1 << 16;

/// The most questions of one conversation: a server may ask for ever, and a callback may answer.
const MAX_QUESTIONS: u32 = 32;

/// Holds conversations until the server accepts one, or other methods than `methods`.
pub(super) async fn authenticate(
    authenticator: &Authenticator<'_>,
    methods: &str,
    attempts: &mut Attempts,
) -> Result<MethodOutcome, Error> {
    let prompts = match authenticator.prompts() {
        Ok(prompts) => prompts,
        Err(reason) => {
            attempts.tried.push(format!("{METHOD} ({reason})"));
            return Ok(MethodOutcome::Exhausted);
        }
    };
    for number in 1..=prompts {
        let attempt = attempts.refused_answers + 1;
        let (result, is_declined) = converse(authenticator, attempt).await;
        log_attempt(METHOD, attempt, &result);
        let error = match result {
            Ok(()) => return Ok(MethodOutcome::Accepted),
            Err(error) => error,
        };
        if is_declined {
            attempts.has_abandoned = true;
            attempts.note_silence(METHOD);
            return Ok(MethodOutcome::Exhausted);
        }
        attempts.note_refused_answer(METHOD, number);
        let left = prompts - number;
        let after = authenticator.after_refusal(&error, methods, left, attempts).await?;
        if let Some(outcome) = after {
            return Ok(outcome);
        }
    }
    Ok(MethodOutcome::Exhausted)
}

/// Holds one conversation. Returns its result, and whether the user declined to answer: then
/// nothing was sent since the last question that the user did answer. The server waits for the
/// answer, or for a request by another method (RFC 4256, section 3.1).
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
        questions: 0,
        is_declined: false,
    };
    let user = authenticator.host.user.clone();
    let result = authenticator
        .on_thread(move |session| {
            match session.userauth_keyboard_interactive(&user, &mut conversation) {
                // After a first answer was sent, libssh2 waits for the server even where it could not
                // send the second.
                Err(error) if would_block(&error) && !conversation.is_declined => Err(error),
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
    questions: u32,
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
                key_file: None,
                echo: prompt.echo,
                attempt: self.attempt,
            };
            self.questions += 1;
            let answer = match self.questions {
                ..=MAX_QUESTIONS => self.runtime.block_on(self.context.secret(request)),
                _ => None,
            };
            let Some(secret) = answer else {
                self.is_declined = true;
                // libssh2 has no other way to leave a conversation without an answer.
                return vec![" ".repeat(UNSENDABLE)];
            };
            // libssh2 takes copies over, and does not wipe them.
            answers.push(Zeroizing::new(secret.expose().to_owned()));
        }
        answers.iter_mut().map(|answer| std::mem::take(&mut **answer)).collect()
    }
}

//! keyboard-interactive: whatever the server asks.

use async_ssh2_lite::ssh2::{self, KeyboardInteractivePrompt, Prompt};
use tokio::{runtime::Handle, sync::Semaphore};

use super::Method;
use crate::{
    connect_context::ConnectContext,
    prompter::{SecretKind, SecretRequest},
};

/// Conversations at a time. Each keeps a thread while the user is asked, which takes another one.
static CONVERSATIONS: Semaphore = Semaphore::const_new(16);

/// libssh2 wants answers at once, on the thread that it runs on.
struct Prompter {
    context: ConnectContext,
    runtime: Handle,
    hop: String,
    /// `ci@host`, as ssh puts it before what the server asks.
    who: String,
    attempt: u32,
    declined: bool,
}

impl KeyboardInteractivePrompt for Prompter {
    fn prompt(&mut self, _: &str, instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        let mut answers = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            let said = if index == 0 { instructions.trim() } else { "" };
            let gap = if said.is_empty() { "" } else { " " };
            let request = SecretRequest {
                kind: SecretKind::Interactive,
                hop: self.hop.clone(),
                prompt: format!("({}) {said}{gap}{}", self.who, prompt.text),
                echo: prompt.echo,
                attempt: self.attempt,
            };
            let asked = match self.declined {
                true => None,
                false => self.runtime.block_on(self.context.secret(request)),
            };
            self.declined |= asked.is_none();
            // libssh2 takes over copies, which are not wiped.
            answers.push(asked.map(|secret| secret.expose().to_owned()).unwrap_or_default());
        }
        answers
    }
}

/// One conversation. Whether it proved who the user is, and whether the user would not answer.
pub(super) async fn converse(method: &Method<'_>, attempt: u32) -> (Result<(), ssh2::Error>, bool) {
    let _turn = CONVERSATIONS.acquire().await;
    let mut prompter = Prompter {
        context: method.context.clone(),
        runtime: Handle::current(),
        hop: method.host.hop.clone(),
        who: method.who(),
        attempt,
        declined: false,
    };
    let user = method.host.user.clone();
    let result = method
        .on_thread(move |session| {
            match session.userauth_keyboard_interactive(&user, &mut prompter) {
                Err(error) if super::would_block(&error) => Err(error),
                done => Ok((done, prompter.declined)),
            }
        })
        .await;
    match result {
        Ok(done) => done,
        Err(error) => (Err(error), false),
    }
}

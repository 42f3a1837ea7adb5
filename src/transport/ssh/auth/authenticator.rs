//! The state that all authentication methods share.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use async_ssh2_lite::{AsyncSession, ssh2};

use crate::{
    Error,
    connect_context::ConnectContext,
    prompter::{Secret, SecretKind, SecretRequest},
    sync::lock,
    text::one_line,
    transport::ssh::{fault, host::SshHost, socket::SshSocket, thread::on_thread},
};

/// The refused requests that any server lets pass: sshd's MaxAuthTries is 6, hardening guides set 4.
const SAFE_REFUSALS: u32 = 3;

/// The state that all methods share.
pub(super) struct Authenticator<'a> {
    pub(super) host: &'a Arc<SshHost>,
    pub(super) session: &'a AsyncSession<SshSocket>,
    pub(super) socket: &'a SshSocket,
    pub(super) context: &'a ConnectContext,
    /// The server's words so far.
    pub(super) said: Arc<Mutex<String>>,
}

/// The outcome of one method.
pub(super) enum MethodOutcome {
    /// The server has accepted something: it may be satisfied, or accept other methods now.
    Accepted,
    /// The server accepts these methods now, and others before: what it seemed to refuse was a part
    /// of what it wants.
    Changed(Option<String>),
    /// The method has nothing left to try.
    Exhausted,
}

/// The requests so far, and what the server made of them.
#[derive(Default)]
pub(super) struct Attempts {
    /// An entry for each method or key, for errors.
    pub(super) tried: Vec<String>,
    /// Refused requests, which the server counts against MaxAuthTries.
    pub(super) refusals: u32,
    /// Refused passwords and conversations among them.
    pub(super) refused_answers: u32,
    /// The server was asked for its methods before.
    has_asked: bool,
    /// Answers were refused since the server was last asked for its methods. libssh2 does not tell
    /// a refusal from a partial success.
    pub(super) is_unsure: bool,
    /// The user has left a conversation. The session can hold no other.
    pub(super) has_abandoned: bool,
}

impl Attempts {
    /// Takes note of a password or a conversation that the server refused, the `number`th by this
    /// method.
    pub(super) fn note_refused_answer(&mut self, method: &str, number: u32) {
        self.refusals += 1;
        self.refused_answers += 1;
        self.is_unsure = true;
        let words = match number {
            1 => "refused".to_owned(),
            number => format!("refused {number} times"),
        };
        self.set(method, &words);
    }

    /// Takes note that no answer was given, or no further one.
    pub(super) fn note_silence(&mut self, method: &str) {
        if !self.tried.iter().any(|entry| entry.starts_with(&format!("{method} (refused"))) {
            self.set(method, "none given");
        }
    }

    /// Keeps one entry of `tried` for a method.
    fn set(&mut self, method: &str, words: &str) {
        let entry = format!("{method} ({words})");
        let is_of_method =
            |old: &&mut String| old.strip_prefix(method).is_some_and(|rest| rest.starts_with(" ("));
        match self.tried.iter_mut().find(is_of_method) {
            Some(old) => *old = entry,
            None => self.tried.push(entry),
        }
    }

    /// Whether the server can be asked for its methods, which counts as a refused request, and
    /// still judges `left` answers.
    fn leaves_room(&self, left: u32) -> bool {
        self.refusals + 1 + left.saturating_sub(1) <= SAFE_REFUSALS
    }
}

impl Authenticator<'_> {
    /// Whether the user may be asked for a password or passphrase, and how often for one.
    pub(super) fn prompts(&self) -> Result<u32, &'static str> {
        match self.host.password_prompts {
            _ if self.host.batch_mode => Err("BatchMode"),
            _ if !self.context.has_secrets() => Err("nobody to ask"),
            0 => Err("NumberOfPasswordPrompts is 0"),
            prompts => Ok(prompts),
        }
    }

    /// The methods that the server accepts now; `None` once the user is authenticated.
    ///
    /// The question is a request by the method `none`. sshd counts it as refused, unless it is the
    /// first request of all.
    pub(super) async fn accepted_methods(
        &self,
        attempts: &mut Attempts,
    ) -> Result<Option<String>, Error> {
        if self.session.authenticated() {
            return Ok(None);
        }
        attempts.is_unsure = false;
        attempts.refusals += u32::from(attempts.has_asked);
        attempts.has_asked = true;
        let (user, hop) = (self.host.user.clone(), self.host.hop.clone());
        let (context, said) = (self.context.clone(), Arc::clone(&self.said));
        let asked = self.on_thread(move |session| {
            let methods = session.auth_methods(&user).map(str::to_owned);
            // A server may hold its answer back until its words have been followed.
            if let Ok(Some(banner)) = session.userauth_banner()
                && *lock(&said) != banner
            {
                banner.clone_into(&mut lock(&said));
                context.note_progress();
                context.notice(&hop, banner);
            }
            methods
        });
        match asked.await {
            Ok(_) if self.session.authenticated() => Ok(None),
            Ok(accepted) => {
                tracing::debug!(methods = %one_line(&accepted), "the server accepts");
                Ok(Some(accepted))
            }
            Err(error) => Err(self.broken(&error, &attempts.tried)),
        }
    }

    /// The outcome of an answer that the server has refused, with `left` more that may follow;
    /// `None` to go on with these. `methods` are those that the server accepted before.
    pub(super) async fn after_refusal(
        &self,
        error: &ssh2::Error,
        methods: &str,
        left: u32,
        attempts: &mut Attempts,
    ) -> Result<Option<MethodOutcome>, Error> {
        if fault::is_loss(error) {
            return Err(self.broken(error, &attempts.tried));
        }
        if !attempts.leaves_room(left) {
            return Ok(None);
        }
        let now = self.accepted_methods(attempts).await?;
        Ok((now.as_deref() != Some(methods)).then_some(MethodOutcome::Changed(now)))
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
        key_file: Option<&Path>,
        attempt: u32,
    ) -> Option<Secret> {
        let key_file = key_file.map(Path::to_owned);
        let hop = self.host.hop.clone();
        let request = SecretRequest { kind, hop, prompt, key_file, echo: false, attempt };
        self.context.secret(request).await
    }

    /// The error of a connection that ended during authentication.
    fn broken(&self, error: &ssh2::Error, tried: &[String]) -> Error {
        let after =
            if tried.is_empty() { String::new() } else { format!(" after {}", tried.join(", ")) };
        let remedy = match tried.len() {
            0 => "see the server's log",
            _ => {
                "if these were too many for it (MaxAuthTries), set IdentityFile and IdentitiesOnly"
            }
        };
        let said = match fault::is_loss(error) {
            true => "the server closed the connection".to_owned(),
            false => fault::words(error),
        };
        fault::connect(format!("{said}{after}; {remedy}{}", self.banner()))
    }

    /// The server's words, for an error.
    pub(super) fn banner(&self) -> String {
        super::banner_words(&lock(&self.said))
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

//! Secrets, and the callbacks of one prompter.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{HostKeyQuestion, Notice, Progress, SecretKind, SecretRequest};
use crate::sync::lock;

/// A password or a passphrase. Its memory is wiped on drop, and its `Debug` shows no part of it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret that owns `text`, and wipes its memory on drop.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

pub(crate) type SecretCallback = dyn Fn(&SecretRequest) -> Option<Secret> + Send + Sync;
pub(crate) type HostKeyCallback = dyn Fn(&HostKeyQuestion) -> bool + Send + Sync;
pub(crate) type ProgressCallback = dyn Fn(&Progress) + Send + Sync;
pub(crate) type NoticeCallback = dyn Fn(&Notice) + Send + Sync;

/// The answers that were given.
#[derive(Default)]
struct Memory(std::sync::Mutex<HashMap<Question, Remembered>>);

/// A question: kind, hop, text and key file.
type Question = (SecretKind, String, String, Option<PathBuf>);

/// An answer that was given last.
enum Remembered {
    Answer(Secret),
    /// It was refused the second time: the answer changes.
    Changes,
}

impl Memory {
    fn answer(&self, request: &SecretRequest, ask: &SecretCallback) -> Option<Secret> {
        let SecretRequest { kind, hop, prompt, key_file, attempt, .. } = request;
        let question = (*kind, hop.clone(), prompt.clone(), key_file.clone());
        {
            let mut memory = lock(&self.0);
            match memory.get(&question) {
                Some(Remembered::Answer(secret)) if *attempt == 1 => return Some(secret.clone()),
                // Refused, be it the one that was remembered or one that was mistyped.
                Some(Remembered::Answer(_)) if *kind == SecretKind::Interactive => {
                    memory.insert(question.clone(), Remembered::Changes);
                }
                Some(Remembered::Answer(_)) => {
                    memory.remove(&question);
                }
                Some(Remembered::Changes) | None => {}
            }
        }
        let secret = ask(request)?;
        let mut memory = lock(&self.0);
        if !matches!(memory.get(&question), Some(Remembered::Changes)) {
            memory.insert(question, Remembered::Answer(secret.clone()));
        }
        Some(secret)
    }
}

/// Callbacks used while connecting. Cheap to clone; a clone has the same callbacks.
///
/// All clones ask one question at a time, each on a thread that may block, for instance on a terminal.
/// A pending question stops the time limits of its connection attempt. If the attempt is dropped, a
/// running callback runs to its end.
#[derive(Clone, Default)]
pub struct Prompter {
    secret: Option<Arc<SecretCallback>>,
    host_key: Option<Arc<HostKeyCallback>>,
    progress: Option<Arc<ProgressCallback>>,
    notice: Option<Arc<NoticeCallback>>,
    /// Held while a question is asked.
    question: Arc<Mutex<()>>,
}

impl Prompter {
    /// No callbacks: every question fails.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sets the callback that gives a secret; `None` declines. Without it sudo runs as `sudo -n`,
    /// and an `ssh://` hop tries no password.
    ///
    /// Where the callback declines, nothing is sent, and the host sees no failed login. An empty
    /// secret declines too, but for a question whose answer is shown ([`SecretRequest::echo`]):
    /// there Enter alone may be an answer.
    ///
    /// An `openssh://` hop that comes first calls it if the program has called
    /// [`serve_askpass_if_asked`](super::serve_askpass_if_asked), and never lets `ssh` ask anywhere
    /// else. Other `openssh://` hops run with `BatchMode=yes`, and `doas:` as `doas -n`.
    #[must_use]
    pub fn on_secret(
        mut self,
        callback: impl Fn(&SecretRequest) -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.secret = Some(Arc::new(callback));
        self
    }

    /// Asks each question once: the answer of [`on_secret`](Self::on_secret), which has to be set before, is
    /// kept in memory, and given again when the same hop asks the same question, as upon reconnecting. A
    /// remembered answer that is refused is forgotten and asked for again, and so is one to a question whose
    /// answer changes (a one-time code), which is not remembered any more.
    ///
    /// Clones share the answers, whose memory is wiped when the last of them is dropped.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        if let Some(ask) = self.secret.take() {
            let memory = Memory::default();
            self.secret =
                Some(Arc::new(move |request: &SecretRequest| memory.answer(request, &*ask)));
        }
        self
    }

    /// Sets the callback that decides on an unknown host key of an `ssh://` hop under
    /// `StrictHostKeyChecking ask`, ssh's default. `true` appends the key to the first file of
    /// `UserKnownHostsFile`; if that fails, so does the connection. `false` refuses the key, and so
    /// does a missing callback.
    ///
    /// Under `yes`, `no` and `accept-new` the callback is not called: `yes` refuses an unknown key,
    /// the others accept it. A key that differs from the one in `known_hosts` is refused under every
    /// setting.
    #[must_use]
    pub fn on_host_key(
        mut self,
        callback: impl Fn(&HostKeyQuestion) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.host_key = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for the progress of connecting: each step as it begins, and the bytes of a
    /// stub that is sent. It runs on the runtime's thread and must not block.
    #[must_use]
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for what the server of an `ssh://` hop says before the login (a banner of
    /// RFC 4252, section 5.4): terms of use, an address to open, or why there will be no login. It
    /// runs on the runtime's thread and must not block.
    ///
    /// Without it the banner is part of the error where the login fails.
    #[must_use]
    pub fn on_notice(mut self, callback: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.notice = Some(Arc::new(callback));
        self
    }

    pub(crate) fn secret_callback(&self) -> Option<&Arc<SecretCallback>> {
        self.secret.as_ref()
    }

    #[cfg(any(feature = "ssh", feature = "stub"))]
    pub(crate) fn host_key_callback(&self) -> Option<&Arc<HostKeyCallback>> {
        self.host_key.as_ref()
    }

    pub(crate) fn progress_callback(&self) -> Option<&Arc<ProgressCallback>> {
        self.progress.as_ref()
    }

    #[cfg(feature = "ssh")]
    pub(crate) fn notice_callback(&self) -> Option<&Arc<NoticeCallback>> {
        self.notice.as_ref()
    }

    /// The lock that is held while a question is asked.
    pub(crate) fn question_lock(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.question)
    }
}

impl fmt::Debug for Prompter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompter")
            .field("secret", &self.secret.is_some())
            .field("host_key", &self.host_key.is_some())
            .field("progress", &self.progress.is_some())
            .field("notice", &self.notice.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn request(kind: SecretKind, attempt: u32) -> SecretRequest {
        SecretRequest {
            kind,
            hop: "ssh://a".into(),
            prompt: "Password: ".into(),
            key_file: None,
            echo: false,
            attempt,
        }
    }

    #[test]
    fn each_question_is_asked_once_until_its_answer_is_refused() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let prompter = Prompter::none().on_secret(move |_| {
            Some(Secret::new(counter.fetch_add(1, Ordering::Relaxed).to_string()))
        });
        let ask = prompter.remembering().secret_callback().cloned().unwrap();
        let answer = |kind, attempt| ask(&request(kind, attempt)).unwrap().expose().to_owned();
        let password = |attempt| answer(SecretKind::Password, attempt);
        assert_eq!([password(1), password(1), password(2), password(1)], ["0", "0", "1", "1"]);
        // One-time codes.
        let code = |attempt| answer(SecretKind::Interactive, attempt);
        assert_eq!([code(1), code(1), code(2), code(1), code(1)], ["2", "2", "3", "4", "5"]);
    }
}

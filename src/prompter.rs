//! Callbacks used while connecting: for secrets, for unknown host keys and for progress.
//!
//! [`TargetOptions::prompter`](crate::hops::TargetOptions::prompter) takes them. Without a callback
//! every question fails: no secret is given, and an unknown host key is refused.
//!
//! ```
//! use netlink_remote::{hops::TargetOptions, prompter::{Prompter, Secret}};
//!
//! # fn password_of(hop: &str) -> Option<String> { None }
//! let prompter = Prompter::none()
//!     .on_secret(|request| password_of(&request.hop).map(Secret::new))
//!     .on_progress(|progress| eprintln!("{} of {} bytes", progress.sent, progress.total));
//! let options = TargetOptions::default().with_prompter(prompter);
//! ```

#![forbid(unsafe_code)]

use std::{fmt, sync::Arc};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// A password or a passphrase. Its memory is wiped on drop, and its `Debug` shows no part of it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret that owns `text`, whose memory is wiped in the end.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
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

/// The use of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// The password of an account, for ssh.
    Password,
    /// The passphrase of a private key's file.
    Passphrase,
    /// The answer to a question of the ssh server (keyboard-interactive, RFC 4256).
    Interactive,
    /// The password that sudo or su asks for.
    Privilege,
}

/// A question for a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SecretRequest {
    /// The use of the secret.
    pub kind: SecretKind,
    /// The hop that asks, after the hops that lead to it, as in the text of a target:
    /// `ssh://ci@host`, `ssh://ci@gateway,ssh://ci@host,sudo:`. The hops before it tell hosts of
    /// the same name apart.
    pub hop: String,
    /// A line to show: `Password for ci@host: `, and `(via ssh://ci@gateway) Password for
    /// ci@host: ` where other hops come before. A server's own words are part of it, always after
    /// those hops. It holds no character that steers a terminal; see
    /// [`text::is_harmful`](crate::text::is_harmful).
    pub prompt: String,
    /// Whether the answer may be seen while it is typed; a server decides that for its questions.
    pub echo: bool,
    /// 1 for the first question, and one more after each refused answer.
    pub attempt: u32,
}

/// The key of a host that `known_hosts` does not hold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostKeyQuestion {
    /// The hop of the host, after the hops that lead to it, as in [`SecretRequest::hop`].
    pub hop: String,
    /// The host's name in `known_hosts`: `host`, or `[host]:port`.
    pub host: String,
    /// The key's type: `ssh-ed25519`.
    pub key_type: String,
    /// The key's fingerprint as ssh shows it: `SHA256:` and base64.
    pub fingerprint: String,
}

/// The progress of sending a stub.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// The target that gets the stub.
    pub target: String,
    /// Bytes given to the transport so far.
    pub sent: u64,
    /// Bytes of the stub.
    pub total: u64,
}

pub(crate) type SecretCallback = dyn Fn(&SecretRequest) -> Option<Secret> + Send + Sync;
pub(crate) type HostKeyCallback = dyn Fn(&HostKeyQuestion) -> bool + Send + Sync;
pub(crate) type ProgressCallback = dyn Fn(&Progress) + Send + Sync;

/// Callbacks used while connecting. Cheap to clone; a clone has the same callbacks.
///
/// One question is asked at a time among all clones, whatever number of connections are being
/// made, each on a thread that may block, on a terminal for instance. No deadline of a step runs
/// meanwhile. A question whose connection attempt is dropped is still asked to its end.
#[derive(Clone, Default)]
pub struct Prompter {
    secret: Option<Arc<SecretCallback>>,
    host_key: Option<Arc<HostKeyCallback>>,
    progress: Option<Arc<ProgressCallback>>,
    /// Held while a question is asked.
    question: Arc<Mutex<()>>,
}

impl Prompter {
    /// No callbacks: every question fails.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sets the callback that gives a secret; `None` declines. Without it sudo is started as
    /// `sudo -n`, and ssh tries no password.
    #[must_use]
    pub fn on_secret(
        mut self,
        callback: impl Fn(&SecretRequest) -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.secret = Some(Arc::new(callback));
        self
    }

    /// Sets the callback that accepts an unknown host key; `false` declines. A key that differs
    /// from the one in `known_hosts` is refused without a question.
    #[must_use]
    pub fn on_host_key(
        mut self,
        callback: impl Fn(&HostKeyQuestion) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.host_key = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for the progress of sending a stub. It runs on the runtime's thread and
    /// must not block.
    #[must_use]
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    pub(crate) fn secret_callback(&self) -> Option<&Arc<SecretCallback>> {
        self.secret.as_ref()
    }

    #[cfg(feature = "ssh")]
    pub(crate) fn host_key_callback(&self) -> Option<&Arc<HostKeyCallback>> {
        self.host_key.as_ref()
    }

    pub(crate) fn progress_callback(&self) -> Option<&Arc<ProgressCallback>> {
        self.progress.as_ref()
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
            .finish()
    }
}

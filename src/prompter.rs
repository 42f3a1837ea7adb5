//! What is asked, and told, on the way to a stub: secrets, unknown host keys, progress.
//!
//! Without callbacks nothing is asked: a secret is not to be had, and an unknown host key is
//! refused.

#![forbid(unsafe_code)]

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// A password or passphrase. Wiped from memory when it is dropped, and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over the string, which is wiped in the end.
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

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// The password of an account, for ssh.
    Password,
    /// The passphrase of a private key's file.
    Passphrase,
    /// The answer to a question of the ssh server's (keyboard-interactive).
    Interactive,
    /// What sudo, doas or su asks for.
    Privilege,
}

/// A secret that is needed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SecretRequest {
    /// What for.
    pub kind: SecretKind,
    /// The hop that asks, and the way to it, as a target is written: `ssh://ci@host`,
    /// `ssh://ci@gateway,ssh://ci@host,sudo:`. Hosts of the same name may be behind several.
    pub hop: String,
    /// A line to show, without control characters: `Password for ci@host: `, and
    /// `(behind ssh://ci@gateway) Password for ci@host: ` where others come before. What comes
    /// from the far end is in it as that end worded it, behind the way.
    pub prompt: String,
    /// Whether what is typed may be seen; servers ask some questions so.
    pub echo: bool,
    /// 1, and one more for each time an answer was refused.
    pub attempt: u32,
}

/// A host key that nobody vouches for yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostKeyQuestion {
    /// The hop whose host it is, and the way to it, as for a secret.
    pub hop: String,
    /// The name it is looked up by: `host`, or `[host]:port`.
    pub host: String,
    /// The key's type: `ssh-ed25519`.
    pub key_type: String,
    /// `SHA256:` and base64, as ssh shows it.
    pub fingerprint: String,
}

/// How far the sending of a stub is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// The target on the way to which it is sent.
    pub target: String,
    /// Bytes handed to the transport.
    pub sent: u64,
    /// Bytes there are.
    pub total: u64,
}

pub(crate) type AskSecret = dyn Fn(&SecretRequest) -> Option<Secret> + Send + Sync;
pub(crate) type AskHostKey = dyn Fn(&HostKeyQuestion) -> bool + Send + Sync;
pub(crate) type TellProgress = dyn Fn(&Progress) + Send + Sync;

/// Whom to ask and tell. Cheap to clone.
///
/// Questions are put one at a time, however many connections are being made, each on a thread
/// where it may block: on a terminal, say. No deadline runs meanwhile.
#[derive(Clone, Default)]
pub struct Prompter {
    pub(crate) secret: Option<Arc<AskSecret>>,
    pub(crate) host_key: Option<Arc<AskHostKey>>,
    pub(crate) progress: Option<Arc<TellProgress>>,
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Prompter {
    /// Nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whom to ask for secrets. `None` is for one that is not to be had.
    #[must_use]
    pub fn on_secret(
        mut self,
        ask: impl Fn(&SecretRequest) -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.secret = Some(Arc::new(ask));
        self
    }

    /// Whom to ask about host keys that are not known. A changed one is refused without asking.
    #[must_use]
    pub fn on_host_key(
        mut self,
        ask: impl Fn(&HostKeyQuestion) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.host_key = Some(Arc::new(ask));
        self
    }

    /// Whom to tell how far the sending of a stub is. Called from the runtime: it must not block.
    #[must_use]
    pub fn on_progress(mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(tell));
        self
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

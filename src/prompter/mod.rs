//! Callbacks used while connecting: for secrets, for unknown host keys and for progress.
//!
//! A [`Prompter`] holds them, and [`TargetOptions::prompter`] takes it. Without a callback
//! every question fails: no secret is given, and an unknown host key is refused.
//!
//! ```
//! use netlink_remote::{Prompter, Secret, TargetOptions, prompter::SecretKind};
//!
//! # fn password_of(hop: &str) -> Option<String> { None }
//! let prompter = Prompter::none()
//!     .on_secret(|request| match (request.kind, request.attempt) {
//!         (SecretKind::Privilege, 1) => password_of(&request.hop).map(Secret::new),
//!         _ => None,
//!     })
//!     .on_progress(|progress| eprintln!("{}: {}", progress.target, progress.step));
//! let options = TargetOptions::default().with_prompter(prompter);
//! ```
//!
//! [`TargetOptions::prompter`]: crate::TargetOptions::prompter

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::Step;

#[cfg(feature = "stub")]
pub(crate) mod askpass;
pub(crate) mod callbacks;

#[cfg(feature = "stub")]
pub use askpass::serve_askpass_if_asked;
pub(crate) use callbacks::{Prompter, Secret};

/// The use of a secret: who is to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// The password of an account, for ssh.
    Password,
    /// The passphrase of a private key's file, which no host gets.
    Passphrase,
    /// The answer to a question of the hop's own: of an ssh server (keyboard-interactive, RFC 4256),
    /// and of sudo or su after the password, such as a one-time code.
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
    /// `ssh://ci@host`, `ssh://ci@gateway,ssh://ci@host,sudo:`. The hops before it distinguish hosts
    /// of the same name.
    pub hop: String,
    /// A line to show: `Password for ci@host: `, `ci@host's password: ` of the program `ssh`, and `(via ssh://ci@gateway) Password for
    /// ci@host: ` after other hops. It may hold a server's own words, always after those hops, but no
    /// character that controls a terminal; see [`text::is_harmful`](crate::text::is_harmful).
    pub prompt: String,
    /// The key file of a [`Passphrase`](SecretKind::Passphrase), as ssh's configuration names it.
    pub key_file: Option<PathBuf>,
    /// Whether the answer may be shown while it is typed. A server decides so for its own questions.
    pub echo: bool,
    /// 1, and one more after each refused answer: to the passphrase of this key, to a login at this
    /// host by any method, or to sudo or su. The questions of one conversation have one number.
    pub attempt: u32,
}

/// A question about the key of a host: `known_hosts` does not hold it.
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

/// The progress of connecting: reported as each step begins, and while a stub is sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// The step: of a hop, or of the stub behind all of them.
    pub step: Step,
    /// The hop, after the hops that lead to it, as in [`SecretRequest::hop`]; for the steps of the
    /// stub the whole target.
    pub target: String,
    /// Bytes of the stub that the far end has taken so far; 0 in other steps.
    pub sent: u64,
    /// Bytes of the stub as it is sent, which may be compressed; 0 while none is.
    pub total: u64,
}

/// What a server says before the login.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Notice {
    /// The hop of the server, after the hops that lead to it, as in [`SecretRequest::hop`].
    pub hop: String,
    /// The server's words, in lines of text without any character that controls a terminal.
    pub text: String,
}

/// A copy of an inherited descriptor, by its number, for secrets on a pipe, a socket or a file:
/// `nlr --password-fd` uses it. The copy shares the file offset. The number may also be that of a
/// descriptor of the program itself, which then loses the bytes that the copy reads.
///
/// # Errors
/// EBADF for a number that no descriptor has.
#[cfg(feature = "stub")]
pub fn inherited_descriptor(number: u32) -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(crate::kernel::descriptors::inherited(number)?)
}

//! The `%` tokens of ssh_config(5).

use sha1::{Digest as _, Sha1};

use super::account::LocalAccount;

/// The values of the tokens for one host.
pub(super) struct Tokens<'a> {
    pub(super) local: &'a LocalAccount,
    /// The host as the target has it.
    pub(super) original: &'a str,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) alias: Option<String>,
    /// `ProxyJump` as the file has it; empty without one.
    pub(super) jump: String,
}

impl Tokens<'_> {
    /// A token's value; `None` for a token that ssh does not have here.
    pub(super) fn value(&self, letter: char) -> Option<String> {
        Some(match letter {
            'C' => self.connection_hash()?,
            'd' => self.local.home.display().to_string(),
            'h' => self.host.clone(),
            'i' => self.local.uid.to_string(),
            'j' => self.jump.clone(),
            'k' => self.alias.clone().unwrap_or_else(|| self.original.to_owned()),
            'L' => {
                let name = local_name()?;
                name.split('.').next().unwrap_or_default().to_owned()
            }
            'l' => local_name()?,
            'n' => self.original.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.clone(),
            'u' => self.local.user.clone()?,
            _ => return None,
        })
    }

    /// `%C`, the SHA-1 of `%l%h%p%r%j`. The jump hosts are a part of it since OpenSSH 9.6.
    fn connection_hash(&self) -> Option<String> {
        let Self { host, port, user, jump, .. } = self;
        let hashed = Sha1::digest(format!("{}{host}{port}{user}{jump}", local_name()?));
        Some(hashed.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn local_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

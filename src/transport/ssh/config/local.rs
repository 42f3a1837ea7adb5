//! The account and machine that ssh would run on.

use std::{env, path::PathBuf};

use crate::Error;

/// The facts about this machine and process that the configuration depends on.
pub(super) struct LocalAccount {
    /// The home folder: `HOME`, else that of the user database.
    pub(super) home: PathBuf,
    /// The name of this process's user, if it has one.
    pub(super) user: Option<String>,
    pub(super) uid: u32,
    /// `/etc/ssh`.
    pub(super) etc: PathBuf,
    /// Looks up an environment variable.
    pub(super) env: fn(&str) -> Option<String>,
}

impl LocalAccount {
    pub(super) fn new() -> Result<Self, Error> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let uid = nix::unistd::Uid::current();
        let entry = nix::unistd::User::from_uid(uid).ok().flatten();
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(|| entry.as_ref().map(|entry| entry.dir.clone()));
        let home = home.ok_or_else(|| {
            Error::invalid(format!("there is no home folder for uid {uid}; set HOME"))
        })?;
        let user = entry.map(|entry| entry.name);
        let user = user.or_else(|| variable("LOGNAME")).or_else(|| variable("USER"));
        let etc = PathBuf::from("/etc/ssh");
        Ok(Self { home, user, uid: uid.as_raw(), etc, env: |name| env::var(name).ok() })
    }

    /// The folder of the user's files, `~/.ssh`.
    pub(super) fn user_folder(&self) -> PathBuf {
        self.home.join(".ssh")
    }
}

//! The account and machine that ssh would run on.

use std::{env, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::command;
use crate::Error;

/// The facts about this machine and process that the configuration depends on.
pub(super) struct LocalAccount {
    /// The home folder: as for ssh that of the user database, and `HOME` for a uid that is not in it.
    pub(super) home: PathBuf,
    /// The name of this process's user, if it has one.
    pub(super) user: Option<String>,
    pub(super) uid: u32,
    /// `/etc/ssh`.
    pub(super) etc: PathBuf,
    /// Looks up an environment variable.
    pub(super) env: fn(&str) -> Option<String>,
    /// Runs the command of a `Match exec`: whether it succeeds.
    pub(super) run: fn(&str) -> Result<bool, String>,
}

impl LocalAccount {
    pub(super) fn new() -> Result<Self, Error> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let uid = Uid::current();
        let entry = User::from_uid(uid).ok().flatten();
        let home = entry.as_ref().map(|entry| entry.dir.clone());
        let home = home.or_else(|| variable("HOME").map(PathBuf::from)).ok_or_else(|| {
            Error::invalid(format!("there is no home folder for uid {uid}; set HOME"))
        })?;
        let user = entry.map(|entry| entry.name);
        let user = user.or_else(|| variable("LOGNAME")).or_else(|| variable("USER"));
        let etc = PathBuf::from("/etc/ssh");
        Ok(Self {
            home,
            user,
            uid: uid.as_raw(),
            etc,
            env: |name| env::var(name).ok(),
            run: command::succeeds,
        })
    }

    /// The folder of the user's files, `~/.ssh`.
    pub(super) fn user_folder(&self) -> PathBuf {
        self.home.join(".ssh")
    }
}

/// Whether only the user and root can write to a file. A group that has the user alone for a member,
/// as Debian and others give each user one, counts as the user.
pub(super) fn is_guarded(file: &fs::Metadata, uid: u32) -> bool {
    let is_owned = [0, uid].contains(&file.uid());
    let is_writable = |bits| file.mode() & bits != 0;
    is_owned && !is_writable(0o002) && (!is_writable(0o020) || is_private(file.gid(), uid))
}

/// Whether a group is the private one of a user: it has the user's name, and no other member.
///
/// The name is required since the database of users may be larger than can be listed.
fn is_private(gid: u32, uid: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(Some(group)) = Group::from_gid(Gid::from_raw(gid)) else { return false };
    let is_shared = fs::read_to_string("/etc/passwd").map_or(true, |users| {
        users.lines().any(|line| {
            let mut fields = line.split(':');
            let (name, group) = (fields.next(), fields.nth(2));
            group == Some(gid.to_string().as_str()) && name != Some(user.name.as_str())
        })
    });
    group.name == user.name && group.mem.iter().all(|member| *member == user.name) && !is_shared
}

//! Becoming another user.

use nix::{
    errno::Errno,
    sys::prctl::set_keepcaps,
    unistd::{Gid, Group, Uid, User, getgrouplist, setgroups, setresgid, setresuid},
};
use std::ffi::CString;

use super::failure::{explained, failure};
use crate::wire::Failure;

/// A user, and the groups to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// Finds a user by `NAME` or `UID`, with the groups of the system's databases, or by `UID:GID`
    /// (`NAME:GROUP`), with that group alone.
    ///
    /// # Errors
    /// ENOENT for a user or group that does not exist; the errors of getpwnam(3).
    pub(crate) fn find(text: &str) -> Result<Self, Failure> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let step = |errno| failure(errno, format_args!("looking user {user:?} up"));
        let entry = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let entry = entry.map_err(step)?;
        let uid = match (&entry, user.parse()) {
            (Some(entry), _) => entry.uid,
            (None, Ok(uid)) if group.is_some() => Uid::from_raw(uid),
            (None, Ok(_)) => {
                let text = format!("there is no user {user}; write {user}:GID for one without an entry");
                return Err(explained(Errno::ENOENT, text));
            }
            (None, Err(_)) => {
                return Err(explained(Errno::ENOENT, format!("there is no user {user:?}")));
            }
        };
        let Some(group) = group else {
            let entry = entry.ok_or_else(|| step(Errno::ENOENT))?;
            let name = CString::new(entry.name).map_err(|_| step(Errno::EINVAL))?;
            let groups = getgrouplist(&name, entry.gid).map_err(step)?;
            return Ok(Self { uid, gid: entry.gid, groups });
        };
        let gid = match group.parse() {
            Ok(gid) => Gid::from_raw(gid),
            Err(_) => match Group::from_name(group) {
                Ok(Some(entry)) => entry.gid,
                _ => return Err(explained(Errno::ENOENT, format!("there is no group {group:?}"))),
            },
        };
        Ok(Self { uid, gid, groups: vec![gid] })
    }

    /// Becomes the user, for good: real, effective and saved ids, and no groups of before. The
    /// permitted capabilities stay, for the caller to cut.
    ///
    /// # Errors
    /// EPERM without CAP_SETUID and CAP_SETGID.
    pub(crate) fn become_it(&self) -> Result<(), Failure> {
        let step = |errno| failure(errno, format_args!("becoming uid {}", self.uid));
        set_keepcaps(true).map_err(step)?;
        setgroups(&self.groups).map_err(step)?;
        setresgid(self.gid, self.gid, self.gid).map_err(step)?;
        setresuid(self.uid, self.uid, self.uid).map_err(step)?;
        set_keepcaps(false).map_err(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Account::find("root").unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert!(root.groups.contains(&root.gid));
        assert_eq!(Account::find("0").unwrap(), root);
        let other = Account::find("4242:77").unwrap();
        assert_eq!((other.uid.as_raw(), other.gid.as_raw()), (4242, 77));
        assert_eq!(other.groups, [Gid::from_raw(77)]);
        assert_eq!(Account::find("root:root").unwrap().gid.as_raw(), 0);
        for (wrong, word) in [
            ("nlr-nobody", "no user"),
            ("4242", "4242:GID"),
            ("root:nlr-none", "no group"),
            ("", "no user"),
            ("-1", "no user"),
        ] {
            let failure = Account::find(wrong).unwrap_err();
            assert!(failure.text.contains(word), "{failure:?}");
        }
    }
}

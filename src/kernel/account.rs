//! Becoming another user.
//!
//! Users and groups are those of `/etc/passwd` and `/etc/group`: a static program has no others, since
//! the C library would load modules for them.

use std::fs;

use nix::{
    errno::Errno,
    sys::prctl::set_keepcaps,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::failure::{explained, failure};
use crate::wire::Failure;

/// A user, and the groups to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// The lines of a file of passwd(5) or group(5), as their fields; none of a file that cannot be read.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn field<T: std::str::FromStr>(line: &[&str], at: usize) -> Option<T> {
    line.get(at)?.parse().ok()
}

impl Account {
    /// Finds a user by `NAME` or `UID`, with the groups of `/etc/group`, or by `UID:GID`
    /// (`NAME:GROUP`), with that group alone.
    ///
    /// # Errors
    /// ENOENT for a user or group that does not exist.
    pub(crate) fn find(text: &str) -> Result<Self, Failure> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::find_in(text, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn find_in(text: &str, users: &str, all_groups: &str) -> Result<Self, Failure> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let number = user.parse::<u32>().ok();
        let is_it = |line: &[&str]| match number {
            Some(uid) => field(line, 2) == Some(uid),
            None => line.first() == Some(&user),
        };
        let entry = lines(users).find(|line| is_it(line));
        let entry = entry
            .and_then(|line| Some((line.first()?.to_string(), field(&line, 2)?, field(&line, 3)?)));
        let missing = |text: String| explained(Errno::ENOENT, text);
        let (uid, own) = match (entry, number) {
            (Some((name, uid, gid)), _) => (uid, Some((name, gid))),
            (None, Some(uid)) => (uid, None),
            (None, None) => return Err(missing(format!("there is no user {user:?}"))),
        };
        let uid = Uid::from_raw(uid);
        if let Some(group) = group {
            let named = || lines(all_groups).find(|line| line.first() == Some(&group));
            let gid = group.parse().ok().or_else(|| field(&named()?, 2));
            let gid = gid.map(Gid::from_raw);
            let gid = gid.ok_or_else(|| missing(format!("there is no group {group:?}")))?;
            return Ok(Self { uid, gid, groups: vec![gid] });
        }
        let Some((name, gid)) = own else {
            let text =
                format!("there is no user {user}; write {user}:GID for one without an entry");
            return Err(missing(text));
        };
        let is_member = |line: &Vec<&str>| {
            line.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let groups = lines(all_groups).filter(is_member).filter_map(|line| field(&line, 2));
        let groups = std::iter::once(gid).chain(groups).map(Gid::from_raw).collect();
        Ok(Self { uid, gid: Gid::from_raw(gid), groups })
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

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nci:x:1000:100::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:\nnet:x:7:x,ci\ndisk:x:8:circe\nadm:x:9:ci";

    #[test]
    fn users_are_found_by_name_and_number() {
        let find = |text| Account::find_in(text, USERS, GROUPS);
        let raw = |text| {
            let account = find(text).unwrap();
            let groups: Vec<_> = account.groups.iter().map(|gid| gid.as_raw()).collect();
            (account.uid.as_raw(), account.gid.as_raw(), groups)
        };
        assert_eq!(raw("ci"), (1000, 100, vec![100, 7, 9]));
        assert_eq!(raw("1000"), raw("ci"));
        assert_eq!(raw("ci:net"), (1000, 7, vec![7]));
        assert_eq!(raw("4242:77"), (4242, 77, vec![77]));
        assert_eq!(raw("root"), (0, 0, vec![0]));
        for (wrong, word) in [
            ("nobody", "no user"),
            ("4242", "4242:GID"),
            ("root:none", "no group"),
            ("", "no user"),
            ("-1", "no user"),
            ("broken", "no user"),
        ] {
            let failure = find(wrong).unwrap_err();
            assert!(failure.text.contains(word), "{failure:?}");
        }
        assert_eq!(Account::find("root").unwrap().uid, Uid::from_raw(0));
    }
}

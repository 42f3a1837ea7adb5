//! Calls that name files and namespaces: those of the far host's namespaces are made there.

use std::sync::Arc;

use super::{
    listing::folder,
    memory::Memory,
    spaces::{Space, comes_from, process_of},
    supervisor::{Answer, Supervisor},
    sys::{Call, Path},
};
use crate::{Netns, sync::lock};

/// What a path names that is not this host's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FarPath {
    /// The folder of named namespaces.
    Names,
    /// A named namespace.
    Named(String),
    /// The namespace of a process; `None` for the caller's.
    OfProcess(Option<i32>),
    /// A file below /proc/net or /proc/sys/net, as the stub is asked for it.
    File(String),
    /// A file below /proc/PID/net.
    FileOf(i32, String),
    /// One of those of which only this host's can be read, in words.
    Local(&'static str),
}

/// What an absolute path names, if it is not this host's.
pub(super) fn far_path(path: &[u8]) -> Option<FarPath> {
    // Most paths are none of these.
    let begins = [&b"/run/"[..], b"/var/run/", b"/proc/", b"/sys/class/net"];
    if !begins.iter().any(|begin| path.starts_with(begin)) {
        return None;
    }
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let rest = match parts.as_slice() {
        ["var", rest @ ..] | rest => rest,
    };
    let below = |file: &[&str]| format!("net/{}", file.join("/"));
    Some(match rest {
        ["run", "netns"] => FarPath::Names,
        ["run", "netns", name] => FarPath::Named((*name).to_owned()),
        ["proc", "self" | "thread-self", "ns", "net"] => FarPath::OfProcess(None),
        ["proc", pid, "ns", "net"] | ["proc", _, "task", pid, "ns", "net"] => {
            FarPath::OfProcess(Some(pid.parse().ok()?))
        }
        ["proc", "net", file @ ..] | ["proc", "self" | "thread-self", "net", file @ ..]
            if !file.is_empty() =>
        {
            FarPath::File(below(file))
        }
        ["proc", "sys", "net", file @ ..] if !file.is_empty() => {
            FarPath::File(format!("sys/net/{}", file.join("/")))
        }
        ["proc", pid, "net", file @ ..] | ["proc", _, "task", pid, "net", file @ ..]
            if !file.is_empty() =>
        {
            FarPath::FileOf(pid.parse().ok()?, below(file))
        }
        ["sys", "class", "net", ..] => FarPath::Local("files below /sys/class/net"),
        ["proc", "net"] | ["proc", _, "net"] | ["proc", _, "task", _, "net"] => {
            FarPath::Local("the names in /proc/net and /proc/sys/net")
        }
        _ => return None,
    })
}

impl Supervisor {
    /// open(2) and its kind.
    pub(super) fn open(self: &Arc<Self>, call: &Call, path: Path, flags: i32) -> Answer {
        let Some(far) = self.far(call, path) else { return Answer::GoOn };
        let (this, tid) = (Arc::clone(self), call.tid);
        let close_on_exec = flags & libc::O_CLOEXEC != 0;
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let spaces = Arc::clone(&self.spaces);
        let file = move |space: Arc<Space>| match spaces.file(&space) {
            Ok(file) => Answer::Descriptor {
                descriptor: Arc::new(file),
                at_handles: false,
                names: None,
                close_on_exec,
            },
            Err(errno) => Answer::error(errno),
        };
        match far {
            FarPath::Names => Answer::later(async move {
                let names = match this.spaces.names().await {
                    Ok(names) => names,
                    Err(errno) => return Answer::error(errno),
                };
                match folder() {
                    Ok(descriptor) => Answer::Descriptor {
                        descriptor,
                        at_handles: true,
                        names: Some(names),
                        close_on_exec,
                    },
                    Err(errno) => Answer::error(errno),
                }
            }),
            FarPath::Named(name) => Answer::later(async move {
                let creates = flags & libc::O_CREAT != 0;
                let made = match creates {
                    true => this.spaces.add(tid, &name).await,
                    false => Ok(()),
                };
                let opened = match made {
                    Ok(()) => this.spaces.open(Netns::Name(name)).await,
                    Err(errno) => Err(errno),
                };
                opened.map_or_else(Answer::error, file)
            }),
            FarPath::OfProcess(None) => file(self.spaces.of(tid)),
            FarPath::OfProcess(Some(pid)) if comes_from(pid, self.first) => {
                file(self.spaces.of(pid))
            }
            FarPath::OfProcess(Some(pid)) => Answer::later(async move {
                let pid = u32::try_from(pid).unwrap_or_default();
                this.spaces.open(Netns::Pid(pid)).await.map_or_else(Answer::error, file)
            }),
            FarPath::File(path) => {
                let space = self.spaces.of(tid);
                self.open_file(call, space, path, writes, close_on_exec)
            }
            FarPath::FileOf(pid, path) if comes_from(pid, self.first) => {
                self.open_file(call, self.spaces.of(pid), path, writes, close_on_exec)
            }
            FarPath::FileOf(pid, _) => {
                self.notices
                    .say(tid, &format!("/proc/{pid}/net is that of a process of this host"));
                Answer::GoOn
            }
            FarPath::Local(what) => {
                self.notices.say(tid, &format!("{what} are this host's, not the far one's"));
                Answer::GoOn
            }
        }
    }

    /// getdents64(2) of a descriptor that may be the folder's.
    pub(super) fn list(&self, call: &Call) -> Answer {
        let mut listings = lock(&self.listings);
        let process = process_of(call.tid).unwrap_or(call.tid);
        let Some(listing) = listings.get_mut(&(process, call.int(0))) else { return Answer::GoOn };
        let room = call.argument(2).min(1 << 20) as usize;
        let written = listing.fill(room).and_then(|entries| {
            Memory::of(call.tid).write(call.argument(1), &entries)?;
            Ok(entries.len() as i64)
        });
        if written == Ok(0) {
            listings.remove(&(process, call.int(0)));
        }
        match written {
            Ok(length) => Answer::Is(Ok(length)),
            Err(errno) => errno.into(),
        }
    }

    pub(super) fn make_folder(&self, call: &Call, path: Path) -> Answer {
        match self.far(call, path) {
            Some(FarPath::Names) => Answer::error(libc::EEXIST),
            _ => Answer::GoOn,
        }
    }

    pub(super) fn unlink(self: &Arc<Self>, call: &Call, path: Path) -> Answer {
        match self.far(call, path) {
            Some(FarPath::Named(name)) => {
                let this = Arc::clone(self);
                Answer::later(async move { this.spaces.delete(&name).await.map(|()| 0).into() })
            }
            _ => Answer::GoOn,
        }
    }

    /// What a path of a call names, if it is not this host's.
    fn far(&self, call: &Call, path: Path) -> Option<FarPath> {
        let text = Memory::of(call.tid).text(path.at).ok()?;
        if text.starts_with(b"/") {
            return far_path(&text).filter(|_| self.waits(call));
        }
        let base = match path.directory {
            libc::AT_FDCWD => format!("/proc/{}/cwd", call.tid),
            directory => format!("/proc/{}/fd/{directory}", call.tid),
        };
        let base = std::fs::read_link(base).ok()?;
        let whole = [base.as_os_str().as_encoded_bytes(), b"/", &text].concat();
        far_path(&whole).filter(|_| self.waits(call))
    }

    /// setns(2): into a far namespace.
    pub(super) fn set_namespace(&self, call: &Call) -> Answer {
        let (fd, kind) = (call.int(0), call.int(1));
        if let Some(space) = self.spaces.by_descriptor(call.tid, fd) {
            return match kind {
                0 | libc::CLONE_NEWNET => self.spaces.enter(call.tid, &space).map(|()| 0).into(),
                _ => Answer::error(libc::EINVAL),
            };
        }
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", call.tid));
        let is_network =
            link.is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"net:"));
        if (is_network || kind & libc::CLONE_NEWNET != 0) && !self.permits.local {
            self.notices.refused(call.tid, "setns(2) enters a network namespace of this host");
            return Answer::error(libc::EPERM);
        }
        Answer::GoOn
    }

    /// unshare(2). `ip netns add` makes a namespace so, which the far host has by then; and `ip netns exec`
    /// has mounts of its own so, to show another /sys.
    pub(super) fn unshare(&self, call: &Call) -> Answer {
        let flags = call.int(0);
        if flags == libc::CLONE_NEWNS && self.spaces.has_entered(call.tid) {
            return Answer::Is(Ok(0));
        }
        if flags & libc::CLONE_NEWNET == 0 || self.permits.local {
            return Answer::GoOn;
        }
        if flags == libc::CLONE_NEWNET && self.spaces.has_added(call.tid) {
            return Answer::Is(Ok(0));
        }
        self.notices.refused(call.tid, "unshare(2) makes a network namespace of this host");
        Answer::error(libc::EPERM)
    }

    pub(super) fn mount(&self, call: &Call) -> Answer {
        let memory = Memory::of(call.tid);
        let Ok(target) = memory.text(call.argument(1)) else { return Answer::GoOn };
        match far_path(&target) {
            Some(FarPath::Names) => Answer::Is(Ok(0)),
            Some(FarPath::Named(_)) => {
                // That of a process here is none that the far host has.
                let source = memory.text(call.argument(0)).unwrap_or_default();
                match far_path(&source) {
                    Some(FarPath::OfProcess(None)) | None => Answer::Is(Ok(0)),
                    _ => Answer::error(libc::EPERM),
                }
            }
            _ => self.of_mounts(call, &target),
        }
    }

    pub(super) fn unmount(&self, call: &Call) -> Answer {
        let Ok(target) = Memory::of(call.tid).text(call.argument(0)) else { return Answer::GoOn };
        match far_path(&target) {
            Some(FarPath::Names | FarPath::Named(_)) => Answer::Is(Ok(0)),
            _ => self.of_mounts(call, &target),
        }
    }

    /// The mounts of `ip netns exec` in a far namespace: this host's /sys stays.
    fn of_mounts(&self, call: &Call, target: &[u8]) -> Answer {
        let is_part = target == b"/" || target == b"/sys" || target.starts_with(b"/etc/");
        match is_part && self.spaces.has_entered(call.tid) {
            true => Answer::Is(Ok(0)),
            false => Answer::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_far_host() {
        let named = |name: &str| Some(FarPath::Named(name.to_owned()));
        let file = |path: &str| Some(FarPath::File(path.to_owned()));
        for (path, far) in [
            ("/run/netns", Some(FarPath::Names)),
            ("/var/run/netns/", Some(FarPath::Names)),
            ("/run/netns/blue", named("blue")),
            ("/var/run//netns/./blue", named("blue")),
            ("/run/netns/../x", None),
            ("/proc/../../run/./netns/x", named("x")),
            ("/proc/sys/../net/dev", file("net/dev")),
            ("/proc/17/net/dev", Some(FarPath::FileOf(17, "net/dev".to_owned()))),
            ("/proc/17/task/18/net/dev", Some(FarPath::FileOf(18, "net/dev".to_owned()))),
            ("/proc/17/net", Some(FarPath::Local("the names in /proc/net and /proc/sys/net"))),
            ("/proc/self/ns/net", Some(FarPath::OfProcess(None))),
            ("/proc/thread-self/ns/net", Some(FarPath::OfProcess(None))),
            ("/proc/17/ns/net", Some(FarPath::OfProcess(Some(17)))),
            ("/proc/17/task/18/ns/net", Some(FarPath::OfProcess(Some(18)))),
            ("/proc/self/ns/mnt", None),
            ("/proc/net/route", file("net/route")),
            ("/proc/self/net/dev", file("net/dev")),
            ("/proc/sys/net/ipv4/ip_forward", file("sys/net/ipv4/ip_forward")),
            ("/proc/cpuinfo", None),
            ("/sys/class/net/eth0/mtu", Some(FarPath::Local("files below /sys/class/net"))),
            ("/proc/net/", Some(FarPath::Local("the names in /proc/net and /proc/sys/net"))),
            ("/etc/passwd", None),
            ("run/netns/blue", None),
            ("", None),
        ] {
            assert_eq!(far_path(path.as_bytes()), far, "{path}");
        }
    }
}

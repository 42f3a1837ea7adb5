//! Namespaces as files of the nsfs, ioctl_nsfs(2): found, checked, opened, identified.
//!
//! A client names a path, and the stub mostly runs as root. To open a file is to act on it: a FIFO's
//! writer goes on, a device rewinds or resets, an automount point mounts. So a path is looked up
//! without opening anything (O_PATH), the file is checked, and only a namespace of the nsfs is opened.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        stat::Mode,
        statfs::{FsType, fstatfs},
    },
    unistd::geteuid,
};

use super::{
    failure::{explained, failure, io_failure},
    path_walk, sys,
};
use crate::wire::{Failure, Netns, hello::NetnsId};

/// `NSFS_MAGIC` of `<linux/magic.h>`.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// The file of the calling thread's network namespace.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// The namespace of the calling thread.
///
/// # Errors
/// As stat(2), such as where /proc is not mounted.
pub fn current() -> io::Result<NetnsId> {
    fs::metadata(CURRENT).map(|meta| identity(&meta))
}

/// Opens the namespace of the calling thread.
pub(super) fn open_current() -> Result<File, Failure> {
    File::open(CURRENT).map_err(|error| io_failure(&error, format_args!("opening {CURRENT}")))
}

/// The identity of an open namespace.
///
/// # Errors
/// As fstat(2).
pub fn identify(namespace: &File) -> io::Result<NetnsId> {
    namespace.metadata().map(|meta| identity(&meta))
}

fn identity(meta: &Metadata) -> NetnsId {
    NetnsId { device: meta.dev(), inode: meta.ino() }
}

/// Opens the file of a network namespace, which error texts call `netns`.
///
/// Of a path that a client made up, the answer tells no more than whether a namespace is there: a
/// path that does not exist, one that may not be reached and one of another file are all the same.
/// Names in `/run/netns` and pids are no secret, and their errors are the kernel's.
///
/// # Errors
/// ENOENT and the other errors of the lookup; EINVAL for another kind of namespace and, by name, for
/// another file; EOPNOTSUPP where /proc is not mounted.
pub(super) fn open_file(path: &Path, netns: &Netns) -> Result<File, Failure> {
    let told = !matches!(netns, Netns::Path(_));
    let found = match path_walk::look_up(path) {
        Ok(found) => found,
        // These are of this process, and come before the path is looked at.
        Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
            return Err(failure(errno, format_args!("opening {netns}")));
        }
        Err(errno) if told => return Err(failure(errno, format_args!("opening {netns}"))),
        Err(_) => return Err(nothing_there(netns)),
    };
    match fstatfs(&found).map(|kind| kind.filesystem_type()) {
        Ok(NSFS_MAGIC) => {}
        _ if !told => return Err(nothing_there(netns)),
        Ok(_) => {
            return Err(explained(Errno::EINVAL, format!("{netns} is not a network namespace")));
        }
        Err(errno) => return Err(failure(errno, format_args!("checking {netns}"))),
    }
    let file = reopen(&found, netns)?;
    match sys::namespace_kind(file.as_fd()) {
        Ok(libc::CLONE_NEWNET) => Ok(file),
        // Before Linux 4.11, and in an emulator, no call tells the kind. setns(2) and rtnetlink check it
        // at each use.
        Err(Errno::ENOTTY | Errno::ENOSYS) => Ok(file),
        Ok(kind) => {
            let kind = kind_name(kind);
            let text = format!("{netns} is a {kind} namespace, not a network namespace");
            Err(explained(Errno::EINVAL, text))
        }
        Err(errno) => Err(failure(errno, format_args!("checking {netns}"))),
    }
}

/// Refuses a namespace in which the user of this process has all capabilities, whatever its threads
/// have given up: one whose user namespace, or an outer one of that, was made by this user in the
/// user namespace of this process (user_namespaces(7)).
///
/// # Errors
/// EPERM. ENOTTY before Linux 4.11, which does not tell.
pub(super) fn check_owner(namespace: &File) -> Result<(), Failure> {
    let step = |errno| failure(errno, "finding the owner of the namespace");
    let io_step = |error: io::Error| io_failure(&error, "finding the owner of the namespace");
    let own = fs::metadata("/proc/self/ns/user").map(|meta| identity(&meta)).map_err(io_step)?;
    let mut owner = match sys::owner_of_namespace(namespace.as_fd()) {
        Ok(owner) => File::from(owner),
        // It is owned from outside of this process's user namespace, where nobody here has any.
        Err(Errno::EPERM) => return Ok(()),
        Err(errno) => return Err(step(errno)),
    };
    while identify(&owner).map_err(io_step)? != own {
        let parent = sys::parent_of_user_namespace(owner.as_fd()).map(File::from).map_err(step)?;
        let is_child = identify(&parent).map_err(io_step)? == own;
        if is_child
            && sys::uid_of_user_namespace(owner.as_fd()).map_err(step)? == geteuid().as_raw()
        {
            let text = "this user owns the namespace's user namespace, and so could change it: a \
                        read-only stub does not enter it";
            return Err(explained(Errno::EPERM, text));
        }
        owner = parent;
    }
    Ok(())
}

fn nothing_there(netns: &Netns) -> Failure {
    let text = format!("{netns}: no network namespace that the stub can reach is there");
    explained(Errno::ENOENT, text)
}

/// Opens a file that was looked up: the very same one, whatever its path leads to by now.
fn reopen(found: &OwnedFd, netns: &Netns) -> Result<File, Failure> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    match open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        // The descriptor exists, so it is the folder that does not.
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            let text = format!("opening {netns} takes /proc, which is not mounted at the stub");
            Err(explained(Errno::EOPNOTSUPP, text))
        }
        Err(errno) => Err(failure(errno, format_args!("opening {netns}"))),
    }
}

fn kind_name(kind: libc::c_int) -> &'static str {
    match kind {
        libc::CLONE_NEWNS => "mount",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWPID => "pid",
        libc::CLONE_NEWUTS => "UTS",
        libc::CLONE_NEWIPC => "IPC",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWTIME => "time",
        _ => "different",
    }
}

//! Network namespaces as files of the nsfs, ioctl_nsfs(2): opened, checked, identified.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::statfs::{FsType, fstatfs},
};

use super::failure::{explained, failure, io_failure};
use crate::wire::{Failure, Netns, hello::NetnsId};

/// `NSFS_MAGIC` of `<linux/magic.h>`.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// The namespace of the calling thread.
///
/// # Errors
/// As stat(2), such as where /proc is not mounted.
pub fn current() -> io::Result<NetnsId> {
    fs::metadata("/proc/thread-self/ns/net").map(|meta| identity(&meta))
}

/// The identity of an open namespace.
///
/// # Errors
/// As fstat(2).
pub fn identify(namespace: &File) -> io::Result<NetnsId> {
    namespace.metadata().map(|meta| identity(&meta))
}

fn identity(meta: &fs::Metadata) -> NetnsId {
    NetnsId { device: meta.dev(), inode: meta.ino() }
}

/// Opens the file of a namespace, which error texts call `netns`.
///
/// # Errors
/// The errno of open(2); EINVAL for a file that is none of the nsfs.
pub(super) fn open_file(path: &Path, netns: &Netns) -> Result<File, Failure> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(failure(Errno::EINVAL, netns));
    }
    // Non-blocking, because a path may be a FIFO, and never to become a controlling terminal.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(|error| io_failure(&error, format_args!("opening {netns}")))?;
    let kind = fstatfs(&file).map_err(|errno| failure(errno, format_args!("checking {netns}")))?;
    if kind.filesystem_type() != NSFS_MAGIC {
        return Err(explained(Errno::EINVAL, format!("{netns} is not a network namespace")));
    }
    Ok(file)
}

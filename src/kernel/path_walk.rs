//! Paths looked up without an effect on what they pass.
//!
//! open(2) with O_PATH opens no file, but what it passes on the way may be an automount point, and
//! passing that has the kernel mount a file system, from a server that a client may name
//! (`/net/HOST/...` of auto.master(5)), or wait for a daemon for ever. The *last* component of an
//! O_PATH lookup triggers no mount (open(2)), so each component here is the last of its own lookup.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, readlinkat},
    sys::{
        stat::{Mode, SFlag, fstat},
        statfs::{AUTOFS_SUPER_MAGIC, PROC_SUPER_MAGIC, fstatfs},
    },
};

/// Symbolic links that one lookup follows: the kernel's own limit, path_resolution(7).
const MAX_LINKS: u32 = 40;

/// Bytes of a path: `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// Looks a path up. The descriptor refers to the file and cannot be read (O_PATH).
///
/// # Errors
/// Those of path_resolution(7); EREMOTE for a path through autofs(5), mounted or not.
pub(super) fn look_up(path: &Path) -> Result<OwnedFd, Errno> {
    let path = path.as_os_str().as_bytes();
    if path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    if path.len() >= MAX_PATH {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut links = 0;
    let mut at = start(path)?;
    // Components still to be passed, the next one last.
    let mut rest = components(path);
    while let Some(component) = rest.pop() {
        let next = at_component(&at, &component, OFlag::O_NOFOLLOW)?;
        if !is_link(&next)? {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        if fstatfs(&next)?.filesystem_type() == PROC_SUPER_MAGIC {
            // A magic link, as `/proc/PID/root` is, has no path to follow, but leads straight to its
            // file; the others in proc stay in proc.
            at = at_component(&at, &component, OFlag::empty())?;
            continue;
        }
        let target = readlinkat(&next, "")?.into_vec();
        if target.len() + rest.iter().map(|part| part.len() + 1).sum::<usize>() >= MAX_PATH {
            return Err(Errno::ENAMETOOLONG);
        }
        if target.starts_with(b"/") {
            at = start(&target)?;
        }
        rest.extend(components(&target));
    }
    Ok(at)
}

/// The folder at which a path starts.
fn start(path: &[u8]) -> Result<OwnedFd, Errno> {
    let folder = if path.starts_with(b"/") { "/" } else { "." };
    open(folder, OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty())
}

/// The components of a path, the first one last. A slash at the end stands for a `.`, which only a
/// folder has.
fn components(path: &[u8]) -> Vec<OsString> {
    let parts = path.split(|byte| *byte == b'/').rev().enumerate();
    let counts = |(at, part): (usize, &[u8])| match (at, part) {
        (0, []) if path.len() > 1 => Some(OsString::from(".")),
        (_, []) => None,
        (_, part) => Some(OsStr::from_bytes(part).to_owned()),
    };
    parts.filter_map(counts).collect()
}

fn at_component(at: &OwnedFd, component: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    // There the lookup itself may mount.
    if fstatfs(at)?.filesystem_type() == AUTOFS_SUPER_MAGIC {
        return Err(Errno::EREMOTE);
    }
    openat(at, component, OFlag::O_PATH | OFlag::O_CLOEXEC | flags, Mode::empty())
}

fn is_link(file: &OwnedFd) -> Result<bool, Errno> {
    let mode = fstat(file)?.st_mode;
    Ok(mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

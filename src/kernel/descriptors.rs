//! Descriptor numbers.
//!
//! Netlink messages may carry descriptor numbers (`IFLA_NET_NS_FD` and its like), which the
//! kernel looks up in the process that sends: the stub. A number that a client made up must not
//! happen to be open there, so the stub moves what it opens to numbers from 16,384 on.
//!
//! | descriptors | numbers | where all of those are taken, or beyond the limit of the process |
//! |---|---|---|
//! | namespaces that a client keeps open, and may name in messages | from 16,384 on | the upper half of the limit |
//! | all others | from 16,384 on | the lowest that is free |
//!
//! So the whole limit is of use, and a number below 16,384 that a client made up leads to no
//! namespace, as long as the limit is higher than that.

use std::os::fd::{AsFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};

use super::sys::{self, duplicate_from};

/// The lowest number the stub uses, if the process may have that many.
const BASE: i32 = 1 << 14;

/// Moves a descriptor to the lowest free number from 16,384 on, or else leaves it where it is.
pub fn raise(fd: OwnedFd) -> OwnedFd {
    // EINVAL: beyond the limit of this process. EMFILE: all of those from there on are taken.
    duplicate_from(fd.as_fd(), BASE).unwrap_or(fd)
}

/// Moves a descriptor that a client may name to the lowest free number from 16,384 on, or else to one
/// in the upper half of what the process may have.
///
/// # Errors
/// EMFILE when all of those are taken.
pub(crate) fn raise_named(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    match duplicate_from(fd.as_fd(), BASE) {
        Err(Errno::EINVAL | Errno::EMFILE) => duplicate_from(fd.as_fd(), lower_base()),
        other => other,
    }
}

/// Closes every descriptor from a number on. To be called first in `main`: what this process has
/// opened by itself would be closed, too.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    sys::close_from(first)
}

/// A copy of a descriptor of this process, by its number.
///
/// # Errors
/// EBADF for a number that is none.
pub fn inherited(number: u32) -> Result<OwnedFd, Errno> {
    sys::inherited(i32::try_from(number).map_err(|_| Errno::EBADF)?)
}

/// A copy of a descriptor that this process has inherited, by its number. Programs that this process
/// starts do not inherit it in turn.
///
/// # Errors
/// EBADF for a number that is none.
pub(crate) fn adopted(number: u32) -> Result<OwnedFd, Errno> {
    let copy = inherited(number)?;
    sys::close_on_exec(i32::try_from(number).map_err(|_| Errno::EBADF)?)?;
    Ok(copy)
}

fn lower_base() -> i32 {
    i32::try_from(limit() / 2).unwrap_or(BASE)
}

/// The number of descriptors that this process may have: the soft RLIMIT_NOFILE.
#[allow(clippy::unnecessary_cast, reason = "32-bit targets have a narrower type")]
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft as u64)
}

/// Lets the process open as many descriptors as its hard limit allows.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_limit() -> Result<(), Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn a_number_gives_the_descriptor_or_ebadf() {
        let file = File::open("/proc/self/comm").unwrap();
        let copy = inherited(u32::try_from(file.as_raw_fd()).unwrap()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert!(!std::io::read_to_string(File::from(copy)).unwrap().is_empty());
        for number in [1_000_000, u32::MAX] {
            assert_eq!(inherited(number).unwrap_err(), Errno::EBADF);
        }
    }

    #[test]
    fn what_is_adopted_is_not_inherited_by_programs() {
        let file = File::open("/dev/null").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let copy = adopted(u32::try_from(file.as_raw_fd()).unwrap()).unwrap();
        for descriptor in [file.as_fd(), copy.as_fd()] {
            assert_eq!(fcntl(descriptor, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
        }
    }

    #[test]
    fn raised_numbers_are_high_and_the_low_one_is_free_again() {
        let low = OwnedFd::from(File::open("/dev/null").unwrap());
        let number = low.as_raw_fd();
        let high = raise_named(low).unwrap();
        assert!(high.as_raw_fd() > number);
        assert!(high.as_raw_fd() >= 256, "{}", high.as_raw_fd());
        assert!(raise(high).as_raw_fd() > 2);
    }
}

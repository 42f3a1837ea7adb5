//! Files in memory, for the fuzzers of what reads files.

#![allow(clippy::unwrap_used, reason = "a fuzzer without memory ends")]

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _, path::PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file that has a path and no name: it ends with its owner.
pub(super) struct MemoryFile(File);

impl MemoryFile {
    pub(super) fn new(content: &[u8]) -> Self {
        let mut file = File::from(memfd_create("fuzz", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(content).unwrap();
        Self(file)
    }

    /// Opening this path reads from the beginning.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

//! What the numbers of a program's descriptors are.

use std::os::fd::OwnedFd;

use nix::{
    fcntl::{AtFlags, OFlag, open},
    sys::stat::{Mode, fstatat},
};

/// The descriptors of the thread that was looked at last: most calls come from the same thread as the one
/// before, and each step of a path below /proc takes its time.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Option<(i32, OwnedFd)>);

impl Descriptors {
    /// The inode of a thread's descriptor.
    pub(super) fn inode(&mut self, tid: i32, fd: i32) -> Option<u64> {
        let number = fd.to_string();
        let inode = |folder: &OwnedFd| {
            let stat = fstatat(folder, number.as_str(), AtFlags::empty()).ok()?;
            Some(stat.st_ino)
        };
        if let Some((of, folder)) = &self.0
            && *of == tid
            && let Some(inode) = inode(folder)
        {
            return Some(inode);
        }
        // Nothing is in the folder of a thread that has ended, whoever has its number now.
        let path = format!("/proc/{tid}/fd");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(path.as_str(), flags, Mode::empty()).ok()?;
        let found = inode(&folder);
        self.0 = Some((tid, folder));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::{fd::AsRawFd, unix::fs::MetadataExt},
        thread,
    };

    use super::*;

    #[test]
    fn descriptors_of_threads_that_come_and_go() {
        let file = File::open("/proc/self/stat").unwrap();
        let inode = file.metadata().unwrap().ino();
        let mut descriptors = Descriptors::default();
        for _ in 0..3 {
            let tid = thread::spawn(|| nix::unistd::gettid().as_raw()).join().unwrap();
            // Whoever joins a thread is told before it has ended.
            while descriptors.inode(tid, file.as_raw_fd()).is_some() {
                thread::yield_now();
            }
            let own = nix::unistd::gettid().as_raw();
            for _ in 0..2 {
                assert_eq!(descriptors.inode(own, file.as_raw_fd()), Some(inode));
                assert_eq!(descriptors.inode(own, -1), None);
            }
        }
        // The same number is another file now.
        let own = nix::unistd::gettid().as_raw();
        let number = file.as_raw_fd();
        let other = File::open("/proc/self/maps").unwrap();
        let mut same = OwnedFd::from(file);
        nix::unistd::dup2(&other, &mut same).unwrap();
        assert_eq!(descriptors.inode(own, number), Some(other.metadata().unwrap().ino()));
    }
}

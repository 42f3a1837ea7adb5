//! The folder of named namespaces: its entries are the far host's.

use std::{fs::File, os::fd::OwnedFd, sync::Arc};

use nix::errno::Errno;

/// Entries that were not read yet.
pub(super) struct Listing {
    /// Names, and whether each is a folder.
    names: std::vec::IntoIter<(String, bool)>,
    offset: i64,
}

impl Listing {
    pub(super) fn new(names: Vec<String>) -> Self {
        let own = [".", ".."].map(|name| (name.to_owned(), true));
        let names = names.into_iter().map(|name| (name, false));
        Self { names: own.into_iter().chain(names).collect::<Vec<_>>().into_iter(), offset: 0 }
    }

    /// `struct linux_dirent64` of the next entries, as many as there is room for.
    pub(super) fn fill(&mut self, room: usize) -> Result<Vec<u8>, Errno> {
        let mut out = Vec::new();
        while let Some((name, is_folder)) = self.names.as_slice().first() {
            let length = (19 + name.len() + 1).next_multiple_of(8);
            if out.len() + length > room {
                if out.is_empty() {
                    return Err(Errno::EINVAL);
                }
                break;
            }
            self.offset += 1;
            let end = out.len() + length;
            out.extend((1000 + self.offset as u64).to_ne_bytes());
            out.extend(self.offset.to_ne_bytes());
            out.extend((length as u16).to_ne_bytes());
            out.push(if *is_folder { libc::DT_DIR } else { libc::DT_REG });
            out.extend(name.as_bytes());
            out.resize(end, 0);
            self.names.next();
        }
        Ok(out)
    }
}

/// A folder that nobody else opens stands for that of the names: that of this process's descriptors.
pub(super) fn folder() -> Result<Arc<OwnedFd>, i32> {
    let path = format!("/proc/{}/map_files", std::process::id());
    let opened = File::open(path).or_else(|_| File::open("/proc/self/fdinfo"));
    let opened = opened.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    Ok(Arc::new(opened.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_as_the_room_allows() {
        let mut listing = Listing::new(vec!["blue".to_owned(), "a".repeat(200)]);
        assert_eq!(listing.fill(10), Err(Errno::EINVAL));
        let first = listing.fill(72).unwrap();
        assert_eq!(first.len(), 72);
        assert_eq!(&first[48 + 19..48 + 24], b"blue\0");
        assert_eq!(listing.fill(1000).unwrap().len(), (20_usize + 200).next_multiple_of(8));
        assert_eq!(listing.fill(1000).unwrap().len(), 0);
    }
}

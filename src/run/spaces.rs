//! The far namespaces of a program: each of its threads is in one, and a file stands for each that it has
//! opened.

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::errno::Errno;
use tokio::sync::OnceCell;

use super::{outcome::errno_of, sys};
use crate::{
    Client, Netns, Requests,
    client::{NetnsHandle, NetnsMode},
    sync::lock,
};

/// A namespace of the far host.
#[derive(Debug)]
pub(super) struct Space {
    /// `None` for the stub's own, which needs no entering.
    pub(super) handle: Option<NetnsHandle>,
    /// A socket of this side's own in it.
    pub(super) requests: OnceCell<Requests>,
    /// The file that stands for it. One for each namespace, so that programs can compare inodes.
    pub(super) file: OwnedFd,
    identity: (u64, u64),
}

impl Space {
    fn new(handle: Option<NetnsHandle>, name: &str) -> Result<Arc<Self>, i32> {
        let name = CString::new(format!("netns:{name}")).unwrap_or_default();
        let file = sys::memory_file(&name).map_err(|errno| errno as i32)?;
        let identity = identity(file.as_raw_fd()).map_err(|errno| errno as i32)?;
        Ok(Arc::new(Self { handle, requests: OnceCell::new(), file, identity }))
    }
}

fn identity(fd: i32) -> Result<(u64, u64), Errno> {
    let path = format!("/proc/self/fd/{fd}");
    let stat = nix::sys::stat::stat(path.as_str())?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Device and inode of a thread's descriptor.
fn identity_of(tid: i32, fd: i32) -> Option<(u64, u64)> {
    let path = format!("/proc/{tid}/fd/{fd}");
    let stat = nix::sys::stat::stat(path.as_str()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

pub(super) struct Spaces {
    client: Client,
    /// The namespace that the program begins in.
    base: Arc<Space>,
    known: Mutex<Vec<Arc<Space>>>,
    /// Threads that have entered another, by id and start time: a number may come again.
    entered: Mutex<HashMap<(i32, u64), Arc<Space>>>,
    /// Processes that have made a named namespace.
    added: Mutex<HashSet<i32>>,
    /// The stub's own namespace, opened for its descriptor's number.
    own: OnceCell<NetnsHandle>,
    /// Whether any file was handed out.
    has_files: AtomicBool,
}

impl Spaces {
    pub(super) async fn new(client: Client, netns: Netns) -> Result<Self, crate::Error> {
        let handle = match &netns {
            Netns::Current => None,
            other => Some(client.netns().open(other.clone(), NetnsMode::Existing).await?),
        };
        let base = Space::new(handle, "base").map_err(|errno| {
            crate::Error::new(crate::ErrorKind::Program, "a file in memory cannot be made")
                .with_errno(errno)
        })?;
        let known = Mutex::new(vec![Arc::clone(&base)]);
        Ok(Self {
            client,
            base,
            known,
            entered: Mutex::default(),
            added: Mutex::default(),
            own: OnceCell::new(),
            has_files: AtomicBool::new(false),
        })
    }

    /// The namespace of a thread: that which it has entered, or which the process has that it comes from.
    pub(super) fn of(&self, tid: i32) -> Arc<Space> {
        self.entered_by(tid).unwrap_or_else(|| Arc::clone(&self.base))
    }

    /// Whether a thread has entered a namespace, or comes from one that has.
    pub(super) fn has_entered(&self, tid: i32) -> bool {
        self.entered_by(tid).is_some()
    }

    fn entered_by(&self, tid: i32) -> Option<Arc<Space>> {
        let mut entered = lock(&self.entered);
        if entered.is_empty() {
            return None;
        }
        let first = Thread::find(tid)?;
        let mut at = Some(first);
        // Threads of a process have one parent: a process that has begun in a namespace stays there.
        for _ in 0..64 {
            let thread = at?;
            if let Some(space) = entered.get(&(thread.tid, thread.start)).cloned() {
                entered.insert((first.tid, first.start), Arc::clone(&space));
                return Some(space);
            }
            let next = if thread.tid == thread.process { thread.parent } else { thread.process };
            at = (next > 0).then(|| Thread::find(next)).flatten();
        }
        None
    }

    /// A file for a program that stands for a namespace.
    pub(super) fn file(&self, space: &Space) -> Result<OwnedFd, i32> {
        self.has_files.store(true, Ordering::Relaxed);
        space.file.try_clone().map_err(|error| error.raw_os_error().unwrap_or(libc::EMFILE))
    }

    /// Whether any program has such a file.
    pub(super) fn has_files(&self) -> bool {
        self.has_files.load(Ordering::Relaxed)
    }

    /// The number of the stub's descriptor for a namespace.
    pub(super) async fn number(&self, space: &Space) -> Result<u32, i32> {
        if let Some(handle) = &space.handle {
            return Ok(handle.fd());
        }
        let own = self.own.get_or_try_init(|| async {
            let namespaces = self.client.netns();
            let opened = namespaces.open(Netns::Current, NetnsMode::Existing).await;
            opened.map_err(|error| errno_of(&error))
        });
        own.await.map(NetnsHandle::fd)
    }

    /// Whether a process has made a named namespace, and not yet entered a new one for it.
    pub(super) fn has_added(&self, tid: i32) -> bool {
        process_of(tid).is_some_and(|process| lock(&self.added).remove(&process))
    }

    /// The namespace that a thread's descriptor stands for.
    pub(super) fn by_descriptor(&self, tid: i32, fd: i32) -> Option<Arc<Space>> {
        let identity = identity_of(tid, fd)?;
        lock(&self.known).iter().find(|space| space.identity == identity).cloned()
    }

    pub(super) fn enter(&self, tid: i32, space: &Arc<Space>) -> Result<(), i32> {
        let thread = Thread::find(tid).ok_or(libc::ESRCH)?;
        let mut entered = lock(&self.entered);
        // Those that are gone.
        if entered.len() > 1000 {
            entered.retain(|(tid, start), _| {
                Thread::find(*tid).is_some_and(|thread| thread.start == *start)
            });
        }
        entered.insert((tid, thread.start), Arc::clone(space));
        Ok(())
    }

    /// Opens a namespace of the far host.
    pub(super) async fn open(&self, netns: Netns) -> Result<Arc<Space>, i32> {
        let name = netns.to_string();
        let handle = self.client.netns().open(netns, NetnsMode::Existing).await;
        let handle = handle.map_err(|error| errno_of(&error))?;
        let same = |space: &&Arc<Space>| {
            space.handle.as_ref().is_some_and(|known| known.id() == handle.id())
        };
        if let Some(space) = lock(&self.known).iter().find(same) {
            return Ok(Arc::clone(space));
        }
        let space = Space::new(Some(handle), &name)?;
        let mut known = lock(&self.known);
        // A namespace whose file nobody can have any more is one that no thread is in, either.
        if known.len() > 4096 {
            return Err(libc::EMFILE);
        }
        known.push(Arc::clone(&space));
        Ok(space)
    }

    /// Makes a named namespace for a thread.
    pub(super) async fn add(&self, tid: i32, name: &str) -> Result<(), i32> {
        self.client.netns().add(name).await.map_err(|error| errno_of(&error))?;
        if let Some(process) = process_of(tid) {
            lock(&self.added).insert(process);
        }
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), i32> {
        self.client.netns().delete(name).await.map_err(|error| errno_of(&error))
    }

    /// In the order that the far host's programs see.
    pub(super) async fn names(&self) -> Result<Vec<String>, i32> {
        let list = self.client.netns().list_unsorted().await.map_err(|error| errno_of(&error))?;
        Ok(list.into_iter().map(|entry| entry.name).collect())
    }
}

/// A thread, as /proc has it.
#[derive(Debug, Clone, Copy)]
struct Thread {
    tid: i32,
    process: i32,
    parent: i32,
    start: u64,
}

impl Thread {
    fn find(tid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; the parent and the start are fields 4 and 22.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self { tid, process: process_of(tid)?, parent, start })
    }
}

/// The process of a thread.
pub(super) fn process_of(tid: i32) -> Option<i32> {
    field(tid, "Tgid:")?.parse().ok()
}

/// A line of /proc/TID/status.
pub(super) fn field(tid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// Whether a thread is one of the first process under the filter, or of one that comes from it.
pub(super) fn comes_from(tid: i32, first: i32) -> bool {
    let mut at = tid;
    for _ in 0..64 {
        match Thread::find(at) {
            Some(thread) if thread.process == first => return true,
            Some(thread) if thread.parent > 0 => at = thread.parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_processes() {
        let own = std::process::id() as i32;
        let thread = Thread::find(own).unwrap();
        assert_eq!((thread.tid, thread.process), (own, own));
        assert!(thread.parent > 0 && thread.start > 0);
        assert!(comes_from(own, thread.parent) && !comes_from(thread.parent, own));
        let of_another = move || {
            let tid = nix::unistd::gettid().as_raw();
            assert!(tid != own && comes_from(tid, own) && comes_from(tid, thread.parent));
        };
        std::thread::spawn(of_another).join().unwrap();
        let here = nix::unistd::gettid().as_raw();
        assert_eq!(process_of(here), Some(own));
    }
}

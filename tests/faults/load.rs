//! Work for a far kernel: a table of routes too long for a socket's window, and a storm of events.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use testing::{
    bench::local::Local,
    netlink::{add_route, delete_route},
};

/// Routes whose dump is more than twice a socket's window of 4 MiB.
const ROUTES: u32 = 200_000;

/// Runs a function on a thread inside a network namespace.
fn inside<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let netns = File::open(netns).unwrap();
    thread::spawn(move || {
        setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
}

/// Fills the table of a namespace whose `lo` is up.
pub(crate) fn fill(netns: &Path) {
    let filling = inside(netns, || {
        let local = Local::new();
        let mut batch = Vec::new();
        for number in 0..ROUTES {
            batch.extend(add_route(number, 0));
            if batch.len() > 60_000 || number == ROUTES - 1 {
                local.send(&batch);
                batch.clear();
            }
        }
    });
    filling.join().unwrap();
}

/// Adds and deletes a route all the time, until dropped.
pub(crate) struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    pub(crate) fn begin(netns: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let thread = inside(netns, move || {
            let local = Local::new();
            while !theirs.load(SeqCst) {
                local.send(&add_route(1, 0));
                local.send(&delete_route(1));
                // Not a flood: a monitor of a debug build keeps up.
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The route sockets of a namespace, as /proc/net/netlink shows them.
pub(crate) struct Sockets(Vec<Vec<String>>);

impl Sockets {
    /// Those of a namespace.
    pub(crate) fn of(netns: &Path) -> Self {
        let text = inside(netns, || fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
        let text = text.join().unwrap();
        let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let all = text.lines().skip(1).map(fields);
        // Not the kernel's own, whose port id is 0.
        Self(all.filter(|fields| fields[1] == "0" && fields[2] != "0").collect())
    }

    /// Whether one of them is in the middle of a dump.
    pub(crate) fn is_dumping(&self) -> bool {
        self.0.iter().any(|fields| fields[6] != "0")
    }

    /// Whether one of them is a member of a multicast group.
    pub(crate) fn is_listening(&self) -> bool {
        self.0.iter().any(|fields| fields[3] != "00000000")
    }
}

/// The path of a namespace of ip-netns(8).
pub(crate) fn path_of(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

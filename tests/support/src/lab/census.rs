//! The resources of a process, to find leaks.

use std::{fs, process, time::Duration};

use crate::wait_up_to;

/// The open files, threads and children of a process at one time.
///
/// A census of the test process itself takes a process without other tests.
pub struct Census {
    pid: u32,
    files: Vec<String>,
    threads: Vec<String>,
    children: Vec<String>,
}

impl Census {
    /// A census of this process.
    pub fn take() -> Self {
        Self::of(process::id())
    }

    /// A census of another process.
    pub fn of(pid: u32) -> Self {
        let (mut threads, mut children) = (Vec::new(), Vec::new());
        for task in names(&format!("/proc/{pid}/task")) {
            let folder = format!("/proc/{pid}/task/{task}");
            let text = |name: &str| fs::read_to_string(format!("{folder}/{name}"));
            threads.push(format!("{task} {}", text("comm").unwrap_or_default().trim_end()));
            for child in text("children").unwrap_or_default().split_whitespace() {
                let comm = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                children.push(format!("{child} {}", comm.trim_end()));
            }
        }
        let folder = format!("/proc/{pid}/fd");
        let files = names(&folder).into_iter().filter_map(|fd| {
            let target = fs::read_link(format!("{folder}/{fd}")).ok()?;
            // The descriptor that reads the folder.
            let own = target.to_string_lossy() == folder;
            (!own).then(|| format!("{fd} {}", target.display()))
        });
        Self { pid, files: files.collect(), threads, children }
    }

    /// A census of another process once it has stayed the same for a tenth of a second.
    pub fn of_settled(pid: u32) -> Self {
        let (mut last, mut looks) = (Self::of(pid), 0);
        wait_up_to(Duration::from_secs(5), || {
            std::thread::sleep(Duration::from_millis(20));
            let now = Self::of(pid);
            let is_same = now.files == last.files && now.threads == last.threads;
            looks = if is_same { looks + 1 } else { 0 };
            last = now;
            looks == 5
        });
        last
    }

    /// The number of open files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Asserts that the process holds no more than in this census, `grace` later at the latest.
    #[track_caller]
    pub fn assert_no_more_than_before(&self, grace: Duration) {
        let more = |now: &Self| {
            now.files.len() > self.files.len()
                || now.threads.len() > self.threads.len()
                || now.children.len() > self.children.len()
        };
        let mut now = Self::of(self.pid);
        let gone = wait_up_to(grace, || {
            now = Self::of(self.pid);
            !more(&now)
        });
        let new = |now: &[String], before: &[String]| {
            let is_new = |entry: &&String| !before.contains(*entry);
            now.iter().filter(is_new).cloned().collect::<Vec<_>>()
        };
        assert!(
            gone,
            "left behind: files {:?}, threads {:?}, children {:?}",
            new(&now.files, &self.files),
            new(&now.threads, &self.threads),
            new(&now.children, &self.children)
        );
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

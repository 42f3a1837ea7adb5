//! A real stub, sent through real shells.

#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use netlink_remote::{Client, Connector, Error, ErrorKind, Step, Target, TargetOptions};
use testing::{
    netlink::{LOOPBACK, link_by_index},
    programs,
};

/// A shell with a home of its own, which stands in for a host.
struct Host {
    target: Target,
    options: TargetOptions,
}

impl Host {
    async fn connect(&self) -> Result<Client, Error> {
        Connector::new(self.options.clone()).connect(&self.target).await
    }

    async fn clean(&self) -> Result<Vec<String>, Error> {
        Connector::new(self.options.clone()).clean(&self.target).await
    }
}

/// The `sh` of the system, or `shell` under that name, with this home.
fn host(shell: Option<&Path>, home: &Path) -> Host {
    let mut path = std::env::var("PATH").unwrap();
    if let Some(shell) = shell {
        let bin = home.join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(shell, bin.join("sh")).unwrap();
        path = format!("{}:{path}", bin.display());
    }
    let home = home.display();
    let command =
        format!("exec env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR HOME='{home}' PATH='{path}' sh");
    let target = Target::builder().exec(&command).build().unwrap();
    let mut options = TargetOptions::default();
    options.stubs = vec![programs::stub().into()];
    options.timeout = Duration::from_secs(60);
    Host { target, options }
}

/// `None` for the system's `sh`, and the other shells that are installed.
fn shells() -> Vec<Option<PathBuf>> {
    let there = ["dash", "bash", "busybox"].into_iter().filter_map(|name| {
        let path = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
    });
    std::iter::once(None).chain(there.map(Some)).collect()
}

async fn use_it(host: &Host) {
    let client = host.connect().await.unwrap();
    assert!(client.far_software().starts_with("netlink-remote "));
    client.ping().await.unwrap();
    let socket = client.socket(0).open().await.unwrap();
    socket.send(&link_by_index(LOOPBACK, 1)).await.unwrap();
    let answer = loop {
        if let netlink_remote::Event::Datagram(datagram) = socket.recv().await.unwrap() {
            break datagram;
        }
    };
    assert!(answer.data.windows(3).any(|name| name == b"lo\0"));
    client.close().await;
}

fn stubs_in(home: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home.join(".cache/netlink-remote")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn cold_warm_and_clean() {
    for shell in shells() {
        let home = tempfile::tempdir().unwrap();
        let there = host(shell.as_deref(), home.path());
        use_it(&there).await;
        let stubs = stubs_in(home.path());
        assert_eq!(stubs.len(), 1, "{shell:?}: {stubs:?}");
        use_it(&there).await;
        assert_eq!(stubs_in(home.path()), stubs);
        assert_eq!(
            there.clean().await.unwrap().first(),
            stubs.first().map(|path| path.display().to_string()).as_ref()
        );
        assert!(stubs_in(home.path()).is_empty());
    }
}

#[tokio::test]
async fn a_stub_that_was_cut_off_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let there = host(None, home.path());
    use_it(&there).await;
    let stub = stubs_in(home.path()).remove(0);
    // A stub's helper ends after it, and until then the kernel refuses to write (ETXTBSY).
    let mut opened = None;
    testing::wait("nothing runs the file", || {
        opened = fs::OpenOptions::new().write(true).open(&stub).ok();
        opened.is_some()
    });
    let file = opened.unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(whole / 2).unwrap();
    drop(file);
    use_it(&there).await;
    assert_eq!(fs::metadata(&stub).unwrap().len(), whole);
    assert_eq!(stubs_in(home.path()).len(), 1);
}

#[tokio::test]
async fn a_signal_ends_it_and_the_error_says_so() {
    let home = tempfile::tempdir().unwrap();
    // The shell becomes the stub: `exec` leaves no process between.
    let there = host(None, home.path());
    let client = there.connect().await.unwrap();
    let stub = stubs_in(home.path()).remove(0);
    let mine = |path: &Path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe == stub);
    let process =
        fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).find(|path| mine(path));
    let pid = process.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let error = client.closed().await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("the far end was killed by signal 9"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_no_stub_is_not_started() {
    let home = tempfile::tempdir().unwrap();
    // A program for this machine, but another one.
    let mut there = host(None, home.path());
    there.options.stubs = vec![fs::canonicalize("/bin/true").unwrap().into()];
    let error = there.connect().await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Bootstrap));
    assert!(error.to_string().contains("the stub does not run there"), "{error}");
    assert!(stubs_in(home.path()).is_empty());
}

#[tokio::test]
async fn a_stub_in_memory() {
    let home = tempfile::tempdir().unwrap();
    let mut there = host(None, home.path());
    let stub = fs::read(programs::stub()).unwrap();
    there.options.stubs = vec![stub.clone().into()];
    use_it(&there).await;
    assert!(fs::read(stubs_in(home.path()).remove(0)).unwrap() == stub);
}

/// `nlr stub` is a stub.
#[tokio::test]
async fn nlr_sends_itself() {
    let home = tempfile::tempdir().unwrap();
    let mut there = host(None, home.path());
    // The program itself is the last resort: a folder of its own holds no other stub.
    let folder = tempfile::tempdir().unwrap();
    let nlr = folder.path().join("nlr");
    std::os::unix::fs::symlink(programs::nlr(), &nlr).unwrap();
    there.options.stubs.clear();
    there.options.stub = Some(vec![nlr.into(), "stub".into()]);
    use_it(&there).await;
    assert_eq!(stubs_in(home.path()).len(), 1);
}

#[test]
fn stubs_print_one_version() {
    for (program, arguments) in
        [(programs::stub(), &["--version"][..]), (programs::nlr(), &["stub", "--version"])]
    {
        let mut command = std::process::Command::new(program);
        command.args(arguments);
        let printed = testing::finish(command).printed();
        assert_eq!(printed, concat!("nlr-stub ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

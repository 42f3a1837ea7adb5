//! The script in real shells, driven by this side, with a shell script for a stub.

mod dialog;
mod folders;
mod log;
mod packing;
mod script;
mod stubs;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{
    BootScript, Preamble, StubStream,
    arch::Arch,
    script::Offer,
    source::{Content, Image},
    start_stub,
    stubs::Stub,
};
use crate::{
    Error,
    connect_context::ConnectContext,
    prompter::Prompter,
    transport::ExitReport,
    transport::{Running, process},
    wire::MARKER,
};

/// The shells that are installed, each as a command line.
pub(super) fn shells() -> Vec<Vec<&'static str>> {
    let all = [vec!["dash"], vec!["bash"], vec!["bash", "--posix"], vec!["busybox", "sh"]];
    let there = |shell: &Vec<&str>| {
        std::process::Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output().is_ok()
    };
    let shells: Vec<_> = all.into_iter().filter(there).collect();
    assert!(!shells.is_empty());
    shells
}

/// Bytes of the fake stub: several times a pipe's buffer.
pub(super) const SIZE: usize = 300_000;

/// A program that prints a stub's marker and then echoes its input; the bytes depend on `tag`.
pub(super) fn fake_stub(tag: &str) -> Vec<u8> {
    let mut text = format!(
        "#!/bin/sh\n\
         case $* in\n\
         'stub --version') echo 'nlr-stub {}'; exit;;\n\
         stub) ;;\n\
         *) exit 64;;\n\
         esac\n\
         printf '\\376nlr-hello\\000\\r\\n\\032\\377\\000'\n\
         exec /bin/cat\n\
         # {tag}\n",
        env!("CARGO_PKG_VERSION")
    );
    while text.len() < SIZE {
        text.push_str("# what any program would fill its space with: ' \\ ! and so on\r\n");
    }
    text.into_bytes()
}

pub(super) fn stub(arch: &str) -> Stub {
    Stub {
        arch: Arch::named(arch).unwrap(),
        content: Content::File(PathBuf::new()),
        arguments: vec!["stub".to_owned()],
        is_dynamic: false,
    }
}

pub(super) fn boot_with(bytes: Vec<u8>) -> BootScript {
    let image = Arc::new(Image::new(bytes.into()));
    let offers = vec![Offer { stub: stub(std::env::consts::ARCH), image }];
    BootScript::offering(offers, "stubs were found for tests".to_owned())
}

pub(super) fn boot() -> BootScript {
    boot_with(fake_stub("one"))
}

pub(super) fn context() -> ConnectContext {
    ConnectContext::new(Prompter::none(), Duration::from_secs(20))
}

/// The script in a shell, with a home and without the other variables that it reads.
pub(super) fn command(shell: &[&str], home: &Path, argv: &[String]) -> Command {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(&argv[1..]).env("HOME", home);
    command.env_remove("XDG_CACHE_HOME").env_remove("XDG_RUNTIME_DIR");
    command
}

/// The script in mounts of its own, which `setup` changes in a shell: `/mnt`, `/tmp`, `/var/tmp` and
/// `/dev/shm` are empty, and HOME is `/mnt/home`. `left` reads the list of files that remain.
pub(super) struct World {
    setup: String,
    left: PathBuf,
}

impl World {
    pub(super) fn new(setup: &str) -> Self {
        static NEXT: Mutex<u32> = Mutex::new(0);
        assert!(std::env::var_os("NLR_TEST_WORLD").is_some(), "mounts: run this with `tests/run`");
        let mut next = NEXT.lock().unwrap();
        *next += 1;
        let left = PathBuf::from(format!("/run/nlr-left-{}-{next}", std::process::id()));
        Self { setup: setup.to_owned(), left }
    }

    /// The command of the script in these mounts.
    pub(super) fn command(&self, shell: &[&str], argv: &[String]) -> Command {
        let program = format!(
            "set -e
            for place in /mnt /dev/shm /tmp /var/tmp; do
                mount -t tmpfs -o mode=1777,size=4m tmpfs $place
            done
            mkdir /mnt/home
            export HOME=/mnt/home
            unset XDG_CACHE_HOME XDG_RUNTIME_DIR
            set +e
            {}
            \"$@\"
            status=$?
            /usr/bin/find /mnt/home /mnt/fs /tmp /var/tmp /dev/shm -type f >{} 2>/dev/null
            exit $status",
            self.setup,
            self.left.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &program, "world"]).args(shell).args(&argv[1..]);
        command
    }

    /// The files that remain after the command.
    pub(super) fn left(&self) -> Vec<String> {
        let left = std::fs::read_to_string(&self.left).unwrap();
        std::fs::remove_file(&self.left).unwrap();
        let mut left: Vec<_> = left.lines().map(str::to_owned).collect();
        left.sort();
        left
    }
}

/// Starts the stub, and checks that its stream is exact both ways.
pub(super) async fn go(command: Command, boot: &BootScript) -> Result<(), Error> {
    go_with(
        process::spawn(command).unwrap(),
        Preamble { script: Some(boot), ..Default::default() },
        &context(),
    )
    .await
}

pub(super) async fn go_with(
    running: Running,
    preamble: Preamble<'_>,
    context: &ConnectContext,
) -> Result<(), Error> {
    let (stream, exit_report) = start_stub(running, preamble, context).await?;
    let said = converse(stream, exit_report).await;
    assert_eq!(said, None);
    Ok(())
}

/// Checks the echo of the stub, and returns its exit report.
pub(super) async fn converse(mut stream: StubStream, exit_report: ExitReport) -> Option<String> {
    let mut marker = [0; MARKER.len()];
    stream.read_exact(&mut marker).await.unwrap();
    assert_eq!(marker, MARKER);
    stream.write_all(b"hello, stub\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"hello, stub\n");
    drop(stream);
    exit_report.await
}

/// The files below a folder, relative to it.
pub(super) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// The command line for a far end that can unpack nothing.
fn plain(boot: &BootScript) -> Vec<String> {
    let mut argv = boot.argv();
    let unpacks = "[ \"$j\" ] && ";
    assert_eq!(argv[2].matches(unpacks).count(), 2);
    argv[2] = argv[2].replace(unpacks, "false && ");
    argv
}

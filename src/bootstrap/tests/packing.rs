//! The stub comes compressed where a program there can unpack it.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use super::{script::cached, *};

/// A folder with these programs and those that every script needs.
fn programs(more: &[&str]) -> tempfile::TempDir {
    const NEEDED: &str = "sh cat dd wc mkdir chmod rm rmdir mv id uname sleep sha256sum";
    let folder = tempfile::tempdir().unwrap();
    for name in NEEDED.split(' ').chain(more.iter().copied()) {
        link(folder.path(), name);
    }
    folder
}

fn link(folder: &Path, name: &str) {
    let found = ["/usr/bin", "/bin"].iter().map(|place| Path::new(place).join(name));
    let program = found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name}"));
    symlink(program, folder.join(name)).unwrap();
}

/// Starts a stub with the programs of a folder alone: the bytes of the stub as it was sent.
async fn sent(bin: &Path) -> Result<u64, Error> {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let told = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&told);
    let prompter = Prompter::none().on_progress(move |progress| {
        *noted.lock().unwrap() = progress.total;
    });
    let context = ConnectContext::new(prompter, Duration::from_secs(20));
    let mut started = command(&["sh"], home.path(), &boot.argv());
    started.env("PATH", bin);
    let preamble = Preamble { script: Some(&boot), ..Default::default() };
    go_with(process::spawn(started).unwrap(), preamble, &context).await?;
    assert_eq!(files(home.path()), [cached(&boot)]);
    let total = *told.lock().unwrap();
    Ok(total)
}

#[tokio::test]
async fn any_unpacker_will_do() {
    for name in ["gzip", "busybox", "zstd"] {
        let total = sent(programs(&[name]).path()).await.unwrap();
        assert!((1..20_000).contains(&total), "{name}: {total}");
    }
}

#[tokio::test]
async fn without_an_unpacker_or_with_a_broken_one_it_comes_as_it_is() {
    assert_eq!(sent(programs(&[]).path()).await.unwrap(), fake_stub("one").len() as u64);
    let bin = programs(&[]);
    for script in ["#!/bin/sh\nexit 1\n", "#!/bin/sh\ncat\n"] {
        let gzip = bin.path().join("gzip");
        std::fs::write(&gzip, script).unwrap();
        std::fs::set_permissions(&gzip, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(sent(bin.path()).await.unwrap(), fake_stub("one").len() as u64, "{script}");
    }
}

#[tokio::test]
async fn a_missing_tool_is_named() {
    for name in ["dd", "wc", "mv"] {
        let bin = programs(&["gzip"]);
        std::fs::remove_file(bin.path().join(name)).unwrap();
        let error = sent(bin.path()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` is missing there")), "{error}");
    }
}

/// The loader complains about a library to preload that is gone.
#[tokio::test]
async fn words_on_stderr_do_not_change_the_version() {
    let (home, mut noisy) = (tempfile::tempdir().unwrap(), fake_stub("noisy"));
    let begin = b"#!/bin/sh\n";
    noisy.splice(
        ..begin.len(),
        b"#!/bin/sh\n[ $# = 1 ] || echo ld.so: object gone >&2\n".iter().copied(),
    );
    let boot = boot_with(noisy);
    for _ in 0..2 {
        go(command(&["sh"], home.path(), &boot.argv()), &boot).await.unwrap();
    }
}

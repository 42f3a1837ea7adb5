//! Starting, sending and starting again.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) fn cached(boot: &BootScript) -> String {
    let script = boot.argv()[2].clone();
    let digest = script.split(" x=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    format!(".cache/netlink-remote/stub-{digest}")
}

/// Checks that a warm start prints the marker alone.
async fn assert_warm(shell: &[&str], home: &Path, boot: &BootScript) {
    let output = command(shell, home, &boot.argv()).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{shell:?}: {output:?}");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&MARKER[..], &b""[..]));
}

#[tokio::test]
async fn cold_then_warm() {
    for shell in shells() {
        let home = tempfile::tempdir().unwrap();
        let boot = boot();
        go(command(&shell, home.path(), &boot.argv()), &boot).await.unwrap();
        assert_eq!(files(home.path()), [cached(&boot)], "{shell:?}");
        let stub = fs::metadata(home.path().join(cached(&boot))).unwrap();
        assert_eq!(stub.permissions().mode() & 0o7777, 0o700);
        assert_warm(&shell, home.path(), &boot).await;
        // Another run has another nonce.
        let boot = super::boot();
        assert_warm(&shell, home.path(), &boot).await;
        go(command(&shell, home.path(), &boot.argv()), &boot).await.unwrap();
    }
}

#[tokio::test]
async fn another_file_under_the_stub_s_name_is_replaced() {
    for shell in shells() {
        for content in [&b""[..], b"#!/bin/sh\necho nlr-stub 0.0.0\n", &vec![0; SIZE], b"exit 1"] {
            let home = tempfile::tempdir().unwrap();
            let boot = boot();
            let path = home.path().join(cached(&boot));
            let folder = path.parent().unwrap();
            fs::create_dir_all(folder).unwrap();
            testing::programs::write(&path, content);
            fs::write(folder.join("stub-of-another-version"), "kept").unwrap();
            go(command(&shell, home.path(), &boot.argv()), &boot).await.unwrap();
            assert_eq!(files(folder).len(), 2);
            assert_warm(&shell, home.path(), &boot).await;
        }
    }
}

#[tokio::test]
async fn several_at_once() {
    for shell in shells() {
        let home = tempfile::tempdir().unwrap();
        let boots: Vec<_> = (0..6).map(|_| boot()).collect();
        let all = boots.iter().map(|boot| go(command(&shell, home.path(), &boot.argv()), boot));
        for result in futures_util::future::join_all(all).await {
            result.unwrap();
        }
        assert_eq!(files(home.path()), [cached(&boots[0])]);
    }
}

/// Runs the script with `sent` and then the end of its input, and returns its output.
async fn by_hand(mut command: Command, sent: &[u8]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = vec![0; 4096];
    let length = stdout.read(&mut said).await.unwrap();
    said.truncate(length);
    stdin.write_all(sent).await.unwrap();
    drop(stdin);
    stdout.read_to_end(&mut said).await.unwrap();
    assert!(!child.wait().await.unwrap().success());
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_truncated_stub_leaves_nothing() {
    for shell in shells() {
        let boot = boot();
        let stub = fake_stub("one");
        for length in [0, 1, 8192, 100_000, SIZE - 1] {
            let home = tempfile::tempdir().unwrap();
            let command = command(&shell, home.path(), &plain(&boot));
            let said = by_hand(command, &stub[..length]).await;
            assert!(said.contains(&format!("fail eof {length}\n")), "{shell:?}: {said}");
            assert_eq!(files(home.path()), [""; 0]);
            assert!(!home.path().join(".cache/netlink-remote").exists());
        }
    }
}

#[tokio::test]
async fn a_damaged_stub_leaves_nothing() {
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let mut stub = fake_stub("one");
        stub[SIZE / 2] ^= 1;
        let said = by_hand(command(&shell, home.path(), &plain(&boot)), &stub).await;
        assert!(said.contains(" fail sum "), "{shell:?}: {said}");
        assert_eq!(files(home.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_stub_that_does_not_run_leaves_nothing() {
    for shell in shells() {
        let home = tempfile::tempdir().unwrap();
        let mut stub = b"#!/nowhere/ld.so\n".to_vec();
        stub.resize(SIZE, b'x');
        let boot = boot_with(stub);
        let error = go(command(&shell, home.path(), &boot.argv()), &boot).await.unwrap_err();
        assert!(error.to_string().contains("the stub does not run there: "), "{error}");
        assert_eq!(error.step(), Some(crate::Step::Bootstrap));
        assert_eq!(files(home.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_signal_midway_leaves_nothing() {
    for shell in shells() {
        for signal in ["TERM", "HUP", "INT"] {
            let (home, boot) = (tempfile::tempdir().unwrap(), boot());
            let mut command = command(&shell, home.path(), &boot.argv());
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (mut stdin, mut stdout) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            assert!(stdout.read(&mut [0; 4096]).await.unwrap() > 0);
            stdin.write_all(&fake_stub("one")[..50_000]).await.unwrap();
            let pid = child.id().unwrap().to_string();
            let kill = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(kill.unwrap().success());
            // A shell acts on it when the program that reads for it is done.
            drop(stdin);
            child.wait().await.unwrap();
            assert_eq!(files(home.path()), [""; 0], "{shell:?}");
        }
    }
}

#[tokio::test]
async fn a_stdin_that_does_not_block() {
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        // Both ends of a socket pair are one description for the child, as sudo would leave it.
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        near.set_nonblocking(true).unwrap();
        let mut command = command(&shell, home.path(), &plain(&boot));
        let far = std::os::fd::OwnedFd::from(far);
        command.stdin(far.try_clone().unwrap()).stdout(far).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut near = tokio::net::UnixStream::from_std(near).unwrap();
        let mut said = vec![0; 4096];
        let length = near.read(&mut said).await.unwrap();
        assert!(String::from_utf8_lossy(&said[..length]).contains(" need "));
        for piece in fake_stub("one").chunks(60_000) {
            tokio::time::sleep(Duration::from_millis(150)).await;
            near.write_all(piece).await.unwrap();
        }
        // After the lines that say how much has come.
        let mut said = Vec::new();
        while !said.ends_with(&MARKER) {
            said.push(near.read_u8().await.unwrap());
            assert!(said.len() < 4096, "{shell:?}");
        }
        assert_eq!(files(home.path()), [cached(&boot)]);
        near.shutdown().await.unwrap();
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_stdin_that_does_not_block_and_ends() {
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut command = command(&shell, home.path(), &boot.argv());
        command.stdin(std::os::fd::OwnedFd::from(far)).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        drop(command);
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(near);
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(" fail eof 0"), "{shell:?}: {said}");
        assert_eq!(files(home.path()), [""; 0]);
    }
}

/// A folder with links to the programs that are to be found there.
fn programs(folder: &Path, names: &[&str]) {
    fs::create_dir(folder).unwrap();
    for name in names {
        let path = ["/usr/bin", "/bin"]
            .iter()
            .map(|bin| Path::new(bin).join(name))
            .find(|path| path.exists());
        std::os::unix::fs::symlink(path.unwrap(), folder.join(name)).unwrap();
    }
}

const NEEDED: [&str; 10] =
    ["id", "uname", "mkdir", "dd", "wc", "chmod", "rm", "rmdir", "mv", "sleep"];

#[tokio::test]
async fn each_program_for_checksums() {
    let tools = ["sha256sum", "shasum", "openssl", "cksum"];
    // busybox's shell has these programs built in.
    for shell in shells().into_iter().filter(|shell| shell[0] != "busybox") {
        let program = ["/usr/bin", "/bin"].map(|bin| format!("{bin}/{}", shell[0]));
        let program = program.iter().find(|path| Path::new(path).exists()).unwrap();
        let shell: Vec<_> =
            std::iter::once(program.as_str()).chain(shell[1..].iter().copied()).collect();
        for tool in tools.into_iter().filter(|tool| Path::new("/usr/bin").join(tool).exists()) {
            let (home, boot) = (tempfile::tempdir().unwrap(), boot());
            let bin = home.path().join("bin");
            let mut names = NEEDED.to_vec();
            names.extend([tool].into_iter().chain((tool == "shasum").then_some("perl")));
            programs(&bin, &names);
            let mut command = command(&shell, home.path(), &boot.argv());
            command.env("PATH", &bin);
            go(command, &boot).await.unwrap();
        }
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let bin = home.path().join("bin");
        programs(&bin, &NEEDED);
        let mut command = command(&shell, home.path(), &boot.argv());
        command.env("PATH", &bin);
        let error = go(command, &boot).await.unwrap_err();
        assert!(error.to_string().contains("install sha256sum"), "{error}");
        assert!(!home.path().join(".cache/netlink-remote").exists());
    }
}

/// A `uname` before the real one in PATH makes up the architecture.
#[tokio::test]
async fn an_architecture_without_a_stub() {
    for shell in shells().into_iter().filter(|shell| shell[0] != "busybox") {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let uname = home.path().join("uname");
        testing::programs::write(&uname, "#!/bin/sh\necho armv7l\n");
        let mut command = command(&shell, home.path(), &boot.argv());
        command.env("PATH", format!("{}:/usr/bin:/bin", home.path().display()));
        let error = go(command, &boot).await.unwrap_err().to_string();
        assert!(error.contains("architecture, armv7l: stubs were found for tests; "), "{error}");
        assert!(error.contains("--target armv7-unknown-linux-musleabihf "), "{error}");
        assert_eq!(files(home.path()), ["uname"]);
    }
}

#[tokio::test]
async fn odd_settings_are_survived() {
    for shell in shells() {
        for (name, value) in [
            ("IFS", "/-s0"),
            ("CDPATH", "/:/usr"),
            ("SHELLOPTS", "noclobber:noglob:nounset:errexit:xtrace"),
            ("POSIXLY_CORRECT", "1"),
            ("LC_ALL", "C.UTF-8"),
            ("XDG_CACHE_HOME", "relative"),
            ("t", "/etc/passwd"),
        ] {
            let (home, boot) = (tempfile::tempdir().unwrap(), boot());
            let mut command = command(&shell, home.path(), &boot.argv());
            command.env(name, value).current_dir(home.path());
            let home_of = home.path().join("relative");
            if name == "XDG_CACHE_HOME" {
                command.env("XDG_RUNTIME_DIR", home.path());
            }
            let (stream, exit_report) = {
                let preamble = Preamble { script: Some(&boot), ..Default::default() };
                start_stub(process::spawn(command).unwrap(), preamble, &context()).await.unwrap()
            };
            // xtrace says something.
            converse(stream, exit_report).await;
            assert_eq!(files(home.path()).len(), 1, "{shell:?} {name}");
            assert!(!home_of.join("netlink-remote").exists());
        }
    }
}

#[tokio::test]
async fn an_unusual_home() {
    for shell in shells() {
        for name in ["a b", "it's", "$x `id` \"q\"", "*", "-n"] {
            let (top, boot) = (tempfile::tempdir().unwrap(), boot());
            let home = top.path().join(name);
            fs::create_dir(&home).unwrap();
            go(command(&shell, &home, &boot.argv()), &boot).await.unwrap();
            assert_eq!(files(&home), [cached(&boot)]);
            assert_warm(&shell, &home, &boot).await;
        }
    }
}

#[tokio::test]
async fn removing_it_again() {
    use crate::bootstrap::{clean, clean_argv};
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        go(command(&shell, home.path(), &boot.argv()), &boot).await.unwrap();
        let folder = home.path().join(".cache/netlink-remote");
        fs::write(folder.join("tmp-0123"), "").unwrap();
        let cleaning = |argv: Vec<String>| {
            let running = process::spawn(command(&shell, home.path(), &argv)).unwrap();
            async move {
                let context = context();
                clean(running, Preamble::default(), &context).await
            }
        };
        let cleaned = cleaning(clean_argv()).await.unwrap();
        let shown = |name: &str| folder.join(name).display().to_string();
        let stub = home.path().join(cached(&boot)).display().to_string();
        assert_eq!(cleaned.removed, [stub, shown("tmp-0123"), folder.display().to_string()]);
        assert_eq!(cleaned.kept, [""; 0]);
        assert!(!folder.exists());
        assert_eq!(cleaning(clean_argv()).await.unwrap().removed, [""; 0]);
        // Files of another origin stay.
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("other"), "").unwrap();
        assert_eq!(cleaning(clean_argv()).await.unwrap().removed, [""; 0]);
        assert!(folder.join("other").exists());
    }
}

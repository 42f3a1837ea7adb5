//! The choice of the folder, as the path of the stub shows it: no other file is left.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Starts a stub in mounts changed by `setup`, and returns the folders in which one is left.
async fn folders_after(setup: &str) -> Vec<String> {
    let mut all = Vec::new();
    for shell in shells() {
        let (world, boot) = (World::new(setup), boot());
        let result = go(world.command(&shell, &boot.argv()), &boot).await;
        let left = world.left();
        result.unwrap_or_else(|error| panic!("{shell:?}: {error}; left: {left:?}"));
        let folders: Vec<_> = left
            .iter()
            .map(|path| {
                path.rsplit_once("/stub-").map_or(path.as_str(), |(folder, _)| folder).to_owned()
            })
            .collect();
        assert!(
            all.is_empty() || all == folders,
            "{shell:?}: {folders:?}, and another shell {all:?}"
        );
        all = folders;
    }
    all
}

/// The error of a start in mounts changed by `setup`; no file is left there.
async fn failure_in(setup: &str) -> String {
    let mut text = String::new();
    for shell in shells() {
        let (world, boot) = (World::new(setup), boot());
        let result = go(world.command(&shell, &boot.argv()), &boot).await;
        assert_eq!(world.left(), [""; 0], "{shell:?}");
        let error = result.unwrap_err();
        assert_eq!(error.step(), Some(crate::Step::Bootstrap), "{error}");
        text = error.to_string();
    }
    text
}

/// Whether there are other users, as root has them and an ordinary user's namespace has not.
fn is_root_world() -> bool {
    std::env::var("NLR_TEST_WORLD").is_ok_and(|world| world == "root")
}

#[tokio::test]
async fn the_cache_folder_comes_first() {
    assert_eq!(folders_after("").await, ["/mnt/home/.cache/netlink-remote"]);
    assert_eq!(
        folders_after("export XDG_CACHE_HOME=/mnt/home/c").await,
        ["/mnt/home/c/netlink-remote"]
    );
}

#[tokio::test]
async fn without_a_home() {
    assert_eq!(folders_after("unset HOME").await, ["/dev/shm/netlink-remote-0"]);
    assert_eq!(folders_after("HOME=/proc/nowhere").await, ["/dev/shm/netlink-remote-0"]);
    assert_eq!(
        folders_after("HOME=/proc/1; mkdir -m 700 /mnt/fs; export XDG_RUNTIME_DIR=/mnt/fs").await,
        ["/mnt/fs/netlink-remote"]
    );
}

#[tokio::test]
async fn a_home_that_is_read_only() {
    let setup = "mount -t tmpfs -o ro tmpfs /mnt/home";
    assert_eq!(folders_after(setup).await, ["/dev/shm/netlink-remote-0"]);
}

#[tokio::test]
async fn folders_that_are_noexec() {
    let setup = "mount -t tmpfs -o noexec tmpfs /mnt/home
        mount -t tmpfs -o noexec,mode=1777 tmpfs /dev/shm
        mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp";
    assert_eq!(folders_after(setup).await, ["/var/tmp/netlink-remote-0"]);
    let setup = format!("{setup}\nmount -t tmpfs -o noexec,mode=1777 tmpfs /var/tmp");
    let text = failure_in(&setup).await;
    for folder in [
        "/mnt/home/.cache/netlink-remote",
        "/dev/shm/netlink-remote-0",
        "/var/tmp/netlink-remote-0",
    ] {
        assert!(text.contains(&format!("{folder} runs no programs (noexec)")), "{text}");
    }
}

#[tokio::test]
async fn folders_that_are_full() {
    let setup = "mount -t tmpfs -o size=64k tmpfs /mnt/home
        mount -t tmpfs -o size=64k,mode=1777 tmpfs /dev/shm";
    assert_eq!(folders_after(setup).await, ["/tmp/netlink-remote-0"]);
    let setup = format!(
        "{setup}\nfor place in /tmp /var/tmp; do
            mount -t tmpfs -o size=64k,mode=1777 tmpfs $place
        done"
    );
    let text = failure_in(&setup).await;
    assert!(text.contains("/tmp/netlink-remote-0 has no room for it"), "{text}");
    assert!(text.contains("set XDG_CACHE_HOME"), "{text}");
}

#[tokio::test]
async fn each_folder_has_its_reason() {
    let setup = "mount -t tmpfs -o noexec tmpfs /mnt/home
        mount -t tmpfs -o ro,mode=1777 tmpfs /dev/shm
        mount -t tmpfs -o size=64k,mode=1777 tmpfs /tmp
        ln -s /mnt /var/tmp/netlink-remote-0";
    let text = failure_in(setup).await;
    for reason in [
        "/mnt/home/.cache/netlink-remote runs no programs",
        "/dev/shm/netlink-remote-0 cannot be written to",
        "/tmp/netlink-remote-0 has no room",
        "/var/tmp/netlink-remote-0 is not owned by this user, or another user can replace it",
    ] {
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn traps_laid_by_others_are_not_stepped_into() {
    // A link, and a folder in a place that is not sticky.
    let setup = "HOME=/proc/nowhere
        mkdir -m 700 /mnt/fs
        ln -s /mnt/fs /dev/shm/netlink-remote-0";
    assert_eq!(folders_after(setup).await, ["/tmp/netlink-remote-0"]);
    let setup = "HOME=/proc/nowhere
        ln -s /mnt/nowhere /dev/shm/netlink-remote-0
        : >/tmp/netlink-remote-0";
    let found = folders_after(setup).await;
    assert_eq!(found, ["/tmp/netlink-remote-0", "/var/tmp/netlink-remote-0"]);
    if !is_root_world() {
        return;
    }
    let setup = "HOME=/proc/nowhere
        mkdir -m 777 /dev/shm/netlink-remote-0; chown 1234 /dev/shm/netlink-remote-0
        chmod 777 /tmp; chown 1234 /tmp";
    assert_eq!(folders_after(setup).await, ["/var/tmp/netlink-remote-0"]);
}

/// As with `sudo -E`: no file of another user's home is made or used.
#[tokio::test]
async fn the_home_of_another_user() {
    if !is_root_world() {
        return;
    }
    let setup = "mkdir /mnt/home/.cache; chown 1234 /mnt/home";
    assert_eq!(folders_after(setup).await, ["/dev/shm/netlink-remote-0"]);
    let setup = "mkdir -p /mnt/home/.cache/netlink-remote; chown -R 1234 /mnt/home
        mkdir -m 700 /mnt/fs; chown 1234 /mnt/fs; export XDG_RUNTIME_DIR=/mnt/fs";
    assert_eq!(folders_after(setup).await, ["/dev/shm/netlink-remote-0"]);
}

/// As in the smallest of containers, where even `/dev/shm` is missing, and is not made.
#[tokio::test]
async fn a_root_with_busybox_and_nothing_else() {
    if Command::new("busybox").output().await.is_err() {
        return;
    }
    let setup = "mkdir /mnt/fs && cd /mnt/fs && mkdir -p bin dev tmp var proc && chmod 1777 tmp
        cp \"$(command -v busybox)\" bin && chroot . /bin/busybox --install -s /bin
        for node in null zero; do : >dev/$node; mount --bind /dev/$node dev/$node; done
        HOME=/ PATH=/usr/sbin:/bin";
    let (world, boot) = (World::new(setup), boot());
    let command = world.command(&["chroot", "/mnt/fs", "/bin/sh"], &boot.argv());
    let result = go(command, &boot).await;
    let left = world.left();
    result.unwrap_or_else(|error| panic!("{error}; left: {left:?}"));
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left[0].starts_with("/mnt/fs/.cache/netlink-remote/stub-"), "{left:?}");
    let setup = format!("{setup}; export XDG_CACHE_HOME=/nowhere/at/all; rmdir tmp");
    let (world, boot) = (World::new(&setup), super::boot());
    let command = world.command(&["chroot", "/mnt/fs", "/bin/sh"], &boot.argv());
    let error = go(command, &boot).await.unwrap_err().to_string();
    let nothing_new = ["bin/busybox", "dev/null", "dev/zero"].map(|path| format!("/mnt/fs/{path}"));
    assert_eq!(world.left(), nothing_new);
    assert!(error.contains("/dev/shm/netlink-remote-0 cannot be written to"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_open_to_others_is_closed() {
    let (home, boot) = (tempfile::tempdir().unwrap(), boot());
    let folder = home.path().join(".cache/netlink-remote");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    go(command(&["sh"], home.path(), &boot.argv()), &boot).await.unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_umask_that_lets_all_in() {
    for shell in shells() {
        let (home, boot) = (tempfile::tempdir().unwrap(), boot());
        let argv = boot.argv();
        let mut outer = Command::new("sh");
        outer
            .args(["-c", "umask 000; exec \"$@\"", "sh"])
            .args(&shell)
            .args(&argv[1..])
            .env("HOME", home.path());
        go(outer, &boot).await.unwrap();
        for path in [".cache", ".cache/netlink-remote"] {
            let mode = std::fs::metadata(home.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_that_was_not_full_before() {
    // The room is taken between the script's own test and the stub's arrival.
    for shell in shells() {
        let (world, boot) = (World::new("mount -t tmpfs -o size=400k tmpfs /mnt/home"), boot());
        let mut argv = plain(&boot);
        let need = "say need";
        assert!(argv[2].contains(need));
        argv[2] = argv[2].replace(
            need,
            "/bin/dd if=/dev/zero of=/mnt/home/x bs=1024 count=200 2>/dev/null; say need",
        );
        let error = go(world.command(&shell, &argv), &boot).await.unwrap_err().to_string();
        assert!(
            error.contains("receiving the stub failed there") && error.contains("No space"),
            "{error}"
        );
        assert_eq!(world.left(), ["/mnt/home/x"]);
    }
}

//! Resources that run out: descriptors, processes, memory, room on a file system.
//!
//! A limit is set from the start, and is met at the step that first needs what it forbids: each sweep
//! over limits passes through all steps. At each limit `nlr` succeeds, or says in one line that the
//! limit is the reason; it never panics or hangs, and leaves no process.

use std::{collections::BTreeSet, fs, process::Command};

use netlink_remote::{
    Client, ErrorKind,
    client::ClientOptions,
    transport::{ExitReport, process},
};
use testing::{
    Ended, Running,
    lab::Lab,
    netlink::NETLINK_ROUTE,
    processes::{MARK, assert_none},
    programs, temporary, unique, within, world,
};

use crate::cells::{Cell, Fault::*, Outcome::Swept, Party::*, Step::*, cell};

/// What the tests below cover.
pub(crate) const CELLS: &[Cell] = &[
    cell(Client, Hello, NoFiles, Swept),
    cell(Client, Hello, NoProcesses, Swept),
    cell(Client, Hello, NoMemory, Swept),
    cell(Stub, Hello, NoFiles, Swept),
    cell(Stub, Hello, NoProcesses, Swept),
    cell(Stub, Hello, NoMemory, Swept),
    cell(Stub, Open, NoFiles, Swept),
    cell(Stub, Open, NoSpace, Swept),
    cell(Stub, Upload, NoSpace, Swept),
    cell(Client, Connecting, NoSpace, Swept),
];

/// Runs a shell's command with a mark, `$NLR` for the tool and `$STUB` for the stub, to its end.
fn shell(script: &str) -> Ended {
    world::require();
    let mark = unique("limit");
    let mut command = Command::new("sh");
    command.args(["-c", script]).env(MARK, &mark);
    command.env("NLR", programs::nlr()).env("STUB", programs::stub());
    // Text alone: a panic has a backtrace otherwise.
    command.env("RUST_BACKTRACE", "0").env_remove("NLR_STUB");
    let ended = Running::start(command).end();
    assert_none(&mark, &[]);
    ended
}

/// Asserts a success, or a failure of one line with one of these reasons; gives whether it was a
/// success.
#[track_caller]
fn succeeds_or_says(limit: &str, ended: &Ended, reasons: &[&str]) -> bool {
    if ended.code() == 0 {
        return true;
    }
    let said = &ended.stderr;
    assert!([1, 3].contains(&ended.code()), "{limit}: code {}: {said}", ended.code());
    let is_line = said.starts_with("nlr: ") && said.lines().count() == 1;
    assert!(is_line && !said.contains("panicked"), "{limit}: {said}");
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{limit}: {said}");
    false
}

const EMFILE: &str = "Too many open files";
const EAGAIN: &str = "Resource temporarily unavailable";

#[test]
fn descriptors_of_the_client() {
    let mut texts = BTreeSet::new();
    let mut last = false;
    for limit in 4..=24 {
        let ended = shell(&format!("ulimit -n {limit}; exec $NLR show link"));
        last = succeeds_or_says(&format!("{limit} descriptors"), &ended, &[EMFILE]);
        texts.insert(ended.stderr);
    }
    assert!(last, "24 descriptors are enough");
    // One for success, and several steps.
    assert!(texts.len() >= 3, "{texts:#?}");
}

#[test]
fn descriptors_of_the_stub() {
    let path = temporary("few");
    let mut texts = BTreeSet::new();
    let mut last = false;
    for limit in 3..=20 {
        programs::write(&path, format!("#!/bin/sh\nulimit -n {limit}\nexec $STUB\n"));
        let ended = shell(&format!("exec $NLR --stub {} show link", path.display()));
        // The loader of shared libraries says it by the number, and the stub keeps some for itself.
        last = succeeds_or_says(
            &format!("{limit} descriptors"),
            &ended,
            &[EMFILE, "Error 24", "descriptors, and may have"],
        );
        texts.insert(ended.stderr);
    }
    fs::remove_file(path).unwrap();
    assert!(last, "20 descriptors are enough");
    assert!(texts.len() >= 2, "{texts:#?}");
}

/// Sockets beyond the stub's descriptors fail one by one; the others work on, and there is room again
/// for each that is closed.
#[tokio::test]
async fn descriptors_for_sockets() {
    world::require();
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "ulimit -n 24; exec $STUB"]).env("STUB", programs::stub());
    let running = process::spawn(command).unwrap();
    let mut options = ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    let client = Client::handshake_with(running.stdio, options).await.unwrap();
    let mut sockets = Vec::new();
    let error = loop {
        match within(client.socket(NETLINK_ROUTE).open()).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
    };
    assert!((2..24).contains(&sockets.len()), "{}", sockets.len());
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(24)), "{error}");
    assert_eq!(
        error.to_string(),
        "opening a socket: this client has 12 descriptors, and may have 12: Too many open files"
    );
    for _ in 0..3 {
        sockets.pop().unwrap().close().await.unwrap();
        sockets.push(within(client.socket(NETLINK_ROUTE).open()).await.unwrap());
        within(client.socket(NETLINK_ROUTE).open()).await.unwrap_err();
    }
    let request = testing::netlink::link_by_index(1, 1);
    for socket in &sockets {
        within(socket.send_confirmed(&request)).await.unwrap();
    }
    client.close().await;
}

#[test]
fn processes_and_threads() {
    if !world::has_real_root("a user with a limit of processes") {
        return;
    }
    // The limit does not bind root. It counts threads, of all processes of the user.
    let as_user = "exec setpriv --reuid=4242 --regid=4242 --clear-groups";
    let (mut of_client, mut of_stub) = (BTreeSet::new(), BTreeSet::new());
    for limit in 1..=8 {
        let script = format!("{as_user} bash -c 'ulimit -u {limit}; exec $NLR show link'");
        let ended = shell(&script);
        let is_enough = succeeds_or_says(&format!("{limit} processes"), &ended, &[EAGAIN]);
        assert!(is_enough || limit < 8, "{ended:?}");
        of_client.insert(ended.stderr);

        // The stub alone is limited.
        let path = temporary("few");
        programs::write(&path, format!("#!/bin/bash\nulimit -u {limit}\nexec $STUB\n"));
        let ended = shell(&format!("{as_user} $NLR --stub {} show link", path.display()));
        succeeds_or_says(&format!("{limit} processes"), &ended, &[EAGAIN]);
        of_stub.insert(ended.stderr);
        fs::remove_file(path).unwrap();
    }
    assert!(of_client.len() >= 2, "{of_client:#?}");
    assert!(of_stub.len() >= 2, "{of_stub:#?}");
}

#[test]
fn memory() {
    // MiB of addresses: from too few for the loader to enough.
    let (mut enough, mut reached) = (0, BTreeSet::new());
    for limit in [3, 6, 9, 12, 16, 24, 32, 64, 128, 256, 512] {
        for (whose, script) in [
            ("client", format!("ulimit -v {}; exec $NLR --stub $STUB show link", limit * 1024)),
            (
                "stub",
                format!("exec $NLR --stub $FEW show link; ulimit -v {}; exec $STUB", limit * 1024,),
            ),
        ] {
            let path = temporary("few");
            let script = script.replace("$FEW", path.to_str().unwrap());
            let (client, stub) = script.split_once("; ulimit").unwrap_or((&script, ""));
            programs::write(&path, format!("#!/bin/sh\n: ; ulimit{stub}\n"));
            let ended = shell(if whose == "stub" { client } else { &script });
            fs::remove_file(path).unwrap();
            enough += i32::from(ended.code() == 0);
            if ended.code() != 0 {
                let said = &ended.stderr;
                // With the least the kernel ends it in exec, before it can say anything.
                let is_told =
                    !said.is_empty() || ended.code() == 128 + 9 || ended.code() == 128 + 11;
                assert!(is_told && !said.contains("panicked"), "{whose}, {limit}: {ended:?}");
                reached.insert(said.clone());
            }
        }
    }
    assert!(enough >= 4 && reached.len() >= 2, "{enough}: {reached:#?}");
}

/// A full file system at the places of namespaces, stubs, and known hosts.
#[test]
fn room() {
    if !Lab::available() {
        return;
    }
    let lab = Lab::new();
    let host = lab.host("test01").sudoers("ci ALL=NOPASSWD: ALL").start();
    let fails = |arguments: &[&str], code, text: &str| {
        let ended = testing::remote::nlr(&lab, arguments);
        let expected = format!("nlr: {text}\n");
        assert_eq!((ended.code(), ended.stderr.as_str()), (code, expected.as_str()));
    };
    // For the stub: in no folder is there room.
    for place in ["/root/.cache", "/dev/shm", "/tmp", "/var/tmp"] {
        host.run(&format!("mkdir -p {place}; mount -t tmpfs -o size=64k,mode=1777 tmpfs {place}"));
    }
    host.run("chmod 755 /root/.cache");
    let no_room = "ssh://test01,sudo: bootstrap: no folder there can take the stub and run it: \
        /root/.cache/netlink-remote has no room for it, /dev/shm/netlink-remote-0 has no room for \
        it, /tmp/netlink-remote-0 has no room for it, /var/tmp/netlink-remote-0 has no room for it; \
        free some space, or set XDG_CACHE_HOME there to a folder that is not mounted noexec, or \
        install nlr-stub there and end the target with its stub:PATH";
    fails(&["show", "link", "ssh://test01,sudo:"], 3, no_room);
    let left = host.run("find /root/.cache /dev/shm /tmp /var/tmp -mindepth 1");
    assert_eq!(left, "");
    for place in ["/root/.cache", "/dev/shm", "/tmp", "/var/tmp"] {
        host.run(&format!("umount {place}"));
    }
    // For a namespace: the folder of their names has no room for another.
    host.run("mount -t tmpfs -o nr_inodes=2 tmpfs /run/netns; touch /run/netns/one");
    let full = "ssh://test01,sudo:: creating /run/netns/two: No space left on device";
    fails(&["netns", "add", "two", "ssh://test01,sudo:"], 1, full);
    assert_eq!(host.run("ls /run/netns; umount /run/netns"), "one\n");
    host.assert_idle();
    // For an accepted host key: a key that is not remembered would be accepted again and again.
    lab.forget("test01");
    let (config, ssh) = ("/home/me/.ssh/config", lab.client().outside("/home/me/.ssh"));
    let text = lab.client().read(config) + "  StrictHostKeyChecking accept-new\n";
    lab.client().file(config, &text, 0o600);
    let files = "cp -a /home/me/.ssh /run/ssh
        mount -t tmpfs -o size=16k,mode=700,uid=1000 tmpfs /home/me/.ssh
        cp -a /run/ssh/id_ed25519 /run/ssh/config /home/me/.ssh
        ! head -c 64k /dev/zero >/home/me/.ssh/pad";
    let pid = ssh.iter().nth(2).unwrap();
    let mut inside = Command::new("nsenter");
    inside.arg("--target").arg(pid).args(["--mount", "--", "sh", "-ec", files]);
    let made = testing::finish(inside);
    assert_eq!(made.code(), 0, "{made:?}");
    let address = host.addresses()[0];
    let full = format!(
        "ssh://test01,sudo: ssh://test01: host key: writing the key of {address} to \
         /home/me/.ssh/known_hosts: No space left on device; make it writable, or set \
         UserKnownHostsFile to another file, or to none"
    );
    fails(&["show", "link", "ssh://test01,sudo:"], 3, &full);
    host.assert_idle();
}

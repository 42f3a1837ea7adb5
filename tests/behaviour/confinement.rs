//! What `nlr-stub` gives up before it serves, told by /proc and by the kernel.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::fd::AsRawFd,
    path::PathBuf,
};

use netlink_remote::{
    Client, Netns,
    transport::{ExitReport, process},
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::support::*;

/// A client of an `nlr-stub` with options.
async fn stub(words: &str) -> Client {
    stub_of(stub_command(), words).await
}

async fn stub_of(mut command: tokio::process::Command, words: &str) -> Client {
    world::require();
    command.args(words.split_whitespace());
    let running = process::spawn(command).unwrap();
    let mut options = netlink_remote::client::ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    Client::handshake_with(running.stdio, options).await.unwrap()
}

fn pid(client: &Client) -> u32 {
    client.host().pid
}

/// The lines of /proc/PID/task/TID/status of each thread, by name.
fn threads(pid: u32) -> Vec<HashMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |path: PathBuf| fs::read_to_string(path.join("status")).ok();
    let parse = |text: String| {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    tasks.filter_map(|task| status(task.unwrap().path())).map(parse).collect()
}

fn number(status: &HashMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&status[set], 16).unwrap()
}

fn mask(bits: &[u32]) -> u64 {
    bits.iter().map(|bit| 1 << bit).sum()
}

const DAC_READ_SEARCH: u32 = 2;
const NET_BROADCAST: u32 = 11;
const NET_ADMIN: u32 = 12;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const AUDIT_WRITE: u32 = 29;
const AUDIT_CONTROL: u32 = 30;
const AUDIT_READ: u32 = 37;

/// What this process has of it: a world may lack capabilities.
fn own() -> u64 {
    number(&threads(std::process::id())[0], "CapPrm")
}

#[tokio::test]
async fn every_thread_has_the_capabilities_of_the_table() {
    let namespaces = [SYS_ADMIN, SYS_PTRACE, DAC_READ_SEARCH];
    let audit = [AUDIT_READ, AUDIT_CONTROL, AUDIT_WRITE];
    let all = mask(&[&[NET_BROADCAST, NET_ADMIN][..], &namespaces, &audit].concat());
    let looks = mask(&[&[NET_BROADCAST, AUDIT_READ][..], &namespaces].concat());
    let nobody = if world::is_user() { "" } else { "--user 65534:65534" };
    for (words, permitted) in [
        ("", all),
        ("--read-only", looks),
        ("--allow-netns current", all & !mask(&namespaces)),
        ("--allow-protocol route,generic", all & !mask(&audit)),
        ("--allow-netns current --allow-protocol route --read-only", mask(&[NET_BROADCAST])),
        (nobody, all),
        ("--no-seccomp", all),
    ] {
        let client = stub(words).await;
        // A second I/O thread, and threads that were in namespaces.
        let netns = Namespace::empty();
        let _ = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await;
        let all_threads = threads(pid(&client));
        assert!(all_threads.len() >= 2, "{words}");
        for status in all_threads {
            let words = format!("{words}, thread {}", status["Name"]);
            let wanted = permitted & own();
            assert_eq!(number(&status, "CapPrm"), wanted, "{words}");
            let held = if words.contains("--read-only") { mask(&[SYS_ADMIN]) } else { 0 };
            assert_eq!(number(&status, "CapEff"), wanted & !held, "{words}");
            assert_eq!(number(&status, "CapBnd") & !permitted, 0, "{words}");
            assert_eq!((number(&status, "CapInh"), number(&status, "CapAmb")), (0, 0), "{words}");
            assert_eq!(status["NoNewPrivs"], "1", "{words}");
            let filtered = if words.contains("--no-seccomp") { "0" } else { "2" };
            assert_eq!(status["Seccomp"], filtered, "{words}");
            if words.contains("65534") {
                assert_eq!(status["Uid"].split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
                assert_eq!(status["Gid"].split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
                assert_eq!(status["Groups"], "65534");
            }
        }
        client.close().await;
    }
}

#[tokio::test]
async fn another_user_enters_namespaces_and_changes_them() {
    if !world::has_real_root("another user") {
        return;
    }
    let client = stub("--user nobody").await;
    assert_eq!(client.host().uid, 65534);
    let netns = Namespace::empty();
    let socket = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    assert!(link_names(&socket).await.contains(&"lo".to_owned()));
    socket.send(&crate::access::set_mtu(1500)).await.unwrap();
    assert_eq!(error_code(&datagram(&socket).await.data), Some(0));
    // A process of another user's is found by its pid, too.
    let by_pid = Netns::Pid(std::process::id());
    client.socket(NETLINK_ROUTE).netns(by_pid).open().await.unwrap();
    client.close().await;

    let mut command = stub_command();
    command.args(["--user", "nlr-nobody"]);
    let ended = within(command.output()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(74), "{said}");
    assert_eq!(said, "nlr-stub: there is no user \"nlr-nobody\"\n");
}

/// The helper that asks container engines is a process without the client's stream, and ends with its
/// stub.
#[tokio::test]
async fn engines_are_asked_by_a_helper() {
    let folder = temporary("engines");
    fs::create_dir(&folder).unwrap();
    programs::write(folder.join("docker"), "#!/bin/sh\necho hello from $PPID\n");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = stub_command();
    command.env("PATH", &path);
    let client = stub_of(command, "").await;
    let children = format!("/proc/{0}/task/{0}/children", pid(&client));
    let helper = fs::read_to_string(&children).unwrap().trim().to_owned();
    let error = client.socket(NETLINK_ROUTE).netns(Netns::docker("web")).open().await.unwrap_err();
    assert!(error.to_string().contains("hello from"), "{error}");
    let parent: String = error.to_string().split("hello from ").nth(1).unwrap().to_owned();
    let parent: String = parent.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(parent, helper, "{error}");
    for stream in 0..3 {
        let leads = fs::read_link(format!("/proc/{helper}/fd/{stream}")).unwrap();
        assert_eq!(leads.to_str(), Some("/dev/null"));
    }
    client.close().await;
    eventually("the helper has gone", || !PathBuf::from(format!("/proc/{helper}")).exists()).await;
    // Where no container is allowed there is none.
    let mut command = stub_command();
    command.env("PATH", &path);
    let client = stub_of(command, "--allow-netns current --allow-netns *").await;
    let children = format!("/proc/{0}/task/{0}/children", pid(&client));
    assert_eq!(fs::read_to_string(&children).unwrap(), "");
    client.close().await;
    fs::remove_dir_all(&folder).unwrap();
}

/// A client that gives up ends the engine's program, through the helper.
#[tokio::test]
async fn a_helper_s_program_ends_with_its_client() {
    let folder = temporary("engines");
    fs::create_dir(&folder).unwrap();
    let started = folder.join("started");
    let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", started.display());
    programs::write(folder.join("docker"), script);
    let mut command = stub_command();
    command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    let client = stub_of(command, "").await;
    let open = client.socket(NETLINK_ROUTE).netns(Netns::docker("web")).open();
    let open = tokio::spawn(async move { open.await.map(drop) });
    let program = || fs::read_to_string(&started).unwrap_or_default().trim().to_owned();
    eventually("the program runs", || !program().is_empty()).await;
    open.abort();
    client.close().await;
    let path = PathBuf::from(format!("/proc/{}", program()));
    eventually("the program has gone", || !path.exists()).await;
    fs::remove_dir_all(&folder).unwrap();
}

/// A descriptor of this process that a child inherits.
fn inheritable() -> File {
    let file = File::open("/proc/self/ns/net").unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    file
}

/// What the descriptors of a process lead to, those of its streams apart.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let lead = |path: PathBuf| {
        let number = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, fs::read_link(path).ok()?.to_string_lossy().into_owned()))
    };
    let mut all: Vec<_> = all.filter_map(|entry| lead(entry.unwrap().path())).collect();
    all.retain(|(number, _)| *number > 2);
    all.sort();
    all
}

#[tokio::test]
async fn inherited_descriptors_are_closed() {
    let file = inheritable();
    let client = stub("").await;
    let low: Vec<_> =
        descriptors(pid(&client)).into_iter().filter(|(number, _)| *number < 256).collect();
    assert_eq!(low, []);
    // So a client that names the number has none.
    let socket = client.socket(NETLINK_ROUTE).open().await.unwrap();
    let fd = file.as_raw_fd();
    socket.send(&crate::namespaces::move_link(1, fd)).await.unwrap();
    assert_eq!(error_code(&datagram(&socket).await.data), Some(EBADF));
    client.close().await;
}

/// Programs that a stub starts get nothing of its, and a stub nothing of its client's.
#[tokio::test]
async fn children_inherit_no_descriptor() {
    let folder = temporary("engines");
    fs::create_dir(&folder).unwrap();
    let script = "#!/bin/sh\necho open: $(readlink /proc/$$/fd/*)\n";
    programs::write(folder.join("docker"), script);
    let mut command = stub_command();
    command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    let client = stub_of(command, "").await;
    let netns = Namespace::empty();
    let _open = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap();
    let error = client.socket(NETLINK_ROUTE).netns(Netns::docker("web")).open().await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("open: /dev/null pipe:"), "{words}");
    for of_the_stub in ["socket:", "net:", "anon_inode:", "/run/netns"] {
        assert!(!words.contains(of_the_stub), "{words}");
    }
    client.close().await;
    fs::remove_dir_all(&folder).unwrap();
}

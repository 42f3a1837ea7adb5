//! Network namespaces of real containers of docker and podman. Stand-ins for the engine's program
//! do what no real engine can be made to do.

#![cfg(test)]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use netlink_remote::{
    Client, ErrorKind, Netns,
    client::{ClientOptions, NetnsMode},
    errno::{EIO, ENOENT, ESRCH, ETIMEDOUT},
    transport::{ExitReport, process},
};
use testing::docker::{self, Docker, WITH_USERLAND, can_run_containers, control_group, image_root};
use testing::{
    Ended, finish, is_alive, programs, run, temporary,
    tool::{as_ip_shows, elements, nlr},
    wait,
};

const NETLINK_ROUTE: u32 = 0;

/// Runs `nlr show link` in a namespace, with a stub that uses this docker.
fn show(docker: &Docker, netns: &str) -> Ended {
    let mut command = nlr(&["show", "link", "--json", "-n", netns]);
    command.env("DOCKER_HOST", docker.host());
    finish(command)
}

/// The output of `ip link` in the namespace of a process.
fn links_of(pid: u32) -> Vec<serde_json::Value> {
    elements(&inside(pid, "ip -d -j link show"))
}

/// Runs a command in the network namespace of a process.
fn inside(pid: u32, words: &str) -> String {
    let pid = pid.to_string();
    let arguments = ["-t", &pid, "-n"].into_iter().chain(words.split_whitespace());
    run("nsenter", &arguments.collect::<Vec<_>>())
}

fn netns_inode(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino()
}

/// A client of a stub with these variables in its environment.
async fn client(environment: &[(&str, &str)]) -> Client {
    let mut command = tokio::process::Command::new(programs::stub());
    command.envs(environment.iter().copied());
    let running = process::spawn(command).unwrap();
    let mut options = ClientOptions::default();
    options.exit_report = Some(ExitReport::of_command("the stub", running.stderr, running.end));
    Client::handshake_with(running.stdio, options).await.unwrap()
}

#[test]
fn links_are_those_inside_the_container() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container("busybox", &["--network", "none"]);
    let pid = container.pid();
    inside(pid, "ip link add here mtu 1400 type veth peer name there");
    inside(pid, "ip link set here up");
    let expected = links_of(pid);
    assert_eq!(expected.len(), 3);
    for name in [&container.name, &container.id, &container.id[..12]] {
        let shown = as_ip_shows(elements(&show(&docker, &format!("docker:{name}")).printed()));
        assert_eq!(shown, expected);
    }
}

#[test]
fn a_container_needs_to_hold_nothing_that_can_be_executed() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container("distroless", &["--network", "none"]);
    // The image has no shell, and no program but the running one.
    let exec = finish(docker.command(&["exec", &container.name, "/sh"]));
    assert_ne!(exec.code(), 0);
    let pid = container.pid();
    inside(pid, "ip link add only-here type veth peer name peer");
    let shown =
        as_ip_shows(elements(&show(&docker, &format!("docker:{}", container.name)).printed()));
    assert_eq!(shown, links_of(pid));
    assert!(shown.iter().any(|link| link["ifname"] == "only-here"));
}

#[test]
fn what_cannot_be_entered_is_said_with_a_remedy() {
    let Some(docker) = Docker::shared() else { return };
    let unknown = show(&docker, "docker:nobody");
    unknown.failed(1, &["docker container \"nobody\"", "No such container", "docker ps --all"]);
    let container = docker.container("distroless", &["--network", "none"]);
    docker.run(&["stop", "--time", "0", &container.name]);
    let stopped = show(&docker, &format!("docker:{}", container.name));
    stopped.failed(1, &["is not running", &format!("docker start {}", container.name)]);
    let mut command = nlr(&["show", "link", "-n", "docker:x"]);
    command.env("DOCKER_HOST", "unix:///nonexistent.sock");
    finish(command).failed(1, &["docker container \"x\"", "docker inspect: ", "docker daemon"]);
    for wrong in ["docker:", "docker:-H", "podman:a b"] {
        let ended = finish(nlr(&["show", "link", "-n", wrong]));
        assert_eq!(ended.code(), 2, "{ended:?}");
    }
}

/// A hop into a container, unlike `-n`, runs the stub inside it.
#[test]
fn a_hop_leads_into_a_container_that_has_a_shell() {
    let Some(docker) = Docker::shared() else { return };
    let options: Vec<_> = WITH_USERLAND.into_iter().chain(["--network", "none"]).collect();
    let container = docker.container("userland", &options);
    let pid = container.pid();
    let expected = links_of(pid);
    let target = format!("docker:{}", container.name);
    let hop = |arguments: &[&str]| {
        let mut command = nlr(arguments);
        command
            .args(["--stubs", programs::stripped_stub(), &target])
            .env("DOCKER_HOST", docker.host());
        finish(command)
    };
    // The second time the stub that was sent is found again.
    for _ in 0..2 {
        assert_eq!(as_ip_shows(elements(&hop(&["show", "link", "--json"]).printed())), expected);
    }
    let files = || docker.run(&["exec", &container.name, "find", "/root", "-type", "f"]);
    assert_eq!(files().lines().count(), 1, "{}", files());
    assert!(hop(&["clean"]).printed().contains("/root/.cache/netlink-remote/stub-"));
    assert_eq!(files(), "");
    // Its processes end with the connection.
    let top = docker.run(&["top", &container.name]);
    assert_eq!(top.lines().count(), 2, "{top}");

    let shell_less = docker.container("distroless", &["--network", "none"]);
    let mut command = nlr(&["show", "link", &format!("docker:{}", shell_less.name)]);
    command.args(["--stubs", programs::stripped_stub()]).env("DOCKER_HOST", docker.host());
    finish(command).failed(3, &["bootstrap: ", "sh", "-n docker:"]);
    let mut command = nlr(&["show", "link", "docker:nobody"]);
    command.args(["--stubs", programs::stripped_stub()]).env("DOCKER_HOST", docker.host());
    finish(command).failed(3, &["bootstrap: ", "No such container"]);
}

/// Another user may not open the daemon's socket.
#[test]
fn no_permission_is_code_4_with_a_remedy() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container("distroless", &["--network", "none"]);
    // By a descriptor: the path of the stub may have folders that are closed to others.
    let stub = Script::new(
        "stub",
        &format!(
            "exec 3<{}\n\
             exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/3",
            programs::stub()
        ),
    );
    let mut command = nlr(&["show", "link", "-n", &format!("docker:{}", container.name)]);
    command.arg("--stub").arg(&stub.path).env("DOCKER_HOST", docker.host());
    finish(command).failed(4, &[&container.name, "ermission denied", "sudo"]);
}

/// The folders of programs are empty.
#[test]
fn an_engine_that_is_not_installed_is_said() {
    if !can_run_containers() {
        return;
    }
    for engine in ["docker", "podman"] {
        let empty = "for folder in /usr/local/bin /usr/sbin /usr/bin; do
                         [ -d $folder ] && [ ! -L $folder ] && /usr/bin/mount -t tmpfs none $folder
                     done
                     PATH= exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", empty, "sh", programs::nlr()]);
        command.args(["show", "link", "-n", &format!("{engine}:x")]);
        finish(command).failed(1, &["container \"x\"", &format!("{engine} is not installed")]);
    }
}

#[tokio::test]
async fn a_restarted_container_has_another_namespace() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container("distroless", &["--network", "none"]);
    let client = client(&[("DOCKER_HOST", &docker.host())]).await;
    let netns = client.netns();
    let open = || netns.open(Netns::docker(&container.name), NetnsMode::Existing);
    let (before, first) = (container.pid(), open().await.unwrap());
    assert_eq!(first.id().inode, netns_inode(before));
    docker.run(&["restart", "--time", "0", &container.name]);
    let (after, second) = (container.pid(), open().await.unwrap());
    assert_eq!(second.id().inode, netns_inode(after));
    assert_ne!(before, after);
    // The first handle keeps the old namespace, whose id is not used again.
    assert_ne!(first.id(), second.id());
    // A socket by the handle, and one by the container's id.
    client.socket(NETLINK_ROUTE).netns_handle(&second).open().await.unwrap();
    client.socket(NETLINK_ROUTE).netns(Netns::docker(&container.id)).open().await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_container_may_share_the_hosts_network() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container("distroless", &["--network", "host"]);
    let client = client(&[("DOCKER_HOST", &docker.host())]).await;
    let handle = client.netns().open(Netns::docker(&container.name), NetnsMode::Existing).await;
    assert_eq!(handle.unwrap().id(), client.host().netns);
    client.close().await;
}

#[tokio::test]
async fn what_no_container_is_called_does_not_harm_the_connection() {
    let client = client(&[]).await;
    for name in ["", "-H", "a b", &"x".repeat(256)] {
        let netns = Netns::docker(name);
        let opened = client.netns().open(netns.clone(), NetnsMode::Existing).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        let opened = client.socket(NETLINK_ROUTE).netns(netns).open().await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    let created = client.netns().open(Netns::docker("x"), NetnsMode::Create).await;
    assert_eq!(created.unwrap_err().errno(), Some(22), "only a name can be created");
    client.ping().await.unwrap();
    client.close().await;
}

/// Real podman, with its storage in a folder of the test.
#[test]
fn containers_of_podman() {
    if !can_run_containers() {
        return;
    }
    docker::mount_control_groups();
    let podman = Podman::new();
    let group = format!("{}-podman", control_group());
    let root = podman.folder.join("rootfs");
    image_root(&root, &["sleep"]);
    let root = root.to_str().unwrap();
    let id = podman.run(&[
        "run",
        "--detach",
        "--name",
        "one",
        "--network",
        "none",
        "--cgroup-parent",
        &group,
        "--rootfs",
        root,
        "/sleep",
        "100000",
    ]);
    let pid = podman.run(&["inspect", "--format", "{{.State.Pid}}", "one"]).trim().parse().unwrap();
    inside(pid, "ip link add here type veth peer name there");
    for name in ["one", id.trim()] {
        let shown = as_ip_shows(elements(&podman.show(name).printed()));
        assert_eq!(shown.len(), 3);
        assert_eq!(shown, links_of(pid));
    }
    podman.show("two").failed(1, &["podman container \"two\"", "no such container", "podman ps"]);
    podman.run(&["stop", "--time", "0", "one"]);
    podman.show("one").failed(1, &["is not running", "podman start one"]);
}

struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn new() -> Self {
        let folder = temporary("podman");
        fs::create_dir(&folder).unwrap();
        let place = |name: &str| folder.join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            place("data"),
            place("run")
        );
        fs::write(folder.join("storage.conf"), storage).unwrap();
        let engine = format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = {:?}\n",
            place("tmp")
        );
        fs::write(folder.join("containers.conf"), engine).unwrap();
        Self { folder }
    }

    fn with_settings(&self, mut command: Command) -> Command {
        command.env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("podman");
        command.args(arguments);
        let ended = finish(self.with_settings(command));
        assert_eq!(ended.code(), 0, "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn show(&self, name: &str) -> Ended {
        let netns = format!("podman:{name}");
        finish(self.with_settings(nlr(&["show", "link", "--json", "-n", &netns])))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let mut command = Command::new("podman");
        command.args(["rm", "--all", "--force", "--time", "0"]);
        let _ = self.with_settings(command).stdout(Stdio::null()).status();
        docker::unmount_below(&self.folder);
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file("/dev/shm/libpod_lock");
        docker::remove_control_groups(&format!("{}-podman", control_group()));
    }
}

/// A shell script in a folder of its own; removed when dropped.
struct Script {
    folder: PathBuf,
    path: PathBuf,
}

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let folder = temporary(name);
        fs::create_dir(&folder).unwrap();
        let path = folder.join(name);
        programs::write(&path, format!("#!/bin/sh\n{text}\n"));
        Self { folder, path }
    }

    /// A PATH on which the script comes first.
    fn search(&self) -> String {
        format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A stand-in for docker that does not answer ends at the deadline. Requests without docker do not
/// wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_ends_at_the_deadline_and_holds_up_nobody() {
    let stand_in = Script::new("docker", "sleep 1000 & echo $$ $! >${0%/*}/pids; wait");
    let client = Arc::new(client(&[("PATH", &stand_in.search())]).await);
    let asking = Arc::clone(&client);
    let began = Instant::now();
    let asked = tokio::spawn(async move {
        asking.socket(NETLINK_ROUTE).netns(Netns::docker("x")).open().await.unwrap_err()
    });
    let mut slowest = Duration::ZERO;
    while !asked.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(30));
        slowest = slowest.max(client.ping().await.unwrap());
        if began.elapsed() < Duration::from_secs(2) {
            client.socket(NETLINK_ROUTE).open().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = asked.await.unwrap();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Open, Some(ETIMEDOUT)), "{error}");
    assert!(error.to_string().contains("docker did not answer within 10 s"), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let pids = stand_in.read("pids");
    let pids: Vec<u32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    // The stub reaps the stand-in; process 1 reaps the stand-in's child.
    assert!(!Path::new(&format!("/proc/{}", pids[0])).exists());
    wait("the end of what the stand-in started", || !is_alive(pids[1]));
    client.ping().await.unwrap();
}

/// Many requests wait for stand-ins for docker that do not answer. Requests without docker go on, and
/// the stand-ins end with the stub.
#[tokio::test]
async fn engines_that_hang_do_not_outlive_the_stub() {
    let stand_in = Script::new("docker", "echo $$ >>${0%/*}/pids; exec sleep 1000");
    let netns = testing::Namespace::new();
    let client = client(&[("PATH", &stand_in.search())]).await;
    let ask = |_| {
        let netns = client.netns();
        let asked = async move { netns.open(Netns::docker("x"), NetnsMode::Existing).await };
        tokio::spawn(asked)
    };
    let asked: Vec<_> = (0..20).map(ask).collect();
    let mut pids: Vec<u32> = Vec::new();
    while pids.len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        pids = stand_in.read("pids").lines().map(|pid| pid.parse().unwrap()).collect();
    }
    let began = Instant::now();
    for _ in 0..20 {
        let name = Netns::Name(netns.0.clone());
        client.socket(NETLINK_ROUTE).netns(name).open().await.unwrap();
    }
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    client.close().await;
    for asked in asked {
        asked.await.unwrap().unwrap_err();
    }
    wait("the end of the stand-ins", || !pids.iter().any(|pid| is_alive(*pid)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(stand_in.read("pids").lines().count(), 4, "more than four asked at a time");
}

/// A stand-in for docker gets its arguments, no input, and none of the stub's many descriptors.
#[tokio::test]
async fn an_engine_is_given_what_it_needs_and_no_more() {
    let stand_in = Script::new(
        "docker",
        "cd ${0%/*}; printf '%s|' \"$@\" >arguments; echo $LC_ALL >locale\n\
         readlink /proc/self/fd/0 >input; readlink /proc/$$/ns/net >netns; ls /proc/self/fd >fds\n\
         seq 20000; seq 20000 >&2; echo 'it is unwell' >&2; exit 1",
    );
    let netns = testing::Namespace::new();
    let client = client(&[("PATH", &stand_in.search())]).await;
    let name = Netns::Name(netns.0.clone());
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(client.socket(NETLINK_ROUTE).netns(name.clone()).open().await.unwrap());
    }
    let error = client.socket(NETLINK_ROUTE).netns(Netns::docker("web-1")).open().await;
    let error = error.unwrap_err();
    assert_eq!(error.errno(), Some(EIO), "{error}");
    assert!(error.to_string().contains("docker inspect: it is unwell"), "{error}");
    let format = "{{.State.Pid}} {{.Id}}";
    let arguments = format!("inspect|--type|container|--format|{format}|web-1|");
    assert_eq!(stand_in.read("arguments"), arguments);
    assert_eq!(stand_in.read("locale"), "C\n");
    assert_eq!(stand_in.read("input"), "/dev/null\n");
    let fds = stand_in.read("fds");
    // The namespace of the stub, whatever that of its sockets.
    let own = format!("net:[{}]\n", client.host().netns.inode);
    assert_eq!(stand_in.read("netns"), own);
    client.close().await;
    // Its streams and the folder that `ls` lists, whatever this test's process has open.
    assert_eq!(fds, "0\n1\n2\n3\n");
}

/// A stand-in for a docker of another host, whose pids are other processes here.
#[tokio::test]
async fn a_process_that_is_not_the_containers_is_not_entered() {
    let id = "3bc9e195d518e27b45586ba049f75ddb3a38c5adbf6634eae107f662ca8e97fa";
    for (answer, errno, words) in [
        (format!("1 {id}"), ESRCH, "process 1 does not belong to the container"),
        (format!("4194304 {id}"), ESRCH, "process 4194304 does not belong to the container"),
        (format!("0 {id}"), ESRCH, "is not running"),
        ("1".to_owned(), EIO, "gave no process, but \"1\""),
        (String::new(), EIO, "gave no process, but \"\""),
    ] {
        let stand_in = Script::new("podman", &format!("echo '{answer}'"));
        let client = client(&[("PATH", &stand_in.search())]).await;
        let opened = client.netns().open(Netns::podman("x"), NetnsMode::Existing).await;
        let error = opened.unwrap_err();
        assert_eq!(error.errno(), Some(errno), "{answer}: {error}");
        assert!(error.to_string().contains(words), "{answer}: {error}");
        client.close().await;
    }
    let stand_in = Script::new("podman", "echo 'Error: no such container x' >&2; exit 125");
    let client = client(&[("PATH", &stand_in.search())]).await;
    let error = client.netns().open(Netns::podman("x"), NetnsMode::Existing).await.unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Namespace, Some(ENOENT)), "{error}");
    client.close().await;
}

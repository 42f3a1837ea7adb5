//! A docker of the tests' own, and what runs containers at all: control groups, and images that
//! hold one static program.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longer than anything takes on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A static program for images; its name there says what it does.
const BUSYBOX: &str = "busybox";

/// A running dockerd. The last who holds it takes it down, and all containers with it.
pub(crate) struct Docker {
    daemon: Child,
    folder: PathBuf,
}

impl Docker {
    /// The one of this test program. `None`, after saying why, where there can be none.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        if !can_run_containers() {
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(docker) = shared.upgrade() {
            return Some(docker);
        }
        let docker = Arc::new(Self::start());
        *shared = Arc::downgrade(&docker);
        Some(docker)
    }

    fn start() -> Self {
        mount_control_groups();
        let folder = std::env::temp_dir().join(format!("dockerd-{}", unique()));
        fs::create_dir(&folder).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("dockerd");
        // Nothing of the network is its business: every container here is without one.
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["--storage-driver", "vfs", "--cgroup-parent", &control_group()]);
        command.args(["--host", &format!("unix://{}", place("socket"))]);
        command.args(["--data-root", &place("data"), "--exec-root", &place("exec")]);
        command.args(["--pidfile", &place("pid")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let docker = Self { daemon: command.spawn().unwrap(), folder };
        let deadline = Instant::now() + PATIENCE;
        while !docker.output(&["version"]).status.success() {
            let log = || fs::read_to_string(docker.folder.join("log")).unwrap();
            assert!(Instant::now() < deadline, "dockerd does not answer: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
        docker.import("busybox", &["busybox", "sh", "sleep"]);
        docker.import("distroless", &["sleep"]);
        docker.import("userland", &["sleep"]);
        docker
    }

    /// Makes an image of nothing but a static program, under these names in its root.
    fn import(&self, image: &str, names: &[&str]) {
        let root = self.folder.join(image);
        image_root(&root, names);
        if image == "userland" {
            userland(&root);
        }
        let archive = self.folder.join(format!("{image}.tar"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        succeed(&mut tar);
        self.run(&["import", archive.to_str().unwrap(), image]);
    }

    /// Where it listens, as DOCKER_HOST has it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }

    /// The docker program, which talks to this one, not run yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).args(arguments).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the docker program, which must succeed, and gives what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// Starts a container of the image `busybox`, which has a shell, `distroless`, which has
    /// none, or `userland`, for which see [`WITH_USERLAND`]. It does nothing until it is removed.
    pub(crate) fn container(self: &Arc<Self>, image: &str, options: &[&str]) -> Container {
        let name = format!("nlr-{}", unique());
        let mut arguments = vec!["run", "--detach", "--name", &name];
        arguments.extend(options);
        arguments.extend([image, "/sleep", "100000"]);
        let id = self.run(&arguments).trim().to_owned();
        Container { docker: Arc::clone(self), name, id }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // In a failed test none of this may fail as well.
        let left = String::from_utf8(self.output(&["ps", "--all", "--quiet"]).stdout);
        for id in left.unwrap_or_default().split_whitespace() {
            self.output(&["rm", "--force", id]);
        }
        let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Ok(None) = self.daemon.try_wait() {
            if Instant::now() > deadline {
                let _ = self.daemon.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        unmount_below(&self.folder);
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
        remove_control_groups(&control_group());
    }
}

/// A container; removed when dropped.
pub(crate) struct Container {
    docker: Arc<Docker>,
    pub(crate) name: String,
    pub(crate) id: String,
}

impl Container {
    /// The number of its first process.
    pub(crate) fn pid(&self) -> u32 {
        let pid = self.docker.run(&["inspect", "--format", "{{.State.Pid}}", &self.name]);
        pid.trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.docker.output(&["rm", "--force", &self.name]);
    }
}

/// Whether containers can run in this world; says so where they cannot. One that is root's own
/// must be able to: there the tests do not pass for want of what they need.
pub(crate) fn can_run_containers() -> bool {
    let root = std::env::var("NLR_TEST_WORLD").is_ok_and(|world| world == "root");
    if !root {
        println!("skipped: engines of containers need real root");
    }
    root
}

/// Fills a folder with what an image holds: one static program under these names.
pub(crate) fn image_root(root: &Path, names: &[&str]) {
    fs::create_dir_all(root).unwrap();
    let program = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join(BUSYBOX))
        .find(|path| path.exists())
        .unwrap();
    for name in names {
        fs::copy(&program, root.join(name)).unwrap();
    }
}

/// Options that give the image `userland` the programs and libraries of this machine.
pub(crate) const WITH_USERLAND: [&str; 4] = ["--volume", "/usr:/usr:ro", "--env", "HOME=/root"];

/// What a root folder needs for a /usr that is mounted into it.
pub(crate) fn userland(root: &Path) {
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    for name in ["usr", "root", "tmp"] {
        fs::create_dir(root.join(name)).unwrap();
    }
}

/// The control group that containers are put below; other worlds have others.
pub(crate) fn control_group() -> String {
    let world = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    format!("/nlr-test-{world}")
}

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Mounts the control groups of this machine, in whichever version it has them, where the world
/// does not show them.
pub(crate) fn mount_control_groups() {
    static MOUNTED: OnceLock<()> = OnceLock::new();
    MOUNTED.get_or_init(|| {
        if fs::read_dir(CONTROL_GROUPS).unwrap().next().is_some() {
            return;
        }
        let hierarchies = fs::read_to_string("/proc/self/cgroup").unwrap();
        let hierarchies: Vec<_> =
            hierarchies.lines().filter_map(|line| line.split(':').nth(1)).collect();
        let mount = |kind: &str, options: &str, place: &str| {
            succeed(Command::new("mount").args(["-t", kind, "-o", options, kind, place]));
        };
        if hierarchies == [""] {
            return mount("cgroup2", "rw", CONTROL_GROUPS);
        }
        mount("tmpfs", "rw", CONTROL_GROUPS);
        for hierarchy in hierarchies.into_iter().filter(|hierarchy| !hierarchy.is_empty()) {
            let place = format!("{CONTROL_GROUPS}/{}", hierarchy.trim_start_matches("name="));
            fs::create_dir(&place).unwrap();
            let named = hierarchy.starts_with("name=");
            let options = if named { format!("none,{hierarchy}") } else { hierarchy.to_owned() };
            mount("cgroup", &options, &place);
        }
    });
}

/// Takes away a group that containers were below, which outlives the world otherwise, once what
/// was in it has ended.
pub(crate) fn remove_control_groups(group: &str) {
    fn remove(folder: &Path) -> bool {
        let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in below.filter(|path| path.is_dir()) {
            remove(&path);
        }
        fs::remove_dir(folder).is_ok() || !folder.exists()
    }
    let group = group.trim_start_matches('/');
    let hierarchies = fs::read_dir(CONTROL_GROUPS).into_iter().flatten().flatten();
    let mut groups: Vec<_> = hierarchies.map(|entry| entry.path().join(group)).collect();
    groups.push(Path::new(CONTROL_GROUPS).join(group));
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        groups.retain(|group| !remove(group));
        if groups.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Unmounts what an engine has left mounted, as dockerd does its own network namespace once a
/// container has shared it.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        let _ = Command::new("umount").args(["--lazy", place]).status();
    }
}

fn unique() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

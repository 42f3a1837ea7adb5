//! A dockerd of the tests' own, control groups for containers, and images of one static program.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{PATIENCE, command::succeed, run, temporary, unique, world};

/// The static program of images; its name in the image chooses its applet.
const BUSYBOX: &str = "busybox";

/// A running dockerd. Dropping the last reference ends it and all its containers.
pub struct Docker {
    daemon: Child,
    folder: PathBuf,
}

impl Docker {
    /// The dockerd of this test program. `None` where there can be none, which is then printed.
    pub fn shared() -> Option<Arc<Self>> {
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
        let folder = temporary("dockerd");
        fs::create_dir(&folder).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("dockerd");
        // Every container here is without a network, so dockerd needs none.
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
        succeed(tar, "");
        self.run(&["import", archive.to_str().unwrap(), image]);
    }

    /// Its socket, for DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }

    /// The docker program, connected to this dockerd, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).args(arguments).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the docker program, which must succeed, and gives its stdout.
    pub fn run(&self, arguments: &[&str]) -> String {
        succeed(self.command(arguments), "")
    }

    /// Starts a container of the image `busybox`, which has a shell, `distroless`, which has
    /// none, or `userland`, for which see [`WITH_USERLAND`]. It sleeps until it is removed.
    pub fn container(self: &Arc<Self>, image: &str, options: &[&str]) -> Container {
        let name = unique("nlr");
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
pub struct Container {
    docker: Arc<Docker>,
    /// Its name.
    pub name: String,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
}

impl Container {
    /// The pid of its first process.
    pub fn pid(&self) -> u32 {
        let pid = self.docker.run(&["inspect", "--format", "{{.State.Pid}}", &self.name]);
        pid.trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.docker.output(&["rm", "--force", &self.name]);
    }
}

/// Whether this world can run containers; prints that the test is skipped where it cannot. A world
/// of real root must be able to: there no test passes for want of an engine.
pub fn can_run_containers() -> bool {
    world::has_real_root("a container engine")
}

/// Fills the root folder of an image: one static program under these names.
pub fn image_root(root: &Path, names: &[&str]) {
    fs::create_dir_all(root).unwrap();
    let program = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join(BUSYBOX))
        .find(|path| path.exists())
        .unwrap();
    for name in names {
        crate::programs::copy(&program, root.join(name));
    }
}

/// Options that give the image `userland` the programs and libraries of this machine.
pub const WITH_USERLAND: [&str; 4] = ["--volume", "/usr:/usr:ro", "--env", "HOME=/root"];

/// Prepares a root folder for a /usr that is mounted into it.
pub fn userland(root: &Path) {
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    for name in ["usr", "root", "tmp"] {
        fs::create_dir(root.join(name)).unwrap();
    }
}

/// The control group above those of the containers of this world.
pub fn control_group() -> String {
    let world = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    format!("/nlr-test-{world}")
}

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Mounts the control groups of this machine, version 1 or 2, unless the world shows them.
pub fn mount_control_groups() {
    static MOUNTED: OnceLock<()> = OnceLock::new();
    MOUNTED.get_or_init(|| {
        if fs::read_dir(CONTROL_GROUPS).unwrap().next().is_some() {
            return;
        }
        let hierarchies = fs::read_to_string("/proc/self/cgroup").unwrap();
        let hierarchies: Vec<_> =
            hierarchies.lines().filter_map(|line| line.split(':').nth(1)).collect();
        let mount = |kind: &str, options: &str, place: &str| {
            run("mount", &["-t", kind, "-o", options, kind, place]);
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

/// Removes a control group and those below it once their processes have ended: a group outlives
/// the world otherwise.
pub fn remove_control_groups(group: &str) {
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

/// Unmounts the mounts that an engine leaves behind below a folder: dockerd's network namespace
/// stays mounted once a container has shared it.
pub fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        let _ = Command::new("umount").args(["--lazy", place]).status();
    }
}

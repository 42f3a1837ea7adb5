//! Namespaces by path: nothing but a network namespace is ever opened, and nothing else is told of.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use netlink_remote::{ErrorKind, Netns, client::NetnsMode};
use nix::{
    errno::Errno,
    fcntl::{OFlag, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        stat::Mode,
    },
};

use crate::support::*;

over_every_transport!(
    what_is_no_namespace_is_refused,
    no_other_file_is_opened,
    nothing_is_told_of_other_paths,
    other_kinds_of_namespace_are_refused_by_word,
    links_lead_to_namespaces,
    a_list_opens_namespaces_alone,
);

fn path(path: impl AsRef<Path>) -> Netns {
    Netns::Path(path.as_ref().to_str().unwrap().to_owned())
}

/// The errno and text of opening a socket and of keeping a namespace open, which must agree.
async fn refusal(far: &Far, netns: &Netns) -> (i32, String) {
    let error = within(far.client.socket(NETLINK_ROUTE).netns(netns.clone()).open()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Open, "{error}");
    let kept = within(far.client.netns().open(netns.clone(), NetnsMode::Existing)).await;
    let kept = kept.err().unwrap_or_else(|| panic!("{netns} became a handle"));
    assert_eq!(error.errno(), kept.errno(), "{error} / {kept}");
    (error.errno().unwrap(), error.to_string())
}

async fn what_is_no_namespace_is_refused(transport: Transport) {
    let far = Far::new(transport).await;
    for (netns, errno) in [
        (Netns::Name("nlr-there-is-none".to_owned()), ENOENT),
        (path("/run/netns/nlr-there-is-none"), ENOENT),
        (path("/proc/self/status"), ENOENT),
        (path("/"), ENOENT),
        (path("/x".repeat(3000)), ENOENT),
        (path("/proc/self/ns/mnt"), EINVAL),
        (Netns::Pid(0), ENOENT),
        (Netns::Pid(u32::MAX), ENOENT),
        (Netns::Handle(12_345), EBADF),
    ] {
        let (given, text) = refusal(&far, &netns).await;
        assert_eq!(given, errno, "{text}");
    }
    // The connection works after all of it.
    assert!(link_names(&far.route().await).await.contains(&"lo".to_owned()));
    far.end().await;
}

/// Files of every kind whose open(2) has an effect, or none, in a folder of their own.
struct Files {
    folder: PathBuf,
    all: Vec<PathBuf>,
    // Gives its device a path for as long as it is open.
    _terminal: nix::pty::PtyMaster,
}

impl Files {
    fn new() -> Self {
        world::require();
        let folder = temporary("files");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let named = |name: &str| folder.join(name);
        nix::unistd::mkfifo(&named("fifo"), Mode::S_IRWXU).unwrap();
        drop(UnixListener::bind(named("socket")).unwrap());
        fs::create_dir(named("folder")).unwrap();
        fs::write(named("file"), "x").unwrap();
        symlink(named("fifo"), named("link")).unwrap();
        let terminal = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        nix::pty::grantpt(&terminal).unwrap();
        nix::pty::unlockpt(&terminal).unwrap();
        let device = nix::pty::ptsname_r(&terminal).unwrap().into();
        let names = ["fifo", "socket", "folder", "file", "link"].map(named);
        let all = names.into_iter().chain([device]).collect();
        Self { folder, all, _terminal: terminal }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// A watch that notices each open(2) of files, and no lookup.
fn watch_opens(files: &[PathBuf]) -> Inotify {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    for file in files {
        let events = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS;
        inotify.add_watch(file, events).unwrap();
    }
    inotify
}

async fn no_other_file_is_opened(transport: Transport) {
    let far = Far::new(transport).await;
    let files = Files::new();
    let opens = watch_opens(&files.all);
    for file in &files.all {
        let (errno, text) = refusal(&far, &path(file)).await;
        assert_eq!(errno, ENOENT, "{text}");
        let seen = opens.read_events();
        assert!(matches!(seen, Err(Errno::EAGAIN)), "{} was opened: {seen:?}", file.display());
    }
    // The watch does notice.
    File::open(&files.all[3]).unwrap();
    assert!(!opens.read_events().unwrap().is_empty());
    far.end().await;
}

async fn nothing_is_told_of_other_paths(transport: Transport) {
    let far = Far::new(transport).await;
    let files = Files::new();
    let dangling = files.folder.join("dangling");
    symlink("/nonexistent/there", &dangling).unwrap();
    let circle = files.folder.join("circle");
    symlink(&circle, &circle).unwrap();
    let below_a_file = files.folder.join("file/x");
    let absent = files.folder.join("absent");
    let answer = |path: &Path, (errno, text): (i32, String)| {
        (errno, text.replace(path.to_str().unwrap(), "PATH"))
    };
    let wanted = answer(&absent, refusal(&far, &path(&absent)).await);
    assert!(wanted.1.contains("no network namespace"), "{wanted:?}");
    let secrets = ["/root", "/root/.ssh", "/etc/shadow", "/proc/1/mem"].map(PathBuf::from);
    let others = [dangling, circle, below_a_file].into_iter().chain(secrets);
    for other in files.all.iter().cloned().chain(others) {
        assert_eq!(answer(&other, refusal(&far, &path(&other)).await), wanted);
    }
    far.end().await;
}

async fn other_kinds_of_namespace_are_refused_by_word(transport: Transport) {
    let far = Far::new(transport).await;
    let folder = temporary("kinds");
    fs::create_dir(&folder).unwrap();
    let kinds = [
        ("mnt", "mount"),
        ("user", "user"),
        ("pid", "pid"),
        ("uts", "UTS"),
        ("ipc", "IPC"),
        ("cgroup", "cgroup"),
        ("time", "time"),
    ];
    for (file, word) in kinds {
        let own = format!("/proc/self/ns/{file}");
        let link = folder.join(file);
        symlink(&own, &link).unwrap();
        for netns in [path(&own), path(&link)] {
            let (errno, text) = refusal(&far, &netns).await;
            assert_eq!(errno, EINVAL, "{text}");
            let wanted = format!("is a {word} namespace, not a network namespace");
            assert!(text.contains(&wanted), "{text}");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    far.end().await;
}

async fn links_lead_to_namespaces(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    netns.ip("link add marker type veth peer name peer");
    let folder = temporary("links");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(format!("/run/netns/{}", netns.0), folder.join("absolute")).unwrap();
    symlink("absolute", folder.join("relative")).unwrap();
    symlink("../../run", folder.join("up")).unwrap();
    symlink("/", folder.join("root")).unwrap();
    let name = &netns.0;
    let places = [
        folder.join("absolute"),
        folder.join("relative"),
        folder.join(format!("root/run//netns/./../netns/{name}")),
        // Magic links.
        format!("/proc/self/root/run/netns/{name}").into(),
        format!("/proc/thread-self/root/run/netns/{name}").into(),
    ];
    for place in places {
        let socket = far.client.socket(NETLINK_ROUTE).netns(path(&place)).open().await;
        let names = link_names(&socket.unwrap_or_else(|e| panic!("{e}"))).await;
        assert!(names.contains(&"marker".to_owned()), "{}", place.display());
    }
    for wrong in [format!("/run/netns/{name}/"), format!("/run/netns/{name}/.")] {
        assert_eq!(refusal(&far, &path(wrong)).await.0, ENOENT);
    }
    fs::remove_dir_all(&folder).unwrap();
    far.end().await;
}

async fn a_list_opens_namespaces_alone(transport: Transport) {
    let far = Far::new(transport).await;
    let netns = Namespace::empty();
    let name = unique("nlr-fifo");
    let fifo = PathBuf::from(format!("/run/netns/{name}"));
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let other = unique("nlr-mount");
    symlink("/proc/self/ns/mnt", format!("/run/netns/{other}")).unwrap();
    let opens = watch_opens(std::slice::from_ref(&fifo));
    let list = far.client.netns().list().await.unwrap();
    let inode = |name: &str| list.iter().find(|entry| entry.name == name).unwrap().id.inode;
    assert_ne!(inode(&netns.0), 0);
    assert_eq!((inode(&name), inode(&other)), (0, 0));
    assert!(matches!(opens.read_events(), Err(Errno::EAGAIN)), "the FIFO was opened");
    fs::remove_file(fifo).unwrap();
    fs::remove_file(format!("/run/netns/{other}")).unwrap();
    far.end().await;
}

/// The kernel would tell the daemon of the automount point, which never answers here.
#[tokio::test]
async fn no_automount_is_triggered() {
    if !world::has_real_root("mounting autofs") {
        return;
    }
    let far = Far::new(Transport::Process).await;
    let folder = temporary("automount");
    fs::create_dir(&folder).unwrap();
    let (told, tells) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT).unwrap();
    // Of the daemon's process group, which triggers no mount, this process is not.
    let options = format!("fd={},pgrp=1,minproto=5,maxproto=5,direct", tells.as_raw_fd());
    mount(Some("nlr"), &folder, Some("autofs"), MsFlags::empty(), Some(options.as_str())).unwrap();
    fcntl(&told, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    for place in [folder.clone(), folder.join("x"), folder.join("x/y")] {
        assert_eq!(refusal(&far, &path(place)).await.0, ENOENT);
    }
    let mut packet = [0; 512];
    let read = File::from(told).read(&mut packet);
    assert_eq!(read.unwrap_err().raw_os_error(), Some(nix::libc::EAGAIN), "a mount was asked for");
    umount2(&folder, MntFlags::MNT_DETACH).unwrap();
    fs::remove_dir(&folder).unwrap();
    far.end().await;
}

/// Where a container has no /proc, the stub says so.
#[tokio::test]
async fn without_proc_the_error_says_so() {
    world::require();
    let netns = Namespace::empty();
    let mut command = tokio::process::Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$0\"",
        programs::stub(),
    ]);
    let running = netlink_remote::transport::process::spawn(command).unwrap();
    let client = netlink_remote::Client::handshake(running.stdio).await.unwrap();
    let error = client.socket(NETLINK_ROUTE).netns(netns.netns()).open().await.unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::EOPNOTSUPP), "{error}");
    assert!(error.to_string().contains("/proc, which is not mounted"), "{error}");
    client.close().await;
}

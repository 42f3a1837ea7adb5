//! Network namespaces, as ip-netns(8) keeps them, and sockets made inside them.
//!
//! setns(2) changes the calling *thread*. A thread that entered a namespace is therefore used
//! up: here it does its one thing and ends, and is never one that anything else runs on.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::Flock,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

pub use super::nsfs::{current, identify};
use super::{
    cancel::Cancel,
    capabilities::{self, Cap},
    container, descriptors,
    failure::{explained, failure, io_failure},
    file_lock::lock_file,
    nsfs::{self, open_file},
};
use crate::{
    limits::{server::LOCK_PATIENCE, stub::MAX_NAMES},
    text,
    wire::{Failure, Netns, NetnsEntry},
};

/// Where ip-netns(8) keeps named namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// The file of a named namespace.
///
/// # Errors
/// EINVAL for a name that no file can have.
pub fn path_of(name: &str) -> Result<PathBuf, Failure> {
    let fits = (1..=255).contains(&name.len());
    if !fits || name == "." || name == ".." || name.contains(['/', '\0']) {
        let text = format!("{name:?} cannot be a namespace's name");
        return Err(explained(Errno::EINVAL, text));
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Opens a namespace. [`Netns::Current`] is `None`. No file is opened that is no namespace.
///
/// # Errors
/// The errno of the step that failed: ENOENT or ESRCH where there is no such namespace, ENOENT for a
/// path of another file, EINVAL for a name of another file and for another kind of namespace, EPERM and
/// EACCES, EOPNOTSUPP where /proc is not mounted. For a container also ETIMEDOUT where its engine does
/// not answer within 10 seconds, ECONNREFUSED where the engine is not running, ECANCELED, and EIO for
/// any other error of the engine.
pub fn open(netns: &Netns, cancel: &Cancel) -> Result<Option<File>, Failure> {
    let path = match netns {
        Netns::Name(name) => path_of(name)?,
        Netns::Path(path) => PathBuf::from(path),
        Netns::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        Netns::Container { engine, name } => {
            return container::open(*engine, name, cancel).map(Some);
        }
        // Only the connection that gave the number can resolve it.
        Netns::Handle(_) => return Err(failure(Errno::EBADF, netns)),
        Netns::Current => return Ok(None),
    };
    open_file(&path, netns).map(Some)
}

/// Opens the namespace of this process.
///
/// # Errors
/// As open(2), such as where /proc is not mounted.
pub fn open_current() -> Result<File, Failure> {
    nsfs::open_current()
}

/// Checks that a client which may change nothing can have a socket in a namespace; `None` is the
/// current one.
///
/// # Errors
/// EPERM for a namespace in which this user has all capabilities, because the user owns its user
/// namespace.
pub(crate) fn check_owner(namespace: Option<&File>) -> Result<(), Failure> {
    match namespace {
        Some(namespace) => nsfs::check_owner(namespace),
        None => nsfs::check_owner(&open_current()?),
    }
}

/// Runs `work` on a thread of its own that has entered `namespace`, and waits for it.
///
/// # Errors
/// The errno of setns(2) or of starting the thread; the error of `work`.
pub fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    expendable("netns", || {
        let enter = || setns(namespace, CloneFlags::CLONE_NEWNET);
        let entered = capabilities::with(Cap::CAP_SYS_ADMIN, enter).and_then(|entered| entered);
        entered.map_err(|errno| match errno {
            Errno::EINVAL => explained(errno, "this is a namespace, but not a network namespace"),
            Errno::EPERM => failure(errno, "entering the namespace needs CAP_SYS_ADMIN"),
            _ => failure(errno, "entering the namespace"),
        })?;
        work()
    })
}

/// Runs `work` on a thread that is used for nothing else.
fn expendable<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(128 * 1024);
        match builder.spawn_scoped(scope, work) {
            Ok(running) => running.join().unwrap_or_else(|_| {
                Err(failure(Errno::EIO, "a thread inside the namespace panicked"))
            }),
            Err(error) => Err(io_failure(&error, "starting a thread")),
        }
    })
}

/// The names in `/run/netns`, in the order of the directory. A file that is no namespace has identity zero.
///
/// # Errors
/// As readdir(3), E2BIG for more than 65,536 files, ECANCELED; a directory that does not exist has no
/// names.
pub fn list(cancel: &Cancel) -> Result<Vec<NetnsEntry>, Failure> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| io_failure(&error, format_args!("reading {DIRECTORY}")))?,
    };
    let mut list = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|error| io_failure(&error, format_args!("reading {DIRECTORY}")))?;
        cancel.check()?;
        if list.len() >= MAX_NAMES {
            let text = format!("{DIRECTORY} has more than {MAX_NAMES} files");
            return Err(explained(Errno::E2BIG, text));
        }
        // No request can hold a name that is no UTF-8, but each such name is told apart.
        let name = entry.file_name();
        let name = name.into_string().unwrap_or_else(|name| text::name(name.as_bytes()));
        let opened = open_file(&entry.path(), &Netns::Name(name.clone())).ok();
        let id = opened.and_then(|file| identify(&file).ok()).unwrap_or_default();
        list.push(NetnsEntry::new(name, id));
    }
    Ok(list)
}

/// Creates a named namespace as `ip netns add` does: a new namespace, bound to a file in
/// `/run/netns`, which is made a shared mount so that others see it.
///
/// # Errors
/// EEXIST if the name is taken, EPERM without CAP_SYS_ADMIN, ETIMEDOUT where another process keeps
/// the lock on `/run/netns` for 5 seconds, ECANCELED.
pub fn add(name: &str, cancel: &Cancel) -> Result<(), Failure> {
    let path = path_of(name)?;
    let _lock = prepare_directory(cancel)?;
    // The lock may have taken a while.
    cancel.check()?;
    let created =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o444).open(&path);
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(explained(Errno::EEXIST, format!("namespace {name:?} exists already")));
        }
        other => {
            drop(other.map_err(|e| io_failure(&e, format_args!("creating {}", path.display())))?)
        }
    }
    let bound = expendable("netns-add", || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failure(errno, format_args!("creating namespace {name:?}")))?;
        let own = "/proc/thread-self/ns/net";
        mount(Some(own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| failure(errno, format_args!("binding {}", path.display())))
    });
    if bound.is_err() {
        // A second failure would only hide the first.
        let _ = fs::remove_file(&path);
    }
    bound
}

/// Makes `/run/netns` a shared mount point, as ip-netns(8) wants it, and locks it against other
/// processes that do the same.
fn prepare_directory(cancel: &Cancel) -> Result<Flock<File>, Failure> {
    let about = |text: &str| format!("{text} {DIRECTORY}");
    match fs::create_dir(DIRECTORY) {
        Ok(()) => {
            // Not by the mode of mkdir, which the umask would narrow.
            let _ = fs::set_permissions(DIRECTORY, Permissions::from_mode(0o755));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_failure(&error, about("creating"))),
    }
    let directory = File::open(DIRECTORY).map_err(|error| io_failure(&error, about("opening")))?;
    let lock = lock_file(directory, LOCK_PATIENCE, cancel).map_err(|errno| match errno {
        Errno::ETIMEDOUT => {
            let held = format!("another process has held the lock on {DIRECTORY} for");
            explained(errno, format!("{held} {} s", LOCK_PATIENCE.as_secs()))
        }
        _ => failure(errno, about("locking")),
    })?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, DIRECTORY, None::<&str>, shared, None::<&str>);
    if let Err(errno) = share() {
        // EINVAL: not a mount point yet.
        if errno != Errno::EINVAL {
            return Err(failure(errno, about("sharing the mount")));
        }
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(DIRECTORY), DIRECTORY, None::<&str>, bind, None::<&str>)
            .and_then(|()| share())
            .map_err(|errno| failure(errno, about("mounting")))?;
    }
    Ok(lock)
}

/// Deletes a named namespace as `ip netns delete` does. The namespace itself lives on as long as
/// anything is in it.
///
/// # Errors
/// ENOENT if there is none of that name, EPERM without CAP_SYS_ADMIN.
pub fn delete(name: &str) -> Result<(), Failure> {
    let path = path_of(name)?;
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: a file on which nothing is mounted, left behind; it is removed, too.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(Errno::ENOENT) => {
            return Err(explained(Errno::ENOENT, format!("there is no namespace {name:?}")));
        }
        Err(errno) => return Err(failure(errno, format_args!("deleting namespace {name:?}"))),
    }
    fs::remove_file(&path)
        .map_err(|error| io_failure(&error, format_args!("removing {}", path.display())))
}

/// A namespace's descriptor at a high number, which may be given to a client.
///
/// # Errors
/// As fcntl(2).
pub(crate) fn handle(file: File) -> Result<OwnedFd, Failure> {
    descriptors::raise_named(file.into()).map_err(|errno| failure(errno, "raising a descriptor"))
}

//! What a process gives up before it serves.

use std::io;

use super::access::Access;
use crate::kernel::{self, Account};

/// What a process gives up before it serves: everything that its clients' [`Access`] needs not.
///
/// A program that serves and does nothing else, as `nlr-stub` and `nlr serve` are, applies it when its
/// sockets are open and it has no thread but the first:
///
/// ```no_run
/// use netlink_remote::stub::{Config, Confinement, close_inherited, serve_stdio};
///
/// close_inherited();
/// let mut config = Config::default();
/// config.access.read_only = true;
/// let mut confinement = Confinement::default();
/// confinement.user = Some("nobody".to_owned());
/// confinement.apply(&config.access)?;
/// serve_stdio(config);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Confinement {
    /// The user to become: `NAME` or `UID`, as `/etc/passwd` and `/etc/group` have them, or `UID:GID`
    /// with that group alone. `None`, the default, keeps the user. Becoming another takes CAP_SETUID
    /// and CAP_SETGID. Another user than root creates no named namespaces, since `/run/netns` is
    /// root's.
    pub user: Option<String>,
    /// Whether system calls that no stub needs are refused from now on, with EPERM and a line in the
    /// kernel's log (seccomp(2)): true. The process cannot start programs then, so a child process,
    /// which is forked before, asks container engines, where [`Access::netns`] allows any.
    pub filter: bool,
}

impl Default for Confinement {
    fn default() -> Self {
        Self { user: None, filter: true }
    }
}

impl Confinement {
    /// Confines this process for ever, in this order: the user; capabilities, of which those stay
    /// that [`SECURITY.md`](https://docs.rs/crate/netlink-remote/latest/source/SECURITY.md) lists for
    /// `access`, in all sets; `PR_SET_NO_NEW_PRIVS`; the filter. Threads that are started later
    /// inherit it.
    ///
    /// Gives the reason, in words, why there is no filter where the kernel or the architecture has
    /// none.
    ///
    /// # Errors
    /// `NotFound` for a user who does not exist, `PermissionDenied` without the capabilities to become
    /// that user, `ResourceBusy` in a process with several threads: they would keep their privileges.
    pub fn apply(&self, access: &Access) -> io::Result<Option<String>> {
        let duties = access.duties();
        let account = self.user.as_deref().map(Account::find).transpose().map_err(error)?;
        let helper = self.filter && access.has_containers();
        if kernel::threads() > 1 {
            let text = "a process with several threads cannot be confined";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        if let Some(account) = account {
            account.become_it().map_err(error)?;
        }
        kernel::keep(&kernel::needed(duties), duties.changes)?;
        if !self.filter {
            return Ok(None);
        }
        // Where it cannot be had, containers are not found, and that error says why.
        let helper = if helper { kernel::start_engine_helper() } else { Ok(()) };
        let missing = kernel::install_filter(duties).err();
        let helper =
            helper.err().map(|errno| format!("no container engine can be asked: {}", errno.desc()));
        Ok(missing.map(|reason| format!("system calls are not filtered: {reason}")).or(helper))
    }
}

fn error(failure: crate::wire::Failure) -> io::Error {
    let kind = io::Error::from_raw_os_error(failure.errno).kind();
    io::Error::new(kind, failure.text)
}
